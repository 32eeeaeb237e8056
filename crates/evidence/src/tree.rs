//! The Merkle tree of RFC 6962: roots, proofs, and their verification.
//!
//! Pure: nodes come from a [`Nodes`], wherever it has them. Whoever verifies needs none of them.

use std::collections::VecDeque;

use crate::hash::Digest;

/// Heights that a tree of 2^64 leaves can have.
const HEIGHTS: usize = 64;
/// No proof has more hashes.
pub const PROOF_MAX: usize = 63;

/// Gives the hash over 2^`height` leaves from `index` × 2^`height` on, all of which are there.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error;

    /// The node.
    ///
    /// # Errors
    /// Where it cannot be had.
    fn node(&self, height: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// A proof that does not prove what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof has too many hashes or too few, or is about a leaf that the tree does not have.
    #[error("the proof is not for this position and this size")]
    Shape,
    /// The hashes lead elsewhere.
    #[error("the proof leads to another root")]
    Root,
}

/// The root over the first `size` leaves.
///
/// # Errors
/// Those of `nodes`.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Digest, N::Error> {
    if size == 0 { Ok(Digest::of(b"")) } else { range(nodes, 0, size) }
}

/// RFC 6962 §2.1.1: from leaf `index`, the neighbours on the way to the root over `size` leaves.
///
/// # Errors
/// Those of `nodes`.
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Digest>, N::Error> {
    let (mut start, mut end) = (0, size);
    let mut path = VecDeque::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push_front(range(nodes, middle, end)?);
            end = middle;
        } else {
            path.push_front(range(nodes, start, middle)?);
            start = middle;
        }
    }
    Ok(path.into())
}

/// RFC 6962 §2.1.2: that the tree of `new` leaves begins with that of `old`.
///
/// # Errors
/// Those of `nodes`.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Digest>, N::Error> {
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut path = VecDeque::new();
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push_front(range(nodes, middle, end)?);
            end = middle;
        } else {
            path.push_front(range(nodes, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        path.push_front(range(nodes, start, end)?);
    }
    Ok(path.into())
}

/// Verifies that `leaf` is at `index` of the tree with this size and root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    (size, root): (u64, Digest),
    proof: &[Digest],
) -> Result<(), ProofError> {
    if index >= size || proof.len() > PROOF_MAX {
        return Err(ProofError::Shape);
    }
    let (mut first, mut last, mut hash) = (index, size - 1, leaf);
    for neighbour in proof {
        if last == 0 {
            return Err(ProofError::Shape);
        }
        if first & 1 == 1 || first == last {
            hash = Digest::node(*neighbour, hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            hash = Digest::node(hash, *neighbour);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Shape);
    }
    if hash == root { Ok(()) } else { Err(ProofError::Root) }
}

/// Verifies that a tree begins with an older one (RFC 9162 §2.1.4.2).
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    (old, old_root): (u64, Digest),
    (new, new_root): (u64, Digest),
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old > new || proof.len() > PROOF_MAX {
        return Err(ProofError::Shape);
    }
    if old == 0 || old == new {
        let empty = old != 0 || old_root == Digest::of(b"");
        let same = old == 0 || old_root == new_root;
        return match (proof.is_empty(), empty && same) {
            (false, _) => Err(ProofError::Shape),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let mut proof = proof.iter();
    let (mut first, mut last) = (old - 1, new - 1);
    while first & 1 == 1 {
        first >>= 1;
        last >>= 1;
    }
    let whole = old.is_power_of_two();
    let begin = if whole { old_root } else { *proof.next().ok_or(ProofError::Shape)? };
    let (mut old_hash, mut new_hash) = (begin, begin);
    for neighbour in proof {
        if last == 0 {
            return Err(ProofError::Shape);
        }
        if first & 1 == 1 || first == last {
            old_hash = Digest::node(*neighbour, old_hash);
            new_hash = Digest::node(*neighbour, new_hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Digest::node(new_hash, *neighbour);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Shape);
    }
    if old_hash == old_root && new_hash == new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// The hash over leaves `start` to `end`, a range that the tree's own recursion comes by.
fn range<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Digest, N::Error> {
    let size = end - start;
    if size.is_power_of_two() {
        let height = size.trailing_zeros();
        return nodes.node(height, start >> height);
    }
    let middle = start + split(size);
    Ok(Digest::node(range(nodes, start, middle)?, range(nodes, middle, end)?))
}

/// The growing edge of a tree: at every height, the latest complete nodes.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    size: u64,
    heights: Vec<Height>,
}

#[derive(Clone, Debug, Default)]
struct Height {
    first: u64,
    nodes: VecDeque<Digest>,
}

impl Edge {
    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, and every node that it completes.
    pub fn push(&mut self, leaf: Digest) {
        let mut index = self.size;
        let mut hash = leaf;
        self.size += 1;
        for height in 0..HEIGHTS {
            if self.heights.len() == height {
                self.heights.push(Height { first: index, nodes: VecDeque::new() });
            }
            let Some(row) = self.heights.get_mut(height) else { return };
            if row.nodes.is_empty() {
                row.first = index;
            }
            let left = if index & 1 == 1 { row.nodes.back().copied() } else { None };
            row.nodes.push_back(hash);
            let Some(left) = left else { return };
            hash = Digest::node(left, hash);
            index >>= 1;
        }
    }

    /// Takes leaves away again, down to a size whose nodes were not dropped.
    pub fn truncate(&mut self, size: u64) {
        self.size = size;
        for (height, row) in (0..).zip(&mut self.heights) {
            let complete = usize::try_from((size >> height).saturating_sub(row.first));
            row.nodes.truncate(complete.unwrap_or(usize::MAX));
        }
    }

    /// Forgets all but the latest `keep` nodes at each height.
    pub fn drop_all_but(&mut self, keep: usize) {
        for row in &mut self.heights {
            while row.nodes.len() > keep {
                row.nodes.pop_front();
                row.first += 1;
            }
        }
    }

    /// Puts complete nodes at a height, the first of which has this index.
    pub(crate) fn seed(&mut self, height: u32, first: u64, nodes: Vec<Digest>) {
        let height = usize::try_from(height).unwrap_or(usize::MAX).min(HEIGHTS);
        while self.heights.len() <= height {
            self.heights.push(Height::default());
        }
        if let Some(row) = self.heights.get_mut(height) {
            *row = Height { first, nodes: nodes.into() };
        }
    }

    pub(crate) const fn seed_size(&mut self, size: u64) {
        self.size = size;
    }
}

/// A node that is not at the edge any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the node at height {height}, number {index}, is not kept")]
pub struct NotKept {
    /// Its height.
    pub height: u32,
    /// Its number at that height.
    pub index: u64,
}

impl Nodes for Edge {
    type Error = NotKept;

    fn node(&self, height: u32, index: u64) -> Result<Digest, NotKept> {
        let row = usize::try_from(height).ok().and_then(|height| self.heights.get(height));
        let node = row.and_then(|row| {
            row.nodes.get(usize::try_from(index.checked_sub(row.first)?).ok()?).copied()
        });
        node.ok_or(NotKept { height, index })
    }
}

#[cfg(test)]
mod tests;
