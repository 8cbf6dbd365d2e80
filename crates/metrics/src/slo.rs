//! Service level objectives and their error budgets, weighted by volume.
//!
//! Of all events in the window, a share of `1 - target` may be bad. The budget that remains is
//! `1 - bad / (total * (1 - target))`: a bad hour at night with ten requests costs what ten
//! requests cost, not an hour (Google SRE Workbook, chapter 2).

use std::time::Duration;

use eonpro_core::ErrorKind;
use eonpro_core::port::{Operation, Verdict};
use eonpro_core::time::Monotonic;

use crate::error::MetricsError;
use crate::label::check_name;

const SLOTS: u64 = 720;
const SHORTEST: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3_600);
const BILLION: u64 = 1_000_000_000;

/// An objective over one operation: that share of calls succeeds, and is fast enough.
///
/// Bad is a call that failed by our fault: a refusal for what the caller asked or may not do
/// (not found, conflict, invalid input, not signed in, not permitted, wrong tenant, too many
/// attempts, not supported) is a good answer, else anybody could spend the budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// Its name, `[a-z][a-z0-9_]*`.
    pub name: &'static str,
    /// The operation that counts.
    pub operation: Operation,
    /// The share of good events, such as 0.999: above 0 and below 1, to nine decimals.
    pub target: f64,
    /// The rolling window, 1 hour to 90 days; counted in 720 slots, and lost with the process.
    pub window: Duration,
    /// A good answer slower than this is bad.
    pub slower_than: Option<Duration>,
}

/// What is left of an error budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// All events in the window.
    pub total: u64,
    /// The bad ones.
    pub bad: u64,
    /// The share of the budget that is left: 1 untouched, 0 spent, below 0 overspent. A window
    /// without events leaves it untouched.
    pub remaining: f64,
}

/// Counts one objective. Pure: time comes in as an argument, monotonic, since a wall clock that
/// is set back would shift the window.
#[derive(Debug)]
pub struct SloTracker {
    slo: Slo,
    // In billionths: a float's 1 - 0.9 is not 0.1.
    allowed_share: u64,
    slot_nanos: u64,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u64,
    total: u64,
    bad: u64,
}

impl SloTracker {
    /// An untouched budget.
    ///
    /// # Errors
    /// [`MetricsError::Name`]; [`MetricsError::Objective`] for a target, window or threshold out
    /// of range.
    pub fn new(slo: Slo) -> Result<Self, MetricsError> {
        check_name(slo.name)?;
        let window = (SHORTEST..=LONGEST).contains(&slo.window);
        let threshold = slo.slower_than.is_none_or(|limit| !limit.is_zero());
        // NaN becomes 0.
        let target = (slo.target * BILLION as f64).round() as u64;
        if !window || !threshold || !(1..BILLION).contains(&target) {
            return Err(MetricsError::Objective);
        }
        let slot = slo.window.as_nanos() / u128::from(SLOTS);
        Ok(Self {
            slo,
            allowed_share: BILLION - target,
            slot_nanos: u64::try_from(slot).map_err(|_| MetricsError::Objective)?,
            slots: vec![Slot::default(); SLOTS as usize],
        })
    }

    /// The objective.
    #[must_use]
    pub fn slo(&self) -> &Slo {
        &self.slo
    }

    /// Counts one operation, if it is the one.
    pub fn observe(&mut self, op: Operation, verdict: Verdict, elapsed: Duration, now: Monotonic) {
        if op != self.slo.operation {
            return;
        }
        let slow = self.slo.slower_than.is_some_and(|limit| elapsed > limit);
        let bad = slow || is_fault(verdict);
        let number = self.number(now);
        let position = usize::try_from(number % SLOTS).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(position) {
            if slot.number != number {
                *slot = Slot {
                    number,
                    ..Slot::default()
                };
            }
            slot.total = slot.total.saturating_add(1);
            slot.bad = slot.bad.saturating_add(u64::from(bad));
        }
    }

    /// The budget of the window that ends now.
    #[must_use]
    pub fn budget(&self, now: Monotonic) -> Budget {
        let last = self.number(now);
        let first = last.saturating_sub(SLOTS - 1);
        let inside = self
            .slots
            .iter()
            .filter(|slot| (first..=last).contains(&slot.number));
        let (total, bad) = inside.fold((0_u64, 0_u64), |(total, bad), slot| {
            (
                total.saturating_add(slot.total),
                bad.saturating_add(slot.bad),
            )
        });
        Budget {
            total,
            bad,
            remaining: self.remaining(total, bad),
        }
    }

    fn remaining(&self, total: u64, bad: u64) -> f64 {
        let allowed = u128::from(total) * u128::from(self.allowed_share);
        if allowed == 0 {
            return 1.0;
        }
        let spent = u128::from(bad) * u128::from(BILLION);
        // Subtracted as integers: the difference of two near floats would be noise.
        if spent <= allowed {
            (allowed - spent) as f64 / allowed as f64
        } else {
            -((spent - allowed) as f64 / allowed as f64)
        }
    }

    fn number(&self, now: Monotonic) -> u64 {
        now.nanos() / self.slot_nanos.max(1)
    }
}

fn is_fault(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Ok => false,
        Verdict::Failed(kind) => !matches!(
            kind,
            ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::InvalidInput
                | ErrorKind::Unauthenticated
                | ErrorKind::PermissionDenied
                | ErrorKind::TenantMismatch
                | ErrorKind::RateLimited
                | ErrorKind::Unsupported
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OP: Operation = Operation::new("storage", "open");
    const HOUR: Duration = Duration::from_secs(3_600);
    const NOON: Monotonic = Monotonic::from_nanos(1_000_000 * BILLION);

    fn slo() -> Slo {
        Slo {
            name: "open_documents",
            operation: OP,
            target: 0.99,
            window: 24 * HOUR,
            slower_than: Some(Duration::from_millis(100)),
        }
    }

    fn tracker() -> SloTracker {
        SloTracker::new(slo()).unwrap()
    }

    fn feed(tracker: &mut SloTracker, good: u32, bad: u32, at: Monotonic) {
        for _ in 0..good {
            tracker.observe(OP, Verdict::Ok, Duration::from_millis(1), at);
        }
        for _ in 0..bad {
            let verdict = Verdict::Failed(ErrorKind::Unavailable);
            tracker.observe(OP, verdict, Duration::from_millis(1), at);
        }
    }

    fn budget(total: u64, bad: u64, remaining: f64) -> Budget {
        Budget {
            total,
            bad,
            remaining,
        }
    }

    #[test]
    fn a_window_without_events_leaves_the_budget_untouched() {
        assert_eq!(tracker().budget(NOON), budget(0, 0, 1.0));
        assert_eq!(
            tracker().budget(Monotonic::from_nanos(0)),
            budget(0, 0, 1.0)
        );
    }

    #[test]
    fn the_budget_is_weighted_by_volume_not_by_time() {
        // A day of noon and night: the mean of hourly ratios would leave
        // 1 - (5/990 + 5/10) / 2 / 0.01, far below zero.
        let mut tracker = tracker();
        feed(&mut tracker, 985, 0, NOON);
        feed(&mut tracker, 10, 5, NOON.plus(HOUR));
        assert_eq!(tracker.budget(NOON.plus(HOUR)), budget(1_000, 5, 0.5));
    }

    #[test]
    fn shares_that_floats_cannot_hold_leave_no_noise() {
        for (target, total, bad, remaining) in [
            (0.9, 20, 1, 0.5),
            (0.9, 10, 1, 0.0),
            (0.999, 1_000, 1, 0.0),
            (0.999, 4_000, 1, 0.75),
            (0.9999, 10_000, 3, -2.0),
            (0.999_999_999, 1_000_000_000, 1, 0.0),
        ] {
            let tracker = SloTracker::new(Slo { target, ..slo() }).unwrap();
            assert_eq!(
                tracker.remaining(total, bad),
                remaining,
                "{target} {total} {bad}"
            );
        }
    }

    #[test]
    fn a_slow_success_is_bad_and_other_operations_do_not_count() {
        let mut tracker = tracker();
        tracker.observe(OP, Verdict::Ok, Duration::from_millis(100), NOON);
        tracker.observe(OP, Verdict::Ok, Duration::from_millis(101), NOON);
        tracker.observe(Operation::new("storage", "put"), Verdict::Ok, HOUR, NOON);
        let budget = tracker.budget(NOON);
        assert_eq!((budget.total, budget.bad), (2, 1));
    }

    #[test]
    fn what_the_caller_did_wrong_does_not_spend_the_budget() {
        let mut tracker = tracker();
        for (kind, bad) in [
            (ErrorKind::NotFound, 0),
            (ErrorKind::Unauthenticated, 0),
            (ErrorKind::RateLimited, 0),
            (ErrorKind::Timeout, 1),
            (ErrorKind::Integrity, 2),
            (ErrorKind::Internal, 3),
        ] {
            tracker.observe(OP, Verdict::Failed(kind), Duration::ZERO, NOON);
            assert_eq!(tracker.budget(NOON).bad, bad, "{kind:?}");
        }
        assert_eq!(tracker.budget(NOON).total, 6);
    }

    #[test]
    fn what_leaves_the_window_is_forgiven() {
        let mut tracker = tracker();
        feed(&mut tracker, 0, 10, NOON);
        assert_eq!(tracker.budget(NOON.plus(23 * HOUR)).bad, 10);
        assert_eq!(tracker.budget(NOON.plus(25 * HOUR)), budget(0, 0, 1.0));
        feed(&mut tracker, 1, 0, NOON.plus(24 * HOUR));
        assert_eq!(tracker.budget(NOON.plus(24 * HOUR)), budget(1, 0, 1.0));
    }

    #[test]
    fn a_target_window_or_threshold_out_of_range_is_refused() {
        let day = 24 * HOUR;
        for (target, window, slower_than) in [
            (0.0, HOUR, None),
            (1.0, HOUR, None),
            (-0.5, HOUR, None),
            (1.5, HOUR, None),
            (f64::NAN, HOUR, None),
            (f64::INFINITY, HOUR, None),
            (1.0 - 1e-12, HOUR, None),
            (0.9, HOUR / 2, None),
            (0.9, 91 * day, None),
            (0.9, HOUR, Some(Duration::ZERO)),
        ] {
            let slo = Slo {
                target,
                window,
                slower_than,
                ..slo()
            };
            let refused = SloTracker::new(slo.clone()).map(|_| ());
            assert_eq!(refused, Err(MetricsError::Objective), "{slo:?}");
        }
        let slo = Slo {
            name: "Bad name",
            ..slo()
        };
        assert_eq!(SloTracker::new(slo).unwrap_err(), MetricsError::Name);
    }

    proptest! {
        #[test]
        fn a_window_holds_what_a_plain_list_of_events_holds(
            events in prop::collection::vec((0_u64..200_000, any::<bool>()), 0..200),
        ) {
            let mut events = events;
            events.sort();
            let mut tracker = tracker();
            for &(second, bad) in &events {
                feed(&mut tracker, u32::from(!bad), u32::from(bad), Monotonic::from_nanos(second * BILLION));
            }
            let now = events.last().map_or(0, |&(second, _)| second);
            // 24 hours in 720 slots of 120 seconds, the present one included.
            let inside = |second: u64| second / 120 + 720 > now / 120;
            let total = events.iter().filter(|&&(second, _)| inside(second)).count();
            let bad = events.iter().filter(|&&(second, bad)| inside(second) && bad).count();
            let budget = tracker.budget(Monotonic::from_nanos(now * BILLION));
            prop_assert_eq!((budget.total, budget.bad), (total as u64, bad as u64));
            prop_assert!(budget.remaining <= 1.0);
            prop_assert_eq!(budget.remaining < 1.0, bad > 0);
        }
    }
}
