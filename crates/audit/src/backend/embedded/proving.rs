//! Proofs by the open log, each checked against a signed root before it is handed out.
//!
//! The tiles that a proof is read from are not believed: a root that was signed is, because it was
//! recomputed from the segments. A smaller tree's root counts once it is proven to be a beginning of the
//! signed one.

use eonpro_core::event::Digest;

use super::heads::Head;
use super::lookup::{LookupError, Tiles};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Plan, ProofError, empty_root, verify_consistency, verify_inclusion};

/// One tree of a log whose root is known for sure.
#[derive(Debug)]
pub(super) struct Tree {
    tiles: Tiles,
    size: u64,
    root: Digest,
}

impl Tree {
    /// The tree of the signed head.
    pub(super) fn of_head(tiles: Tiles, head: &Checkpoint) -> Self {
        Self {
            tiles,
            size: head.size,
            root: head.root,
        }
    }

    /// The first `size` leaves, at least one, of the tree that the head covers.
    pub(super) fn within(
        mut tiles: Tiles,
        size: u64,
        head: &Checkpoint,
    ) -> Result<Self, LookupError> {
        if size == head.size {
            return Ok(Self::of_head(tiles, head));
        }
        let root = root(&mut tiles, size)?;
        let growth = Plan::consistency(size, head.size)?.read(|node| tiles.node(node))?;
        verify_consistency(&growth, size, &root, head.size, &head.root)?;
        Ok(Self { tiles, size, root })
    }

    /// The proof that the leaf with hash `leaf` is at `index`.
    pub(super) fn inclusion(
        &mut self,
        index: u64,
        leaf: &Digest,
    ) -> Result<Vec<Digest>, LookupError> {
        let plan = Plan::inclusion(index, self.size)?;
        let proof = plan.read(|node| self.tiles.node(node))?;
        verify_inclusion(&proof, index, leaf, self.size, &self.root)?;
        Ok(proof)
    }

    /// The proof that the leaf at `index`, whatever it is, is there.
    pub(super) fn inclusion_of_any(&mut self, index: u64) -> Result<Vec<Digest>, LookupError> {
        let leaf = self.tiles.leaf(index)?;
        self.inclusion(index, &leaf)
    }

    /// The proof that it begins with its first `old` leaves.
    pub(super) fn growth(&mut self, old: u64) -> Result<Vec<Digest>, LookupError> {
        let old_root = root(&mut self.tiles, old)?;
        let plan = Plan::consistency(old, self.size)?;
        let proof = plan.read(|node| self.tiles.node(node))?;
        verify_consistency(&proof, old, &old_root, self.size, &self.root)?;
        Ok(proof)
    }
}

fn root(tiles: &mut Tiles, size: u64) -> Result<Digest, LookupError> {
    let root = Plan::root(size).read(|node| tiles.node(node))?;
    Ok(root.first().copied().unwrap_or_else(empty_root))
}

/// The head that covers `size` leaves, or that there is no proof in a tree of that size.
pub(super) fn covering(head: Option<Head>, size: u64) -> Result<Checkpoint, ProofError> {
    let point = head.map(|head| head.point);
    let covers = |point: &Checkpoint| size > 0 && size <= point.size;
    point.filter(covers).ok_or(ProofError::Size)
}
