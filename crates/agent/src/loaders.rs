//! Programs that may load BPF, by inode and device.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use libbpf_rs::{MapCore as _, MapFlags};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::abi;
use crate::bpf::Loaded;

/// The node's own files, also for an agent in a container.
///
/// SECURITY: without it a containerised agent lists nobody, and the node's runc cannot start a
/// container any more, since that loads a program.
const HOST: &str = "/proc/1/root";

/// Programs that load BPF on an ordinary node; those that are not there are passed over.
const LOADERS: &[&str] = &[
    "/bin/runc",
    "/lib/systemd/systemd",
    "/usr/bin/crun",
    "/usr/bin/runc",
    "/usr/lib/systemd/systemd",
    "/usr/local/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/sbin/runc",
    "/var/lib/rancher/k3s/data/current/bin/runc",
    "/var/lib/rancher/rke2/bin/runc",
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

/// A file as the node's own processes find it: an absolute link leads to the node's file too.
fn on_node(path: &str) -> io::Result<Metadata> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(HOST, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    File::from(openat2(root, path, how)?).metadata()
}

/// Lists those that a node has anyway, and more; how many there are, and on which devices they and
/// the agent's own file lie.
pub(crate) fn list(loaded: &Loaded, more: &[PathBuf]) -> anyhow::Result<(usize, Vec<u64>)> {
    let map = loaded.map("ct_loaders")?;
    let mut files = BTreeSet::new();
    for path in LOADERS {
        // Not every node has every one of them.
        if let Ok(data) = on_node(path) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_node_is_found_through_links() {
        let Ok(found) = on_node("/bin/sh") else {
            println!("SKIP: the root of process 1 may not be looked into here");
            return;
        };
        assert!(found.is_file(), "links were followed");
        assert!(on_node("/nowhere/runc").is_err());
    }
}
