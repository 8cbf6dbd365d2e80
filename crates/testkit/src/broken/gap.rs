//! A gap between a look and a deed, wide enough for a race to be lost in it on a loaded machine, too.

use std::time::Duration;

use tokio::sync::Notify;

/// Waits for company: whoever comes first goes on once a second one is there.
#[derive(Debug, Default)]
pub(super) struct Gap {
    entered: Notify,
}

impl Gap {
    /// Longer than a loaded machine takes to start the next task.
    const PATIENCE: Duration = Duration::from_millis(20);

    /// Returns once another one came in after this one, or nobody did for a while.
    pub(super) async fn pass(&self) {
        self.entered.notify_waiters();
        let company = self.entered.notified();
        let _alone = tokio::time::timeout(Self::PATIENCE, company).await;
    }
}
