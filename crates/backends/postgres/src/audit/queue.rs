//! What callers hand to the sequencer, and the budget that bounds it.

use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{AuditConfig, AuditError, BatchFault, LogId, Receipt};
use eonpro_core::RequestContext;
use eonpro_core::id::EventId;
use eonpro_core::port::Alert;
use eonpro_core::time::{Monotonic, SharedClock};
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::PgError;

/// How soon a refused caller may find room.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Entries for one log: contiguous, all or nothing.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) log: LogId,
    pub(super) ids: Vec<EventId>,
    pub(super) tails: Vec<Vec<u8>>,
    pub(super) alerts: Vec<Alert>,
    pub(super) reply: oneshot::Sender<Result<Vec<Receipt>, AuditError>>,
    /// Given back by being dropped.
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

impl Append {
    pub(super) fn bytes(&self) -> usize {
        self.tails.iter().map(Vec::len).sum()
    }
}

/// What the sequencer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append(Append),
    /// Answer once everything before was answered.
    Mark(oneshot::Sender<()>),
    /// End after everything before.
    End,
}

/// The callers' end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    bytes: Arc<Semaphore>,
    entries: Arc<Semaphore>,
    most_bytes: usize,
    most_entries: usize,
    wait: Duration,
    clock: SharedClock,
}

impl Queue {
    pub(super) fn new(
        jobs: mpsc::UnboundedSender<Job>,
        config: &AuditConfig,
        clock: SharedClock,
    ) -> Self {
        Self {
            jobs,
            bytes: Arc::new(Semaphore::new(config.queue_bytes)),
            entries: Arc::new(Semaphore::new(config.queue_entries)),
            most_bytes: config.queue_bytes.min(config.batch_bytes),
            most_entries: config.queue_entries.min(config.batch_entries),
            wait: config.queue_wait,
            clock,
        }
    }

    /// How many entries one append may have.
    pub(super) fn most_entries(&self) -> usize {
        self.most_entries
    }

    /// Appends, and waits for the answer until the deadline of `cx`. What was accepted goes on without
    /// the caller.
    pub(super) async fn append(
        &self,
        cx: &RequestContext,
        log: LogId,
        entries: Vec<(EventId, Vec<u8>)>,
        alerts: Vec<Alert>,
    ) -> Result<Vec<Receipt>, AuditError> {
        let until = self.clock.monotonic().plus(self.wait);
        let until = cx.deadline().unwrap_or(until);
        let bytes = entries.iter().map(|(_, tail)| tail.len()).sum::<usize>();
        let permits = self.permits(bytes, entries.len(), until).await?;
        let (ids, tails) = entries.into_iter().unzip();
        let (reply, answer) = oneshot::channel();
        self.send(Job::Append(Append {
            log,
            ids,
            tails,
            alerts,
            reply,
            _permits: permits,
        }))?;
        match select(answer, self.clock.sleep_until(until)).await {
            Either::Left((answer, _)) => answer.map_err(|_| AuditError::WorkerLost)?,
            Either::Right(_) => Err(AuditError::InDoubt(PgError::Timeout.into())),
        }
    }

    /// Returns once everything accepted before was answered.
    pub(super) async fn mark(&self) -> Result<(), AuditError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Mark(reply))?;
        answer.await.map_err(|_| AuditError::WorkerLost)
    }

    /// Ends the sequencer after everything accepted before.
    pub(super) fn end(&self) {
        // One that is gone has ended.
        let _ = self.jobs.send(Job::End);
    }

    fn send(&self, job: Job) -> Result<(), AuditError> {
        self.jobs.send(job).map_err(|_| AuditError::Closed)
    }

    async fn permits(
        &self,
        bytes: usize,
        entries: usize,
        until: Monotonic,
    ) -> Result<[OwnedSemaphorePermit; 2], AuditError> {
        let too_large = AuditError::Batch(BatchFault::TooLarge);
        if bytes > self.most_bytes || entries > self.most_entries {
            return Err(too_large);
        }
        let (Ok(bytes), Ok(entries)) = (u32::try_from(bytes), u32::try_from(entries)) else {
            return Err(too_large);
        };
        let closed = |_| AuditError::Closed;
        let waiting = Box::pin(async {
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
            let entries = Arc::clone(&self.entries).acquire_many_owned(entries).await;
            Ok([bytes.map_err(closed)?, entries.map_err(closed)?])
        });
        match select(waiting, self.clock.sleep_until(until)).await {
            Either::Left((permits, _)) => permits,
            Either::Right(_) => Err(AuditError::Overloaded {
                retry_after: RETRY_AFTER,
            }),
        }
    }
}
