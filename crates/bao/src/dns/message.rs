//! Questions to a DNS server, and its answers. Pure; takes any bytes.
//!
//! Invariant: an address is taken only from an answer that carries the question's own number, name
//! and type, and only for that name or for one that its aliases lead to.

use std::net::IpAddr;

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData,
};

/// An alias may lead to an alias; more than this is a loop.
const MAX_ALIASES: usize = 8;
/// As many addresses are kept as a connection is tried to.
const MAX_ADDRESSES: usize = 16;

/// Which addresses to ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

/// What an answer says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    /// These addresses; none where the name exists without any of the family.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoSuchName,
    /// This answer is to another question, or is none.
    NotOurs,
    /// The server cannot say: another may.
    ServerFailed,
    /// The answer did not fit: ask by TCP.
    Truncated,
}

/// The bytes of a question, or `None` where the name cannot be asked for.
pub(crate) fn question(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, family.question(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Reads the answer to a question.
pub(crate) fn reply(bytes: &[u8], id: u16, name: &str, family: Family) -> Reply {
    let (Ok(packet), Ok(name)) = (Packet::parse(bytes), Name::new(name)) else {
        return Reply::NotOurs;
    };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !asks(&packet, &name, family)
    {
        return Reply::NotOurs;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Reply::Truncated;
    }
    match packet.rcode() {
        RCODE::NoError => Reply::Addresses(addresses(&packet, name, family)),
        RCODE::NameError => Reply::NoSuchName,
        _ => Reply::ServerFailed,
    }
}

/// Whether the packet repeats our question and no other.
fn asks(packet: &Packet<'_>, name: &Name<'_>, family: Family) -> bool {
    let [question] = packet.questions.as_slice() else { return false };
    same(&question.qname, name)
        && question.qtype == family.question()
        && question.qclass == QCLASS::CLASS(CLASS::IN)
}

/// The addresses of the name, by way of its aliases.
fn addresses(packet: &Packet<'_>, name: Name<'_>, family: Family) -> Vec<IpAddr> {
    let mut name = name;
    for _ in 0..MAX_ALIASES {
        let ours = || packet.answers.iter().filter(|record| same(&record.name, &name));
        let found: Vec<IpAddr> = ours()
            .filter_map(|record| match (&record.rdata, family) {
                (RData::A(a), Family::V4) => Some(IpAddr::V4(a.address.into())),
                (RData::AAAA(aaaa), Family::V6) => Some(IpAddr::V6(aaaa.address.into())),
                _ => None,
            })
            .take(MAX_ADDRESSES)
            .collect();
        let alias = ours().find_map(|record| match &record.rdata {
            RData::CNAME(alias) => Some(alias.0.clone().into_owned()),
            _ => None,
        });
        match alias {
            Some(alias) if found.is_empty() => name = alias,
            _ => return found,
        }
    }
    Vec::new()
}

/// Names compare without regard to the case of ASCII letters (RFC 4343).
fn same(a: &Name<'_>, b: &Name<'_>) -> bool {
    let (a, b) = (a.get_labels(), b.get_labels());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.as_ref().eq_ignore_ascii_case(b.as_ref()))
}

impl Family {
    const fn question(self) -> QTYPE {
        match self {
            Self::V4 => QTYPE::TYPE(TYPE::A),
            Self::V6 => QTYPE::TYPE(TYPE::AAAA),
        }
    }
}

#[cfg(test)]
mod tests;
