//! What a set is loaded on: the terms in the programs' maps.

/// `struct ct_authority`: whose orders are taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Authority {
    /// Ed25519; all zero where there is none.
    pub(crate) key: [u8; 32],
    /// By chance, at the first load.
    pub(crate) instance: [u8; 16],
    /// Of the next order.
    pub(crate) serial: u64,
    /// An order to unload was taken.
    pub(crate) unloading: bool,
    /// Guarded processes may connect to what is listed only.
    pub(crate) egress: bool,
}

impl Authority {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.instance);
        bytes.extend_from_slice(&self.serial.to_ne_bytes());
        bytes.extend_from_slice(&u32::from(self.unloading).to_ne_bytes());
        bytes.extend_from_slice(&u32::from(self.egress).to_ne_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: *bytes.first_chunk()?,
            instance: *bytes.get(32..)?.first_chunk()?,
            serial: long(bytes, 48)?,
            unloading: word(bytes, 56)? != 0,
            egress: word(bytes, 60)? != 0,
        })
    }
}

/// `struct ct_room`: processes in the table, and how many there may be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Room {
    /// Those that the programs entered.
    pub(crate) used: u64,
    /// From here on, a guarded process cannot fork.
    pub(crate) most: u64,
}

impl Room {
    pub(crate) fn bytes(self) -> Vec<u8> {
        [self.used, self.most].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { used: long(bytes, 0)?, most: long(bytes, 8)? })
    }
}

/// `struct ct_net`: the key of a network, as an IPv6 one.
pub(crate) fn net(address: std::net::Ipv6Addr, bits: u8) -> [u8; 20] {
    let mut bytes = [0; 20];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&u32::from(bits).to_ne_bytes());
    tail.copy_from_slice(&address.octets());
    bytes
}

/// `struct ct_ports`: first and last of each range.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ports(pub(crate) Vec<(u16, u16)>);

impl Ports {
    /// As many as there is room for.
    pub(crate) const MOST: usize = 8;

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let each = self.0.iter().flat_map(|(low, high)| [low.to_ne_bytes(), high.to_ne_bytes()]);
        let mut bytes: Vec<u8> = each.flatten().collect();
        bytes.resize(Self::MOST * 4, 0);
        bytes
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use libbpf_rs::btf::Btf;

    use super::*;
    use crate::abi::tests::layout;

    #[test]
    fn offsets_are_those_of_the_compiled_object() {
        let btf = Btf::from_raw("agent", crate::bpf::OBJECT).unwrap().unwrap();
        let check = |name: &str, members: &[(&str, u32)], size: usize| {
            let wanted: Vec<_> =
                members.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
            assert_eq!(layout(&btf, name), (wanted, size), "{name}");
        };
        let authority =
            [("key", 0), ("instance", 32), ("serial", 48), ("unloading", 56), ("egress", 60)];
        check("ct_authority", &authority, 64);
        check("ct_room", &[("used", 0), ("most", 8)], 16);
        check("ct_net", &[("bits", 0), ("address", 4)], 20);
        check("ct_ports", &[("ranges", 0)], Ports::MOST * 4);
        check("ct_port_range", &[("low", 0), ("high", 2)], 4);
    }

    #[test]
    fn what_is_written_is_read() {
        let authority = Authority {
            key: [7; 32],
            instance: [8; 16],
            serial: 9,
            unloading: true,
            egress: false,
        };
        assert_eq!(Authority::parse(&authority.bytes()), Some(authority));
        assert_eq!(authority.bytes().len(), 64);
        let room = Room { used: 1, most: 2 };
        assert_eq!(Room::parse(&room.bytes()), Some(room));
        assert_eq!(Ports(vec![(443, 443)]).bytes().len(), 32);
    }
}
