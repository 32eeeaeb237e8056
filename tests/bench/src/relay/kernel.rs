//! What the kernel keeps for a process that carries tunnels: its sockets, and what its epoll knows of
//! them. Counted in the process, and multiplied by the sizes that the kernel tells of its objects,
//! since what all processes together have changes by the second.

use std::collections::BTreeMap;
use std::fs;

/// Each socket is one of each.
const OF_A_SOCKET: [&str; 4] = ["TCP", "sock_inode_cache", "filp", "dentry"];
/// Each socket that epoll watches is one of each.
const OF_A_WATCH: [&str; 2] = ["eventpoll_epi", "eventpoll_pwq"];

/// Bytes that the kernel keeps for this process; `None` where it does not say (it says it to root).
pub(crate) fn kept_for(pid: u32) -> Option<u64> {
    let told = fs::read_to_string("/proc/slabinfo").ok()?;
    let sizes = sizes(&told);
    let sum = |names: &[&str]| names.iter().map(|name| sizes.get(*name)).sum::<Option<u64>>();
    let (mut sockets, mut watches) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        let link = link.to_string_lossy().into_owned();
        if link.starts_with("socket:") {
            sockets += 1;
        } else if link.contains("[eventpoll]") {
            let number = entry.file_name().to_string_lossy().into_owned();
            let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            watches += about.lines().filter(|line| line.starts_with("tfd:")).count() as u64;
        }
    }
    Some(sockets * sum(&OF_A_SOCKET)? + watches * sum(&OF_A_WATCH)?)
}

/// Name and size of each kind of object.
fn sizes(slabinfo: &str) -> BTreeMap<&str, u64> {
    let of = |line| {
        let mut words = str::split_ascii_whitespace(line);
        Some((words.next()?, words.nth(2)?.parse().ok()?))
    };
    slabinfo.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_objects() {
        let text = "slabinfo - version: 2.1\n# name  <active_objs> <num_objs> <objsize> …\n\
                    TCP  108  117  2496  13 8 : tunables 0 0 0 : slabdata 9 9 0\n";
        assert_eq!(sizes(text).get("TCP"), Some(&2496));
    }
}
