//! A network that nobody else is in, with room for what a bench does to it.
//!
//! Tunnels that are opened and closed by ten thousands leave as many ports in TIME_WAIT, which take
//! the time of whoever looks for a free one, and run out. Here the kernel keeps a few of them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the kernel is told, under `/proc/sys/net/ipv4`.
const SETTINGS: [(&str, &str); 3] = [
    ("ip_local_port_range", "1024 65535"),
    // Where the bench's own listeners are.
    ("ip_local_reserved_ports", "20000-32000"),
    ("tcp_max_tw_buckets", "1000"),
];
/// Both ends of each tunnel are this process's, and two more the relay's.
const DESCRIPTORS: u64 = 80_000;
/// What a relay has open besides.
const OTHERS: u64 = 1000;

/// Puts this process into a network of its own, and all that it starts from now on. It has one
/// thread as yet.
pub(crate) fn begin() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network of its own needs root")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("no `ip`")?;
    ensure!(up.success(), "the loopback does not come up");
    for (name, value) in SETTINGS {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value).with_context(|| name.to_owned())?;
    }
    let (_, usual) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // More than that is for those who may.
    let raised = [DESCRIPTORS, usual]
        .into_iter()
        .any(|most| setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok());
    ensure!(raised, "RLIMIT_NOFILE cannot be set");
    Ok(())
}

/// How many tunnels one process may have descriptors for.
pub(crate) fn most_tunnels() -> anyhow::Result<usize> {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(most.saturating_sub(OTHERS) / 2)?)
}
