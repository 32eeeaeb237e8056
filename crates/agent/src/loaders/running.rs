//! Loaders that ran before the agent: known by their content as well, and entered by their numbers.
//!
//! What is not undone for them: a layer's file behind an overlay is not kept from being written as
//! long as they run, since nobody but the kernel says which one that is; and whoever traced them
//! before and let go again may have left something behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use cloudtaser_core::agent::content::Content;
use cloudtaser_sys::roads;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use nix::unistd::Pid;
use serde_json::json;

use super::{Wanted, content};
use crate::abi;
use crate::caller::{cgroup, has_ended, tracer};
use crate::events;

/// Enters those that run now; how many there are.
pub(crate) fn enter(images: &MapHandle, wanted: &Wanted) -> usize {
    let mut known = BTreeMap::new();
    let mut entered = 0;
    for pid in processes().filter(|_| !wanted.contents().is_empty()) {
        let Some((inode, device, content)) = program(pid, wanted, &mut known) else { continue };
        let Ok(process) = roads::open_process(pid) else { continue };
        if tracer(pid).is_some() {
            continue;
        }
        let number = pid.as_raw().to_ne_bytes();
        let image = abi::found_running(inode, device);
        if images.update(&number, &image, MapFlags::NO_EXIST).is_err() {
            continue;
        }
        // The number may be somebody else's by now.
        if has_ended(&process) || program(pid, wanted, &mut known).is_none() {
            drop(images.delete(&number));
            continue;
        }
        events::write(&json!({
            "event": "loader found running",
            "pid": pid.as_raw(),
            "cgroup": cgroup(pid),
            "content": content.to_string(),
        }));
        entered += 1;
    }
    entered
}

/// Inode, device and content of a process's program, where that is wanted.
fn program(
    pid: Pid,
    wanted: &Wanted,
    known: &mut BTreeMap<(u64, u64), Content>,
) -> Option<(u64, u64, Content)> {
    let path = format!("/proc/{pid}/exe");
    let data = fs::metadata(&path).ok()?;
    if !wanted.contents().iter().any(|content| content.size == data.len()) {
        return None;
    }
    let place = (data.ino(), data.dev());
    let found = match known.get(&place) {
        Some(found) => *found,
        None => {
            let found = content::read(File::open(&path).ok()?).ok()?;
            known.insert(place, found);
            found
        }
    };
    wanted.contents().contains(&found).then_some((place.0, place.1, found))
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}
