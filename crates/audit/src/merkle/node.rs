//! Nodes of a tree that never change again, and how any other hash follows from them.
//!
//! A node is the root of a *perfect* subtree: once its last leaf is there it is stored for good. The
//! root of every tree, and every hash of every proof, follows from at most 64 of them.

use eonpro_core::event::Digest;

use super::node_hash;

/// The perfect subtree over the leaves `index * 2^level` up to `(index + 1) * 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    level: u8,
    index: u64,
}

impl Node {
    /// The node at `level`, counted from the leaves; `None` if its leaves would have no 64-bit index.
    #[must_use]
    pub const fn new(level: u8, index: u64) -> Option<Self> {
        if level < 64 && index <= u64::MAX >> level {
            Some(Self { level, index })
        } else {
            None
        }
    }

    /// Its height: the leaves have 0, no node has more than 63.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// How many nodes of its level stand before it.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }
}

/// A run of leaves, of which the first is at a multiple of the largest perfect subtree in it: such as
/// a whole tree, or what one hash of a proof covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u64,
    end: u64,
}

impl Span {
    pub(crate) const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    pub(crate) const fn start(self) -> u64 {
        self.start
    }

    pub(crate) const fn end(self) -> u64 {
        self.end
    }

    /// Where RFC 6962 splits it: after the largest power of two leaves that is not all of it. `None`
    /// if it is one leaf, or none.
    pub(crate) fn split(self) -> Option<u64> {
        let last = self.end.checked_sub(self.start)?.checked_sub(1)?;
        Some(self.start + (1 << last.checked_ilog2()?))
    }

    /// The perfect subtrees that it consists of, the largest first.
    pub(crate) fn nodes(self) -> Nodes {
        Nodes(self)
    }
}

/// The perfect subtrees of a span: at most 64.
#[derive(Debug, Clone)]
pub(crate) struct Nodes(Span);

impl Iterator for Nodes {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        let level = (self.0.end - self.0.start).checked_ilog2()?;
        let index = self.0.start >> level;
        self.0.start += 1 << level;
        // No level of 64 bits is above 63.
        let level = u8::try_from(level).ok()?;
        Some(Node { level, index })
    }
}

/// The hash over subtrees that stand side by side, the largest first; `None` of nothing.
pub(crate) fn fold(subtrees: &[Digest]) -> Option<Digest> {
    let (smallest, larger) = subtrees.split_last()?;
    let fold = |right, left: &Digest| node_hash(left, &right);
    Some(larger.iter().rev().fold(*smallest, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_of_a_tree_with_64_bit_indices() {
        for (level, index) in [(0, u64::MAX), (63, 1), (63, 0), (1, u64::MAX / 2)] {
            assert!(Node::new(level, index).is_some());
        }
        for (level, index) in [(64, 0), (255, 0), (63, 2), (1, u64::MAX / 2 + 1)] {
            assert_eq!(Node::new(level, index), None);
        }
    }

    #[test]
    fn the_largest_tree_of_all_has_sixty_four_subtrees() {
        let nodes: Vec<Node> = Span::new(0, u64::MAX).nodes().collect();
        assert_eq!(nodes.len(), 64);
        assert_eq!(nodes[0], Node::new(63, 0).unwrap());
        assert_eq!(nodes[63], Node::new(0, u64::MAX - 1).unwrap());
    }

    #[test]
    fn a_span_splits_where_rfc_6962_says() {
        for (end, split) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8)] {
            assert_eq!(Span::new(0, end).split(), Some(split));
        }
        assert_eq!(Span::new(0, u64::MAX).split(), Some(1 << 63));
        assert_eq!(Span::new(8, 9).split(), None);
        assert_eq!(Span::new(8, 8).split(), None);
    }
}
