//! Values sealed anew because somebody read them: off the request's path, and never in its way.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eonpro_core::TenantScope;
use eonpro_core::id::TenantId;
use eonpro_core::phi::Column;
use eonpro_core::port::{Replacement, RotationSource};
use eonpro_core::task;
use tokio::sync::{mpsc, oneshot};

/// A cell that is being replaced.
type Place = (TenantId, Vec<u8>, Column);

#[derive(Debug)]
enum Offer {
    Cell(TenantScope, Replacement, Place),
    Flush(oneshot::Sender<()>),
}

/// Replaces stale values of one source in the background.
///
/// Whoever opens a value and finds it stale ([`TenantCipher::is_stale`](crate::TenantCipher::is_stale))
/// seals it anew and offers both. The replacement is a compare-and-swap on the old bytes, so a writer in
/// between wins. It saves a later bulk rotation the row; it does not take its place, because what nobody
/// reads stays as it is.
#[derive(Clone)]
pub struct LazyResealer {
    queue: mpsc::Sender<Offer>,
    counts: Arc<Counts>,
    under_way: Arc<Mutex<HashSet<Place>>>,
    /// Whether the source's records are sealed as a whole.
    whole: bool,
}

#[derive(Debug, Default)]
struct Counts {
    replaced: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What became of all offers so far.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LazyCounts {
    /// Values that were replaced.
    pub replaced: u64,
    /// Values that somebody else had changed by then.
    pub lost: u64,
    /// Offers that were not taken: the queue was full, or the same cell was under way.
    pub dropped: u64,
    /// Replacements that the store did not do.
    pub failed: u64,
}

impl LazyResealer {
    /// Starts the task, which holds at most `capacity` offers (at least 1) and ends when the last handle
    /// is gone. Runs on a Tokio runtime.
    #[must_use]
    pub fn start(source: Arc<dyn RotationSource>, capacity: usize) -> Self {
        let (queue, mut offers) = mpsc::channel(capacity.clamp(1, 1 << 20));
        let whole = source.head().is_some();
        let counts = Arc::new(Counts::default());
        let under_way = Arc::new(Mutex::new(HashSet::new()));
        let (tally, places) = (Arc::clone(&counts), Arc::clone(&under_way));
        let _detached = task::start(async move {
            while let Some(offer) = offers.recv().await {
                match offer {
                    Offer::Flush(done) => {
                        let _nobody_waits = done.send(());
                    }
                    Offer::Cell(scope, change, place) => {
                        let done = source.replace(&scope, vec![change], None).await;
                        places
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&place);
                        match done {
                            Ok(done) => {
                                tally.replaced.fetch_add(done.updated, Ordering::Relaxed);
                                tally.lost.fetch_add(done.lost, Ordering::Relaxed);
                            }
                            Err(_) => {
                                tally.failed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
        });
        Self {
            queue,
            counts,
            under_way,
            whole,
        }
    }

    /// Offers `new` in place of `old` for one cell of the source, both sealed for it. Never waits. Returns
    /// whether the offer was taken; one that is not costs nothing but that the value stays stale. A source of records that are sealed as a
    /// whole takes none.
    pub fn offer(
        &self,
        scope: &TenantScope,
        row: &[u8],
        column: Column,
        old: Vec<u8>,
        new: Vec<u8>,
    ) -> bool {
        if self.whole {
            // One cell of a record that is one message would never open again with the others.
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let place = (scope.tenant(), row.to_vec(), column);
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = under_way.insert(place.clone()) && {
            let change = Replacement::of(row.to_vec(), column, old, new);
            let offer = Offer::Cell(scope.clone(), change, place.clone());
            let queued = self.queue.try_send(offer).is_ok();
            if !queued {
                under_way.remove(&place);
            }
            queued
        };
        if !taken {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// What became of all offers so far.
    #[must_use]
    pub fn counts(&self) -> LazyCounts {
        LazyCounts {
            replaced: self.counts.replaced.load(Ordering::Relaxed),
            lost: self.counts.lost.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Returns once everything offered so far was tried.
    pub async fn flush(&self) {
        let (done, tried) = oneshot::channel();
        if self.queue.send(Offer::Flush(done)).await.is_ok() {
            let _task_gone = tried.await;
        }
    }
}

impl fmt::Debug for LazyResealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazyResealer({:?})", self.counts())
    }
}
