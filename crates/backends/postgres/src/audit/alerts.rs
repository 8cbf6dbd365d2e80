//! Alerts on their way to people, and checkpoints that are due: after the entry is durable, and never in a
//! caller's way.

use std::sync::{Arc, Weak};

use eonpro_core::port::{Alert, AlertSink};
use eonpro_core::task;
use tokio::sync::{mpsc, oneshot};

use super::{Core, count};

/// What the delivering task is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// Deliver this, and record it as SEC-001 in the log of its event.
    Alert(Alert),
    /// Sign what grew.
    Checkpoint,
    /// Answer when everything before is delivered.
    Drain(oneshot::Sender<()>),
}

/// Delivers until the log is dropped.
pub(super) fn start(
    core: Weak<Core>,
    sink: Arc<dyn AlertSink>,
    mut notices: mpsc::Receiver<Notice>,
) -> tokio::task::JoinHandle<()> {
    task::start(async move {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Alert(alert) => deliver(&core, &*sink, &alert).await,
                Notice::Checkpoint => {
                    let Some(core) = core.upgrade() else { return };
                    if let Err(error) = core.sign().await {
                        tracing::error!(%error, "an audit checkpoint failed");
                    }
                }
                // Whoever waited may have given up.
                Notice::Drain(done) => _ = done.send(()),
            }
        }
    })
}

async fn deliver(core: &Weak<Core>, sink: &dyn AlertSink, alert: &Alert) {
    let delivered = sink.deliver(alert).await;
    let Some(core) = core.upgrade() else { return };
    if delivered.is_err() {
        count(&core.shared.counters.alerts_failed, 1);
    }
    if let Err(error) = core.record_alert(alert).await {
        tracing::error!(%error, "an alert could not be recorded");
    }
}
