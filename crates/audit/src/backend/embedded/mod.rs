//! The log in a directory of its own: shared write-ahead segments, one writing thread, no server.

mod alerts;
mod closing;
#[cfg(test)]
mod closing_tests;
mod conflict;
mod cosigning;
mod disk;
mod entries;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faulty;
#[cfg(feature = "archive")]
mod feed;
mod head_store;
mod heads;
mod index;
mod lookup;
#[cfg(test)]
mod machine;
mod open_log;
mod opening;
#[cfg(test)]
mod overload_tests;
#[cfg(test)]
mod power_tests;
mod pruning;
mod querying;
mod queue;
mod reading;
mod recent;
mod recovery;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod seal_tests;
mod sealing;
mod signing;
#[cfg(test)]
mod spool_tests;
mod subjects;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use eonpro_core::RequestContext;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::{Ack, Digest, EmitError, Event, EventSink, Outcome};
use eonpro_core::identity::ActorKind;
use eonpro_core::port::{AlertSink, KeyValue, Observer, Operation, Sealer, Signer, Timer};
use eonpro_core::scope::Authority;
use eonpro_core::task;
use eonpro_core::time::SharedClock;

use crate::checkpoint::VerifyingKey;
use crate::config::AuditConfig;
use crate::error::{AuditError, BatchFault, Written};
use crate::events;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::page::Page;
use crate::query::Query;
use crate::service::{AuditLog, DirectoryHead, Receipt, Stats};
use crate::verify::Report;
use crate::wire::EntryView;
#[cfg(feature = "archive")]
pub(crate) use feed::SignedNow;
pub use head_store::forget_head;
use open_log::OpenLog;
pub use pruning::Keeps;
pub use reading::may_read;
pub use sealing::SealOrder;

const APPEND: Operation = Operation::new("audit", "append");
const APPEND_BATCH: Operation = Operation::new("audit", "append_batch");
const CHECKPOINT: Operation = Operation::new("audit", "checkpoint");
const READ: Operation = Operation::new("audit", "read");
const QUERY: Operation = Operation::new("audit", "query");
const PROVE: Operation = Operation::new("audit", "prove");
const PROVE_GROWTH: Operation = Operation::new("audit", "prove_growth");
const VERIFY: Operation = Operation::new("audit", "verify");

/// What the log needs of others.
#[derive(Debug)]
pub struct AuditParts {
    /// Dates the entries.
    pub clock: SharedClock,
    /// Mints the ids of audit's own events.
    pub entropy: SharedEntropy,
    /// Seals the fields that may hold PHI. The system's keys must be provisioned before the log is
    /// opened, a tenant's before its first event.
    pub sealer: Arc<dyn Sealer>,
    /// Signs checkpoints.
    pub signer: Arc<dyn Signer>,
    /// What the log must remember outside of its directory: what it signed last, who its subjects are,
    /// what is held. It should not share the fate of the directory's backups.
    pub state: Arc<dyn KeyValue>,
    /// Takes alerts of severity error and above.
    pub alerts: Arc<dyn AlertSink>,
    /// Measures operations.
    pub observer: Arc<dyn Observer>,
    /// The right to seal for tenants whatever their standing: a suspended tenant's log goes on.
    pub authority: Authority,
}

impl AuditParts {
    /// The key that the log's checkpoints verify with.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(self.signer.public_key())
    }
}

/// The embedded log: shared write-ahead segments in one directory, one writing thread.
///
/// `close` shuts it down: what was accepted is written and answered, alerts are delivered, the end is on
/// record (AUD-002 by the system, reason `shutdown`, which alerts nobody), and what grew is signed, in this
/// order. Where the log cannot write it ends without that record. `close` returns after
/// [`AuditConfig::close_wait`] at the latest. Whoever waits for an entry then is answered
/// [`WorkerLost`](AuditError::WorkerLost), whose outcome is unknown, and whoever waits for room
/// [`Closed`](AuditError::Closed); the shutting down goes on behind that, and the directory stays locked
/// until its last byte. A dropped `close` goes on as well.
///
/// Dropped without `close`, it keeps every acknowledged entry; the entries
/// since the last checkpoint are signed when the log is opened again, and the directory stays locked
/// until what was under way is written.
#[derive(Debug)]
pub struct EmbeddedAudit(Arc<OpenLog>);

impl EmbeddedAudit {
    /// Opens the log in `dir`, creating it if there is none: recovers an unfinished tail, folds in
    /// what was spooled, and records that it began (AUD-001). One process at a time; the directory
    /// is readable by its owner only.
    ///
    /// # Errors
    /// [`AuditError::Corrupt`] if the bytes are not what was written and signed: nothing is changed
    /// then. [`AuditError::Locked`], [`AuditError::Config`], [`AuditError::Io`].
    pub async fn open(
        dir: &Path,
        parts: AuditParts,
        config: AuditConfig,
    ) -> Result<Self, AuditError> {
        let layout = Layout::new(dir);
        Ok(Self(opening::open(layout, parts, config).await?))
    }

    /// Gives up a log that [`Self::open`] refuses as [`Corrupt`](AuditError::Corrupt), and opens a successor in
    /// the same directory: a decision of an operator, never of a program.
    ///
    /// All bytes of the old log are kept, unchanged, in `sealed/<n>/` with a statement that lists them by
    /// their digests. The first entries of the successor's system log are AUD-006, which names the old log's
    /// last signed head and the digest of the statement, and AUD-002 with `order`. What was spooled is
    /// folded into the successor; of a damaged spool, what is intact. [`verify()`](crate::verify()) of the
    /// successor checks the sealed log's files against the statement.
    ///
    /// Not cancel-safe in effect, and a crash may cut it short: then the directory does not open until this
    /// is called again, which goes on where it stopped.
    ///
    /// # Errors
    /// [`AuditError::Sound`] if there is nothing to give up; otherwise as [`Self::open`].
    pub async fn seal_and_continue(
        dir: &Path,
        parts: AuditParts,
        config: AuditConfig,
        order: SealOrder,
    ) -> Result<Self, AuditError> {
        let layout = Layout::new(dir);
        let log = sealing::seal_and_continue(layout, parts, config, order).await?;
        Ok(Self(log))
    }
}

impl EmbeddedAudit {
    /// Signs with `next` from now on. The last act of the present key is a leaf of the directory log that
    /// names the new one, so that whoever trusts the old key follows; the old key signs nothing more, and
    /// never again. Open the log with the new signer from then on. For a system context.
    ///
    /// Appends go on meanwhile. Not cancellable: a dropped call goes on to its end.
    ///
    /// # Errors
    /// [`AuditError::Denied`]; [`AuditError::Config`] for a key that signed this log before;
    /// [`AuditError::Sign`] if one of the keys is out of reach: nothing has changed then. As
    /// [`AuditLog::checkpoint`].
    pub async fn rotate_key(
        &self,
        cx: &RequestContext,
        next: Arc<dyn Signer>,
    ) -> Result<DirectoryHead, AuditError> {
        if cx.actor().kind != ActorKind::System {
            return Err(AuditError::Denied);
        }
        let core = Arc::clone(&self.0);
        core.open()?;
        let rotated = task::outlive(async move {
            let rotated = core.signing.lock().await.rotate(&core.queue, next).await;
            match core.note_corruption(rotated).await {
                Ok(_) => core.sign().await,
                Err(error) => Err(error),
            }
        });
        rotated.await.unwrap_or(Err(AuditError::WorkerLost))
    }
}

#[async_trait]
impl AuditLog for EmbeddedAudit {
    async fn append(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<Receipt, AuditError> {
        let core = &self.0;
        let timer = Timer::start(APPEND, &*core.clock, &*core.observer);
        let log = LogId::of(cx, event);
        let appended = match core.open() {
            Ok(()) => core.submit(log, cx, std::slice::from_ref(event)).await,
            Err(closed) => Err(closed),
        };
        let receipt = appended.and_then(|receipts| match receipts.first() {
            Some(receipt) => Ok(*receipt),
            None => Err(AuditError::WorkerLost),
        });
        if receipt.is_ok() {
            core.count_towards_checkpoint(1);
        }
        timer.end(receipt)
    }

    async fn append_batch(
        &self,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        let core = &self.0;
        let timer = Timer::start(APPEND_BATCH, &*core.clock, &*core.observer);
        let log = events.first().map(|event| LogId::of(cx, event));
        let appended = match (core.open(), log) {
            (Err(closed), _) => Err(closed),
            (Ok(()), None) => Err(AuditError::Batch(BatchFault::Empty)),
            (Ok(()), Some(log)) if events.iter().any(|event| LogId::of(cx, event) != log) => {
                Err(AuditError::Batch(BatchFault::SeveralLogs))
            }
            (Ok(()), Some(_)) if events.len() > core.queue.most_entries() => {
                Err(AuditError::Batch(BatchFault::TooLarge))
            }
            (Ok(()), Some(log)) => core.submit(log, cx, events).await,
        };
        if appended.is_ok() {
            core.count_towards_checkpoint(events.len());
        }
        timer.end(appended)
    }

    async fn barrier(&self) -> Result<(), AuditError> {
        self.0.open()?;
        self.0.queue.mark().await.map(|_| ())
    }

    async fn checkpoint(&self) -> Result<DirectoryHead, AuditError> {
        let core = &self.0;
        let timer = Timer::start(CHECKPOINT, &*core.clock, &*core.observer);
        let head = match core.open() {
            Ok(()) => core.sign().await,
            Err(closed) => Err(closed),
        };
        timer.end(head)
    }

    async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        let timer = Timer::start(READ, &*self.0.clock, &*self.0.observer);
        let views = self.0.read(cx, log, range).await;
        timer.end(views)
    }

    async fn query(&self, cx: &RequestContext, query: &Query) -> Result<Page, AuditError> {
        let timer = Timer::start(QUERY, &*self.0.clock, &*self.0.observer);
        let page = self.0.query(cx, query).await;
        timer.end(page)
    }

    async fn prove(
        &self,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let timer = Timer::start(PROVE, &*self.0.clock, &*self.0.observer);
        let proof = self.0.prove(cx, log, index, size).await;
        timer.end(proof)
    }

    async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let timer = Timer::start(PROVE_GROWTH, &*self.0.clock, &*self.0.observer);
        let proof = self.0.prove_growth(cx, log, old, new).await;
        timer.end(proof)
    }

    async fn signed_head(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError> {
        self.0.signed_head(cx, log).await
    }

    async fn verify(&self, cx: &RequestContext) -> Result<Report, AuditError> {
        let core = &self.0;
        let timer = Timer::start(VERIFY, &*core.clock, &*core.observer);
        if cx.actor().kind != ActorKind::System {
            return timer.end(Err(AuditError::Denied));
        }
        let verified = match core.open() {
            Ok(()) => {
                // What is being pruned is not looked at half way.
                let _turn = core.retention.turn.lock().await;
                let mut signing = core.signing.lock().await;
                signing.verify(&core.queue, &core.index).await
            }
            Err(closed) => Err(closed),
        };
        timer.end(match core.note_corruption(verified).await {
            Ok(report) => {
                let event = events::verified(&report);
                let recorded = core.record(LogId::System, event, Outcome::Success).await;
                recorded.map(|()| report)
            }
            Err(error) => Err(error),
        })
    }

    fn stats(&self) -> Stats {
        self.0.index.stats()
    }
}

#[async_trait]
impl EventSink for EmbeddedAudit {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        let error = match self.append(cx, event).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let error = if event.kind().ack == Ack::Spool && error.log_is_down() {
            match self.0.spool(cx, event).await {
                Ok(()) => return Ok(()),
                // Where the log left the entry in doubt it stays in doubt.
                Err(spool) if error.written() == Written::No => spool,
                Err(_) => error,
            }
        } else {
            error
        };
        Err(match error.written() {
            Written::No => EmitError::NotWritten(error.into()),
            Written::Unknown => EmitError::Unknown(error.into()),
        })
    }
}

#[async_trait]
impl Component for EmbeddedAudit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        let stats = self.0.index.stats();
        if self.0.closed.load(Ordering::Acquire) {
            Health::Unhealthy("closed")
        } else if self.0.down.load(Ordering::Acquire) {
            Health::Unhealthy("a write failed twice: the log must be opened again")
        } else if self.0.corrupt.load(Ordering::Acquire) {
            Health::Unhealthy("the bytes on disk are not what was written")
        } else if self.0.halted.get().is_some() {
            Health::Unhealthy("the log is not the one that was signed: it signs nothing more")
        } else if self.0.overdue.load(Ordering::Acquire) {
            Health::Degraded("too few witnesses cosign the log")
        } else if stats.abandoned > 0 {
            Health::Degraded("a segment was given up after a failed write")
        } else if stats.alerts_dropped > 0 || stats.alerts_failed > 0 {
            Health::Degraded("alerts were not delivered")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        self.0.shut().await;
    }
}
