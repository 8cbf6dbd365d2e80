//! The number of series is bounded, and what is beyond is refused in the open.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::Operation;
use eonpro_core::time::SystemClock;
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_metrics::{
    CounterDesc, GaugeDesc, HistogramDesc, Label, MetricsConfig, MetricsError, OtelMetrics, Slo,
};

use crate::bed::{Bed, VISITS, ward};

const REFUSED: &str = "eonpro_metrics_refused_total";

#[test]
fn one_series_beyond_the_limit_is_refused_and_counted_and_the_others_go_on() {
    let bed = Bed::with(|config| config.max_series = 3);
    let beds = GaugeDesc::new("clinic_beds", "");
    let wait = HistogramDesc::new("clinic_wait_seconds", "", &[1.0]);
    for labels in [ward("a").as_slice(), &ward("b"), &[]] {
        bed.metrics.counter(&VISITS, labels).unwrap().add(1);
        bed.metrics.gauge(&beds, labels).unwrap().set(1.0);
        bed.metrics.histogram(&wait, labels).unwrap().record(1.0);
    }
    assert_eq!(bed.scrape().value(REFUSED, &[]), Some(0.0));
    let refused = [
        bed.metrics.counter(&VISITS, &ward("c")).map(|_| ()),
        bed.metrics.gauge(&beds, &ward("c")).map(|_| ()),
        bed.metrics.histogram(&wait, &ward("c")).map(|_| ()),
    ];
    assert_eq!(refused, [Err(MetricsError::Cardinality); 3]);
    bed.metrics.counter(&VISITS, &ward("b")).unwrap().add(1);
    let seen = bed.scrape();
    assert_eq!(seen.value(REFUSED, &[]), Some(3.0));
    assert_eq!(
        seen.value("clinic_visits_total", &[("ward", "b")]),
        Some(2.0)
    );
    assert_eq!(seen.family("clinic_visits_total").samples.len(), 3);
}

#[test]
fn as_many_series_as_the_limit_allows_stay_apart() {
    let bed = Bed::with(|config| config.max_series = 500);
    for number in 0..500_u64 {
        let visits = bed
            .metrics
            .counter(&VISITS, &ward(&format!("w{number}")))
            .unwrap();
        visits.add(number);
    }
    let seen = bed.scrape();
    assert_eq!(seen.family("clinic_visits_total").samples.len(), 500);
    assert_eq!(
        seen.value("clinic_visits_total", &[("ward", "w499")]),
        Some(499.0)
    );
}

#[test]
fn one_instrument_beyond_the_limit_is_refused() {
    let bed = Bed::with(|config| config.max_instruments = 1);
    bed.metrics.counter(&VISITS, &[]).unwrap();
    let other = CounterDesc::new("clinic_admissions", "");
    let refused = bed.metrics.counter(&other, &[]).unwrap_err();
    assert_eq!(refused, MetricsError::Cardinality);
    bed.metrics.counter(&VISITS, &ward("a")).unwrap();
}

#[test]
fn one_objective_beyond_the_limit_is_refused() {
    let bed = Bed::with(|config| config.max_objectives = 1);
    let slo = |name| Slo {
        name,
        operation: Operation::new("auth", "verify"),
        target: 0.9,
        window: Duration::from_secs(3_600),
        slower_than: None,
    };
    bed.metrics.track(slo("sign_in")).unwrap();
    assert_eq!(
        bed.metrics.track(slo("other")),
        Err(MetricsError::Cardinality)
    );
    assert_eq!(bed.scrape().value(REFUSED, &[]), Some(1.0));
}

#[test]
fn a_limit_out_of_range_is_refused() {
    let changes: [fn(&mut MetricsConfig); 6] = [
        |config| config.max_series = 0,
        |config| config.max_series = 100_001,
        |config| config.max_instruments = 0,
        |config| config.max_instruments = 10_001,
        |config| config.max_objectives = 0,
        |config| config.max_objectives = 1_001,
    ];
    for change in changes {
        let mut config = MetricsConfig::default();
        change(&mut config);
        let refused = OtelMetrics::new(Arc::new(SystemClock::new()), config).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{config:?}");
    }
}

#[test]
fn a_label_takes_a_token_and_no_text_and_no_error_repeats_it() {
    for text in [
        "Maria Lopez",
        "maria@example.org",
        "born 1950-01-01",
        "x\ny",
        "ä",
        "",
    ] {
        let refused = Label::new("patient", text).unwrap_err();
        assert_eq!(refused, MetricsError::LabelValue);
        assert!(text.is_empty() || !format!("{refused} {refused:?}").contains(text));
    }
    assert!(Label::new("ward", &"x".repeat(128)).is_ok());
    assert_eq!(
        Label::new("ward", &"x".repeat(129)),
        Err(MetricsError::LabelValue)
    );
}

#[test]
fn every_error_is_classified() {
    for (error, kind) in [
        (MetricsError::Name, ErrorKind::InvalidInput),
        (MetricsError::LabelValue, ErrorKind::InvalidInput),
        (MetricsError::LabelTwice, ErrorKind::InvalidInput),
        (MetricsError::Bounds, ErrorKind::InvalidInput),
        (MetricsError::Objective, ErrorKind::InvalidInput),
        (MetricsError::Conflict, ErrorKind::Conflict),
        (MetricsError::Cardinality, ErrorKind::Misuse),
        (MetricsError::Config("x"), ErrorKind::Config),
        (MetricsError::Closed, ErrorKind::Unavailable),
        (MetricsError::Collect, ErrorKind::Internal),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
    }
}
