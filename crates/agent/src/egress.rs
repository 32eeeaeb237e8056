//! Where guarded processes may connect to: `--allow-egress`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::ensure;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::abi::{self, Ports};

/// A network and its ports: `10.0.0.0/8:443`, `[2001:db8::]/32:8000-8100`, `192.0.2.7`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Destination {
    /// As an IPv6 one.
    network: Ipv6Addr,
    bits: u8,
    ports: (u16, u16),
}

/// What is wrong with one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DestinationError {
    /// No address.
    #[error(
        "no IP address (names are not looked up): ADDRESS[/BITS][:PORT[-PORT]], IPv6 in brackets"
    )]
    Address,
    /// Too many bits, or no number.
    #[error("the number of bits behind / must be 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Bits,
    /// Bits of the address that do not count.
    #[error("the address has bits set behind its /BITS")]
    Host,
    /// No ports.
    #[error("ports are 1 to 65535, or FIRST-LAST")]
    Ports,
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (address, rest, most) = match text.strip_prefix('[') {
            Some(inner) => {
                let (address, rest) = inner.split_once(']').ok_or(DestinationError::Address)?;
                let address = address.parse::<Ipv6Addr>();
                (address.map_err(|_none| DestinationError::Address)?, rest, 128)
            }
            None => {
                let end = text.find(['/', ':']).unwrap_or(text.len());
                let (address, rest) = text.split_at_checked(end).unwrap_or((text, ""));
                let address = address.parse::<Ipv4Addr>();
                (address.map_err(|_none| DestinationError::Address)?.to_ipv6_mapped(), rest, 32)
            }
        };
        let (bits, ports) =
            rest.split_once(':').map_or((rest, None), |(bits, ports)| (bits, Some(ports)));
        let bits = match bits.strip_prefix('/') {
            Some(bits) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(DestinationError::Bits)?
            }
            None if bits.is_empty() => most,
            None => return Err(DestinationError::Address),
        };
        let ports = ports.map_or(Ok((0, u16::MAX)), range)?;
        let bits = bits + (128 - most);
        // Written so that no shift is as wide as its number.
        let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
        if address.to_bits() & host != 0 {
            return Err(DestinationError::Host);
        }
        Ok(Self { network: address, bits, ports })
    }
}

fn range(text: &str) -> Result<(u16, u16), DestinationError> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (low, high) = number(low).zip(number(high)).ok_or(DestinationError::Ports)?;
    if low <= high { Ok((low, high)) } else { Err(DestinationError::Ports) }
}

/// The list as the kernel has it. The longest network that fits decides alone, so it has the ports
/// of every shorter one that it lies in.
fn entries(destinations: &[Destination]) -> anyhow::Result<BTreeMap<[u8; 20], Ports>> {
    let mut entries = BTreeMap::new();
    for one in destinations {
        let covers = |other: &&Destination| {
            let counts = !u128::MAX.checked_shr(u32::from(other.bits)).unwrap_or(0);
            other.bits <= one.bits
                && (one.network.to_bits() ^ other.network.to_bits()) & counts == 0
        };
        let mut ports: Vec<_> =
            destinations.iter().filter(covers).map(|other| other.ports).collect();
        ports.sort_unstable();
        ports.dedup();
        let network = IpAddr::from(one.network).to_canonical();
        ensure!(
            ports.len() <= Ports::MOST,
            "more than {} ranges of ports for {network}",
            Ports::MOST
        );
        entries.insert(abi::net(one.network, one.bits), Ports(ports));
    }
    Ok(entries)
}

/// Writes the list at the first load.
pub(crate) fn list(map: &MapHandle, destinations: &[Destination]) -> anyhow::Result<()> {
    for (net, ports) in entries(destinations)? {
        map.update(&net, &ports.bytes(), MapFlags::ANY)?;
    }
    Ok(())
}

/// Whether what is pinned is just this list.
pub(crate) fn is_listed(map: &MapHandle, destinations: &[Destination]) -> anyhow::Result<bool> {
    let entries = entries(destinations)?;
    if map.keys().count() != entries.len() {
        return Ok(false);
    }
    for (net, ports) in entries {
        // A look-up gives the longest that fits: it is this one where the ports are.
        if map.lookup(&net, MapFlags::ANY)?.is_none_or(|found| found != ports.bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Destination, DestinationError> {
        text.parse()
    }

    #[test]
    fn a_destination_is_a_network_with_or_without_ports() {
        let one = parse("10.0.0.0/8:443").unwrap();
        assert_eq!((one.bits, one.ports), (96 + 8, (443, 443)));
        assert_eq!(one.network.to_string(), "::ffff:10.0.0.0");
        let six = parse("[2001:db8::]/32:8000-8100").unwrap();
        assert_eq!((six.bits, six.ports), (32, (8000, 8100)));
        let all = parse("192.0.2.7").unwrap();
        assert_eq!((all.bits, all.ports), (128, (0, u16::MAX)));
        assert_eq!(parse("0.0.0.0/0").unwrap().bits, 96);
        assert_eq!(parse("[::]/0").unwrap().bits, 0);
    }

    #[test]
    fn a_slip_is_named() {
        use DestinationError::{Address, Bits, Host, Ports};
        let slips = [
            ("bao.example", Address),
            ("10.0.0.1x", Address),
            ("[::1", Address),
            ("[::1]443", Address),
            ("10.0.0.0/33", Bits),
            ("10.0.0.0/", Bits),
            ("[::]/129", Bits),
            ("10.0.0.1/8", Host),
            ("[::1]/0", Host),
            ("10.0.0.1:", Ports),
            ("10.0.0.1:0", Ports),
            ("10.0.0.1:9-8", Ports),
            ("10.0.0.1:65536", Ports),
        ];
        for (text, slip) in slips {
            assert_eq!(parse(text), Err(slip), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_network_keeps_the_ports_of_the_whole() {
        let list: Vec<Destination> = ["10.0.0.0/8:443", "10.1.0.0/16:53", "10.1.0.0/16:80"]
            .map(|t| t.parse().unwrap())
            .into();
        let entries = entries(&list).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[&abi::net(list[0].network, list[0].bits)].0, [(443, 443)]);
        let ports = &entries[&abi::net(list[1].network, list[1].bits)].0;
        assert_eq!(ports[..], [(53, 53), (80, 80), (443, 443)]);
        let many: Vec<Destination> =
            (1..=9).map(|port| format!("10.0.0.1:{port}").parse().unwrap()).collect();
        assert!(self::entries(&many).is_err());
    }
}
