//! What happens when somebody outside of the directory knows another log: people hear of it, and the log
//! stops to sign.

use std::sync::atomic::Ordering;

use eonpro_core::event::{Event, Outcome};
use eonpro_core::port::AlertSink;

use super::AuditParts;
use super::open_log::OpenLog;
use super::signing::Halt;
use crate::alert::alert_for;
use crate::error::AuditError;
use crate::events;
use crate::head::Keeper;
use crate::log_id::LogId;

/// Passes on what opening found. Of a conflict it raises an alert: the log itself is not written to, since
/// its bytes are evidence.
pub(super) async fn alerted<T>(
    opened: Result<T, AuditError>,
    parts: &AuditParts,
) -> Result<T, AuditError> {
    let Some(halt) = opened.as_ref().err().and_then(Halt::of) else {
        return opened;
    };
    tracing::error!(conflict = %halt.conflict(), "the audit log is not opened");
    let event = events::conflict(halt.conflict());
    let event = Event::new(event, Outcome::Serious, &*parts.clock, &*parts.entropy);
    if let Some(alert) = alert_for(&LogId::System, &event) {
        let sink: &dyn AlertSink = &*parts.alerts;
        if let Err(error) = sink.deliver(&alert).await {
            tracing::error!(%error, "an alert was not delivered");
        }
    }
    opened
}

impl OpenLog {
    /// Records AUD-008 once, where signing found that the log is not the one that it should be. Where the
    /// store says so another process signs this log: nothing more is appended then.
    pub(super) async fn note_conflict<T>(&self, result: &Result<T, AuditError>) {
        let Some(halt) = result.as_ref().err().and_then(Halt::of) else {
            return;
        };
        if self.halted.set(halt.clone()).is_err() {
            return;
        }
        tracing::error!(conflict = %halt.conflict(), "the audit log signs nothing more");
        let event = events::conflict(halt.conflict());
        let recorded = self.record(LogId::System, event, Outcome::Serious).await;
        if let Err(error) = recorded {
            tracing::error!(%error, "a conflict of the audit log could not be recorded");
        }
        if halt.conflict().keeper == Keeper::Store {
            self.forked.store(true, Ordering::Release);
        }
    }

    /// Refuses what would be appended to a log that another process goes on with.
    pub(super) fn not_forked(&self) -> Result<(), AuditError> {
        match self.halted.get() {
            Some(halt) if self.forked.load(Ordering::Acquire) => Err(halt.clone().into()),
            _ => Ok(()),
        }
    }
}
