//! The journal: what is not yet in tiles that are known to be on the disk.
//!
//! One file that only grows: a head, entries, and after each group of entries the checkpoint that
//! commits them. A group counts once its checkpoint is whole, so that a write that was cut short is
//! found and cut off. Each record has a checksum; the checkpoint's root is the real proof.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::{
    hash::Digest,
    receipt::{NAME_MAX, Name, RECEIPT_MAX},
};

pub(super) const MAGIC: &[u8] = b"ctlog-1\n";
/// Kind, length, checksum.
const FRAME: usize = 1 + 4 + CHECK;
const CHECK: usize = 8;
/// A head with all clusters that a log may have.
const BODY_MAX: usize = 1 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first record: what tiles already have.
    Head = 1,
    /// A receipt.
    Entry = 2,
    /// A checkpoint over all entries so far.
    Commit = 3,
}

/// Where one cluster's sequence stands.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(super) struct Stream {
    /// Number of its next receipt.
    #[n(0)]
    pub(super) next: u64,
    /// Leaf hash of its last one.
    #[n(1)]
    pub(super) last: Digest,
}

/// What the first record says.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub(super) struct Head {
    /// So many entries are in full tiles on the disk.
    #[n(0)]
    pub(super) base: u64,
    /// The root over them.
    #[n(1)]
    pub(super) root: Digest,
    /// Time of the last receipt.
    #[n(2)]
    pub(super) time_ms: u64,
    /// Where each cluster stands, entries of this file included.
    #[n(3)]
    pub(super) streams: BTreeMap<Name, Stream>,
    /// The log's public key.
    #[n(4)]
    pub(super) key: String,
}

/// Most clusters of one log; a head with all of them fits its record.
pub(super) const CLUSTERS_MAX: usize = BODY_MAX / (NAME_MAX + 64);

fn check(kind: u8, body: &[u8]) -> [u8; CHECK] {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let hash =
        Sha256::new().chain_update([kind]).chain_update(length.to_be_bytes()).chain_update(body);
    let mut check = [0; CHECK];
    check.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    check
}

/// Adds a record.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.push(kind as u8);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&check(kind as u8, body));
    out.extend_from_slice(body);
}

/// The record at the beginning of these bytes, and how long it is; none where it is cut or wrong.
pub(super) fn read(bytes: &[u8]) -> Option<(Kind, &[u8], usize)> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (stored, rest) = rest.split_first_chunk::<CHECK>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (kind, most) = match kind {
        1 => (Kind::Head, BODY_MAX),
        2 => (Kind::Entry, RECEIPT_MAX),
        3 => (Kind::Commit, crate::note::NOTE_MAX),
        _ => return None,
    };
    let body = rest.get(..length).filter(|_| length <= most)?;
    (*stored == check(kind as u8, body)).then_some((kind, body, FRAME + length))
}

/// Whether a commit stands anywhere in these bytes: then they are damaged, and not merely cut.
pub(super) fn has_commit(bytes: &[u8]) -> bool {
    let starts = |at: usize| bytes.get(at..).and_then(read);
    (0..bytes.len()).any(|at| matches!(starts(at), Some((Kind::Commit, _, _))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_or_nothing() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Entry, b"a receipt");
        assert_eq!(read(&bytes), Some((Kind::Entry, b"a receipt".as_slice(), bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None);
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert_eq!(read(&bent), None, "byte {at}");
        }
    }

    #[test]
    fn a_commit_is_found_behind_damage() {
        let mut bytes = b"garbage".to_vec();
        write(&mut bytes, Kind::Entry, b"x");
        assert!(!has_commit(&bytes));
        write(&mut bytes, Kind::Commit, b"checkpoint");
        assert!(has_commit(&bytes));
        bytes.pop();
        assert!(!has_commit(&bytes));
    }

    #[test]
    fn a_head_with_every_cluster_fits() {
        let stream = Stream { next: u64::MAX, last: Digest::default() };
        let name = |n: usize| Name::try_from(format!("{n:0>253}").as_str()).unwrap();
        let streams = (0..CLUSTERS_MAX).map(|n| (name(n), stream)).collect();
        let head = Head { base: 0, root: Digest::default(), time_ms: 0, streams, key: "k".into() };
        let body = minicbor::to_vec(&head).unwrap();
        assert!(body.len() <= BODY_MAX, "{}", body.len());
        assert_eq!(minicbor::decode::<Head>(&body).unwrap(), head);
    }
}
