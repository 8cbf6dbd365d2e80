//! Work that outlives the caller that started it.
//!
//! A caller may drop its future at any await. What must still happen then (an audit entry after
//! an effect, a cache fill that others wait for) runs in a task of its own.

use std::future::Future;

/// The task ended without a result: it panicked, or the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task ended without a result")]
pub struct TaskLost;

/// Runs `work` to its end, even if the returned future is dropped.
///
/// # Errors
/// [`TaskLost`] if `work` panicked or the runtime shuts down.
pub async fn outlive<F>(work: F) -> Result<F::Output, TaskLost>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    start(work).await.map_err(|_| TaskLost)
}

/// Starts `work` in the background and returns its handle.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
pub fn start<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}

/// Runs blocking `work` (disk, SQLite, key stretching) off the asynchronous threads.
///
/// Not cancellable: dropping the future leaves the work running to its end.
///
/// # Errors
/// [`TaskLost`] if `work` panicked or the runtime shuts down.
pub async fn blocking<T, F>(work: F) -> Result<T, TaskLost>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TaskLost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_after_its_caller_is_dropped() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let mut waiting = Box::pin(outlive(async move {
            let _ = started.send(());
            tokio::task::yield_now().await;
            let _ = send.send(42);
        }));
        tokio::select! {
            biased;
            _ = &mut waiting => {}
            _ = has_started => {}
        }
        drop(waiting);
        assert_eq!(receive.await, Ok(42));
    }
}
