//! Pins on the host's bpffs: what keeps programs and maps in the kernel when no agent runs.
//!
//! ```text
//! /sys/fs/bpf/cloudtaser/maps/NAME        shared by all sets
//! /sys/fs/bpf/cloudtaser/set-N/PROGRAM    the links of one load
//! /sys/fs/bpf/cloudtaser/decoy/map        for the canary's attacker to take away
//! ```
//!
//! Every inode here is entered into `ct_pins`, where the hooks look. What was put there by whom is
//! never judged by its path: only the agent has our maps, and [`Pins::check`] compares the device.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle};
use nix::sys::statfs::{FsType, statfs};

use crate::abi;

/// The host's own mount, also for an agent in a mount namespace of its own.
const HOST: &str = "/proc/1/root/sys/fs/bpf";
/// Our folder there.
const FOLDER: &str = "cloudtaser";
/// KERNEL: `BPF_FS_MAGIC`.
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// How the folder of a set begins.
const SET: &str = "set-";

/// Our folder.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
    /// As the kernel keeps it.
    pub(crate) device: u32,
}

impl Pins {
    /// Finds the host's bpffs, or says why there is none to pin on.
    pub(crate) fn find() -> Result<Self, String> {
        let kind = statfs(HOST).map_err(|error| format!("no bpffs of the host: {error}"))?;
        if kind.filesystem_type() != BPF_FS {
            return Err("the host has no bpffs at /sys/fs/bpf".to_owned());
        }
        let data = fs::metadata(HOST).map_err(|error| format!("the host's bpffs: {error}"))?;
        Ok(Self { root: Path::new(HOST).join(FOLDER), device: abi::device(data.dev()) })
    }

    /// Whether an earlier agent left links here.
    pub(crate) fn has_sets(&self) -> bool {
        self.sets().iter().any(|set| self.links(*set).is_ok_and(|links| !links.is_empty()))
    }

    /// Opens a pinned map: only the agent, and who may take over, are given it.
    pub(crate) fn map(&self, name: &str) -> anyhow::Result<MapHandle> {
        MapHandle::from_pinned_path(self.path_of_map(name))
            .with_context(|| format!("the pinned map {name}"))
    }

    /// Where a map is pinned.
    pub(crate) fn path_of_map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Names of the programs whose links a set has.
    pub(crate) fn links(&self, set: u32) -> io::Result<BTreeSet<String>> {
        let names = fs::read_dir(self.set(set))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    /// How many links are pinned, of all sets.
    pub(crate) fn count(&self) -> usize {
        self.sets().iter().filter_map(|set| self.links(*set).ok()).map(|links| links.len()).sum()
    }

    /// Opens one link of a set.
    pub(crate) fn link(&self, set: u32, program: &str) -> anyhow::Result<Link> {
        Ok(Link::open(self.set(set).join(program))?)
    }

    /// Pins maps, over whatever an agent left that came no further.
    pub(crate) fn pin_maps(&self, maps: Vec<(String, MapHandle)>) -> anyhow::Result<()> {
        let listed = find(&maps, "ct_pins")?;
        self.folder("maps", &listed)?;
        for (name, mut map) in maps {
            let path = self.path_of_map(&name);
            gone(fs::remove_file(&path))?;
            map.pin(&path).with_context(|| format!("cannot pin {name}"))?;
            self.list(&path, &listed)?;
        }
        Ok(())
    }

    /// Pins the links of a set, each under its program's name.
    pub(crate) fn pin_links(
        &self,
        set: u32,
        links: &mut [(String, Link)],
        listed: &MapHandle,
    ) -> anyhow::Result<()> {
        self.drop_set(set)?;
        self.folder(&format!("{SET}{set}"), listed)?;
        for (name, link) in links.iter_mut() {
            let path = self.set(set).join(&*name);
            link.pin(&path).with_context(|| format!("cannot pin the link of {name}"))?;
            self.list(&path, listed)?;
        }
        // SECURITY: until an inode is listed it can be taken away again.
        self.check(set, links)
    }

    /// Whether every link is where it was put, on the file system of the first load: whoever
    /// starts an agent chooses what it sees mounted.
    fn check(&self, set: u32, links: &[(String, Link)]) -> anyhow::Result<()> {
        for (name, link) in links {
            let path = self.set(set).join(name);
            let data = fs::metadata(&path).with_context(|| format!("the pin of {name}"))?;
            ensure!(abi::device(data.dev()) == self.device, "{name} is pinned elsewhere");
            let pinned = Link::open(&path)?.info()?.id;
            ensure!(pinned == link.info()?.id, "{name} is not what was pinned");
        }
        Ok(())
    }

    /// Drops all sets but one.
    pub(crate) fn keep_only(&self, set: u32) -> anyhow::Result<()> {
        for other in self.sets().into_iter().filter(|other| *other != set) {
            self.drop_set(other)?;
        }
        Ok(())
    }

    /// Takes everything away: the links first, and last the map that says that this is meant.
    pub(crate) fn remove_all(&self) -> anyhow::Result<()> {
        for set in self.sets() {
            self.drop_set(set)?;
        }
        Decoy::remove_at(&self.root);
        let maps = self.root.join("maps");
        let names = fs::read_dir(&maps)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name()));
        let (last, names): (Vec<_>, Vec<_>) = names.partition(|name| name == "ct_authority");
        for name in names.into_iter().chain(last) {
            gone(fs::remove_file(maps.join(&name))).context("a pinned map")?;
        }
        gone(fs::remove_dir(maps))?;
        gone(fs::remove_dir(&self.root))?;
        Ok(())
    }

    /// Takes away the links of a set that are there.
    pub(crate) fn drop_set(&self, set: u32) -> anyhow::Result<()> {
        let Ok(links) = self.links(set) else { return Ok(()) };
        for name in in_turn(links) {
            let path = self.set(set).join(&name);
            gone(fs::remove_file(&path)).with_context(|| format!("the pin of {name}"))?;
        }
        gone(fs::remove_dir(self.set(set)))?;
        Ok(())
    }

    /// Numbers of the sets that are there.
    pub(crate) fn sets(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten();
        entries
            .filter_map(|entry| {
                entry.ok()?.file_name().to_str()?.strip_prefix(SET)?.parse::<u32>().ok()
            })
            .collect()
    }

    /// Opens a listed folder, at which the programs learn which mount to keep.
    pub(crate) fn show_mount(&self) -> io::Result<()> {
        fs::File::open(self.root.join(DECOY)).map(drop)
    }

    fn set(&self, set: u32) -> PathBuf {
        self.root.join(format!("{SET}{set}"))
    }

    fn folder(&self, name: &str, listed: &MapHandle) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("in {}", folder.display()))?;
        self.list(&self.root, listed)?;
        self.list(&folder, listed)?;
        Ok(folder)
    }

    fn list(&self, path: &Path, listed: &MapHandle) -> anyhow::Result<()> {
        let data = fs::symlink_metadata(path)?;
        ensure!(abi::device(data.dev()) == self.device, "{} is elsewhere", path.display());
        let key = abi::loader(data.ino(), data.dev());
        Ok(listed.update(&key, &1_u32.to_ne_bytes(), MapFlags::ANY)?)
    }
}

/// The program that makes heirs.
const HEIRS: &str = "ct_sched_process_exec";
/// The program that refuses forks, by a count that others keep.
const FORKS: &str = "task_alloc";

/// Links in the order in which they may go, where whoever takes them away can be ended at any moment.
///
/// SECURITY: a node where nobody is made an heir and somebody is still asked for being one takes no
/// agent before it boots again. So what makes heirs goes last; and first what would refuse forks by
/// a count that nobody keeps any more.
fn in_turn(links: BTreeSet<String>) -> Vec<String> {
    let mut links: Vec<String> = links.into_iter().collect();
    links.sort_by_key(|name| match name.as_str() {
        HEIRS => 2,
        name if name.ends_with(FORKS) => 0,
        _ => 1,
    });
    links
}

/// Folder of the decoy.
const DECOY: &str = "decoy";

/// A pin that holds up nothing, for the canary's attacker.
#[derive(Debug)]
pub(crate) struct Decoy {
    pins: Pins,
    listed: MapHandle,
    map: MapHandle,
    /// Whether it was taken away for good: an attack may be on its way in another thread.
    gone: Mutex<bool>,
}

impl Decoy {
    /// Of any map.
    pub(crate) fn new(pins: &Pins, listed: MapHandle, map: MapHandle) -> Self {
        Self { pins: pins.clone(), listed, map, gone: Mutex::new(false) }
    }

    /// Puts it there again, after an attacker that took it away; where it is.
    pub(crate) fn renew(&self) -> anyhow::Result<PathBuf> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!*gone, "the pins were taken away");
        let folder = self.pins.folder(DECOY, &self.listed)?;
        let path = folder.join("map");
        if !path.exists() {
            MapHandle::try_from(&self.map)?.pin(&path).context("cannot pin the decoy")?;
        }
        self.pins.list(&path, &self.listed)?;
        Ok(folder)
    }

    /// Takes it away for good, with the folder when nothing else is in it.
    pub(crate) fn remove(&self) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Self::remove_at(&self.pins.root);
        drop(fs::remove_dir(&self.pins.root));
    }

    fn remove_at(root: &Path) {
        drop(fs::remove_file(root.join(DECOY).join("map")));
        drop(fs::remove_dir(root.join(DECOY)));
    }
}

fn find(maps: &[(String, MapHandle)], name: &str) -> anyhow::Result<MapHandle> {
    let map = maps.iter().find(|(found, _)| found == name).map(|(_, map)| map);
    Ok(MapHandle::try_from(map.with_context(|| format!("there is no map {name}"))?)?)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_heirs_goes_last_and_what_refuses_forks_first() {
        let names = ["ct_sched_process_exec", "ct_sched_process_exit", "lsm_bpf", "lsm_task_alloc"];
        let order = in_turn(names.map(str::to_owned).into());
        assert_eq!(order.first().map(String::as_str), Some("lsm_task_alloc"));
        assert_eq!(order.last().map(String::as_str), Some("ct_sched_process_exec"));
        assert_eq!(order.len(), names.len());
        let program = crate::bpf::OBJECT.windows(HEIRS.len()).any(|part| part == HEIRS.as_bytes());
        assert!(program, "no program is named {HEIRS}");
    }
}
