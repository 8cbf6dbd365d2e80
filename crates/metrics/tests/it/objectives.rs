//! Error budgets of what the services report.

use std::time::Duration;

use eonpro_core::ErrorKind;
use eonpro_core::port::{KvError, Operation, Timer, Verdict};
use eonpro_core::time::Timestamp;
use eonpro_metrics::{Budget, MetricsError, Slo};

use crate::bed::Bed;

const VERIFY: Operation = Operation::new("auth", "verify");
const HOUR: Duration = Duration::from_secs(3_600);
const REMAINING: &str = "eonpro_slo_budget_remaining_ratio";

fn sign_in() -> Slo {
    Slo {
        name: "sign_in",
        operation: VERIFY,
        target: 0.9,
        window: 24 * HOUR,
        slower_than: Some(Duration::from_millis(100)),
    }
}

fn budget(total: u64, bad: u64, remaining: f64) -> Option<Budget> {
    Some(Budget {
        total,
        bad,
        remaining,
    })
}

fn observe(bed: &Bed, times: usize, verdict: Verdict) {
    for _ in 0..times {
        bed.metrics.observe(VERIFY, verdict, Duration::ZERO);
    }
}

#[test]
fn an_objective_is_exposed_untouched_before_its_first_event() {
    let bed = Bed::new();
    assert!(!bed.scrape().has(REMAINING));
    bed.metrics.track(sign_in()).unwrap();
    assert_eq!(bed.metrics.budget("sign_in"), budget(0, 0, 1.0));
    assert_eq!(
        bed.scrape().value(REMAINING, &[("slo", "sign_in")]),
        Some(1.0)
    );
}

#[test]
fn faults_and_slow_answers_spend_the_budget_and_refusals_do_not() {
    let bed = Bed::new();
    bed.metrics.track(sign_in()).unwrap();
    observe(&bed, 37, Verdict::Ok);
    observe(&bed, 1, Verdict::Failed(ErrorKind::Unauthenticated));
    observe(&bed, 1, Verdict::Failed(ErrorKind::Internal));
    let timer = Timer::start(VERIFY, &*bed.clock, &*bed.metrics);
    bed.clock.advance(Duration::from_millis(101));
    timer.end(Ok::<_, KvError>(())).unwrap();
    assert_eq!(bed.metrics.budget("sign_in"), budget(40, 2, 0.5));
    let text = bed.metrics.render().unwrap();
    assert!(
        text.contains("eonpro_slo_budget_remaining_ratio{slo=\"sign_in\"} 0.5\n"),
        "{text}"
    );
}

#[test]
fn a_budget_can_be_overspent_and_comes_back_with_time() {
    let bed = Bed::new();
    bed.metrics.track(sign_in()).unwrap();
    observe(&bed, 1, Verdict::Failed(ErrorKind::Unavailable));
    assert_eq!(bed.metrics.budget("sign_in"), budget(1, 1, -9.0));
    assert_eq!(
        bed.scrape().value(REMAINING, &[("slo", "sign_in")]),
        Some(-9.0)
    );
    bed.clock.advance(24 * HOUR);
    assert_eq!(bed.metrics.budget("sign_in"), budget(0, 0, 1.0));
}

#[test]
fn a_wall_clock_that_is_set_neither_forgives_nor_forgets() {
    let bed = Bed::new();
    bed.metrics.track(sign_in()).unwrap();
    observe(&bed, 9, Verdict::Ok);
    bed.clock.step_wall(Timestamp::from_seconds(-1_000_000));
    observe(&bed, 1, Verdict::Failed(ErrorKind::Timeout));
    bed.clock.step_wall(Timestamp::from_seconds(1_000_000_000));
    assert_eq!(bed.metrics.budget("sign_in"), budget(10, 1, 0.0));
}

#[test]
fn objectives_of_one_operation_count_apart_from_each_other() {
    let bed = Bed::new();
    bed.metrics.track(sign_in()).unwrap();
    bed.metrics
        .track(Slo {
            name: "sign_in_strict",
            target: 0.99,
            ..sign_in()
        })
        .unwrap();
    let elsewhere = Operation::new("auth", "login");
    bed.metrics
        .track(Slo {
            name: "login",
            operation: elsewhere,
            ..sign_in()
        })
        .unwrap();
    observe(&bed, 99, Verdict::Ok);
    observe(&bed, 1, Verdict::Failed(ErrorKind::Integrity));
    assert_eq!(bed.metrics.budget("sign_in"), budget(100, 1, 0.9));
    assert_eq!(bed.metrics.budget("sign_in_strict"), budget(100, 1, 0.0));
    assert_eq!(bed.metrics.budget("login"), budget(0, 0, 1.0));
    assert_eq!(bed.scrape().family(REMAINING).samples.len(), 3);
}

#[test]
fn an_objective_that_is_none_or_stands_already_is_refused_and_leaves_nothing_behind() {
    let bed = Bed::new();
    for (slo, expected) in [
        (
            Slo {
                target: 1.0,
                ..sign_in()
            },
            MetricsError::Objective,
        ),
        (
            Slo {
                target: f64::NAN,
                ..sign_in()
            },
            MetricsError::Objective,
        ),
        (
            Slo {
                window: Duration::ZERO,
                ..sign_in()
            },
            MetricsError::Objective,
        ),
        (
            Slo {
                name: "sign in",
                ..sign_in()
            },
            MetricsError::Name,
        ),
    ] {
        assert_eq!(bed.metrics.track(slo.clone()), Err(expected), "{slo:?}");
    }
    assert_eq!(bed.metrics.budget("sign_in"), None);
    bed.metrics.track(sign_in()).unwrap();
    observe(&bed, 1, Verdict::Ok);
    let again = Slo {
        target: 0.5,
        ..sign_in()
    };
    assert_eq!(bed.metrics.track(again), Err(MetricsError::Conflict));
    assert_eq!(bed.metrics.budget("sign_in"), budget(1, 0, 1.0));
}
