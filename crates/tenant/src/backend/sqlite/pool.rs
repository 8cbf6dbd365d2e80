//! Which databases are open, and whose turn it is.
//!
//! One connection per tenant, one call at a time on it, first come first served. Invariant: idle
//! and working connections together never exceed the limit; the least recently used idle one
//! makes room. A tenant's waiting calls hold no permit, so a busy tenant cannot starve others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::error::DbError;
use super::file::Handle;
use crate::record::StorageId;

#[derive(Debug)]
pub(super) struct Pool {
    max_open: usize,
    max_waiting: usize,
    working: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<StorageId, Queue>,
    idle: HashMap<StorageId, Idle>,
    ticks: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    turn: Arc<tokio::sync::Mutex<()>>,
    calls: usize,
}

#[derive(Debug)]
struct Idle {
    handle: Handle,
    last_used: u64,
}

/// A place in one tenant's queue.
#[derive(Debug)]
struct Place {
    pool: Arc<Pool>,
    storage: StorageId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if let Some(queue) = state.queues.get_mut(&self.storage) {
            queue.calls -= 1;
            if queue.calls == 0 {
                state.queues.remove(&self.storage);
            }
        }
    }
}

/// The right to work on one tenant's database now.
#[derive(Debug)]
pub(super) struct Turn {
    // Dropped in this order: the turn passes on before the place is given up.
    _permit: OwnedSemaphorePermit,
    _turn: OwnedMutexGuard<()>,
    place: Place,
}

impl Pool {
    pub(super) fn new(max_open: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            max_open,
            max_waiting,
            working: Arc::new(Semaphore::new(max_open)),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn on `storage`. Cancel-safe.
    pub(super) async fn turn(self: &Arc<Self>, storage: StorageId) -> Result<Turn, DbError> {
        let (place, lock) = self.queue_up(storage)?;
        let turn = lock.lock_owned().await;
        let working = Arc::clone(&self.working).acquire_owned().await;
        Ok(Turn {
            _permit: working.map_err(|_| DbError::Closed)?,
            _turn: turn,
            place,
        })
    }

    fn queue_up(
        self: &Arc<Self>,
        storage: StorageId,
    ) -> Result<(Place, Arc<tokio::sync::Mutex<()>>), DbError> {
        let mut state = self.state();
        if state.closed {
            return Err(DbError::Closed);
        }
        let queue = state.queues.entry(storage).or_default();
        if queue.calls > self.max_waiting {
            return Err(DbError::Overloaded);
        }
        queue.calls += 1;
        let lock = Arc::clone(&queue.turn);
        drop(state);
        let place = Place {
            pool: Arc::clone(self),
            storage,
        };
        Ok((place, lock))
    }

    /// Takes no more calls, waits for the running ones, and closes every connection.
    pub(super) async fn close(&self) {
        self.state().closed = true;
        let all = u32::try_from(self.max_open).unwrap_or(u32::MAX);
        let finished = self.working.acquire_many(all).await;
        let idle = std::mem::take(&mut self.state().idle);
        // Closing writes the log back into the database: disk work.
        let _ = eonpro_core::task::blocking(move || drop(idle)).await;
        self.working.close();
        drop(finished);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// How many connections are open and idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.state().idle.len()
    }
}

impl Turn {
    pub(super) fn storage(&self) -> StorageId {
        self.place.storage
    }

    /// The tenant's connection: the open one, or a new one by `open`, for which the least recently
    /// used may have to close. Blocks.
    pub(super) fn take(
        &self,
        open: impl FnOnce(StorageId) -> Result<Handle, DbError>,
    ) -> Result<Handle, DbError> {
        let pool = &self.place.pool;
        let mut state = pool.state();
        if let Some(idle) = state.idle.remove(&self.storage()) {
            return Ok(idle.handle);
        }
        let mut evicted = Vec::new();
        let working = pool.max_open - pool.working.available_permits();
        while state.idle.len() + working > pool.max_open {
            let oldest = state.idle.iter().min_by_key(|(_, idle)| idle.last_used);
            let Some(oldest) = oldest.map(|(storage, _)| *storage) else {
                break;
            };
            evicted.extend(state.idle.remove(&oldest));
        }
        drop(state);
        drop(evicted);
        open(self.storage())
    }

    /// Gives the connection back for the next turn.
    pub(super) fn put_back(&self, handle: Handle) {
        let mut state = self.place.pool.state();
        state.ticks += 1;
        let last_used = state.ticks;
        let storage = self.storage();
        state.idle.insert(storage, Idle { handle, last_used });
    }

    /// Closes the tenant's connection, if one is open. Blocks.
    pub(super) fn shut(&self) {
        let idle = self.place.pool.state().idle.remove(&self.storage());
        drop(idle);
    }
}
