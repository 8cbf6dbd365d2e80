//! What all handles of an open log share: building leaves, queueing, spooling, reading back.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use eonpro_core::RequestContext;
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::{Digest, Event, EventData, Outcome};
use eonpro_core::port::{Alert, Observer};
use eonpro_core::task;
use eonpro_core::time::{SharedClock, Timestamp};
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot};

use super::alerts::Notice;
use super::index::{Index, count};
use super::queue::{NewLeaf, Queue};
use super::recovery::Dropped;
use super::signing::Signing;
use crate::alert::alert_for;
use crate::checkpoint::Checkpoint;
use crate::config::AuditConfig;
use crate::entry::LeafBuilder;
use crate::error::AuditError;
use crate::events;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use crate::merkle::CompactRange;
use crate::segment::{Frame, padded};
use crate::service::Receipt;
use crate::spool::{self, Spool};
use crate::wire::{self, EntryView, HEAD_BYTES, Leaf};

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
    pub(super) signing: tokio::sync::Mutex<Signing>,
    pub(super) spool: Mutex<Option<Spool>>,
    pub(super) closed: AtomicBool,
    pub(super) down: AtomicBool,
    /// Entries since the last automatic checkpoint, and whether one is being made.
    pub(super) since_checkpoint: AtomicU64,
    pub(super) checkpointing: AtomicBool,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) ending: Mutex<Option<Ending>>,
}

/// What `close` must wait for and give back.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) writer: JoinHandle<()>,
    pub(super) alerts: tokio::task::JoinHandle<()>,
    pub(super) lock: File,
}

impl OpenLog {
    /// Folds in what was spooled, and records the start and what recovery dropped.
    pub(super) async fn begin(
        &self,
        spooled: Vec<(LogId, Vec<u8>)>,
        dropped: Option<Dropped>,
    ) -> Result<(), AuditError> {
        for (log, tail) in spooled {
            let leaf = spooled_leaf(tail)?;
            self.queue.append(None, log, vec![leaf]).await?;
        }
        spool::remove(&self.layout)?;
        let entries = self.index.stats().entries;
        if let Some(dropped) = dropped {
            tracing::warn!(
                bytes = dropped.bytes,
                "an unfinished audit batch was dropped"
            );
            let event = events::recovered(dropped.segment, dropped.bytes, entries);
            self.record(LogId::System, event, Outcome::Minor).await?;
        }
        let mark = self.queue.mark().await?;
        let system = mark.heads.iter().find(|head| head.log == LogId::System);
        let head = system.copied().unwrap_or_else(|| Checkpoint {
            log: LogId::System,
            size: 0,
            root: CompactRange::new().root(),
        });
        let event = events::started(&head);
        self.record(LogId::System, event, Outcome::Success).await
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
            Ok(())
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
            // What is durable has raised its alerts.
            if self.queue.mark().await.is_ok() {
                let _ = self.notices.send(Notice::Drain(done)).await;
                let _ = drained.await;
            }
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
        let core = Arc::clone(self);
        task::start(async move {
            if let Err(error) = core.signing.lock().await.checkpoint(&core.queue).await {
                tracing::error!(%error, "an audit checkpoint failed");
            }
            core.checkpointing.store(false, Ordering::Release);
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
        let core = Arc::clone(self);
        let written = task::blocking(move || core.write_spool(log, &tail)).await;
        written.map_err(|_| AuditError::WorkerLost)??;
        count(&self.index.counters.spooled, 1);
        Ok(())
    }

    fn write_spool(&self, log: LogId, tail: &[u8]) -> Result<(), AuditError> {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
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
        added.map_err(|error| AuditError::Spool(error.into()))
    }

    pub(super) fn read_spots(
        &self,
        log: &LogId,
        range: &Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        let spots = self.index.spots(log, range, self.config.read_limit);
        let mut views = Vec::with_capacity(spots.len());
        for (index, spot) in (range.start..).zip(spots) {
            let from = spot.offset as usize;
            let until = from + padded(spot.length as usize);
            let bytes = self
                .layout
                .read(u64::from(spot.segment), from, Some(until))?;
            let frame = Frame::parse(&bytes).filter(|frame| frame.index == index);
            let frame = frame
                .ok_or_else(|| VerifyError::tampered(Place::entry(*log, index), Fault::Frame))?;
            views.push(EntryView {
                log: *log,
                index,
                bytes: frame.payload.to_vec(),
            });
        }
        Ok(views)
    }
}

/// The leaf of a spooled entry, with its event's id read back from it.
fn spooled_leaf(tail: Vec<u8>) -> Result<NewLeaf, AuditError> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + tail.len());
    let zero = Digest::from_bytes([0; 32]);
    wire::push_head(&mut bytes, &zero, Timestamp::EPOCH);
    bytes.extend_from_slice(&tail);
    let brief = Leaf::parse(&bytes).and_then(|leaf| leaf.brief());
    let (event, _) =
        brief.map_err(|_| VerifyError::tampered(Place::file(layout::SPOOL, 0), Fault::Spool))?;
    Ok(NewLeaf::Entry {
        event,
        tail,
        alert: None,
    })
}
