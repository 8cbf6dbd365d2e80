//! Counters of the logger: each line that was accepted is written, failed or dropped.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;

use crate::redact::Redaction;

/// One reading of the counters, each since the start.
///
/// When the queue is empty, `accepted = written + failed + dropped()`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Events that passed the level filter.
    pub accepted: u64,
    /// Lines that every sink took.
    pub written: u64,
    /// Lines that at least one sink did not take.
    pub failed: u64,
    /// Lines of level `ERROR` dropped because the queue was full or the logger closed.
    pub dropped_error: u64,
    /// The same for `WARN`.
    pub dropped_warn: u64,
    /// The same for `INFO`.
    pub dropped_info: u64,
    /// The same for `DEBUG`.
    pub dropped_debug: u64,
    /// The same for `TRACE`.
    pub dropped_trace: u64,
    /// Events, and sets of fields of a span, dropped because they came while another event or span
    /// was being formatted.
    pub nested: u64,
    /// Bytes of all written lines.
    pub bytes: u64,
    /// Failed writes and syncs of sinks.
    pub write_errors: u64,
    /// Lines that were cut to their limits.
    pub truncated: u64,
    /// Fields left out because their event had one of the same name before.
    pub duplicates: u64,
    redactions: [u64; Redaction::ALL.len()],
}

impl LogStats {
    /// Lines dropped, of all levels.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_error
            + self.dropped_warn
            + self.dropped_info
            + self.dropped_debug
            + self.dropped_trace
    }

    /// How many values of that kind were redacted.
    #[must_use]
    pub fn redacted(&self, kind: Redaction) -> u64 {
        self.redactions.get(kind as usize).copied().unwrap_or(0)
    }
}

/// One counter that many threads raise.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of one logger.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) accepted: Tally,
    pub(crate) written: Tally,
    pub(crate) failed: Tally,
    pub(crate) nested: Tally,
    pub(crate) bytes: Tally,
    pub(crate) write_errors: Tally,
    pub(crate) truncated: Tally,
    pub(crate) duplicates: Tally,
    dropped: Dropped,
}

#[derive(Debug, Default)]
struct Dropped {
    error: Tally,
    warn: Tally,
    info: Tally,
    debug: Tally,
    trace: Tally,
}

impl Tallies {
    pub(crate) fn dropped(&self, level: Level) -> &Tally {
        match level {
            Level::ERROR => &self.dropped.error,
            Level::WARN => &self.dropped.warn,
            Level::INFO => &self.dropped.info,
            Level::DEBUG => &self.dropped.debug,
            Level::TRACE => &self.dropped.trace,
        }
    }

    pub(crate) fn read(&self, redactions: [u64; Redaction::ALL.len()]) -> LogStats {
        LogStats {
            accepted: self.accepted.read(),
            written: self.written.read(),
            failed: self.failed.read(),
            dropped_error: self.dropped.error.read(),
            dropped_warn: self.dropped.warn.read(),
            dropped_info: self.dropped.info.read(),
            dropped_debug: self.dropped.debug.read(),
            dropped_trace: self.dropped.trace.read(),
            nested: self.nested.read(),
            bytes: self.bytes.read(),
            write_errors: self.write_errors.read(),
            truncated: self.truncated.read(),
            duplicates: self.duplicates.read(),
            redactions,
        }
    }
}
