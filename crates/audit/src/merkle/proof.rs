//! What a stranger checks: that a leaf is in a tree, and that a tree only grew.
//!
//! The length of a proof follows from the sizes alone and is checked first, so that no proof is
//! accepted with a hash too few or too many. RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use super::node_hash;

/// A proof does not show what it should.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf, an earlier tree is larger than a later one, or is empty.
    #[error("proof is for sizes that have none")]
    Size,
    /// It has more or fewer hashes than the sizes demand.
    #[error("proof has the wrong length")]
    Length,
    /// It leads to another root.
    #[error("proof leads to another root")]
    Root,
}

impl Classify for ProofError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// Checks that the leaf with hash `leaf` is at `index` in the tree of `size` leaves with `root`.
///
/// # Errors
/// [`ProofError`], and nothing is proven.
pub fn verify_inclusion(
    proof: &[Digest],
    index: u64,
    leaf: &Digest,
    size: u64,
    root: &Digest,
) -> Result<(), ProofError> {
    let shape = Shape::of(index, size).ok_or(ProofError::Size)?;
    let (inner, border) = shape.divide(proof)?;
    let subtree = climb(leaf, inner, index);
    same(&climb_edge(&subtree, border), root)
}

/// Checks that the tree of `new` leaves with `new_root` begins with all leaves of the tree of `old`
/// leaves with `old_root`. Of equal sizes the proof is empty and the roots are equal.
///
/// # Errors
/// [`ProofError`], and nothing is proven. Also if `old` is zero: every tree begins with nothing, so
/// that there is nothing to prove, and the caller has to know that it asked for nothing.
pub fn verify_consistency(
    proof: &[Digest],
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
) -> Result<(), ProofError> {
    let last = old.checked_sub(1).ok_or(ProofError::Size)?;
    if old == new {
        let empty = proof.is_empty();
        return if empty {
            same(old_root, new_root)
        } else {
            Err(ProofError::Length)
        };
    }
    // The way is that of the old tree's last leaf, from the perfect subtree on that it ends.
    let mut shape = Shape::of(last, new).ok_or(ProofError::Size)?;
    let height = old.trailing_zeros();
    shape.inner = shape.inner.saturating_sub(height);
    let (seed, rest) = if old.is_power_of_two() {
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::Length)?;
        (*first, rest)
    };
    let (inner, border) = shape.divide(rest)?;
    let way = last >> height;
    let old_subtree = climb_old(&seed, inner, way);
    same(&climb_edge(&old_subtree, border), old_root)?;
    let new_subtree = climb(&seed, inner, way);
    same(&climb_edge(&new_subtree, border), new_root)
}

/// How many hashes a proof has. On its way up a leaf has siblings on either side, until it reaches
/// the right edge of the tree; from there on the siblings stand to the left only.
struct Shape {
    inner: u32,
    border: u32,
}

impl Shape {
    fn of(index: u64, size: u64) -> Option<Self> {
        let last = size.checked_sub(1).filter(|last| index <= *last)?;
        let inner = u64::BITS - (index ^ last).leading_zeros();
        let border = index.checked_shr(inner).map_or(0, u64::count_ones);
        Some(Self { inner, border })
    }

    fn divide<'a>(&self, proof: &'a [Digest]) -> Result<(&'a [Digest], &'a [Digest]), ProofError> {
        let length = |count| usize::try_from(count).map_err(|_| ProofError::Length);
        let (inner, border) = (length(self.inner)?, length(self.border)?);
        proof
            .split_at_checked(inner)
            .filter(|(_, rest)| rest.len() == border)
            .ok_or(ProofError::Length)
    }
}

/// Up along `way`, whose lowest bit says whether the first sibling stands to the left.
fn climb(from: &Digest, siblings: &[Digest], way: u64) -> Digest {
    let mut way = way;
    siblings.iter().fold(*from, |below, sibling| {
        let left = way & 1 == 1;
        way >>= 1;
        if left {
            node_hash(sibling, &below)
        } else {
            node_hash(&below, sibling)
        }
    })
}

/// As [`climb`], without what stands to the right: the old tree did not have it.
fn climb_old(from: &Digest, siblings: &[Digest], way: u64) -> Digest {
    let mut way = way;
    siblings.iter().fold(*from, |below, sibling| {
        let left = way & 1 == 1;
        way >>= 1;
        if left {
            node_hash(sibling, &below)
        } else {
            below
        }
    })
}

/// Up along the right edge.
fn climb_edge(from: &Digest, siblings: &[Digest]) -> Digest {
    siblings
        .iter()
        .fold(*from, |below, left| node_hash(left, &below))
}

fn same(found: &Digest, wanted: &Digest) -> Result<(), ProofError> {
    if found == wanted {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}
