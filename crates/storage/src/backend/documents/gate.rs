//! How many changes run at once, and that closing waits for them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eonpro_core::RequestContext;
use eonpro_core::time::Clock;
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::StorageError;

#[derive(Debug)]
pub(super) struct Gate {
    passes: Arc<Semaphore>,
    all: u32,
    closed: AtomicBool,
}

impl Gate {
    pub(super) fn new(passes: usize) -> Self {
        Self {
            passes: Arc::new(Semaphore::new(passes)),
            all: u32::try_from(passes).unwrap_or(u32::MAX),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits for a pass, at most until the caller's deadline.
    pub(super) async fn enter(
        &self,
        cx: &RequestContext,
        clock: &dyn Clock,
    ) -> Result<OwnedSemaphorePermit, StorageError> {
        if self.is_closed() {
            return Err(StorageError::Closed);
        }
        let pass = Arc::clone(&self.passes).acquire_owned();
        let pass = in_time(cx, clock, pass).await?;
        pass.map_err(|_| StorageError::Closed)
    }

    /// Lets nobody in any more and waits for those inside.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // An error means that somebody else has closed it already.
        if let Ok(all) = self.passes.acquire_many(self.all).await {
            self.passes.close();
            all.forget();
        }
    }
}

/// What `work` yields, unless the deadline passes or the request is cancelled first.
pub(super) async fn in_time<F: Future>(
    cx: &RequestContext,
    clock: &dyn Clock,
    work: F,
) -> Result<F::Output, StorageError> {
    let late = async {
        match cx.deadline() {
            Some(at) => clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let (late, cancelled) = (pin!(late), pin!(cx.cancellation().cancelled()));
    match select(pin!(work), select(late, cancelled)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(StorageError::Deadline),
    }
}
