//! Counters that many threads raise.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::service::CacheStats;

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of one cache.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) local_hits: Tally,
    pub(crate) durable_hits: Tally,
    pub(crate) misses: Tally,
    pub(crate) computations: Tally,
    pub(crate) joined: Tally,
    pub(crate) outrun: Tally,
    pub(crate) oversize: Tally,
    pub(crate) durable_dropped: Tally,
    pub(crate) durable_rejected: Tally,
    pub(crate) foreign_peeks: Tally,
}

impl Tallies {
    pub(crate) fn read(&self) -> CacheStats {
        CacheStats {
            local_hits: self.local_hits.read(),
            durable_hits: self.durable_hits.read(),
            misses: self.misses.read(),
            computations: self.computations.read(),
            joined: self.joined.read(),
            outrun: self.outrun.read(),
            oversize: self.oversize.read(),
            durable_dropped: self.durable_dropped.read(),
            durable_rejected: self.durable_rejected.read(),
            foreign_peeks: self.foreign_peeks.read(),
        }
    }
}
