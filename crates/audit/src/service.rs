//! The audit log as services and operators see it.
//!
//! Object-safe, so that the embedded log and a PostgreSQL one are the same to the facade. Reading
//! and verifying are part of the contract: a log that cannot be checked is no evidence.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::RequestContext;
use eonpro_core::component::Component;
use eonpro_core::event::{Digest, Event};
use eonpro_core::time::Timestamp;

use crate::error::AuditError;
use crate::log_id::LogId;
use crate::page::Page;
use crate::query::Query;
use crate::verify::Report;
use crate::wire::EntryView;

/// What the log owes the caller of an append: where the entry stands, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The log that took it.
    pub log: LogId,
    /// Its index in that log, from 0, without gaps.
    pub index: u64,
    /// Its RFC 6962 leaf hash. Kept by the caller, it proves a later rewrite of this entry.
    pub leaf: Digest,
    /// When the log recorded it: strictly later than every entry before it.
    pub recorded: Timestamp,
}

/// The head of the directory log, which covers every signed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryHead {
    /// The RFC 6962 root over all checkpoints.
    pub root: Digest,
    /// How many checkpoints it covers.
    pub size: u64,
    /// How many logs there are beside the directory.
    pub logs: u64,
    /// How many entries these logs hold.
    pub entries: u64,
}

/// What the log did since it was opened, and what it holds.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Entries in all logs, without the directory.
    pub entries: u64,
    /// Logs beside the directory.
    pub logs: u64,
    /// Batches made durable: one write and one sync each.
    pub batches: u64,
    /// Bytes written in these batches.
    pub bytes: u64,
    /// Repeats answered with their first receipt.
    pub repeats: u64,
    /// Segments given up after a failed sync.
    pub abandoned: u64,
    /// Entries that went to the spool because the log was down.
    pub spooled: u64,
    /// Alerts lost because their queue was full. Their entries stand.
    pub alerts_dropped: u64,
    /// Alerts that the sink refused. Their entries stand.
    pub alerts_failed: u64,
}

/// An append-only, tamper-evident log of typed events.
///
/// An event goes to the log of the context's tenant, whatever that tenant's standing; events
/// without a tenant, and TEN-001 and TEN-003, go to the `system` log.
#[async_trait]
pub trait AuditLog: Component {
    /// Appends one event and returns once its entry is durable in the log.
    ///
    /// Cancel-safe: a dropped future never un-writes. Idempotent on [`Event::id`] while the id is
    /// among the most recent ones (`AuditConfig::recent_ids`): a repeat returns the first receipt. The ids
    /// of pruned entries are forgotten when the log is opened again.
    /// Never spools: that is the business of the required lane (`EventSink::emit`), which knows
    /// whether the event's type fails closed.
    ///
    /// # Errors
    /// [`Overloaded`](AuditError::Overloaded) when the queue's budget stays full until
    /// `cx.deadline()`; [`Closed`](AuditError::Closed), [`Down`](AuditError::Down),
    /// [`NoRoom`](AuditError::NoRoom), [`TooLarge`](AuditError::TooLarge),
    /// [`TooManyLogs`](AuditError::TooManyLogs), [`Seal`](AuditError::Seal),
    /// [`Subject`](AuditError::Subject): nothing was written.
    /// [`Poisoned`](AuditError::Poisoned) after a failed sync, also for its repeats, and
    /// [`WorkerLost`](AuditError::WorkerLost): the outcome is unknown.
    async fn append(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<Receipt, AuditError>;

    /// Appends `events` to one log, contiguously, all or nothing, in one sync.
    ///
    /// Cancel-safe and idempotent as [`Self::append`]; a batch of which only a part was seen before
    /// is refused.
    ///
    /// # Errors
    /// As [`Self::append`]; [`Batch`](AuditError::Batch) for an empty or too long batch, one
    /// that belongs to several logs, or a partial repeat.
    async fn append_batch(
        &self,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError>;

    /// Returns once everything accepted before is durable. Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`Closed`](AuditError::Closed); [`Down`](AuditError::Down) after a failed sync.
    async fn barrier(&self) -> Result<(), AuditError>;

    /// Signs a checkpoint of every log that grew, extends the directory log by them, signs its head
    /// and returns it. Without growth, returns the present head.
    ///
    /// A root is signed only after it was recomputed from the bytes on disk. Idempotent; not
    /// cancel-safe in effect: a dropped call may leave some logs signed and the directory older,
    /// which the next call repairs.
    ///
    /// # Errors
    /// [`Sign`](AuditError::Sign) if the key is out of reach; [`Corrupt`](AuditError::Corrupt) if
    /// the disk disagrees with memory; as [`Self::barrier`].
    async fn checkpoint(&self) -> Result<DirectoryHead, AuditError>;

    /// The entries of `log` in `range`, cut to what exists and to `AuditConfig::read_limit`.
    ///
    /// A tenant's log is read in a context bound to that tenant while it is active; every log may
    /// be read by a system context. Sealed fields stay sealed. An entry that was pruned has its place and
    /// its hash ([`EntryView::pruned`]). Cancel-safe.
    ///
    /// Reading is itself recorded, in that log and as the context's actor (AUD-003: what was asked, how many
    /// entries, how many patients), durably before anything is returned; so whoever reads on at the end of a
    /// log meets the record of his own reading. Not recorded: looks at the directory log, which holds signed
    /// heads only. A system context's look at a log that does not exist, or whose keys are gone, is recorded
    /// in the system log.
    ///
    /// # Errors
    /// [`Denied`](AuditError::Denied); [`Corrupt`](AuditError::Corrupt) if an entry does not read
    /// back intact (a forgery with a right checksum is found by [`Self::verify`] only);
    /// as [`Self::append`] if the reading could not be recorded.
    async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError>;

    /// One page of what `query` asks for: entries as they stand in the log.
    ///
    /// Rights and record are those of [`Self::read`]; a page is one reading. Everything that was durable at
    /// the call is found; of a later page, everything among the first `query.size` entries. What is shown is
    /// true whatever the index says: it is read from the log and compared with the question. That nothing is
    /// missing holds unless somebody forged the index, and in any case with
    /// [`Effort::Entries`](crate::Effort::Entries). Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Index`](AuditError::Index) if the index can be neither used nor built anew.
    async fn query(&self, cx: &RequestContext, query: &Query) -> Result<Page, AuditError>;

    /// The proof that the entry at `index` is in the tree of the first `size` entries of `log` (RFC 6962,
    /// 2.1.1): check it with [`verify_inclusion`](crate::merkle::verify_inclusion). `size` is at most that of
    /// the last signed head, under which the proof was checked. At most 64 hashes.
    ///
    /// Rights are those of [`Self::read`]. It shows hashes and no entry, and is not recorded. Cancel-safe.
    ///
    /// # Errors
    /// [`Denied`](AuditError::Denied); [`Proof`](AuditError::Proof) if there is no such entry or no signed
    /// head that covers `size`; [`Index`](AuditError::Index), [`Corrupt`](AuditError::Corrupt) if the entries
    /// do not give the signed root; [`Closed`](AuditError::Closed).
    async fn prove(
        &self,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError>;

    /// The proof that the first `new` entries of `log` begin with its first `old` (RFC 6962, 2.1.2): check it
    /// with [`verify_consistency`](crate::merkle::verify_consistency). At most 65 hashes. Otherwise as
    /// [`Self::prove`].
    ///
    /// # Errors
    /// As [`Self::prove`]; [`Proof`](AuditError::Proof) also if `old` is zero or above `new`.
    async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError>;

    /// The last signed head of `log` as the signed note that it is; `None` if it was not signed yet. Rights
    /// are those of [`Self::read`]. Not recorded. Cancel-safe.
    ///
    /// # Errors
    /// [`Denied`](AuditError::Denied); [`Corrupt`](AuditError::Corrupt) if it does not read back;
    /// [`Closed`](AuditError::Closed).
    async fn signed_head(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError>;

    /// Signs, then verifies everything on disk, and records that it did (AUD-005), or that it
    /// failed (AUD-006). Appends go on meanwhile. For a system context.
    ///
    /// # Errors
    /// [`Denied`](AuditError::Denied); [`Corrupt`](AuditError::Corrupt) naming the first bad place;
    /// as [`Self::checkpoint`].
    async fn verify(&self, cx: &RequestContext) -> Result<Report, AuditError>;

    /// Counters. Cheap.
    fn stats(&self) -> Stats;
}
