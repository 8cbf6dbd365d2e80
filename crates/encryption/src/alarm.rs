//! KEY-005 from synchronous calls: a bounded queue, and the task that hands it to the event sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eonpro_core::RequestContext;
use eonpro_core::event::Emitter;
use eonpro_core::task;
use tokio::sync::{mpsc, oneshot};

use crate::events::{self, Refusal};

/// The chore under which eonpro speaks when no request does.
pub(crate) const CHORE: &str = "encryption";

#[derive(Debug)]
enum Alarm {
    Refused(Option<RequestContext>, Refusal),
    Flush(oneshot::Sender<()>),
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Alarms {
    queue: mpsc::Sender<Alarm>,
    lost: Arc<AtomicU64>,
}

impl Alarms {
    /// Starts the task; it ends when the last handle is gone.
    pub(crate) fn start(emitter: Emitter, capacity: usize) -> Self {
        let (queue, mut waiting) = mpsc::channel(capacity.max(1));
        let lost = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&lost);
        let _detached = task::start(async move {
            while let Some(alarm) = waiting.recv().await {
                match alarm {
                    Alarm::Refused(cx, refusal) => {
                        let cx = cx.unwrap_or_else(|| system_context(&emitter));
                        if events::decrypt_failed(&emitter, &cx, refusal)
                            .await
                            .is_err()
                        {
                            missed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Alarm::Flush(done) => {
                        let _nobody_waits = done.send(());
                    }
                }
            }
        });
        Self { queue, lost }
    }

    /// Queues KEY-005, or counts it as lost. Never waits.
    pub(crate) fn raise(&self, cx: Option<RequestContext>, refusal: Refusal) {
        if self.queue.try_send(Alarm::Refused(cx, refusal)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one that could not be told.
    pub(crate) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were not told.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns once everything queued so far was told.
    pub(crate) async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.queue.send(Alarm::Flush(done)).await.is_ok() {
            let _task_gone = told.await;
        }
    }
}

/// The context of what eonpro does by itself.
pub(crate) fn system_context(emitter: &Emitter) -> RequestContext {
    RequestContext::system(CHORE, &**emitter.clock(), &**emitter.entropy())
}
