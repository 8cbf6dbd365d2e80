//! Proofs out of stored nodes: which are needed, and what follows from them.
//!
//! A plan names every node first, so that whoever holds them can fetch them at once, from memory, a
//! disk or a network; then it is given their hashes. RFC 6962, sections 2.1.1 and 2.1.2.

use eonpro_core::event::Digest;

use super::node::{Node, Span, fold};
use super::{ProofError, empty_root};

/// What a proof, or a root, is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    nodes: Vec<Node>,
    /// How many of the nodes make each hash, in order.
    hashes: Vec<usize>,
}

impl Plan {
    /// The proof that the leaf at `index` is in the tree of `size` leaves: the sibling of the leaf
    /// first, a child of the root last. At most 64 hashes.
    ///
    /// # Errors
    /// [`ProofError::Size`] if there is no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::Size);
        }
        let mut siblings = Vec::new();
        let mut span = Span::new(0, size);
        while let Some(split) = span.split() {
            let (left, right) = halves(span, split);
            let sibling;
            (span, sibling) = if index < split {
                (left, right)
            } else {
                (right, left)
            };
            siblings.push(sibling);
        }
        Ok(Self::of(&siblings))
    }

    /// The proof that the tree of `new` leaves begins with all leaves of the tree of `old`. Empty if
    /// they are equal. At most 65 hashes.
    ///
    /// # Errors
    /// [`ProofError::Size`] if `old` is zero, since nothing needs no proof, or above `new`.
    pub fn consistency(old: u64, new: u64) -> Result<Self, ProofError> {
        if old == 0 || old > new {
            return Err(ProofError::Size);
        }
        let mut siblings = Vec::new();
        let mut span = Span::new(0, new);
        while old != span.end() {
            let Some(split) = span.split() else { break };
            let (left, right) = halves(span, split);
            let sibling;
            (span, sibling) = if old <= split {
                (left, right)
            } else {
                (right, left)
            };
            siblings.push(sibling);
        }
        // The verifier knows the old root itself: what remains is sent only if it is a part of it.
        if span.start() != 0 {
            siblings.push(span);
        }
        Ok(Self::of(&siblings))
    }

    /// The root of the tree of `size` leaves.
    #[must_use]
    pub fn root(size: u64) -> Self {
        Self::of(&[Span::new(0, size)])
    }

    /// From the spans of its hashes, the last first.
    fn of(spans: &[Span]) -> Self {
        let mut plan = Self {
            nodes: Vec::new(),
            hashes: Vec::with_capacity(spans.len()),
        };
        for span in spans.iter().rev() {
            let before = plan.nodes.len();
            plan.nodes.extend(span.nodes());
            plan.hashes.push(plan.nodes.len() - before);
        }
        plan
    }

    /// The nodes that are needed, at most 128 of them.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The hashes of the proof, or the one root, from those of [`nodes`](Self::nodes) in their order.
    /// `None` if there are not as many as nodes.
    #[must_use]
    pub fn finish(&self, nodes: &[Digest]) -> Option<Vec<Digest>> {
        let mut rest = nodes;
        let mut out = Vec::with_capacity(self.hashes.len());
        for count in &self.hashes {
            let subtrees;
            (subtrees, rest) = rest.split_at_checked(*count)?;
            out.push(fold(subtrees).unwrap_or_else(empty_root));
        }
        rest.is_empty().then_some(out)
    }

    /// As [`finish`](Self::finish), with the nodes read one after the other.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn read<E>(
        &self,
        mut read: impl FnMut(Node) -> Result<Digest, E>,
    ) -> Result<Vec<Digest>, E> {
        let nodes = self.nodes.iter().map(|node| read(*node));
        let nodes = nodes.collect::<Result<Vec<Digest>, E>>()?;
        // As many as there are nodes: there is nothing that could be missing.
        Ok(self.finish(&nodes).unwrap_or_default())
    }
}

fn halves(span: Span, split: u64) -> (Span, Span) {
    (Span::new(span.start(), split), Span::new(split, span.end()))
}
