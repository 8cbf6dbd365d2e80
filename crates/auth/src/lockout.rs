//! Counting failures in a row, and locking for longer each time.
//!
//! Pure: a count and an instant go in, a lock comes out. Only failures count, and they count after
//! they were verified, so parallel sign-ins with the right code never lock anybody out. NIST SP
//! 800-63B section 5.2.2.

use std::time::Duration;

use eonpro_core::time::Timestamp;

use crate::config::LockoutPolicy;

/// The failures of one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lockout {
    pub(crate) failures: u32,
    pub(crate) last: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Lockout {
    /// Whether attempts are refused unseen at `now`.
    pub(crate) fn is_locked(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The state after one more failure at `now`.
    pub(crate) fn after_failure(self, policy: &LockoutPolicy, now: Timestamp) -> Self {
        let stale = self
            .last
            .is_none_or(|last| now.since(last) >= policy.forget);
        let failures = if stale {
            1
        } else {
            self.failures.saturating_add(1)
        };
        Self {
            failures,
            last: Some(now),
            until: span(policy, failures).map(|span| now.plus(span)),
        }
    }
}

fn span(policy: &LockoutPolicy, failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(policy.threshold)?;
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    Some(policy.first.saturating_mul(factor).min(policy.longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(failures: u32) -> Vec<Option<u64>> {
        let policy = LockoutPolicy::default();
        let mut state = Lockout::default();
        (0..failures)
            .map(|n| {
                let now = Timestamp::from_seconds(i64::from(n));
                state = state.after_failure(&policy, now);
                state.until.map(|until| until.since(now).as_secs())
            })
            .collect()
    }

    #[test]
    fn each_failure_from_the_fifth_on_doubles_the_lock_up_to_a_quarter_of_an_hour() {
        assert_eq!(
            locks(11),
            [
                None,
                None,
                None,
                None,
                Some(30),
                Some(60),
                Some(120),
                Some(240),
                Some(480),
                Some(900),
                Some(900)
            ]
        );
        assert_eq!(locks(200).last(), Some(&Some(900)));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let policy = LockoutPolicy::default();
        let start = Timestamp::from_seconds(1_000);
        let four = (0..4).fold(Lockout::default(), |state, _| {
            state.after_failure(&policy, start)
        });
        let next_day = start.plus(policy.forget);
        assert_eq!(four.after_failure(&policy, next_day).failures, 1);
        assert_eq!(four.after_failure(&policy, start).failures, 5);
        assert!(four.after_failure(&policy, start).is_locked(start));
    }
}
