//! What of one log is pruned, and whether signed entries account for it.
//!
//! AUD-009 commits to the pruned leaves: `retained_root` is the RFC 6962 root over the hashes of all that
//! are pruned then, in their order, those of earlier prunings included. So nobody can pass off a leaf that
//! was destroyed as one that was pruned, not even below the minimum index.

use eonpro_core::event::Digest;

use super::{Indexes, UnderWay};
use crate::log_id::LogId;
use crate::merkle::CompactRange;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone {
    /// The hashes of the pruned leaves, as a tree of their own.
    tree: CompactRange,
    /// The same, with what each plan at hand is about to prune.
    planned: Vec<CompactRange>,
    first: Option<u64>,
    /// One past the last pruned index.
    end: u64,
    /// What signed entries account for: the root, and the index below which all of it lies.
    accounted: Vec<(Digest, u64)>,
}

impl Gone {
    /// Takes a leaf that was pruned.
    pub(crate) fn take_pruned(&mut self, index: u64, leaf: Digest, under_way: &UnderWay) {
        self.first.get_or_insert(index);
        self.end = index.saturating_add(1);
        self.planned.resize(under_way.plans(), self.tree.clone());
        for planned in &mut self.planned {
            planned.append(leaf);
        }
        self.tree.append(leaf);
    }

    /// Takes a leaf that is there.
    pub(crate) fn take_living(
        &mut self,
        log: LogId,
        index: u64,
        leaf: Digest,
        under_way: &UnderWay,
    ) {
        self.planned.resize(under_way.plans(), self.tree.clone());
        let logs = (0..under_way.plans()).map(|plan| under_way.of(plan, log));
        for (planned, indexes) in self.planned.iter_mut().zip(logs) {
            if indexes.is_some_and(|indexes| indexes.contains(index)) {
                planned.append(leaf);
            }
        }
    }

    /// Takes what a signed AUD-009 of this log says.
    pub(crate) fn account(&mut self, root: Digest, minimum: u64) {
        self.accounted.push((root, minimum));
    }

    /// How many leaves are pruned.
    pub(crate) fn count(&self) -> u64 {
        self.tree.size()
    }

    /// From where on all leaves are there.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a signed entry names exactly what is pruned.
    pub(crate) fn is_settled(&self) -> bool {
        self.count() == 0 || self.names(&self.tree.root())
    }

    /// Whether a signed entry names `root`, of leaves among which are the pruned ones.
    pub(crate) fn names(&self, root: &Digest) -> bool {
        let named = |(known, minimum): &(Digest, u64)| known == root && self.end <= *minimum;
        self.accounted.iter().any(named)
    }

    /// The first pruned index, if neither what is pruned nor that together with what a plan at hand is
    /// about to prune is what a signed entry names.
    pub(crate) fn unaccounted(&self) -> Option<u64> {
        let planned = || self.planned.iter().any(|tree| self.names(&tree.root()));
        let fits = self.is_settled() || planned();
        self.first.filter(|_| !fits)
    }
}

/// What a log's indexes add up to if `more` go as well as what is gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Union {
    pub(crate) more: Indexes,
    pub(crate) tree: CompactRange,
}
