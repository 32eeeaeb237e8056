//! Who is at the other end of a connection, by what the kernel says.
//!
//! A process number means nothing by itself: everything that is read by number is read while a
//! descriptor of the same process says that it has not ended.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use cloudtaser_sys::roads;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

/// Longer cgroup files are cut; a path has at most 4096 bytes.
const CGROUP_MAX: u64 = 8192;

/// What a caller may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rank {
    /// Root in the node's own namespaces: everything.
    Node,
    /// Everybody else, a container's root included: a guard for itself, if it is a wrapper.
    Pod,
}

/// The process that connected.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its number here.
    pub(crate) pid: Pid,
    /// Its user here.
    pub(crate) uid: u32,
    /// The same process, whatever becomes of its number.
    pub(crate) process: OwnedFd,
    /// Where the kernel accounts for it: pod and container, on a node.
    pub(crate) cgroup: String,
    /// What it may ask.
    pub(crate) rank: Rank,
}

/// Why a caller is nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallerError {
    /// It ended.
    #[error("process {0} is gone")]
    Gone(Pid),
    /// The kernel does not say who it is.
    #[error("the kernel does not say who asks")]
    Unknown(#[from] Errno),
}

impl Caller {
    /// Asks the kernel.
    pub(crate) fn of(peer: &UnixStream) -> Result<Self, CallerError> {
        let credentials = getsockopt(peer, sockopt::PeerCredentials)?;
        let pid = Pid::from_raw(credentials.pid());
        // KERNEL: SO_PEERPIDFD since 6.5. Before, a peer that ends at once and whose number is given
        // away within microseconds has a stranger in its place, who must then be a wrapper as well.
        let process = match getsockopt(peer, sockopt::PeerPidfd) {
            Ok(process) => process,
            Err(_older) => roads::open_process(pid).map_err(|_gone| CallerError::Gone(pid))?,
        };
        let uid = credentials.uid();
        let rank = if uid == 0 && shares_our_numbers(pid) { Rank::Node } else { Rank::Pod };
        let caller = Self { pid, uid, cgroup: cgroup(pid), process, rank };
        if has_ended(&caller.process) { Err(CallerError::Gone(pid)) } else { Ok(caller) }
    }
}

/// Whether the process behind this descriptor has ended.
pub(crate) fn has_ended(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut polled, PollTimeout::ZERO), Ok(0) | Err(Errno::EINTR))
}

/// Who traces a thread of this process, if anybody does.
///
/// SECURITY: a tracer that was there before the guard is not asked again by any hook.
pub(crate) fn tracer(pid: Pid) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        tracer_in(&status)
    })
}

/// When a process started, in ticks since boot: with its number, it is no other's.
pub(crate) fn started(pid: Pid) -> Option<u64> {
    started_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Who started a process, or inherited it.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// The 22nd field, counted from behind the name, which may have anything in it.
fn started_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn tracer_in(status: &str) -> Option<Pid> {
    let number = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    number.trim().parse().ok().filter(|number| *number != 0).map(Pid::from_raw)
}

/// SECURITY: root of a container that kept the host's users has uid 0 here as well.
fn shares_our_numbers(pid: Pid) -> bool {
    let space = |of: &str| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let own = space("self");
    own.is_some() && own == space(&pid.to_string())
}

/// The cgroup of a process.
pub(crate) fn cgroup(pid: Pid) -> String {
    let mut text = String::new();
    let file = File::open(format!("/proc/{pid}/cgroup"));
    // What cannot be read is nowhere, and has that limit in common.
    drop(file.and_then(|file| file.take(CGROUP_MAX).read_to_string(&mut text)));
    cgroup_in(&text).to_owned()
}

/// The unified hierarchy's path, or where there is none the first one that there is.
fn cgroup_in(text: &str) -> &str {
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let first = || text.lines().next().and_then(|line| line.splitn(3, ':').nth(2));
    unified.or_else(first).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_the_unified_one_where_there_is_one() {
        let pod = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-2.scope";
        assert_eq!(cgroup_in(&format!("0::{pod}\n")), pod);
        assert_eq!(cgroup_in("12:memory:/a:b\n0::/c\n"), "/c");
        assert_eq!(cgroup_in("12:memory:/a:b\n1:name=systemd:/d\n"), "/a:b");
        assert_eq!(cgroup_in(""), "");
    }

    #[test]
    fn a_process_that_nobody_traces_has_no_tracer() {
        assert_eq!(tracer_in("Name:\tx\nTracerPid:\t0\n"), None);
        assert_eq!(tracer_in("Name:\tx\nTracerPid:\t77\n"), Some(Pid::from_raw(77)));
        assert_eq!(tracer_in("Name:\tTracerPid: 7\n"), None);
    }

    #[test]
    fn a_start_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 654 3";
        assert_eq!(started_in(stat), Some(987));
        assert_eq!(started_in("7 (a"), None);
        assert!(started(Pid::this()).is_some());
    }

    #[test]
    fn both_ends_of_a_pair_are_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&one).unwrap();
        assert_eq!((caller.pid, caller.uid), (Pid::this(), nix::unistd::getuid().as_raw()));
        assert_eq!(caller.rank == Rank::Node, caller.uid == 0);
        assert!(!has_ended(&caller.process));
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(own.contains(&caller.cgroup), "{own}");
    }
}
