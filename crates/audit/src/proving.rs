//! Proofs by an open log, each checked against a signed root before it is handed out.
//!
//! The hashes that a proof is made of are not believed: a root that was signed is, because it was
//! recomputed from the entries. A smaller tree's root counts once it is proven to be a beginning of the
//! signed one.

use eonpro_core::event::Digest;

use crate::checkpoint::Checkpoint;
use crate::merkle::{Node, Plan, ProofError, empty_root, verify_consistency, verify_inclusion};

/// Where the hashes of a log's nodes are kept. They need not be true: what does not lead to the signed root
/// is an error.
pub trait Nodes {
    /// Why there is no proof. [`ProofError`] stands for hashes that do not lead to the root, and for
    /// questions to which there is no answer.
    type Error: From<ProofError>;

    /// The hash of `node`.
    ///
    /// # Errors
    /// As the store fails.
    fn node(&mut self, node: Node) -> Result<Digest, Self::Error>;
}

/// One tree of a log whose root is known for sure.
#[derive(Debug)]
pub struct Tree<N> {
    nodes: N,
    size: u64,
    root: Digest,
}

impl<N: Nodes> Tree<N> {
    /// The tree of the signed head.
    pub fn of_head(nodes: N, head: &Checkpoint) -> Self {
        Self {
            nodes,
            size: head.size,
            root: head.root,
        }
    }

    /// The first `size` leaves, at least one, of the tree that the head covers.
    ///
    /// # Errors
    /// Those of [`Nodes`].
    pub fn within(mut nodes: N, size: u64, head: &Checkpoint) -> Result<Self, N::Error> {
        if size == head.size {
            return Ok(Self::of_head(nodes, head));
        }
        let root = root(&mut nodes, size)?;
        let growth = Plan::consistency(size, head.size)?.read(|node| nodes.node(node))?;
        verify_consistency(&growth, size, &root, head.size, &head.root)?;
        Ok(Self { nodes, size, root })
    }

    /// The proof that the leaf with hash `leaf` is at `index`.
    ///
    /// # Errors
    /// Those of [`Nodes`].
    pub fn inclusion(&mut self, index: u64, leaf: &Digest) -> Result<Vec<Digest>, N::Error> {
        let plan = Plan::inclusion(index, self.size)?;
        let proof = plan.read(|node| self.nodes.node(node))?;
        verify_inclusion(&proof, index, leaf, self.size, &self.root)?;
        Ok(proof)
    }

    /// The proof that the leaf at `index`, whatever it is, is there.
    ///
    /// # Errors
    /// Those of [`Nodes`].
    pub fn inclusion_of_any(&mut self, index: u64) -> Result<Vec<Digest>, N::Error> {
        let node = Node::new(0, index).ok_or(ProofError::Size)?;
        let leaf = self.nodes.node(node)?;
        self.inclusion(index, &leaf)
    }

    /// The proof that it begins with its first `old` leaves.
    ///
    /// # Errors
    /// Those of [`Nodes`].
    pub fn growth(&mut self, old: u64) -> Result<Vec<Digest>, N::Error> {
        let old_root = root(&mut self.nodes, old)?;
        let plan = Plan::consistency(old, self.size)?;
        let proof = plan.read(|node| self.nodes.node(node))?;
        verify_consistency(&proof, old, &old_root, self.size, &self.root)?;
        Ok(proof)
    }
}

fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Digest, N::Error> {
    let root = Plan::root(size).read(|node| nodes.node(node))?;
    Ok(root.first().copied().unwrap_or_else(empty_root))
}

/// The head, if it covers `size` leaves.
///
/// # Errors
/// [`ProofError::Size`]: there is no proof in a tree of that size.
pub fn covering(head: Option<Checkpoint>, size: u64) -> Result<Checkpoint, ProofError> {
    let covers = |point: &Checkpoint| size > 0 && size <= point.size;
    head.filter(covers).ok_or(ProofError::Size)
}
