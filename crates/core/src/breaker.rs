//! A circuit breaker: stop calling what keeps failing, and try it again later.
//!
//! Consecutive failures open it; after a pause it lets one probe through, whose outcome closes or
//! reopens it. Pure: time comes in as an argument.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::Monotonic;

/// When to open, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Consecutive failures that open the circuit; at least 1.
    pub failures: u32,
    /// How long it stays open before a probe.
    pub pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Monotonic },
    Probing { since: Monotonic },
}

/// See the [module](self).
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

/// The circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit is open")]
pub struct CircuitOpen {
    /// When a probe will be let through.
    pub retry_after: Duration,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Asks to make a call at `now`. Whoever gets leave must report how it went. A probe that
    /// never reports is given up after one pause.
    ///
    /// # Errors
    /// [`CircuitOpen`] while the circuit is open or a probe is under way.
    pub fn admit(&self, now: Monotonic) -> Result<(), CircuitOpen> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let until = match *state {
            State::Closed { .. } => return Ok(()),
            State::Open { until } => until,
            State::Probing { since } => since.plus(self.policy.pause),
        };
        if now < until {
            return Err(CircuitOpen {
                retry_after: until.since(now),
            });
        }
        *state = State::Probing { since: now };
        Ok(())
    }

    /// Reports how an admitted call went.
    pub fn report(&self, success: bool, now: Monotonic) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, success) {
            // A straggler from before the opening says nothing about the present.
            (open @ State::Open { .. }, _) => open,
            (_, true) => State::Closed { failures: 0 },
            (State::Closed { failures }, false) if failures + 1 < self.policy.failures => {
                State::Closed {
                    failures: failures + 1,
                }
            }
            (_, false) => State::Open {
                until: now.plus(self.policy.pause),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        pause: Duration::from_nanos(100),
    };

    fn at(nanos: u64) -> Monotonic {
        Monotonic::from_nanos(nanos)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(POLICY);
        for _ in 0..3 {
            breaker.admit(at(0)).unwrap();
            breaker.report(false, at(0));
        }
        breaker
    }

    #[test]
    fn only_consecutive_failures_open_the_circuit() {
        let breaker = Breaker::new(POLICY);
        for success in [false, false, true, false, false] {
            breaker.admit(at(0)).unwrap();
            breaker.report(success, at(0));
        }
        assert!(breaker.admit(at(0)).is_ok());
    }

    #[test]
    fn an_open_circuit_lets_one_probe_through_after_its_pause() {
        let breaker = opened();
        let retry_after = Duration::from_nanos(60);
        assert_eq!(breaker.admit(at(40)), Err(CircuitOpen { retry_after }));
        assert!(breaker.admit(at(100)).is_ok());
        assert!(breaker.admit(at(101)).is_err());
        breaker.report(true, at(102));
        assert!(breaker.admit(at(103)).is_ok());
    }

    #[test]
    fn a_failed_probe_reopens_and_a_lost_probe_is_given_up() {
        let breaker = opened();
        breaker.admit(at(100)).unwrap();
        breaker.report(false, at(110));
        assert!(breaker.admit(at(150)).is_err());
        breaker.admit(at(210)).unwrap();
        assert!(breaker.admit(at(309)).is_err());
        assert!(breaker.admit(at(310)).is_ok());
    }
}
