//! Three networks that exist for one test: the EU with OpenBao, the public relay, the cluster.
//!
//! Each is a network namespace. The relay has a leg in both others and forwards nothing, so that
//! there is no way from the cluster to the EU but what a program in the relay carries.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};

/// The relay's address, which both other networks reach.
pub const RELAY_ADDRESS: &str = "10.91.9.9";
/// Another address of the relay, for a second beacon.
pub(crate) const SECOND_ADDRESS: &str = "10.91.9.8";
/// The EU's address on its way to the relay.
pub const EU_ADDRESS: &str = "10.91.1.1";
/// The cluster's address on its way to the relay.
pub const CLUSTER_ADDRESS: &str = "10.91.2.1";

/// One network. It goes away when this is dropped.
#[derive(Debug)]
pub struct Network {
    /// None is the network of this process.
    name: Option<String>,
}

/// The three of them.
#[derive(Debug)]
pub struct Networks {
    /// Where OpenBao and bridge are.
    pub eu: Network,
    /// Where the beacon is.
    pub relay: Network,
    /// Where the app is.
    pub cluster: Network,
}

/// A way that can be cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Between relay and cluster.
    Cluster,
    /// Between relay and EU.
    Eu,
}

impl Networks {
    /// Makes them.
    ///
    /// # Errors
    /// What `ip` says where they cannot be made: a reason to skip.
    pub fn make() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !crate::is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let network = |role: &str| {
            let name = format!("ct{}n{number}{role}", std::process::id());
            ip(&["netns", "add", &name])?;
            let network = Network { name: Some(name) };
            network.ip(&["link", "set", "lo", "up"])?;
            Ok::<_, String>(network)
        };
        let networks = Self { eu: network("e")?, relay: network("r")?, cluster: network("c")? };
        for address in [RELAY_ADDRESS, SECOND_ADDRESS] {
            networks.relay.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
        networks.join(&networks.eu, "eu", EU_ADDRESS, "10.91.1.2")?;
        networks.join(&networks.cluster, "cluster", CLUSTER_ADDRESS, "10.91.2.2")?;
        Ok(networks)
    }

    /// All three are the one of this process: for a machine that has nobody else in it.
    ///
    /// # Errors
    /// What `ip` says where the relay's address cannot be had.
    pub fn of_this_machine() -> Result<Self, String> {
        let here = || Network { name: None };
        let networks = Self { eu: here(), relay: here(), cluster: here() };
        networks.relay.ip(&["address", "add", &format!("{RELAY_ADDRESS}/32"), "dev", "lo"])?;
        Ok(networks)
    }

    fn join(&self, other: &Network, name: &str, there: &str, here: &str) -> Result<(), String> {
        let [relay, end] = [&self.relay, other].map(|one| one.name.as_deref().unwrap_or("here"));
        self.relay.ip(&["link", "add", name, "type", "veth", "peer", "relay", "netns", end])?;
        self.relay.ip(&["address", "add", &format!("{here}/30"), "dev", name])?;
        self.relay.ip(&["link", "set", name, "up"])?;
        other.ip(&["address", "add", &format!("{there}/30"), "dev", "relay"])?;
        other.ip(&["link", "set", "relay", "up"])?;
        for address in [RELAY_ADDRESS, SECOND_ADDRESS] {
            other
                .ip(&["route", "add", address, "via", here])
                .map_err(|why| format!("no route from {end} to {relay}: {why}"))?;
        }
        Ok(())
    }

    /// Has everything between the relay and one of the others vanish on its way, without a word to
    /// either end: no reset, no unreachable host.
    pub fn cut(&self, side: Side) {
        for (network, device, peer) in self.ends(side) {
            // Frames for a machine that is not there are dropped by the one that is.
            let nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"];
            let words = [&["neigh", "replace", peer, "dev", device][..], &nobody].concat();
            network.ip(&words).expect("a neighbour that is replaced");
        }
    }

    /// Lets everything through again.
    pub fn heal(&self, side: Side) {
        for (network, device, peer) in self.ends(side) {
            network.ip(&["neigh", "del", peer, "dev", device]).expect("the neighbour");
        }
    }

    fn ends(&self, side: Side) -> [(&Network, &str, &str); 2] {
        match side {
            Side::Cluster => {
                [(&self.relay, "cluster", CLUSTER_ADDRESS), (&self.cluster, "relay", "10.91.2.2")]
            }
            Side::Eu => [(&self.relay, "eu", EU_ADDRESS), (&self.eu, "relay", "10.91.1.2")],
        }
    }
}

impl Networks {
    /// That nobody outside comes to what listens in the EU: neither to OpenBao's port nor to any other.
    ///
    /// # Panics
    /// Where somebody does.
    pub fn assert_eu_is_closed(&self, openbao: u16) {
        assert_eq!(self.eu.reachable_listeners(), [], "the EU has a reachable listener");
        assert!(self.eu.listeners() > 0, "no listeners are seen at all");
        let openbao = SocketAddr::new(EU_ADDRESS.parse().expect("an address"), openbao);
        let wait = Duration::from_secs(2);
        for network in [&self.relay, &self.cluster] {
            let connected = network.within(|| TcpStream::connect_timeout(&openbao, wait).is_ok());
            assert!(!connected, "OpenBao is reachable");
        }
    }
}

impl Network {
    /// Does something there: what it connects, listens on and starts is in this network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            if let Some(name) = &self.name {
                let namespace = File::open(format!("/run/netns/{name}")).expect("its file");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("a network that was made here");
            }
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join().expect("what is done there"))
    }

    /// Addresses on which somebody there accepts TCP from other machines.
    #[must_use]
    pub fn reachable_listeners(&self) -> Vec<(IpAddr, u16)> {
        let read = |file: &str| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            listeners(&text.expect("the kernel's list of sockets"))
        };
        let all = self.within(|| [read("tcp"), read("tcp6")].concat());
        all.into_iter().filter(|(address, _)| !address.is_loopback()).collect()
    }

    /// How many listeners there are in all, so that a test knows that it can see them.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.within(|| {
            let text = fs::read_to_string("/proc/thread-self/net/tcp");
            listeners(&text.expect("the kernel's list of sockets")).len()
        })
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        match &self.name {
            Some(name) => ip(&[&["-n", name], words].concat()),
            None => ip(words),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What is still in it keeps it alive without a name.
            let _there = ip(&["netns", "del", name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = || format!("ip {}: {}", words.join(" "), said.trim());
    if output.status.success() { Ok(()) } else { Err(failed()) }
}

/// The listening sockets of `/proc/net/tcp` or `tcp6`.
fn listeners(text: &str) -> Vec<(IpAddr, u16)> {
    const LISTEN: &str = "0A";
    let listener = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTEN).then_some((parse_address(address)?, port))
    };
    text.lines().filter_map(listener).collect()
}

/// The kernel writes each 32 bits as this machine reads them.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok();
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?].map(u32::to_ne_bytes);
    let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
    Some(Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let text = "  sl  local_address rem_address   st\n\
            0: 0100007F:2008 00000000:0000 0A 0:0\n\
            1: 00000000:01BB 00000000:0000 0A 0:0\n\
            2: 0100007F:2008 0100007F:9999 01 0:0\n";
        let any = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(listeners(text), [(Ipv4Addr::LOCALHOST.into(), 8200), (any, 443)]);
        let v6 = "0: 00000000000000000000000001000000:01BB 0:0 0A 0:0\n";
        assert_eq!(listeners(v6), [(Ipv6Addr::LOCALHOST.into(), 443)]);
    }
}
