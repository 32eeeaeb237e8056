//! A machine whose firmware measures what it boots (OVMF) and that has a TPM (swtpm), booted twice.
//!
//! What runs inside is `tests/e2e/examples/measured/`. Agent and wrapper are in the archive that is
//! measured; OpenBao, bridge and beacon, which are elsewhere in earnest, are on a disk. What the
//! machine leaves for an auditor is verified here, on a host that never saw it, by both verifiers.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::contents::with_libraries;
use super::demo::stripped_bao;
use super::initramfs::Initramfs;
use super::qemu::{self, Machine, Measured};
use crate::artifacts;
use crate::command::{find, program, read, run as run_command};
use crate::place;
use crate::tools::{self, Need};

/// Debian's firmware: its code, and what its variables begin with.
const FIRMWARE: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/// What is kept is some 200 kB.
const KEPT_BYTES: u64 = 8 << 20;
/// A TPM that is there at once, usually.
const PATIENCE: Duration = Duration::from_secs(60);
/// More of Busybox.
const APPLETS: &[&str] = &["cpio", "kill", "rm", "sync", "tar"];

/// What such a machine cannot do without, in words, where it is not here.
pub(super) fn lacks() -> Option<&'static str> {
    if FIRMWARE.iter().any(|file| !Path::new(file).is_file()) {
        return Some("no firmware that measures (OVMF) here");
    }
    let needed =
        [("swtpm", "no TPM in software (swtpm) here"), ("swtpm_setup", "no swtpm_setup here")];
    let needed =
        needed.into_iter().chain([("openssl", "no openssl here"), ("python3", "no python3 here")]);
    needed.into_iter().find(|(name, _)| find(name).is_none()).map(|(_, lacks)| lacks)
}

/// What judges inside.
pub(super) fn program_too(archive: &mut Initramfs) -> anyhow::Result<()> {
    tools::ensure(Need::Demo)?;
    artifacts::build_relay()?;
    archive.program("bin/measured", &fs::read(artifacts::build_measured()?)?);
    for tool in APPLETS {
        archive.link(&format!("bin/{tool}"), "busybox");
    }
    Ok(())
}

/// Boots it twice; what it says, and what the host says of what it left.
pub(super) fn run(machine: &Machine<'_>, cli: &Path) -> anyhow::Result<Vec<String>> {
    let home = place::target().join("vm/measured");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let [variables, kept] = ["variables", "kept"].map(|name| home.join(name));
    fs::copy(FIRMWARE[1], &variables)?;
    File::create(&kept)?.set_len(KEPT_BYTES)?;
    let state = home.join("tpm");
    fs::create_dir(&state)?;
    let mut setup = program("swtpm_setup");
    // One bank: the firmware hashes for each, and it is emulated.
    setup.args(["--tpm2", "--pcr-banks", "sha256", "--tpmstate"]).arg(&state);
    read(&mut setup).context("a new TPM")?;
    let log = machine.log;
    let first = log.with_extension("first.log");
    let mut lines = Vec::new();
    for log in [first.as_path(), log] {
        let tpm = Tpm::start(&state)?;
        let firmware = [PathBuf::from(FIRMWARE[0]), variables.clone()];
        let measured = Measured { firmware, tpm: tpm.socket(), kept: kept.clone() };
        let said = qemu::run(&Machine {
            log,
            disks: machine.disks.clone(),
            measured: Some(measured),
            parameters: machine.parameters.clone(),
            ..*machine
        })?;
        let shown = log.display();
        ensure!(said.iter().any(|line| line == "@@RC 0"), "it broke off: {shown}");
        lines.extend(said);
    }
    lines.extend(verified(cli, &home, &kept));
    let mut whole = lines.join("\n");
    whole.push('\n');
    fs::write(log, whole)?;
    Ok(lines)
}

/// The programs that are no part of a node, as a disk.
pub(super) fn disk() -> anyhow::Result<PathBuf> {
    const BLOCK: usize = 512;
    let disk = place::target().join("vm/elsewhere");
    let relay = artifacts::build_relay()?;
    let mut archive = Initramfs::default();
    archive.directory("eu");
    archive.program("eu/bao", &stripped_bao(&place::target().join("vm"))?);
    for (name, file) in [("bridge", &relay.bridge), ("beacon", &relay.beacon)] {
        archive.program(&format!("eu/cloudtaser-{name}"), &fs::read(file)?);
    }
    with_libraries(&mut archive, &find("openssl").context("no openssl")?)?;
    let mut bytes = archive.finish();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    fs::write(&disk, bytes)?;
    Ok(disk)
}

/// A TPM that is on for one boot, with a folder of its own for its socket: paths of sockets are short.
struct Tpm {
    child: Child,
    folder: PathBuf,
}

impl Tpm {
    fn start(state: &Path) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("ct-tpm-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut start = program("swtpm");
        start.args(["socket", "--tpm2", "--tpmstate"]).arg(format!("dir={}", state.display()));
        let socket = folder.join("control");
        start.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        start.stdin(Stdio::null()).stdout(Stdio::null());
        let mut tpm = Self { child: start.spawn().context("cannot run swtpm")?, folder };
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if tpm.child.try_wait()?.is_some() || Instant::now() > until {
                bail!("swtpm does not start");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(tpm)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control")
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended with the machine.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What an auditor finds in what the machine left, as lines like the machine's own.
fn verified(cli: &Path, home: &Path, kept: &Path) -> Vec<String> {
    let line = |name: &str, done: anyhow::Result<()>| {
        let words = done.err().map_or_else(|| "ok".to_owned(), |error| format!("{error:#}"));
        format!("@@CHECK\t{name}\t{}", words.replace(['\n', '\t'], " "))
    };
    vec![
        line("the-host-verifies-what-the-machine-left", by_the_product(cli, home, kept)),
        line("the-second-verifier-agrees", by_the_other(home)),
        line("the-host-refuses-it-changed", changed(cli, home)),
    ]
}

fn by_the_product(cli: &Path, home: &Path, kept: &Path) -> anyhow::Result<()> {
    run_command(program("tar").arg("-xf").arg(kept).arg("-C").arg(home))?;
    let words = ["--release-policy", "policy.toml", "--require", "C2,C3,C4,C5,C8"];
    read(verify(cli, home, "bundle").args(words)).map(drop)
}

/// The command line by itself, in the folder of what was left.
fn verify(cli: &Path, home: &Path, bundle: &str) -> Command {
    let mut verify = program(cli);
    verify.env_clear().current_dir(home);
    verify.args(["evidence", "verify", bundle, "--policy", "log.policy"]);
    verify
}

fn by_the_other(home: &Path) -> anyhow::Result<()> {
    let mut other = program("python3");
    other.arg(place::root().join("docs/protocol/verify_evidence.py"));
    read(other.args(["bundle", "log.policy"]).current_dir(home)).map(drop)
}

/// One bit, in the middle of what the machine left.
fn changed(cli: &Path, home: &Path) -> anyhow::Result<()> {
    let mut bytes = fs::read(home.join("bundle"))?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("an empty bundle")? ^= 1;
    File::create(home.join("changed"))?.write_all(&bytes)?;
    let output = verify(cli, home, "changed").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(77), "it ended with {}: {said}", output.status);
    Ok(())
}
