//! Where each leaf stands on disk, for readers; and the counters.
//!
//! Only what is durable is here. Twelve bytes a leaf.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::log_id::LogId;
use crate::scan::Cursor;
use crate::segment::Pruned;
use crate::service::Stats;

/// Where the frame of a leaf begins, and how long its payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Where the durable part of the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Durable {
    pub(super) segment: u64,
    /// The end of the last batch in that segment, with the next one's number and the chain so far.
    pub(super) cursor: Cursor,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Index {
    spots: RwLock<HashMap<LogId, Vec<Spot>>>,
    /// Shared by who reads where spots say; taken alone to move what lies there.
    steady: RwLock<()>,
    /// Written while `spots` is held for writing, so that both always agree.
    durable: RwLock<Option<Durable>>,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) repeats: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) spooled: AtomicU64,
    pub(super) alerts_dropped: AtomicU64,
    pub(super) alerts_failed: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Index {
    /// Adds leaves that have become durable, in the order of their indexes, up to `end`.
    pub(super) fn publish(&self, leaves: impl IntoIterator<Item = (LogId, Spot)>, end: Durable) {
        let mut spots = self.spots.write().unwrap_or_else(PoisonError::into_inner);
        for (log, spot) in leaves {
            spots.entry(log).or_default().push(spot);
        }
        let mut durable = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        *durable = Some(end);
    }

    /// Where the durable part ends.
    pub(super) fn durable(&self) -> Option<Durable> {
        *self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many leaves `log` has; `None` if there is no such log.
    pub(super) fn size(&self, log: &LogId) -> Option<u64> {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        spots.get(log).map(|spots| spots.len() as u64)
    }

    /// The logs that have leaves.
    pub(super) fn logs(&self) -> Vec<LogId> {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        spots.keys().copied().collect()
    }

    /// The spot of one leaf.
    pub(super) fn spot(&self, log: &LogId, index: u64) -> Option<Spot> {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(index).ok()?;
        spots.get(log)?.get(index).copied()
    }

    /// The first leaf of `range` whose bytes are there.
    pub(super) fn living(&self, log: &LogId, range: Range<u64>) -> Option<u64> {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(range.start).ok()?;
        let until = usize::try_from(range.end).ok()?;
        let spots = spots.get(log)?.get(from..until)?;
        // No entry is as short as what is left of one.
        let living = |spot: &Spot| spot.length as usize != Pruned::BYTES;
        let at = spots.iter().position(living)?;
        Some(range.start + at as u64)
    }

    /// As long as it is held, spots stay true.
    pub(super) fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.steady.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves leaves that are there to where they stand once `moves` has succeeded, as no reader looks.
    pub(super) fn replace(
        &self,
        leaves: impl IntoIterator<Item = (LogId, u64, Spot)>,
        moves: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let _alone = self.steady.write().unwrap_or_else(PoisonError::into_inner);
        moves()?;
        let mut spots = self.spots.write().unwrap_or_else(PoisonError::into_inner);
        for (log, index, moved) in leaves {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let Some(spot) = spots.get_mut(&log).and_then(|spots| spots.get_mut(index)) {
                *spot = moved;
            }
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        let ordinary = || spots.iter().filter(|(log, _)| **log != LogId::Directory);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            entries: ordinary().map(|(_, spots)| spots.len() as u64).sum(),
            logs: ordinary().count() as u64,
            batches: read(&self.counters.batches),
            bytes: read(&self.counters.bytes),
            repeats: read(&self.counters.repeats),
            abandoned: read(&self.counters.abandoned),
            spooled: read(&self.counters.spooled),
            alerts_dropped: read(&self.counters.alerts_dropped),
            alerts_failed: read(&self.counters.alerts_failed),
        }
    }
}
