//! RED: rate, errors and duration of service operations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::ErrorKind;
use eonpro_core::port::{KvError, Observer, Operation, Timer, Verdict};
use eonpro_metrics::LATENCY_SECONDS;

use crate::bed::Bed;
use crate::format::Kind;

const GET: Operation = Operation::new("cache", "get");
const TOTAL: &str = "eonpro_operations_total";
const SECONDS: &str = "eonpro_operation_duration_seconds";

#[test]
fn a_timer_reports_rate_errors_and_duration() {
    let bed = Bed::new();
    let observer: Arc<dyn Observer> = bed.metrics.clone();
    let start = || Timer::start(GET, &*bed.clock, &*observer);
    for _ in 0..3 {
        let timer = start();
        bed.clock.advance(Duration::from_millis(2));
        timer.end(Ok::<_, KvError>(())).unwrap();
    }
    let timer = start();
    bed.clock.advance(Duration::from_millis(300));
    timer.end(Err::<(), _>(KvError::Conflict)).unwrap_err();
    let abandoned = start();
    bed.clock.advance(Duration::from_secs(20));
    drop(abandoned);

    let seen = bed.scrape();
    let of = |outcome| {
        [
            ("service", "cache"),
            ("operation", "get"),
            ("outcome", outcome),
        ]
    };
    assert_eq!(seen.value(TOTAL, &of("ok")), Some(3.0));
    assert_eq!(seen.value(TOTAL, &of("conflict")), Some(1.0));
    assert_eq!(seen.value(TOTAL, &of("timeout")), Some(1.0));
    assert_eq!(seen.sum(TOTAL), 5.0);

    let below = |le| {
        let labels = [("service", "cache"), ("operation", "get"), ("le", le)];
        seen.value(&format!("{SECONDS}_bucket"), &labels)
    };
    assert_eq!(below("0.001"), Some(0.0));
    assert_eq!(below("0.0025"), Some(3.0));
    assert_eq!(below("0.25"), Some(3.0));
    assert_eq!(below("0.5"), Some(4.0));
    assert_eq!(below("10"), Some(4.0));
    assert_eq!(below("+Inf"), Some(5.0));
    let sum = seen.sum(&format!("{SECONDS}_sum"));
    assert!((sum - 20.306).abs() < 1e-9, "{sum}");
}

#[test]
fn the_families_are_of_their_kinds_and_have_no_other_labels() {
    let bed = Bed::new();
    bed.metrics.observe(GET, Verdict::Ok, Duration::ZERO);
    let seen = bed.scrape();
    let total = seen.family(TOTAL);
    assert_eq!(total.kind, Kind::Counter);
    let names: Vec<&str> = total.samples[0]
        .labels
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(names, ["operation", "outcome", "service"]);
    let durations = seen.family(SECONDS);
    assert_eq!(durations.kind, Kind::Histogram);
    // The bounds, +Inf, the sum and the count.
    assert_eq!(durations.samples.len(), LATENCY_SECONDS.len() + 3);
}

#[test]
fn every_way_to_end_is_a_series_of_the_count_and_none_of_the_duration() {
    let bed = Bed::new();
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::InvalidInput,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::TenantMismatch,
        ErrorKind::RateLimited,
        ErrorKind::Timeout,
        ErrorKind::Unavailable,
        ErrorKind::Integrity,
        ErrorKind::Unsupported,
        ErrorKind::Config,
        ErrorKind::Misuse,
        ErrorKind::Internal,
    ];
    for kind in kinds {
        bed.metrics
            .observe(GET, Verdict::Failed(kind), Duration::ZERO);
    }
    let seen = bed.scrape();
    for kind in kinds {
        let labels = [
            ("service", "cache"),
            ("operation", "get"),
            ("outcome", kind.as_str()),
        ];
        assert_eq!(seen.value(TOTAL, &labels), Some(1.0), "{kind:?}");
    }
    assert_eq!(
        seen.family(SECONDS).samples.len(),
        LATENCY_SECONDS.len() + 3
    );
    assert_eq!(seen.sum(&format!("{SECONDS}_count")), kinds.len() as f64);
}

#[test]
fn a_name_with_quotes_backslashes_and_line_ends_cannot_forge_a_line() {
    let bed = Bed::new();
    let name = "get\"} 1\nforged_total 9\\";
    bed.metrics
        .observe(Operation::new("cache", name), Verdict::Ok, Duration::ZERO);
    let seen = bed.scrape();
    let labels = [("service", "cache"), ("operation", name), ("outcome", "ok")];
    assert_eq!(seen.value(TOTAL, &labels), Some(1.0));
    assert!(!seen.has("forged_total"));
}

#[test]
fn operations_beyond_the_limit_are_counted_as_one_and_none_is_lost() {
    let bed = Bed::new();
    let verdicts = [Verdict::Ok, Verdict::Failed(ErrorKind::Timeout)];
    for round in 0..2 {
        for number in 0..1_500 {
            let name: &'static str = format!("op{number}").leak();
            for verdict in verdicts {
                bed.metrics
                    .observe(Operation::new("app", name), verdict, Duration::ZERO);
            }
        }
        let seen = bed.scrape();
        let observed = f64::from(round + 1) * 3_000.0;
        assert_eq!(seen.sum(TOTAL), observed);
        assert_eq!(seen.sum(&format!("{SECONDS}_count")), observed);
        let beyond = f64::from(round + 1) * 500.0;
        for outcome in ["ok", "timeout"] {
            let labels = [
                ("service", "other"),
                ("operation", "other"),
                ("outcome", outcome),
            ];
            assert_eq!(seen.value(TOTAL, &labels), Some(beyond));
        }
        let samples = &seen.family(TOTAL).samples;
        assert_eq!(samples.len(), 2_002);
        let names: BTreeSet<_> = samples
            .iter()
            .flat_map(|sample| &sample.labels)
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(names, BTreeSet::from(["operation", "outcome", "service"]));
    }
}
