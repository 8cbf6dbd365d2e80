//! Alerts on their way to people: after the entry is durable, and never in a caller's way.

use std::sync::{Arc, Weak};

use eonpro_core::port::{Alert, AlertSink};
use eonpro_core::task;
use tokio::sync::{mpsc, oneshot};

use super::index::count;
use super::open_log::OpenLog;
use crate::log_id::LogId;

/// What the delivering task is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// Deliver this, and record it as SEC-001 in the log of its event.
    Alert(LogId, Alert),
    /// Answer when everything before is delivered.
    Drain(oneshot::Sender<()>),
}

/// Delivers until the log is dropped.
pub(super) fn start(
    log: Weak<OpenLog>,
    sink: Arc<dyn AlertSink>,
    mut notices: mpsc::Receiver<Notice>,
) -> tokio::task::JoinHandle<()> {
    task::start(async move {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Alert(id, alert) => deliver(&log, &*sink, id, &alert).await,
                // Whoever waited may have given up.
                Notice::Drain(done) => _ = done.send(()),
            }
        }
    })
}

async fn deliver(log: &Weak<OpenLog>, sink: &dyn AlertSink, id: LogId, alert: &Alert) {
    let delivered = sink.deliver(alert).await;
    let Some(log) = log.upgrade() else { return };
    if delivered.is_err() {
        count(&log.index.counters.alerts_failed, 1);
    }
    if let Err(error) = log.record_alert(id, alert).await {
        tracing::error!(%error, "an alert could not be recorded");
    }
}
