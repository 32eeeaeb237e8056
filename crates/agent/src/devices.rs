//! Block devices that nobody may read or write beside the kernel: those it swaps to, and for writing
//! those below the files that the agent's guard rests on.
//!
//! The programs also see by themselves that a device is swapped to, but only once it is open; the
//! list here is what refuses to open it. It is renewed as `/proc/swaps` changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::ensure;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::sys::stat::makedev;

use crate::abi;

/// `CT_DEVICE_SWAP`.
const SWAP: u32 = 1;
/// `CT_DEVICE_BELOW`.
const BELOW: u32 = 2;
/// `CT_DEVICE_FOLLOWED`, under [`ALL`]: swap is followed, also by who takes over, and no more of it
/// is turned on.
const FOLLOWED: u32 = 4;
/// The key of all devices.
const ALL: u32 = 0;
/// Deeper stacks of devices are none.
const DEEPEST: usize = 16;
/// Where the kernel tells what a device is made of.
const BLOCK: &str = "/sys/dev/block";

/// Which block devices are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Keep {
    /// None; the state then says so.
    None,
    /// Swap, and for writing the disk below the agent's file and listed loaders.
    Own,
    /// All, for reading as well.
    All,
}

/// The list in the kernel.
#[derive(Debug)]
pub(crate) struct Devices {
    map: MapHandle,
    /// By number: what the map has.
    listed: BTreeMap<u32, u32>,
}

impl Devices {
    /// Lists what is there now. `files` are those whose content must stay, by their devices.
    pub(crate) fn open(map: MapHandle, keep: Keep, files: &[u64]) -> anyhow::Result<Self> {
        let mut below = BTreeSet::new();
        if keep == Keep::Own {
            for device in files {
                collect(*device, DEEPEST, &mut below);
            }
        }
        let mut listed = BTreeMap::new();
        for key in map.keys() {
            let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u32::from_ne_bytes(*word));
            let marks = map.lookup(&key, MapFlags::ANY)?;
            listed.extend(word(&key).zip(marks.as_deref().and_then(word)));
        }
        let pinned = listed.get(&ALL).is_some_and(|marks| marks & FOLLOWED != 0);
        ensure!(!pinned || keep != Keep::None, "weaker than what is pinned: --block-devices none");
        if keep != Keep::None {
            let all = if keep == Keep::All { SWAP | BELOW } else { 0 };
            *listed.entry(ALL).or_default() |= FOLLOWED | all;
        }
        for device in below {
            *listed.entry(device).or_default() |= BELOW;
        }
        for (device, marks) in &listed {
            map.update(&device.to_ne_bytes(), &marks.to_ne_bytes(), MapFlags::ANY)?;
        }
        let mut own = Self { map, listed };
        own.renew()?;
        Ok(own)
    }

    /// Follows what is swapped to. Nothing else that was kept is let go.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        if self.are_left_open() {
            return Ok(());
        }
        let swaps = match fs::read_to_string("/proc/swaps") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            swaps => swaps.unwrap_or_default(), // a kernel without swap has no such file
        };
        let swapped: BTreeSet<u32> =
            devices_in(&swaps).filter_map(|path| number(Path::new(path))).collect();
        let known: BTreeSet<u32> = self.listed.keys().copied().filter(|key| *key != ALL).collect();
        for device in known.union(&swapped) {
            let marks = self.listed.get(device).copied().unwrap_or(0);
            let wanted = marks & BELOW | if swapped.contains(device) { SWAP } else { 0 };
            let key = device.to_ne_bytes();
            if wanted == 0 {
                match self.map.delete(&key) {
                    // A successor, which follows them as well, was quicker.
                    Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => drop(self.listed.remove(device)),
                }
            } else if wanted != marks {
                self.map.update(&key, &wanted.to_ne_bytes(), MapFlags::ANY)?;
                self.listed.insert(*device, wanted);
            }
        }
        Ok(())
    }

    /// Whether none is kept, by the word of who started the first agent.
    pub(crate) fn are_left_open(&self) -> bool {
        self.listed.get(&ALL).is_none_or(|marks| marks & FOLLOWED == 0)
    }

    /// How many devices are kept.
    pub(crate) fn len(&self) -> usize {
        self.listed.keys().filter(|key| **key != ALL).count()
    }
}

/// Paths of devices in `/proc/swaps`; the kernel writes a blank in one as `\\040`, which no device has.
fn devices_in(swaps: &str) -> impl Iterator<Item = &str> {
    let lines = swaps.lines().skip(1).map(str::split_whitespace);
    lines.filter_map(|mut words| {
        let path = words.next()?;
        (words.next()? == "partition").then_some(path)
    })
}

fn number(path: &Path) -> Option<u32> {
    let data = fs::metadata(path).ok()?;
    Some(abi::device(data.rdev())).filter(|device| *device != 0)
}

/// The device, the disk that it is a part of, and all that these are made of.
fn collect(device: u64, deepest: usize, found: &mut BTreeSet<u32>) {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let Ok(folder) = fs::canonicalize(format!("{BLOCK}/{major}:{minor}")) else {
        return; // no disk: memory, or a file system of several
    };
    if deepest == 0 || !found.insert(abi::device(device)) {
        return;
    }
    let disk = folder.join("partition").exists().then(|| folder.parent()).flatten();
    let slaves = fs::read_dir(folder.join("slaves")).into_iter().flatten();
    let slaves = slaves.filter_map(|entry| Some(entry.ok()?.path()));
    for part in disk.map(Path::to_path_buf).into_iter().chain(slaves) {
        if let Ok(Some(device)) = device_of(&part) {
            collect(device, deepest - 1, found);
        }
    }
}

fn device_of(folder: &Path) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(folder.join("dev"))?;
    let numbers = text.trim().split_once(':');
    let parse =
        |(major, minor): (&str, &str)| Some(makedev(major.parse().ok()?, minor.parse().ok()?));
    Ok(numbers.and_then(parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_to_are_the_partitions_of_the_list() {
        let swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/vda2                               partition\t1\t0\t-2\n\
                     /swap\\040file                            file\t\t1\t0\t-3\n";
        assert_eq!(devices_in(swaps).collect::<Vec<_>>(), ["/dev/vda2"]);
        assert_eq!(devices_in("").count(), 0);
    }

    #[test]
    fn what_is_no_disk_has_nothing_below() {
        let mut found = BTreeSet::new();
        collect(makedev(0, 5), DEEPEST, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_root_disk_is_found_where_there_is_one() {
        let root = fs::metadata("/").unwrap().dev();
        let mut found = BTreeSet::new();
        collect(root, DEEPEST, &mut found);
        let path =
            format!("{BLOCK}/{}:{}", nix::sys::stat::major(root), nix::sys::stat::minor(root));
        assert_eq!(found.contains(&abi::device(root)), Path::new(&path).exists());
    }
}
