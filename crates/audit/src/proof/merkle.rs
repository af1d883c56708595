//! The tree over the leaves of a log, as RFC 6962 section 2.1 hashes it, and proofs about it.
//!
//! A proof of inclusion here is of any set of leaves at once: the hashes of the largest subtrees
//! without one of them, from left to right. For one leaf these are those of RFC 6962 in another order.

use sha2::{Digest as _, Sha256};

use crate::Hash;

/// The hash of a leaf's bytes.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(leaf);
    Hash(hash.finalize().into())
}

/// The hash of two subtrees.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.0);
    hash.update(right.0);
    Hash(hash.finalize().into())
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// As much of a tree as it takes to go on: the roots of its complete subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree of `size` leaves from the roots of its complete subtrees, largest first; `None` if these
    /// are not as many as such a tree has.
    #[must_use]
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = u64::from(size.count_ones()) == peaks.len() as u64;
        fits.then_some(Self { size, peaks })
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut rest = self.size;
        while rest & 1 == 1 {
            let Some(left) = self.peaks.pop() else {
                break;
            };
            hash = node_hash(&left, &hash);
            rest >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied();
        let joined = joined.reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

/// Where the complete subtrees of a tree come from.
pub trait Subtrees {
    /// Why one cannot be had.
    type Error;

    /// The root of the leaves from `index << level` on, `1 << level` of them.
    ///
    /// # Errors
    /// When it cannot be read.
    fn complete(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over the leaves `from..to` of a tree.
///
/// # Errors
/// What `tree` says.
pub fn root_of<T: Subtrees + ?Sized>(tree: &T, from: u64, to: u64) -> Result<Hash, T::Error> {
    let size = to.saturating_sub(from);
    if size == 0 {
        return Ok(empty_root());
    }
    if size.is_power_of_two() && from.is_multiple_of(size) {
        let level = size.trailing_zeros();
        return tree.complete(level, from >> level);
    }
    let middle = from + split(size);
    let left = root_of(tree, from, middle)?;
    Ok(node_hash(&left, &root_of(tree, middle, to)?))
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (63 - size.saturating_sub(1).leading_zeros())
}

/// Proves that leaves are in the tree of `size`; `wanted` are their numbers in order.
///
/// # Errors
/// What `tree` says.
pub fn prove<T: Subtrees + ?Sized>(
    tree: &T,
    size: u64,
    wanted: &[u64],
) -> Result<Vec<Hash>, T::Error> {
    let mut proof = Vec::new();
    if size > 0 {
        prove_in(tree, (0, size), wanted, &mut proof)?;
    }
    Ok(proof)
}

fn prove_in<T: Subtrees + ?Sized>(
    tree: &T,
    (from, to): (u64, u64),
    wanted: &[u64],
    proof: &mut Vec<Hash>,
) -> Result<(), T::Error> {
    if wanted.is_empty() {
        proof.push(root_of(tree, from, to)?);
        return Ok(());
    }
    if to - from == 1 {
        return Ok(());
    }
    let middle = from + split(to - from);
    let (left, right) = wanted.split_at(wanted.partition_point(|leaf| *leaf < middle));
    prove_in(tree, (from, middle), left, proof)?;
    prove_in(tree, (middle, to), right, proof)
}

/// The root that leaves and a proof about them add up to; `None` if they do not fit together. `leaves`
/// are numbers and hashes, in order.
#[must_use]
pub fn root_from(size: u64, leaves: &[(u64, Hash)], proof: &[Hash]) -> Option<Hash> {
    let sorted = leaves
        .windows(2)
        .all(|two| matches!(two, [a, b] if a.0 < b.0));
    if !sorted || leaves.last().is_some_and(|(last, _)| *last >= size) {
        return None;
    }
    if size == 0 {
        return proof.is_empty().then(empty_root);
    }
    let mut proof = proof.iter();
    let root = add_up((0, size), leaves, &mut proof)?;
    proof.next().is_none().then_some(root)
}

fn add_up(
    (from, to): (u64, u64),
    leaves: &[(u64, Hash)],
    proof: &mut std::slice::Iter<'_, Hash>,
) -> Option<Hash> {
    if leaves.is_empty() {
        return proof.next().copied();
    }
    if to - from == 1 {
        return leaves.first().map(|(_, hash)| *hash);
    }
    let middle = from + split(to - from);
    let (left, right) = leaves.split_at(leaves.partition_point(|(leaf, _)| *leaf < middle));
    let left = add_up((from, middle), left, proof)?;
    Some(node_hash(&left, &add_up((middle, to), right, proof)?))
}

/// Proves that the tree of `new` leaves begins with the one of `old` (RFC 6962 section 2.1.2). Empty
/// where there is nothing to prove: `old` is 0 or `new`.
///
/// # Errors
/// What `tree` says.
pub fn prove_consistency<T: Subtrees + ?Sized>(
    tree: &T,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, T::Error> {
    let mut proof = Vec::new();
    if 0 < old && old < new {
        subproof(tree, (0, new), old, true, &mut proof)?;
    }
    Ok(proof)
}

fn subproof<T: Subtrees + ?Sized>(
    tree: &T,
    (from, to): (u64, u64),
    old: u64,
    whole: bool,
    proof: &mut Vec<Hash>,
) -> Result<(), T::Error> {
    let size = to - from;
    if old == size {
        if !whole {
            proof.push(root_of(tree, from, to)?);
        }
        return Ok(());
    }
    let half = split(size);
    let middle = from + half;
    if old <= half {
        subproof(tree, (from, middle), old, whole, proof)?;
        proof.push(root_of(tree, middle, to)?);
    } else {
        subproof(tree, (middle, to), old - half, false, proof)?;
        proof.push(root_of(tree, from, middle)?);
    }
    Ok(())
}

/// Whether a tree of `new` leaves with this root begins with the one of `old` leaves with that root.
#[must_use]
pub fn is_consistent(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    if old.0 > new.0 {
        return false;
    }
    if old.0 == new.0 {
        return old.1 == new.1 && proof.is_empty();
    }
    if old.0 == 0 {
        return old.1 == empty_root() && proof.is_empty();
    }
    let mut rest = proof;
    let roots = roots_of(old.0, new.0, Some(old.1), &mut rest);
    rest.is_empty() && roots == Some((old.1, new.1))
}

/// The old and the new root; `whole` is the old one where the tree is not cut yet.
fn roots_of(old: u64, new: u64, whole: Option<Hash>, proof: &mut &[Hash]) -> Option<(Hash, Hash)> {
    if old == new {
        let hash = match whole {
            Some(hash) => hash,
            None => last(proof)?,
        };
        return Some((hash, hash));
    }
    let half = split(new);
    let beside = last(proof)?;
    if old <= half {
        let (before, left) = roots_of(old, half, whole, proof)?;
        Some((before, node_hash(&left, &beside)))
    } else {
        let (before, right) = roots_of(old - half, new - half, None, proof)?;
        Some((node_hash(&beside, &before), node_hash(&beside, &right)))
    }
}

fn last(proof: &mut &[Hash]) -> Option<Hash> {
    let (last, rest) = proof.split_last()?;
    *proof = rest;
    Some(*last)
}

#[cfg(test)]
mod tests;
