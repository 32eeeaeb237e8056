//! Kernel modules that a node asks for later: loaded before the programs judge, since nobody loads one
//! from then on, not even the kernel on demand.
//!
//! On a node of Kubernetes the agent starts beside kube-proxy and the network's own pods. Whose first
//! rule or interface came after the agent would find its module refused, and the node without a network.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::Context as _;
use cloudtaser_sys::beginning;
use nix::unistd::{chdir, chroot};
use serde_json::json;

use crate::events;
use crate::host;

/// The name of the set.
const SET: &str = "kubernetes";

/// What kube-proxy in each of its modes, the usual network plugins and volumes ask for. None of them
/// makes a device or changes where packets go by being there: ipip, dummy, nbd, `br_netfilter` do.
#[rustfmt::skip]
const KUBERNETES: &[&str] = &[
    // Interfaces and queues.
    "bridge", "cls_bpf", "geneve", "ipvlan", "macvlan", "sch_fq", "sch_fq_codel", "sch_htb",
    "sch_ingress", "sch_tbf", "tun", "veth", "vxlan", "wireguard",
    // iptables.
    "ip6_tables", "ip6t_REJECT", "ip6t_rpfilter", "ip6table_filter", "ip6table_mangle",
    "ip6table_nat", "ip6table_raw", "ip_tables", "ipt_REJECT", "ipt_rpfilter", "iptable_filter",
    "iptable_mangle", "iptable_nat", "iptable_raw", "xt_CT", "xt_LOG", "xt_MASQUERADE", "xt_NFLOG",
    "xt_REDIRECT", "xt_TCPMSS", "xt_TPROXY", "xt_addrtype", "xt_bpf", "xt_cgroup", "xt_comment",
    "xt_connbytes", "xt_connlimit", "xt_connmark", "xt_conntrack", "xt_hashlimit", "xt_iprange",
    "xt_limit", "xt_mark", "xt_multiport", "xt_nat", "xt_owner", "xt_recent", "xt_set",
    "xt_socket", "xt_state", "xt_statistic", "xt_tcpudp", "xt_u32",
    // nftables.
    "nf_tables", "nft_chain_nat", "nft_compat", "nft_ct", "nft_fib_inet", "nft_fib_ipv4",
    "nft_fib_ipv6", "nft_hash", "nft_limit", "nft_log", "nft_masq", "nft_nat", "nft_numgen",
    "nft_redir", "nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6",
    // Connections, sets, IPVS.
    "ip_set", "ip_set_bitmap_port", "ip_set_hash_ip", "ip_set_hash_ipport", "ip_set_hash_ipportip",
    "ip_set_hash_ipportnet", "ip_set_hash_net", "ip_set_hash_netport", "ip_set_list_set", "ip_vs",
    "ip_vs_lc", "ip_vs_rr", "ip_vs_sh", "ip_vs_wrr", "nf_conntrack", "nf_conntrack_netlink",
    "nf_log_syslog", "nf_nat", "nfnetlink_log", "nfnetlink_queue",
    // What `ss` asks.
    "inet_diag", "tcp_diag", "udp_diag", "unix_diag",
    // Volumes and images.
    "ceph", "cifs", "dm_crypt", "dm_mod", "dm_thin_pool", "erofs", "ext4", "fuse", "iscsi_tcp", "nfs",
    "nfsv3", "nfsv4", "overlay", "rbd", "squashfs", "xfs",
];

/// On the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Preload {
    /// Those that a node of Kubernetes asks for.
    Kubernetes,
    /// One more.
    Module(String),
}

/// It would be an option of another program, or a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no name of a module: letters, digits, - and _ make one")]
pub(crate) struct PreloadError;

/// Names, for the child that loads them.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    #[arg(required = true)]
    names: Vec<Preload>,
}

impl FromStr for Preload {
    type Err = PreloadError;

    fn from_str(text: &str) -> Result<Self, PreloadError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        // SECURITY: it becomes an argument of modprobe.
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
        if !fits || text.starts_with('-') {
            return Err(PreloadError);
        }
        Ok(if text == SET { Self::Kubernetes } else { Self::Module(text.to_owned()) })
    }
}

/// Loads them by the node's own modprobe, and says what came of it. A node without some of them, or
/// without a modprobe, is guarded all the same.
pub(crate) fn load(wanted: &[Preload]) {
    let names = names(wanted);
    if names.is_empty() {
        return;
    }
    let before = loaded();
    let mut child = Command::new("/proc/self/exe");
    child.arg("preload").args(&names).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let ended = child.status();
    let now = loaded();
    events::write(&json!({
        "event": "modules",
        "asked": names.len(),
        "there": names.iter().filter(|name| now.contains(&name.replace('-', "_"))).count(),
        "loaded": now.difference(&before).count(),
        "why": ended.err().map(|error| error.to_string()),
    }));
}

/// What the child does: becomes the node's modprobe, in the node's files.
pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let path = fs::read_to_string("/proc/sys/kernel/modprobe").unwrap_or_default();
    let path = Some(path.trim()).filter(|path| !path.is_empty()).unwrap_or("/sbin/modprobe");
    chroot(Path::new(host::ROOT)).context("the node's files cannot be reached")?;
    chdir("/")?;
    let mut command = Command::new(path);
    // All of them, in silence about those that are not there, and as the node's own list forbids.
    command.args(["-a", "-q", "-b", "--"]).args(names(&args.names));
    Err(beginning::exec(&mut command)).with_context(|| path.to_owned())
}

fn names(wanted: &[Preload]) -> BTreeSet<&str> {
    let of = |preload| match preload {
        &Preload::Kubernetes => KUBERNETES.to_vec(),
        Preload::Module(name) => vec![name.as_str()],
    };
    wanted.iter().flat_map(of).collect()
}

/// Modules that are there, built in or loaded, as far as sysfs names them.
fn loaded() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/module").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        assert_eq!("kubernetes".parse(), Ok(Preload::Kubernetes));
        assert_eq!("nf-nat_x2".parse(), Ok(Preload::Module("nf-nat_x2".to_owned())));
        for bad in ["", "-r", "--config=/tmp/x", "../x", "/tmp/x.ko", "a b", "a\n", &"a".repeat(65)]
        {
            assert_eq!(bad.parse::<Preload>(), Err(PreloadError), "{bad}");
        }
    }

    #[test]
    fn each_of_the_set_is_a_name_and_none_makes_a_device() {
        let wanted = [SET, "zfs", "xfs"].map(|name| name.parse().unwrap());
        let each = names(wanted.get(..1).unwrap());
        assert_eq!(each.len(), KUBERNETES.len(), "one is there twice");
        assert!(each.iter().all(|name| matches!(name.parse(), Ok(Preload::Module(_)))));
        assert!(["br_netfilter", "dummy", "ipip", "nbd"].iter().all(|name| !each.contains(name)));
        assert_eq!(names(&wanted).len(), each.len() + 1, "xfs is one of the set");
    }
}
