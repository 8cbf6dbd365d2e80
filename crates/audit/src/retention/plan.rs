//! What would go, as those who approve of it see it; and what went.

use std::collections::BTreeMap;

use eonpro_core::event::Digest;
use eonpro_core::time::Timestamp;

use super::{Indexes, RetentionClass, RetentionPolicy};
use crate::checkpoint::Checkpoint;
use crate::log_id::LogId;

/// What would go of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// The log.
    pub log: LogId,
    /// How many entries would go, by class.
    pub by_class: BTreeMap<RetentionClass, u64>,
    /// How many entries are old enough and stay because they are held.
    pub held: u64,
    /// From this index on everything stays: a multiple of 256. Entries below it stay where they are held or
    /// belong to a class that is kept longer.
    pub minimum_index: u64,
    /// The root over the hashes of all entries that are pruned then, in their order.
    pub root: Digest,
    pub(crate) indexes: Indexes,
    /// Whether a signed entry names that root already.
    pub(crate) announced: bool,
}

impl LogPlan {
    /// How many entries would go.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.indexes.count()
    }

    /// Whether the entry with this index would go.
    #[must_use]
    pub fn takes(&self, index: u64) -> bool {
        self.indexes.contains(index)
    }
}

/// What would go of all logs. It binds nobody, and is carried out as it is or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// The time that ages were taken at.
    pub as_of: Timestamp,
    /// The policy that it follows.
    pub policy: RetentionPolicy,
    /// What was to be under a head kept elsewhere; empty if being signed is enough.
    pub anchors: Vec<Checkpoint>,
    /// The logs of which something would go, in order.
    pub logs: Vec<LogPlan>,
    /// How many entries are old enough and stay because they are held, over all logs.
    pub held: u64,
}

impl PrunePlan {
    /// How many entries would go.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.logs.iter().map(LogPlan::entries).sum()
    }
}

/// What went.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// How many entries lost their bytes.
    pub entries: u64,
    /// How many stayed although they were planned, because a hold was placed meanwhile.
    pub held: u64,
    /// How many segments were rewritten.
    pub segments: u64,
    /// By how many bytes they became shorter.
    pub bytes: u64,
}

/// What of a log is pruned, as verification finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedLog {
    /// The log.
    pub log: LogId,
    /// How many entries have lost their bytes.
    pub entries: u64,
    /// From this index on everything is there: the minimum index of C2SP tlog-tiles.
    pub minimum_index: u64,
}
