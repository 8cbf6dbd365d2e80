//! The limits of the log. Every queue, batch and file has one; what grows with the log is the index
//! in memory, twelve bytes an entry.

use std::time::Duration;

use crate::checkpoint::VerifyingKey;
use crate::error::AuditError;
use crate::segment::MAX_PAYLOAD;
use crate::witness::Witnesses;

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;
const MAX_ENTRIES: usize = 1 << 20;
const MAX_HITS: usize = 1_000;

/// How the embedded log behaves. The defaults suit a server; tests make the files smaller.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Bytes of entries that may wait or be in flight; beyond it callers wait. At most 1 GiB.
    pub queue_bytes: usize,
    /// Entries that may wait or be in flight; beyond it callers wait.
    pub queue_entries: usize,
    /// How long a caller without a deadline waits for room in the queue.
    pub queue_wait: Duration,
    /// Bytes that one write and one sync take at most, unless one batch alone is larger.
    pub batch_bytes: usize,
    /// Entries that one write and one sync take at most, and the longest `append_batch`.
    pub batch_entries: usize,
    /// The size at which a new segment file begins. At most 1 GiB.
    pub segment_bytes: usize,
    /// How far ahead a segment is filled with zeros, so that a sync need not write metadata.
    pub fill_bytes: usize,
    /// How many recent event ids are remembered, over all logs, to fold repeats. About 120 bytes
    /// each.
    pub recent_ids: usize,
    /// How many tenants may have a log.
    pub max_logs: usize,
    /// A checkpoint is signed after this many entries; 0 leaves it to `checkpoint` and `close`.
    pub checkpoint_every: u64,
    /// How many entries one `read` returns.
    pub read_limit: usize,
    /// How many hits one page of a `query` has at most. At most 1,000.
    pub query_limit: usize,
    /// How many entries or index steps one page of a `query` looks at, at most.
    pub query_steps: usize,
    /// How many alerts may wait for their sink; more are dropped and counted.
    pub alert_queue: usize,
    /// How long `close` waits for alerts to be delivered.
    pub alert_drain: Duration,
    /// How long `close` waits for all it does; longer than `alert_drain`.
    pub close_wait: Duration,
    /// How many entries the spool may hold.
    pub spool_entries: usize,
    /// How many patients are kept at hand, with their keys: about 500 bytes each.
    pub subject_cache: usize,
    /// How long a patient is kept at hand before their record is read again: so long another process may
    /// go on with a patient who was shredded.
    pub subject_ttl: Duration,
    /// Keys that signed earlier checkpoints. The signer's own key is always accepted.
    pub previous_keys: Vec<VerifyingKey>,
    /// Who cosigns the heads of the directory log, if somebody does.
    pub witnesses: Option<Witnesses>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            queue_bytes: 16 * MIB,
            queue_entries: 16_384,
            queue_wait: Duration::from_secs(10),
            batch_bytes: 4 * MIB,
            batch_entries: 4_096,
            segment_bytes: 64 * MIB,
            fill_bytes: 4 * MIB,
            recent_ids: 65_536,
            max_logs: 65_536,
            checkpoint_every: 10_000,
            read_limit: 4_096,
            query_limit: MAX_HITS,
            query_steps: 16_384,
            alert_queue: 1_024,
            alert_drain: Duration::from_secs(5),
            close_wait: Duration::from_secs(30),
            spool_entries: 10_000,
            subject_cache: 16_384,
            subject_ttl: Duration::from_secs(60),
            previous_keys: Vec::new(),
            witnesses: None,
        }
    }
}

impl AuditConfig {
    /// Refuses limits that contradict each other.
    ///
    /// # Errors
    /// [`AuditError::Config`] naming the limit.
    pub fn check(&self) -> Result<(), AuditError> {
        let above_zero = [self.queue_entries, self.batch_entries, self.alert_queue];
        let refused = if self.queue_bytes < MAX_PAYLOAD || self.queue_bytes > GIB {
            "queue_bytes is 64 KiB to 1 GiB"
        } else if self.batch_bytes < MAX_PAYLOAD || self.batch_bytes > GIB / 2 {
            "batch_bytes is 64 KiB to 512 MiB"
        } else if self.segment_bytes > GIB || self.fill_bytes > GIB {
            "segment_bytes and fill_bytes are at most 1 GiB"
        } else if above_zero.contains(&0) {
            "queue_entries, batch_entries and alert_queue are above zero"
        } else if self.queue_entries > MAX_ENTRIES || self.batch_entries > MAX_ENTRIES {
            "queue_entries and batch_entries are at most 1,048,576"
        } else if self.subject_cache > MAX_ENTRIES {
            "subject_cache is at most 1,048,576"
        } else if self.alert_queue > MAX_ENTRIES {
            "alert_queue is at most 1,048,576"
        } else if !(1..=MAX_HITS).contains(&self.query_limit) || self.query_steps == 0 {
            "query_limit is 1 to 1,000, and query_steps is above zero"
        } else if self.spool_entries.saturating_add(self.batch_entries) > self.recent_ids {
            "recent_ids is at least spool_entries and batch_entries together, so that repeats fold"
        } else {
            return Ok(());
        };
        Err(AuditError::Config(refused))
    }
}
