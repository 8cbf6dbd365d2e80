//! What callers hand to the writer, and the budget that bounds it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use eonpro_core::RequestContext;
use eonpro_core::id::EventId;
use eonpro_core::port::Alert;
use eonpro_core::time::SharedClock;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::writer::Mark;
use crate::config::AuditConfig;
use crate::error::{AuditError, BatchFault};
use crate::log_id::LogId;
use crate::service::Receipt;

/// How soon a refused caller may find room.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// One leaf on its way into a log.
#[derive(Debug)]
pub(super) enum NewLeaf {
    /// An entry without its head, the event it records, and the alert it deserves.
    Entry {
        event: EventId,
        tail: Vec<u8>,
        alert: Option<Alert>,
    },
    /// A signed checkpoint, for the directory log.
    Checkpoint(Vec<u8>),
}

impl NewLeaf {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Entry { tail, .. } => tail.len(),
            Self::Checkpoint(note) => note.len(),
        }
    }
}

/// Leaves for one log: contiguous, all or nothing.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) log: LogId,
    pub(super) leaves: Vec<NewLeaf>,
    pub(super) reply: oneshot::Sender<Result<Vec<Receipt>, AuditError>>,
    pub(super) budget: Budget,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append(Append),
    /// Say how far the log is durable, after everything before.
    Mark(oneshot::Sender<Result<Mark, AuditError>>),
    /// End after everything before.
    End,
}

/// Whose budget an append uses. Given back when the append has ended, by being dropped with it.
#[derive(Debug)]
pub(super) enum Budget {
    /// A caller's: bounded.
    Caller(#[expect(dead_code, reason = "held, not read")] Permits),
    /// The log's own, for checkpoints and what was spooled: bounded by what it already holds.
    Own,
}

/// A share of the callers' budget.
#[derive(Debug)]
pub(super) struct Permits {
    _bytes: OwnedSemaphorePermit,
    _entries: OwnedSemaphorePermit,
}

/// The callers' end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Sender<Job>,
    bytes: Arc<Semaphore>,
    entries: Arc<Semaphore>,
    most_bytes: usize,
    most_entries: usize,
    wait: Duration,
    clock: SharedClock,
}

impl Queue {
    pub(super) fn new(jobs: Sender<Job>, config: &AuditConfig, clock: SharedClock) -> Self {
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

    /// How many leaves one append may have.
    pub(super) fn most_entries(&self) -> usize {
        self.most_entries
    }

    /// Appends `leaves` to `log`, waiting for room until the deadline of `cx`. Without `cx` it is
    /// the log's own business, and does not wait.
    pub(super) async fn append(
        &self,
        cx: Option<&RequestContext>,
        log: LogId,
        leaves: Vec<NewLeaf>,
    ) -> Result<Vec<Receipt>, AuditError> {
        let budget = match cx {
            Some(cx) => Budget::Caller(self.permits(cx, &leaves).await?),
            None => Budget::Own,
        };
        let (reply, answer) = oneshot::channel();
        self.send(Job::Append(Append {
            log,
            leaves,
            reply,
            budget,
        }))?;
        answer.await.map_err(|_| AuditError::WorkerLost)?
    }

    /// How far the log is durable, after everything accepted before.
    pub(super) async fn mark(&self) -> Result<Mark, AuditError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Mark(reply))?;
        answer.await.map_err(|_| AuditError::WorkerLost)?
    }

    /// Ends the writer after everything accepted before.
    pub(super) fn end(&self) {
        // A writer that is gone has ended.
        let _ = self.jobs.send(Job::End);
    }

    /// How many jobs wait for the writer.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.jobs.len()
    }

    fn send(&self, job: Job) -> Result<(), AuditError> {
        self.jobs.send(job).map_err(|_| AuditError::Closed)
    }

    async fn permits(
        &self,
        cx: &RequestContext,
        leaves: &[NewLeaf],
    ) -> Result<Permits, AuditError> {
        let bytes = leaves.iter().map(NewLeaf::bytes).sum::<usize>();
        if bytes > self.most_bytes || leaves.len() > self.most_entries {
            return Err(AuditError::Batch(BatchFault::TooLarge));
        }
        if let Some(permits) = self.permits_now(bytes, leaves.len()) {
            return Ok(permits);
        }
        let until = self.clock.monotonic().plus(self.wait);
        let until = cx.deadline().unwrap_or(until);
        let waiting = async {
            Ok(Permits {
                _bytes: acquire(&self.bytes, bytes).await?,
                _entries: acquire(&self.entries, leaves.len()).await?,
            })
        };
        let late = self.clock.sleep_until(until);
        match select(Box::pin(waiting), late).await {
            Either::Left((permits, _)) => permits,
            Either::Right(((), _)) => Err(AuditError::Overloaded {
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// The permits if there is room at once, without a timer.
    fn permits_now(&self, bytes: usize, leaves: usize) -> Option<Permits> {
        let bytes = u32::try_from(bytes).ok()?;
        let leaves = u32::try_from(leaves).ok()?;
        Some(Permits {
            _bytes: Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?,
            _entries: Arc::clone(&self.entries)
                .try_acquire_many_owned(leaves)
                .ok()?,
        })
    }
}

async fn acquire(
    semaphore: &Arc<Semaphore>,
    many: usize,
) -> Result<OwnedSemaphorePermit, AuditError> {
    let many = u32::try_from(many).map_err(|_| AuditError::Batch(BatchFault::TooLarge))?;
    let permit = Arc::clone(semaphore).acquire_many_owned(many).await;
    permit.map_err(|_| AuditError::Closed)
}
