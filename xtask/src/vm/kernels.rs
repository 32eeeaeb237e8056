//! Debian's kernels, unpacked and never installed.
//!
//! Named by meta package: the packages behind them vanish from the archive when a newer one comes.
//! What was unpacked once stays in `target/tools/kernels` until somebody removes it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::command::{find, program, read};
use crate::place;
use crate::ui;

/// Meta packages, oldest kernel first.
pub(super) const KERNELS: &[&str] = &["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];
/// The same with real-time preemption.
pub(super) const REAL_TIME: &[&str] = &["linux-image-rt-amd64", "linux-image-6.12-rt-amd64"];

/// Disks in memory: needs no other module and no device.
const DISKS: &str = "brd";
/// What shows the layers of an image as one file system.
const OVERLAY: &str = "overlay";

/// What says which program runs in the place of others. Without it a machine is attacked on one road
/// less.
const BINFMT: &str = "binfmt_misc";

/// What a machine boots.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Compressed, as it is in its package.
    pub(super) image: PathBuf,
    /// Its modules that are loaded before the agent starts, by the names they have in the machine.
    pub(super) modules: Vec<(&'static str, PathBuf)>,
}

/// The kernel of a meta package, downloaded unless it is there.
pub(super) fn of(meta: &str) -> anyhow::Result<Kernel> {
    let home = place::tools().join("kernels");
    // Without the first, no driver of disks is built in.
    let names =
        if REAL_TIME.contains(&meta) { &[DISKS, OVERLAY, BINFMT][..] } else { &[OVERLAY, BINFMT] };
    let modules = names.iter().map(|name| (*name, home.join(format!("{meta}.{name}")))).collect();
    let mut kernel = Kernel { image: home.join(meta), modules };
    let has = |(_, module): &(&str, PathBuf)| module.is_file();
    if kernel.image.is_file() && kernel.modules.iter().all(has) {
        return Ok(kernel);
    }
    match download(meta, &home, &kernel) {
        // What was unpacked before that module was kept boots without it.
        Err(error) if kernel.image.is_file() => {
            ui::say(&format!("{meta} is booted without {BINFMT}: {error:#}"));
            kernel.modules.retain(|module| module.0 != BINFMT || has(module));
            ensure!(kernel.modules.iter().all(has), "{meta} lacks modules");
            Ok(kernel)
        }
        done => done.map(|()| kernel),
    }
}

/// Downloads a kernel, and keeps of it what is booted.
fn download(meta: &str, home: &Path, kernel: &Kernel) -> anyhow::Result<()> {
    find("apt-get").context("there is no apt-get here")?;
    fs::create_dir_all(home).with_context(|| format!("in {}", home.display()))?;
    let depends = read(program("apt-cache").args(["depends", meta]))?;
    let package = concrete(&depends).with_context(|| format!("{meta} names no kernel"))?;
    ui::say(&format!("downloading {package}"));
    let folder = home.join(format!("{meta}.{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let done = unpack(package, &folder).and_then(|()| keep(&folder, kernel));
    let cleaned = fs::remove_dir_all(&folder);
    done?;
    cleaned.with_context(|| format!("cannot remove {}", folder.display()))
}

fn unpack(package: &str, folder: &Path) -> anyhow::Result<()> {
    read(program("apt-get").args(["-qq", "download", package]).current_dir(folder))?;
    let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = files.find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let archive = archive.with_context(|| format!("{package} was not downloaded"))?;
    read(program("dpkg-deb").arg("-x").arg(archive).arg(folder)).map(drop)
}

/// Moves what is booted out of an unpacked package; the image last, since it stands for all.
fn keep(package: &Path, kernel: &Kernel) -> anyhow::Result<()> {
    let file_name =
        |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (name, kept) in &kernel.modules {
        let file = format!("{name}.ko");
        let module = below(package, &|path| file_name(path).starts_with(&file));
        let module = module.with_context(|| format!("no module {name} in the package"))?;
        if file_name(&module).ends_with(".xz") {
            read(program("xz").arg("-d").arg(&module))?;
        }
        fs::rename(module.with_file_name(file), kept)?;
    }
    for entry in fs::read_dir(package.join("boot"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("vmlinuz-") {
            return Ok(fs::rename(path, &kernel.image)?);
        }
    }
    bail!("there is no kernel in the package")
}

/// The first file below a folder that is wanted.
fn below(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find_map(|path| match path.symlink_metadata() {
        Ok(data) if data.is_dir() => below(&path, wanted),
        Ok(_) if wanted(&path) => Some(path),
        _ => None,
    })
}

/// The package that `apt-cache depends` names behind a meta package.
fn concrete(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.into_iter().find(|name| name.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_behind_a_meta_package_is_found() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-base\n  \
                    Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(concrete(text), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(concrete("x\n  Depends: linux-base\n"), None);
    }
}
