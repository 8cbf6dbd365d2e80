//! Where each leaf stands on disk, for readers; and the counters.
//!
//! Only what is durable is here. Twelve bytes a leaf.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::log_id::LogId;
use crate::service::Stats;

/// Where the frame of a leaf begins, and how long its payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Index {
    spots: RwLock<HashMap<LogId, Vec<Spot>>>,
    /// Shared by who reads where spots say; taken alone to move what lies there.
    steady: RwLock<()>,
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
    /// Adds leaves that have become durable, in the order of their indexes.
    pub(super) fn publish(&self, leaves: impl IntoIterator<Item = (LogId, Spot)>) {
        let mut spots = self.spots.write().unwrap_or_else(PoisonError::into_inner);
        for (log, spot) in leaves {
            spots.entry(log).or_default().push(spot);
        }
    }

    /// The spots of `range` in `log`, cut to what exists and to `limit`.
    pub(super) fn spots(&self, log: &LogId, range: &Range<u64>, limit: usize) -> Vec<Spot> {
        let spots = self.spots.read().unwrap_or_else(PoisonError::into_inner);
        let Some(spots) = spots.get(log) else {
            return Vec::new();
        };
        let from = usize::try_from(range.start).unwrap_or(usize::MAX);
        let many = range.end.saturating_sub(range.start);
        let many = usize::try_from(many).unwrap_or(usize::MAX).min(limit);
        spots.iter().skip(from).take(many).copied().collect()
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
