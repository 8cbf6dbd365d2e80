//! A rate limiter in this process: GCRA, as governor and Redis' limiters use it.
//!
//! The generic cell rate algorithm keeps one instant per key, the theoretical arrival time. The
//! number of keys is bounded: beyond it, keys that are whole again are forgotten first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::port::{LimitError, LimitKey, Rate, RateDecision, RateLimiter};
use crate::time::{Monotonic, SharedClock};

/// The arithmetic: one key's state is the time at which its burst will be whole again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gcra {
    whole_at: u64,
}

impl Gcra {
    /// Takes one permit at `now`, if there is one.
    pub fn check(&mut self, rate: Rate, now: Monotonic) -> RateDecision {
        let period = u64::try_from(rate.period.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let each = (period / u64::from(rate.burst.max(1))).max(1);
        let now = now.nanos();
        let next = self.whole_at.max(now).saturating_add(each);
        // A full burst lies between now and now + period.
        let latest = now.saturating_add(each.saturating_mul(u64::from(rate.burst.max(1))));
        if next > latest {
            return RateDecision::Limited {
                retry_after: Duration::from_nanos(next - latest),
            };
        }
        self.whole_at = next;
        let remaining = u32::try_from((latest - next) / each).unwrap_or(u32::MAX);
        RateDecision::Allowed { remaining }
    }

    fn is_whole(self, now: Monotonic) -> bool {
        self.whole_at <= now.nanos()
    }
}

/// A limiter for one process, bounded in memory.
#[derive(Debug)]
pub struct LocalLimiter {
    clock: SharedClock,
    capacity: usize,
    cells: Mutex<HashMap<LimitKey, Gcra>>,
}

impl LocalLimiter {
    /// A limiter for at most `capacity` keys at a time.
    #[must_use]
    pub fn new(clock: SharedClock, capacity: usize) -> Self {
        Self {
            clock,
            capacity: capacity.max(1),
            cells: Mutex::default(),
        }
    }

    /// As [`RateLimiter::check`], without waiting. With all `capacity` keys in use, a new key is
    /// limited: forgetting somebody's count would let an attacker reset it.
    pub fn check_now(&self, key: &LimitKey, rate: Rate) -> RateDecision {
        let now = self.clock.monotonic();
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= self.capacity && !cells.contains_key(key) {
            cells.retain(|_, cell| !cell.is_whole(now));
            if cells.len() >= self.capacity {
                return RateDecision::Limited {
                    retry_after: rate.period,
                };
            }
        }
        cells.entry(*key).or_default().check(rate, now)
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn check(&self, key: &LimitKey, rate: Rate) -> Result<RateDecision, LimitError> {
        Ok(self.check_now(key, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, Timestamp};
    use std::sync::Arc;

    const RATE: Rate = Rate {
        burst: 5,
        period: Duration::from_secs(10),
    };

    fn limiter(capacity: usize) -> (LocalLimiter, ManualClock) {
        let clock = ManualClock::at(Timestamp::EPOCH);
        (LocalLimiter::new(Arc::new(clock.clone()), capacity), clock)
    }

    fn allowed(decision: RateDecision) -> bool {
        matches!(decision, RateDecision::Allowed { .. })
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_its_turn() {
        let (limiter, clock) = limiter(10);
        let key = LimitKey::new("login", &[b"ada"]);
        for remaining in (0..5).rev() {
            assert_eq!(
                limiter.check_now(&key, RATE),
                RateDecision::Allowed { remaining }
            );
        }
        let retry_after = Duration::from_secs(2);
        assert_eq!(
            limiter.check_now(&key, RATE),
            RateDecision::Limited { retry_after }
        );
        clock.advance(retry_after);
        assert!(allowed(limiter.check_now(&key, RATE)));
        assert!(!allowed(limiter.check_now(&key, RATE)));
    }

    #[test]
    fn one_key_does_not_spend_anothers_permits() {
        let (limiter, _) = limiter(10);
        let (ada, bob) = (
            LimitKey::new("login", &[b"ada"]),
            LimitKey::new("login", &[b"bob"]),
        );
        for _ in 0..6 {
            let _ = limiter.check_now(&ada, RATE);
        }
        assert!(allowed(limiter.check_now(&bob, RATE)));
    }

    #[test]
    fn a_flood_of_keys_neither_grows_memory_nor_resets_a_count() {
        let (limiter, clock) = limiter(2);
        let victim = LimitKey::new("login", &[b"victim"]);
        for _ in 0..6 {
            let _ = limiter.check_now(&victim, RATE);
        }
        for n in 0..100_u32 {
            let _ = limiter.check_now(&LimitKey::new("login", &[&n.to_le_bytes()]), RATE);
        }
        assert!(!allowed(limiter.check_now(&victim, RATE)));
        assert!(limiter.cells.lock().unwrap().len() <= 2);
        clock.advance(RATE.period);
        assert!(allowed(
            limiter.check_now(&LimitKey::new("login", &[b"new"]), RATE)
        ));
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_rate_in_any_window(steps in proptest::collection::vec(0_u64..3_000, 1..200)) {
            let mut cell = Gcra::default();
            let mut now = 0_u64;
            let mut passed: Vec<u64> = Vec::new();
            for step in steps {
                now += step * 1_000_000;
                if allowed(cell.check(RATE, Monotonic::from_nanos(now))) {
                    passed.push(now);
                }
            }
            // GCRA admits at most burst + burst * window / period in any window.
            for (at, from) in passed.iter().enumerate() {
                let in_period = passed[at..].iter().filter(|to| **to - from < 10_000_000_000).count();
                proptest::prop_assert!(in_period <= 10);
            }
        }
    }
}
