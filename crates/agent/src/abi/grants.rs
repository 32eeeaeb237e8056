//! What an operator's orders put into the programs' maps.

use super::terms::{long, word};

/// `enum ct_grant_kind`: what an order lets through.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum GrantKind {
    /// The memory of one group.
    Memory = 1,
    /// Modules and the registers of hardware.
    Kernel = 2,
    /// Block devices that are kept.
    Devices = 3,
    /// BPF programs, perf events, tracefs.
    Tracing = 4,
}

impl GrantKind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Kernel, Self::Devices, Self::Tracing];
}

/// `struct ct_grant_key`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct GrantKey {
    /// 0 for the node.
    pub(crate) group: u32,
    /// What.
    pub(crate) kind: GrantKind,
}

impl GrantKey {
    pub(crate) fn bytes(self) -> Vec<u8> {
        [self.group, self.kind as u32].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = word(bytes, 4)?;
        let kind = GrantKind::ALL.into_iter().find(|known| *known as u32 == kind)?;
        Some(Self { group: word(bytes, 0)?, kind })
    }
}

/// `struct ct_grant`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Grant {
    /// Nanoseconds since boot.
    pub(crate) until_ns: u64,
    /// How often it was used.
    pub(crate) uses: u64,
    /// Of the order.
    pub(crate) serial: u64,
}

impl Grant {
    pub(crate) fn bytes(self) -> Vec<u8> {
        [self.until_ns, self.uses, self.serial].iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { until_ns: long(bytes, 0)?, uses: long(bytes, 8)?, serial: long(bytes, 16)? })
    }
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
        check("ct_grant_key", &[("group", 0), ("kind", 4)], 8);
        check("ct_grant", &[("until_ns", 0), ("uses", 8), ("serial", 16)], 24);
    }

    #[test]
    fn what_is_written_is_read() {
        let key = GrantKey { group: 7, kind: GrantKind::Devices };
        assert_eq!(GrantKey::parse(&key.bytes()), Some(key));
        assert_eq!(GrantKey::parse(&[0; 8]), None, "nothing is granted by it");
        let grant = Grant { until_ns: u64::MAX, uses: 2, serial: 3 };
        assert_eq!(Grant::parse(&grant.bytes()), Some(grant));
    }

    #[test]
    fn kinds_are_named_in_the_order_of_the_object() {
        let source = include_str!("../../../../bpf/lib/abi.h");
        let (_, rest) = source.split_once("enum ct_grant_kind {").unwrap();
        let (body, _) = rest.split_once('}').unwrap();
        let names = body.lines().filter_map(|line| line.trim().strip_prefix("CT_GRANT_"));
        let names: Vec<_> = names.map(|name| name.trim_end_matches(',').to_lowercase()).collect();
        let ours = GrantKind::ALL.map(|kind| format!("{kind:?}").to_lowercase());
        assert_eq!(names[1..], ours);
        assert_eq!(names[0], "none");
    }
}
