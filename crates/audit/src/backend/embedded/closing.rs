//! Shutting down: alerts delivered, the end on record, the last signature, and everybody answered.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use eonpro_core::RequestContext;
use eonpro_core::event::{Event, Outcome};
use eonpro_core::task;
use futures_util::future::{Either, select};

use super::open_log::{Ending, OpenLog};
use super::queue::NewLeaf;
use crate::error::AuditError;
use crate::events;
use crate::log_id::LogId;

impl OpenLog {
    /// Ends the log once, and waits for it, but no longer than the configuration says.
    pub(super) async fn shut(self: &Arc<Self>) {
        self.closed.store(true, Ordering::Release);
        let ending = {
            let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
            ending.take()
        };
        let Some(ending) = ending else { return };
        let own = Arc::clone(self);
        // Cut off in the middle, the lock could be given back while the spool is still written.
        let ended = task::start(async move { own.end_in_order(ending).await });
        let until = self.clock.monotonic().plus(self.config.close_wait);
        if let Either::Right(_) = select(ended, self.clock.sleep_until(until)).await {
            tracing::error!("the audit log did not end in time");
        }
        self.queue.give_up();
    }

    async fn end_in_order(self: &Arc<Self>, ending: Ending) {
        self.drain_alerts().await;
        ending.alerts.abort();
        if let Err(error) = self.record_end().await {
            tracing::warn!(%error, "the end of the audit log is not on record");
        }
        if let Err(error) = self.sign().await {
            tracing::error!(%error, "the last audit checkpoint failed");
        }
        self.close_index().await;
        let own = Arc::clone(self);
        if task::blocking(move || own.end_spool()).await.is_err() {
            tracing::error!("the audit spool ended early");
        }
        // What prunes or erases goes on to the end of its step, and begins no other.
        drop(self.retention.gate.lock().await);
        self.queue.end();
        // The writer gives the lock back after its last byte.
        let ended = task::blocking(move || ending.writer.join().is_ok());
        if ended.await != Ok(true) {
            tracing::error!("the audit writer ended early");
        }
    }

    /// Records AUD-002. An end in order is no alarm, so unlike others of its severity it raises no alert.
    async fn record_end(&self) -> Result<(), AuditError> {
        self.not_forked()?;
        let mark = self.queue.mark().await?;
        let system = mark.heads.iter().find(|head| head.log == LogId::System);
        let cx = RequestContext::system("audit", &*self.clock, &*self.entropy);
        let last = system.map_or(0, |head| head.size.saturating_sub(1));
        let event = events::closed(cx.actor().id.clone(), last);
        let event = Event::new(event, Outcome::Success, &*self.clock, &*self.entropy);
        let leaf = NewLeaf::Entry {
            event: event.id(),
            tail: self.builder.tail(&LogId::System, &cx, &event).await?,
            alert: None,
        };
        // Not out of the callers' budget, which may be used up.
        self.queue.append(None, LogId::System, vec![leaf]).await?;
        Ok(())
    }
}
