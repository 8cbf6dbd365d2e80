//! Flights: one computation for all who wait for the same key.
//!
//! A flight belongs to nobody who waits: it runs in a task of its own, and a caller who goes away
//! harms no other. Who comes after an invalidation does not board the old flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eonpro_core::digest::Digest;
use tokio::sync::watch;

use crate::error::CacheError;
use crate::generation::Guard;
use crate::service::Origin;

/// How a flight ended.
pub(crate) type Landing = Result<(Option<Bytes>, Origin), CacheError>;

/// Where those who wait hear of the landing.
pub(crate) type Arrivals = watch::Receiver<Option<Landing>>;

#[derive(Debug)]
struct Flight {
    guard: Guard,
    arrivals: Arrivals,
}

/// All flights of one cache.
#[derive(Debug)]
pub(crate) struct Flights {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // Includes old flights that an invalidation has taken off the board.
    running: usize,
    board: HashMap<Digest, Arc<Flight>>,
}

/// The right and the duty to land one flight. Dropped without [`Pilot::land`], as by a panic, it
/// tells all who wait that there will be no result.
#[derive(Debug)]
pub(crate) struct Pilot {
    flights: Arc<Flights>,
    key: Digest,
    flight: Arc<Flight>,
    tower: watch::Sender<Option<Landing>>,
}

/// How a caller boards.
#[derive(Debug)]
pub(crate) enum Boarding {
    /// Another caller's flight.
    Joined(Arrivals),
    /// A new flight, to be flown.
    Leading(Pilot, Arrivals),
}

impl Flights {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            state: Mutex::default(),
        })
    }

    /// Boards the flight of `key`, or starts a new one under the present guard.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &Digest,
        guard: impl FnOnce() -> Guard,
    ) -> Result<Boarding, CacheError> {
        let mut state = self.state();
        if let Some(flight) = state.board.get(key).filter(|flight| flight.guard.holds()) {
            return Ok(Boarding::Joined(flight.arrivals.clone()));
        }
        if state.running >= self.limit {
            return Err(CacheError::Overloaded);
        }
        let (tower, arrivals) = watch::channel(None);
        let flight = Arc::new(Flight {
            guard: guard(),
            arrivals: arrivals.clone(),
        });
        state.running += 1;
        state.board.insert(*key, Arc::clone(&flight));
        drop(state);
        let pilot = Pilot {
            flights: Arc::clone(self),
            key: *key,
            flight,
            tower,
        };
        Ok(Boarding::Leading(pilot, arrivals))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pilot {
    /// The generations under which the flight started.
    pub(crate) fn guard(&self) -> &Guard {
        &self.flight.guard
    }

    /// Takes the flight off the board and tells all who wait.
    pub(crate) fn land(self, landing: Landing) {
        // Nobody may be waiting any more, which is no error.
        self.tower.send_replace(Some(landing));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut state = self.flights.state();
        state.running -= 1;
        let ours = state.board.get(&self.key);
        if ours.is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            state.board.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Generations;
    use eonpro_testkit::tenant_id;

    fn lead(boarding: Boarding) -> (Pilot, Arrivals) {
        match boarding {
            Boarding::Leading(pilot, arrivals) => (pilot, arrivals),
            Boarding::Joined(_) => panic!("expected to lead"),
        }
    }

    #[test]
    fn a_lost_pilot_leaves_no_flight_behind() {
        let (flights, generations) = (Flights::new(1), Generations::new());
        let key = Digest::of(b"k");
        let guard = || generations.guard(tenant_id(1), &key);
        let (pilot, arrivals) = lead(flights.board(&key, guard).unwrap());
        drop(pilot);
        assert!(arrivals.has_changed().is_err());
        lead(flights.board(&key, guard).unwrap());
    }

    #[test]
    fn who_comes_after_an_invalidation_starts_a_new_flight() {
        let (flights, generations) = (Flights::new(2), Generations::new());
        let key = Digest::of(b"k");
        let guard = || generations.guard(tenant_id(1), &key);
        let (old, _) = lead(flights.board(&key, guard).unwrap());
        assert!(matches!(
            flights.board(&key, guard),
            Ok(Boarding::Joined(_))
        ));
        generations.invalidate(&key, || {});
        let (new, _) = lead(flights.board(&key, guard).unwrap());
        // The old one lands late and must leave the new one on the board.
        old.land(Ok((None, Origin::Computed)));
        assert!(matches!(
            flights.board(&key, guard),
            Ok(Boarding::Joined(_))
        ));
        drop(new);
    }

    #[test]
    fn flights_are_limited_old_ones_included() {
        let (flights, generations) = (Flights::new(1), Generations::new());
        let key = Digest::of(b"k");
        let guard = || generations.guard(tenant_id(1), &key);
        let old = lead(flights.board(&key, guard).unwrap());
        generations.invalidate(&key, || {});
        assert!(matches!(
            flights.board(&key, guard),
            Err(CacheError::Overloaded)
        ));
        drop(old);
        assert!(flights.board(&key, guard).is_ok());
    }
}
