//! Where the wrapper wants to go, and whether a rule about addresses and ports lets it.

use std::{fmt, net::IpAddr};

use cloudtaser_core::needs::{ENDPOINTS, Program};

use crate::{cluster::Workload, desk::Desk, tree::Node};

/// OpenBao or a beacon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Peer {
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}, TCP port {}", self.port),
            None => write!(f, "OpenBao or a beacon (TCP port {})", self.port),
        }
    }
}

impl Peer {
    /// Its address, where it was given as one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.as_deref()?.trim_matches(['[', ']']).parse().ok()
    }

    /// Whether its name must be asked for; where nothing is known, it must.
    pub(crate) fn is_named(&self) -> bool {
        self.address().is_none()
    }
}

/// Variables that hold the address of OpenBao.
const ADDRESSES: [&str; 2] = ["VAULT_ADDR", "BAO_ADDR"];

fn of_workload(workload: &Workload) -> impl Iterator<Item = Peer> {
    let env = workload
        .containers
        .iter()
        .flat_map(|container| ADDRESSES.iter().filter_map(|name| container.env.get(*name)));
    env.filter_map(|url| of_url(url))
}

/// Host and port of an address.
pub(crate) fn of_url(url: &str) -> Option<Peer> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let usual = if scheme == "http" { 80 } else { 443 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    (!host.is_empty()).then(|| Peer { host: Some(host.to_owned()), port })
}

impl Desk<'_> {
    /// Where the wrapper goes: as given, as the pods say, or the usual ports.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut known: Vec<Peer> = self
            .settings
            .endpoints
            .iter()
            .map(|endpoint| Peer { host: endpoint.host.clone(), port: endpoint.port })
            .collect();
        for workload in &self.selected {
            known.extend(of_workload(workload));
        }
        if known.is_empty() {
            let usual = ENDPOINTS.iter().filter(|endpoint| {
                endpoint.program == Program::Wrapper && endpoint.protocol == "TCP"
            });
            known.extend(usual.map(|endpoint| Peer { host: None, port: endpoint.port }));
        }
        known.dedup();
        known
    }

    /// Names of hosts that are asked for.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let named = self.peers().into_iter().filter(Peer::is_named);
        named.filter_map(|peer| peer.host).collect()
    }

    /// The first peer that cannot be reached. Of the usual ports one is enough.
    pub(crate) fn unreached(&self, reached: impl Fn(&Peer) -> bool) -> Option<Peer> {
        let peers = self.peers();
        let guessed =
            peers.iter().all(|peer| peer.host.is_none()) && self.settings.endpoints.is_empty();
        if guessed && peers.iter().any(&reached) {
            return None;
        }
        peers.into_iter().find(|peer| !reached(peer))
    }
}

/// Whether a rule of a NetworkPolicy, or of a KubeArmorNetworkPolicy, lets traffic to a peer pass.
pub(crate) fn reaches(rule: &Node, peer: &Peer) -> bool {
    has_port(rule.list("ports"), "TCP", peer.port) && has_address(rule.list("to"), peer)
}

/// Whether a rule lets questions to DNS servers pass.
pub(crate) fn reaches_dns(rule: &Node) -> bool {
    has_port(rule.list("ports"), "UDP", 53)
}

fn has_port(ports: &[Node], protocol: &str, port: u16) -> bool {
    if ports.is_empty() {
        return true;
    }
    ports.iter().any(|entry| {
        let own = entry.word("protocol").unwrap_or("TCP");
        if !own.eq_ignore_ascii_case(protocol) && !own.eq_ignore_ascii_case("any") {
            return false;
        }
        let Some(text) = entry.word("port") else { return true };
        let last = entry.word("endPort").and_then(|end| end.parse().ok());
        match text.parse::<u16>() {
            Ok(first) => (first..=last.unwrap_or(first)).contains(&port),
            // A name of a port; the pods that it is resolved in were not given.
            Err(_) => matches!(text, "dns" | "dns-udp" | "dns-tcp") == (port == 53),
        }
    })
}

fn has_address(to: &[Node], peer: &Peer) -> bool {
    if to.is_empty() {
        return true;
    }
    to.iter().any(|entry| {
        let Some(block) = entry.get("ipBlock") else {
            // Pods: an address of ours that is a number is none of theirs.
            return peer.address().is_none();
        };
        let Some(cidr) = block.word("cidr") else { return true };
        match peer.address() {
            Some(address) => {
                contains(cidr, address)
                    && !block.words("except").iter().any(|out| contains(out, address))
            }
            // Not known; a single address was written for something that somebody knows.
            None => true,
        }
    })
}

/// Whether an address is in a network.
pub(crate) fn contains(cidr: &str, address: IpAddr) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap_or((cidr, "128"));
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - bits.min(32);
            u32::from(network).checked_shr(shift).unwrap_or(0)
                == u32::from(address).checked_shr(shift).unwrap_or(0)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128 - bits.min(128);
            u128::from(network).checked_shr(shift).unwrap_or(0)
                == u128::from(address).checked_shr(shift).unwrap_or(0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::documents;

    fn peer(host: &str, port: u16) -> Peer {
        Peer { host: Some(host.to_owned()), port }
    }

    fn rule(text: &str) -> Node {
        documents(text).remove(0).unwrap().root
    }

    #[test]
    fn addresses_of_openbao_are_taken_apart() {
        assert_eq!(of_url("https://bao.example:8200/v1"), Some(peer("bao.example", 8200)));
        assert_eq!(of_url("https://bao.example"), Some(peer("bao.example", 443)));
        assert_eq!(of_url("http://10.0.0.1"), Some(peer("10.0.0.1", 80)));
        assert_eq!(of_url("https://[2001:db8::1]:8200"), Some(peer("[2001:db8::1]", 8200)));
        assert_eq!(of_url("bao.example"), None);
        assert!(!peer("[2001:db8::1]", 1).is_named());
    }

    #[test]
    fn ports_and_networks_decide() {
        let narrow = rule(
            "to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.9.0.0/16]}}]\nports: [{port: 8200}]",
        );
        assert!(reaches(&narrow, &peer("10.1.2.3", 8200)));
        assert!(!reaches(&narrow, &peer("10.9.2.3", 8200)));
        assert!(!reaches(&narrow, &peer("192.0.2.1", 8200)));
        assert!(!reaches(&narrow, &peer("10.1.2.3", 443)));
        assert!(reaches(&rule("ports: [{port: 8000, endPort: 9000}]"), &peer("b", 8200)));
        assert!(reaches(&rule("{}"), &peer("b", 8200)));
        assert!(!reaches(&rule("to: [{podSelector: {}}]"), &peer("192.0.2.1", 8200)));
        assert!(reaches_dns(&rule("ports: [{port: 53, protocol: UDP}]")));
        assert!(!reaches_dns(&rule("ports: [{port: 53}]")));
    }

    #[test]
    fn networks_contain_what_they_should() {
        assert!(contains("0.0.0.0/0", "192.0.2.1".parse().unwrap()));
        assert!(contains("2001:db8::/32", "2001:db8::1".parse().unwrap()));
        assert!(!contains("192.0.2.0/25", "192.0.2.200".parse().unwrap()));
        assert!(!contains("nonsense", "192.0.2.200".parse().unwrap()));
    }
}
