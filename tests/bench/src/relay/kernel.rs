//! What the kernel keeps for a process that carries tunnels: its sockets, and what its epoll knows of
//! them. Counted in the process, and multiplied by the sizes that the kernel tells of its objects,
//! since what all processes together have changes by the second.

use std::fs;

/// Each socket is one of each.
const OF_A_SOCKET: [&str; 4] = ["TCP", "sock_inode_cache", "filp", "dentry"];
/// Each socket that epoll watches is one of each.
const OF_A_WATCH: [&str; 2] = ["eventpoll_epi", "eventpoll_pwq"];

/// Bytes that the kernel keeps for this process; `None` where it does not say (it says it to root).
pub(crate) fn kept_for(pid: u32) -> Option<u64> {
    let sum = |names: &[&str]| names.iter().map(|name| size(name)).sum::<Option<u64>>();
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

/// Bytes of one object of a kind. By sysfs, which has a name also for kinds that the kernel keeps
/// together with others of their size; `/proc/slabinfo` has not.
fn size(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/kernel/slab/{name}/slab_size")).ok()?;
    text.trim().parse().ok()
}
