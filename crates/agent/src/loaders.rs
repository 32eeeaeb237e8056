//! Programs that may load BPF, by inode and device.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use libbpf_rs::{MapCore as _, MapFlags};

use crate::abi;
use crate::bpf::Loaded;

/// Programs that load BPF on an ordinary node; those that are not there are passed over.
const LOADERS: &[&str] = &[
    "/lib/systemd/systemd",
    "/usr/bin/crun",
    "/usr/bin/runc",
    "/usr/lib/systemd/systemd",
    "/usr/local/sbin/runc",
    "/usr/sbin/runc",
];

/// Inode and device of files.
pub(crate) fn identities(paths: &[PathBuf]) -> anyhow::Result<Vec<(u64, u64)>> {
    let each = paths.iter().map(|path| {
        let data = fs::metadata(path).with_context(|| format!("loader {}", path.display()))?;
        ensure!(data.is_file(), "loader {} is no file", path.display());
        Ok((data.ino(), data.dev()))
    });
    each.collect()
}

/// Lists those that a node has anyway, and more; how many there are, and on which devices they and
/// the agent's own file lie.
pub(crate) fn list(loaded: &Loaded, more: &[PathBuf]) -> anyhow::Result<(usize, Vec<u64>)> {
    let map = loaded.map("ct_loaders")?;
    let mut files = BTreeSet::new();
    for path in LOADERS {
        // Not every node has every one of them.
        if let Ok(data) = fs::metadata(path) {
            files.insert((data.ino(), data.dev()));
        }
    }
    files.extend(identities(more)?);
    for (inode, device) in &files {
        map.update(&abi::loader(*inode, *device), &abi::FILE_LOADER.to_ne_bytes(), MapFlags::ANY)?;
    }
    let own = fs::metadata("/proc/self/exe")?.dev();
    Ok((files.len(), files.iter().map(|(_, device)| *device).chain([own]).collect()))
}
