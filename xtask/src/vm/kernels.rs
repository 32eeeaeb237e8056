//! Debian's kernels, unpacked and never installed.
//!
//! Named by meta package: the packages behind them vanish from the archive when a newer one comes.
//! What was unpacked once stays in `target/tools/kernels` until somebody removes it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::command::{find, program, read};
use crate::place;
use crate::ui;

/// Meta packages, oldest kernel first.
pub(super) const KERNELS: &[&str] = &["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];
/// The same with real-time preemption.
pub(super) const REAL_TIME: &[&str] = &["linux-image-rt-amd64", "linux-image-6.12-rt-amd64"];

/// The compressed kernel of a meta package, downloaded unless it is there.
pub(super) fn image(meta: &str) -> anyhow::Result<PathBuf> {
    let home = place::tools().join("kernels");
    let image = home.join(meta);
    if image.is_file() {
        return Ok(image);
    }
    find("apt-get").context("there is no apt-get here")?;
    fs::create_dir_all(&home).with_context(|| format!("in {}", home.display()))?;
    let depends = read(program("apt-cache").args(["depends", meta]))?;
    let package = concrete(&depends).with_context(|| format!("{meta} names no kernel"))?;
    ui::say(&format!("downloading {package}"));
    let folder = home.join(format!("{meta}.{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let unpacked = unpack(package, &folder);
    let done = unpacked.and_then(|kernel| Ok(fs::rename(kernel, &image)?));
    let cleaned = fs::remove_dir_all(&folder);
    done?;
    cleaned.with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(image)
}

fn unpack(package: &str, folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    read(program("apt-get").args(["-qq", "download", package]).current_dir(folder))?;
    let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = files.find(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let archive = archive.with_context(|| format!("{package} was not downloaded"))?;
    read(program("dpkg-deb").arg("-x").arg(archive).arg(folder))?;
    for entry in fs::read_dir(folder.join("boot"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("vmlinuz-") {
            return Ok(path);
        }
    }
    bail!("{package} has no kernel in it")
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
