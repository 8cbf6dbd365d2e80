//! What all handles of an open log share: building leaves, queueing, spooling, reading back.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use eonpro_core::RequestContext;
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::{Event, EventData, Outcome};
use eonpro_core::port::{Alert, Observer};
use eonpro_core::task;
use eonpro_core::time::SharedClock;
use futures_util::future::{Either, select, try_join_all};
use tokio::sync::{mpsc, oneshot};

use super::alerts::Notice;
use super::cosigning::Round;
use super::entries::Entries;
use super::heads::Heads;
use super::index::{Index, count};
use super::lookup::Lookup;
use super::pruning::Retention;
use super::queue::{NewLeaf, Queue};
use super::recovery::Dropped;
use super::sealing::Successor;
use super::signing::{Halt, Signing};
use crate::alert::alert_for;
use crate::checkpoint::Checkpoint;
use crate::config::AuditConfig;
use crate::entry::LeafBuilder;
use crate::error::AuditError;
use crate::events;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use crate::merkle::empty_root;
use crate::service::{DirectoryHead, Receipt};
use crate::spool::{self, NotSpooled, Spool};
use crate::wire::{self, EntryView};

/// How many spooled entries are folded in at once, sharing syncs.
const FOLDED_AT_ONCE: usize = 1_024;

/// An open log; it lives until its last handle and its last running call are gone.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub(super) config: AuditConfig,
    pub(super) layout: Layout,
    pub(super) clock: SharedClock,
    pub(super) entropy: SharedEntropy,
    pub(super) builder: LeafBuilder,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) queue: Queue,
    pub(super) index: Arc<Index>,
    pub(super) lookup: Lookup,
    pub(super) heads: Arc<Heads>,
    pub(super) signing: tokio::sync::Mutex<Signing>,
    pub(super) spool: Mutex<Option<Spool>>,
    pub(super) retention: Retention,
    pub(super) closed: AtomicBool,
    pub(super) down: AtomicBool,
    /// Whether the bytes on disk were found to differ from what was written.
    pub(super) corrupt: AtomicBool,
    /// Why nothing more is signed, and whether nothing is appended either.
    pub(super) halted: OnceLock<Halt>,
    pub(super) forked: AtomicBool,
    /// Whether a quorum of witnesses is missing, and for too long.
    pub(super) short: AtomicBool,
    pub(super) overdue: AtomicBool,
    /// Entries since the last automatic checkpoint, and whether one is being made.
    pub(super) since_checkpoint: AtomicU64,
    pub(super) checkpointing: AtomicBool,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) ending: Mutex<Option<Ending>>,
}

/// What `close` must wait for.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) writer: JoinHandle<()>,
    pub(super) alerts: tokio::task::JoinHandle<()>,
}

impl Ending {
    pub(super) fn of(
        writer: JoinHandle<()>,
        alerts: tokio::task::JoinHandle<()>,
    ) -> Mutex<Option<Self>> {
        Mutex::new(Some(Self { writer, alerts }))
    }
}

impl OpenLog {
    /// Records what recovery dropped, folds in what was spooled, records the start, and signs.
    pub(super) async fn begin(
        &self,
        spooled: Vec<(LogId, Vec<u8>)>,
        dropped: Option<Dropped>,
    ) -> Result<(), AuditError> {
        if let Some(dropped) = dropped {
            tracing::warn!(
                bytes = dropped.bytes,
                "an unfinished audit batch was dropped"
            );
            let event = events::recovered(dropped.segment, dropped.bytes, dropped.batches);
            self.record(LogId::System, event, Outcome::Minor).await?;
        }
        for part in spooled.chunks(FOLDED_AT_ONCE) {
            let folding = part.iter().map(|(log, tail)| self.fold(*log, tail));
            // Polled in order, so they are queued in order.
            try_join_all(folding).await?;
        }
        spool::remove(&self.layout)?;
        let mark = self.queue.mark().await?;
        let system = mark.heads.iter().find(|head| head.log == LogId::System);
        let head = system.copied().unwrap_or_else(|| Checkpoint {
            log: LogId::System,
            size: 0,
            root: empty_root(),
        });
        let event = events::started(&head);
        self.record(LogId::System, event, Outcome::Success).await?;
        match self.sign().await {
            Err(error @ (AuditError::Sign(_) | AuditError::HeadStore(_))) => {
                tracing::error!(%error, "the audit log starts with entries that are not signed");
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// Records first of all which log this one follows, unless a call that was cut short has done so.
    pub(super) async fn succeed(&self, successor: Successor) -> Result<(), AuditError> {
        let mark = self.queue.mark().await?;
        if mark.heads.iter().any(|head| head.log == LogId::System) {
            return Ok(());
        }
        let Successor { statement, order } = successor;
        let cx = RequestContext::system("audit", &*self.clock, &*self.entropy);
        let sealed = events::sealed(&statement);
        let stopped = events::stopped(&statement, order.by, order.reason);
        let both = [
            Event::new(sealed, Outcome::Serious, &*self.clock, &*self.entropy),
            Event::new(stopped, Outcome::Success, &*self.clock, &*self.entropy),
        ];
        self.submit(LogId::System, &cx, &both).await?;
        Ok(())
    }

    async fn fold(&self, log: LogId, tail: &[u8]) -> Result<(), AuditError> {
        let (event, _) = wire::tail_brief(tail)
            .map_err(|_| VerifyError::tampered(Place::file(layout::SPOOL, 0), Fault::Spool))?;
        let leaf = NewLeaf::Entry {
            event,
            tail: tail.to_vec(),
            // It was raised when the entry was spooled.
            alert: None,
        };
        self.queue.append(None, log, vec![leaf]).await?;
        Ok(())
    }

    /// Signs what grew. If the disk is found to differ, that is on record, as far as it can be.
    pub(super) async fn sign(&self) -> Result<DirectoryHead, AuditError> {
        let (signed, round) = {
            let mut signing = self.signing.lock().await;
            match signing.checkpoint(&self.queue).await {
                Ok(head) => (Ok(head), signing.cosign(&self.index).await),
                Err(error) => (Err(error), Ok(Round::Quiet)),
            }
        };
        if let Ok(round) = &round {
            self.note_round(round).await;
        }
        let signed = signed.and_then(|head| round.map(|_| head));
        self.note_corruption(signed).await
    }

    /// Records AUD-006 where the bytes on disk are not what was written.
    pub(super) async fn note_corruption<T>(
        &self,
        result: Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        self.note_conflict(&result).await;
        if let Err(AuditError::Corrupt(error @ VerifyError::Tampered { .. })) = &result {
            self.corrupt.store(true, Ordering::Release);
            let event = events::failed(error);
            let recorded = self.record(LogId::System, event, Outcome::Serious).await;
            if let Err(error) = recorded {
                tracing::error!(%error, "damage to the audit log could not be recorded");
            }
        }
        result
    }

    /// Appends an event of audit's own.
    pub(super) async fn record<E: EventData>(
        &self,
        log: LogId,
        data: E,
        outcome: Outcome,
    ) -> Result<(), AuditError> {
        let cx = RequestContext::system("audit", &*self.clock, &*self.entropy);
        let cx = match log {
            LogId::Tenant(id) => self.builder.bound(cx, id),
            LogId::System | LogId::Directory => cx,
        };
        let event = Event::new(data, outcome, &*self.clock, &*self.entropy);
        self.submit(log, &cx, std::slice::from_ref(&event)).await?;
        Ok(())
    }

    pub(super) async fn record_alert(&self, log: LogId, alert: &Alert) -> Result<(), AuditError> {
        self.record(log, events::alerted(alert), Outcome::Success)
            .await
    }

    pub(super) fn open(&self) -> Result<(), AuditError> {
        if self.closed.load(Ordering::Acquire) {
            Err(AuditError::Closed)
        } else {
            self.not_forked()
        }
    }

    pub(super) async fn submit(
        &self,
        log: LogId,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        let mut leaves = Vec::with_capacity(events.len());
        for event in events {
            leaves.push(NewLeaf::Entry {
                event: event.id(),
                tail: self.builder.tail(&log, cx, event).await?,
                alert: alert_for(&log, event),
            });
        }
        let result = self.queue.append(Some(cx), log, leaves).await;
        let failed = matches!(
            &result,
            Err(AuditError::Poisoned | AuditError::Down | AuditError::WorkerLost)
        );
        if failed {
            self.down.store(true, Ordering::Release);
        }
        result
    }

    /// Waits until the alerts of all entries are delivered and recorded, but not for ever.
    pub(super) async fn drain_alerts(&self) {
        let (done, drained) = oneshot::channel();
        let draining = async {
            // What is durable has raised its alerts; a log that is down has raised those of the spool.
            let _ = self.queue.mark().await;
            let _ = self.notices.send(Notice::Drain(done)).await;
            let _ = drained.await;
        };
        let until = self.clock.monotonic().plus(self.config.alert_drain);
        let late = self.clock.sleep_until(until);
        if let Either::Right(_) = select(Box::pin(draining), late).await {
            tracing::error!("alerts were still waiting when the audit log was closed");
        }
    }

    /// Starts a checkpoint in the background when enough entries have come since the last.
    pub(super) fn count_towards_checkpoint(self: &Arc<Self>, entries: usize) {
        let every = self.config.checkpoint_every;
        let so_far = self
            .since_checkpoint
            .fetch_add(entries as u64, Ordering::Relaxed);
        if every == 0
            || so_far + (entries as u64) < every
            || self.checkpointing.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.since_checkpoint.store(0, Ordering::Relaxed);
        let log = Arc::clone(self);
        task::start(async move {
            if let Err(error) = log.sign().await {
                tracing::error!(%error, "an audit checkpoint failed");
            }
            log.checkpointing.store(false, Ordering::Release);
            log.follow().await;
        });
    }

    /// Puts an event into the spool because the log is down.
    pub(super) async fn spool(
        self: &Arc<Self>,
        cx: &RequestContext,
        event: &Event,
    ) -> Result<(), AuditError> {
        let log = LogId::of(cx, event);
        let tail = self.builder.tail(&log, cx, event).await?;
        let own = Arc::clone(self);
        let written = task::blocking(move || own.write_spool(log, &tail)).await;
        written.map_err(|_| AuditError::WorkerLost)??;
        count(&self.index.counters.spooled, 1);
        if let Some(alert) = alert_for(&log, event)
            && self.notices.try_send(Notice::Alert(log, alert)).is_err()
        {
            count(&self.index.counters.alerts_dropped, 1);
        }
        Ok(())
    }

    fn write_spool(&self, log: LogId, tail: &[u8]) -> Result<(), AuditError> {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        // After the close the directory may be somebody else's.
        self.open()?;
        if spool.is_none() {
            let opened = Spool::open(&self.layout, self.config.spool_entries);
            *spool = Some(opened.map_err(|error| AuditError::Spool(error.into()))?);
        }
        let Some(open) = spool.as_mut() else {
            return Err(AuditError::WorkerLost);
        };
        let added = open.add(log, tail);
        if added.is_err() {
            // Reopening cuts what may be there by half.
            *spool = None;
        }
        added.map_err(|error| match error {
            NotSpooled::Certain(error) => AuditError::Spool(error.into()),
            NotSpooled::InDoubt => AuditError::Poisoned,
        })
    }

    /// Waits for a spooling that is under way; none begins after the close.
    pub(super) fn end_spool(&self) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        *spool = None;
    }

    pub(super) fn read_spots(
        &self,
        log: &LogId,
        range: &Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        let size = self.index.size(log).unwrap_or(0);
        let most = range.start.saturating_add(self.config.read_limit as u64);
        let mut entries = Entries::new(&self.layout, &self.index, *log);
        (range.start..range.end.min(size).min(most))
            .map(|index| entries.view(index))
            .collect()
    }
}
