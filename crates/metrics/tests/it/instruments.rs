//! Counters, gauges and histograms of the application, as a scraper reads them.

use std::collections::BTreeMap;

use eonpro_metrics::{CounterDesc, GaugeDesc, HistogramDesc, Label, MetricsError};
use proptest::prelude::*;

use crate::bed::{Bed, VISITS, ward};
use crate::format::Kind;

const BEDS: GaugeDesc = GaugeDesc::new("clinic_beds", "Beds.");
const WAIT: HistogramDesc = HistogramDesc::new("clinic_wait_seconds", "Waiting.", &[0.1, 1.0, 5.0]);

#[test]
fn a_rendering_is_the_text_that_the_format_asks_for() {
    let bed = Bed::new();
    bed.metrics.counter(&VISITS, &ward("b")).unwrap().add(2);
    bed.metrics.counter(&VISITS, &ward("a")).unwrap().add(1);
    bed.metrics.gauge(&BEDS, &[]).unwrap().set(1.5);
    let wait = bed.metrics.histogram(&WAIT, &ward("a")).unwrap();
    for seconds in [0.1, 3.0, 30.0] {
        wait.record(seconds);
    }
    let text = bed.metrics.render().unwrap();
    let expected = "\
# HELP clinic_beds Beds.
# TYPE clinic_beds gauge
clinic_beds 1.5
# HELP clinic_visits_total Visits.
# TYPE clinic_visits_total counter
clinic_visits_total{ward=\"a\"} 1
clinic_visits_total{ward=\"b\"} 2
# HELP clinic_wait_seconds Waiting.
# TYPE clinic_wait_seconds histogram
clinic_wait_seconds_bucket{ward=\"a\",le=\"0.1\"} 1
clinic_wait_seconds_bucket{ward=\"a\",le=\"1\"} 1
clinic_wait_seconds_bucket{ward=\"a\",le=\"5\"} 2
clinic_wait_seconds_bucket{ward=\"a\",le=\"+Inf\"} 3
clinic_wait_seconds_sum{ward=\"a\"} 33.1
clinic_wait_seconds_count{ward=\"a\"} 3
# HELP eonpro_metrics_refused_total ";
    assert!(text.starts_with(expected), "{text}");
    bed.scrape();
}

#[test]
fn two_renderings_of_the_same_numbers_differ_in_nothing_but_the_process() {
    let bed = Bed::new();
    for name in ["c", "a", "d", "b"] {
        bed.metrics.counter(&VISITS, &ward(name)).unwrap().add(1);
        bed.metrics
            .histogram(&WAIT, &ward(name))
            .unwrap()
            .record(0.5);
    }
    let ours = |text: String| {
        let kept = text.lines().filter(|line| !line.contains("process_"));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = ours(bed.metrics.render().unwrap());
    assert!(first.len() > 20);
    assert_eq!(first, ours(bed.metrics.render().unwrap()));
}

#[test]
fn a_counter_is_exposed_from_zero_and_a_gauge_from_its_first_value() {
    let bed = Bed::new();
    let (labelled, plain) = (ward("a"), []);
    for labels in [labelled.as_slice(), &plain] {
        bed.metrics.counter(&VISITS, labels).unwrap();
        bed.metrics.gauge(&BEDS, labels).unwrap();
    }
    let seen = bed.scrape();
    assert_eq!(seen.value("clinic_visits_total", &[]), Some(0.0));
    assert_eq!(
        seen.value("clinic_visits_total", &[("ward", "a")]),
        Some(0.0)
    );
    assert!(!seen.has("clinic_beds"));
    bed.metrics.gauge(&BEDS, &labelled).unwrap().set(0.0);
    let seen = bed.scrape();
    assert_eq!(seen.value("clinic_beds", &[("ward", "a")]), Some(0.0));
    assert_eq!(seen.value("clinic_beds", &[]), None);
}

#[test]
fn a_value_on_a_bound_belongs_to_the_bucket_of_that_bound() {
    let bed = Bed::new();
    bed.metrics.histogram(&WAIT, &[]).unwrap().record(1.0);
    let seen = bed.scrape();
    assert_eq!(
        seen.value("clinic_wait_seconds_bucket", &[("le", "0.1")]),
        Some(0.0)
    );
    assert_eq!(
        seen.value("clinic_wait_seconds_bucket", &[("le", "1")]),
        Some(1.0)
    );
}

#[test]
fn numbers_that_are_none_change_nothing() {
    let bed = Bed::new();
    let beds = bed.metrics.gauge(&BEDS, &[]).unwrap();
    let wait = bed.metrics.histogram(&WAIT, &[]).unwrap();
    beds.set(7.0);
    wait.record(0.5);
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        beds.set(none);
        beds.add(none);
        wait.record(none);
    }
    beds.set(f64::MAX);
    beds.add(f64::MAX);
    let seen = bed.scrape();
    assert_eq!(seen.value("clinic_beds", &[]), Some(f64::MAX));
    assert_eq!(seen.value("clinic_wait_seconds_count", &[]), Some(1.0));
    assert_eq!(seen.value("clinic_wait_seconds_sum", &[]), Some(0.5));
}

#[test]
fn a_counter_keeps_every_one_beyond_what_a_float_can_hold() {
    let bed = Bed::new();
    let visits = bed.metrics.counter(&VISITS, &[]).unwrap();
    visits.add(1 << 53);
    visits.add(1);
    let text = bed.metrics.render().unwrap();
    assert!(
        text.contains("clinic_visits_total 9007199254740993\n"),
        "{text}"
    );
}

#[test]
fn the_same_labels_in_another_order_are_the_same_series() {
    let bed = Bed::with(|config| config.max_series = 1);
    let (a, b) = (Label::new("a", "1").unwrap(), Label::new("b", "2").unwrap());
    let gauge = |labels: &[Label]| bed.metrics.gauge(&BEDS, labels).unwrap();
    gauge(&[a.clone(), b.clone()]).add(2.0);
    gauge(&[b, a]).add(-0.5);
    assert_eq!(
        bed.scrape().value("clinic_beds", &[("a", "1"), ("b", "2")]),
        Some(1.5)
    );
}

#[test]
fn names_that_would_break_the_format_or_hide_another_are_refused() {
    let bed = Bed::new();
    let long: &'static str = "a".repeat(101).leak();
    for name in [
        "", "Visits", "9visits", "visits-a", "visits:a", "vísits", "_visits", long,
    ]
    .into_iter()
    .chain([
        "visits_total",
        "visits_bucket",
        "visits_sum",
        "visits_count",
    ]) {
        let refused = bed
            .metrics
            .counter(&CounterDesc::new(name, ""), &[])
            .unwrap_err();
        assert_eq!(refused, MetricsError::Name, "{name}");
        let refused = bed
            .metrics
            .gauge(&GaugeDesc::new(name, ""), &[])
            .unwrap_err();
        assert_eq!(refused, MetricsError::Name, "{name}");
    }
    for name in ["eonpro_operations", "process_threads"] {
        let refused = bed
            .metrics
            .counter(&CounterDesc::new(name, ""), &[])
            .unwrap_err();
        assert_eq!(refused, MetricsError::Conflict, "{name}");
    }
}

#[test]
fn a_name_means_one_thing() {
    let bed = Bed::new();
    bed.metrics.histogram(&WAIT, &[]).unwrap();
    let name = "clinic_wait_seconds";
    for other in [
        HistogramDesc::new(name, "Waiting.", &[0.1, 1.0]),
        HistogramDesc::new(name, "Something else.", &[0.1, 1.0, 5.0]),
    ] {
        let refused = bed.metrics.histogram(&other, &[]).unwrap_err();
        assert_eq!(refused, MetricsError::Conflict, "{other:?}");
    }
    let refused = bed
        .metrics
        .gauge(&GaugeDesc::new(name, "Waiting."), &[])
        .unwrap_err();
    assert_eq!(refused, MetricsError::Conflict);
    let refused = bed
        .metrics
        .counter(&CounterDesc::new(name, "Waiting."), &[])
        .unwrap_err();
    assert_eq!(refused, MetricsError::Conflict);
    // What was refused left nothing behind.
    bed.metrics
        .histogram(&WAIT, &ward("a"))
        .unwrap()
        .record(1.0);
    assert_eq!(bed.scrape().sum("clinic_wait_seconds_count"), 1.0);
}

#[test]
fn bounds_that_are_no_bounds_are_refused() {
    let many: &'static [f64] = (0..101).map(f64::from).collect::<Vec<_>>().leak();
    for bounds in [
        &[] as &[f64],
        &[1.0, 1.0],
        &[2.0, 1.0],
        &[f64::NAN],
        &[1.0, f64::INFINITY],
        many,
    ] {
        let bed = Bed::new();
        let desc = HistogramDesc::new("clinic_wait_seconds", "", bounds);
        let refused = bed.metrics.histogram(&desc, &[]).unwrap_err();
        assert_eq!(refused, MetricsError::Bounds, "{bounds:?}");
    }
}

#[test]
fn a_label_given_twice_is_refused() {
    let bed = Bed::new();
    let twice = [ward("a"), ward("b")].concat();
    assert_eq!(
        bed.metrics.counter(&VISITS, &twice).unwrap_err(),
        MetricsError::LabelTwice
    );
    assert!(!bed.scrape().has("clinic_visits_total"));
}

#[derive(Debug, Clone)]
enum Step {
    Count(String, u64),
    Set(String, f64),
    Add(String, f64),
    Record(String, f64),
}

fn step() -> impl Strategy<Value = Step> {
    let token = "[A-Za-z0-9._:/+-]{1,3}";
    prop_oneof![
        (token, 0..1_u64 << 32).prop_map(|(ward, by)| Step::Count(ward, by)),
        (token, any::<f64>()).prop_map(|(ward, to)| Step::Set(ward, to)),
        (token, -1e6..1e6_f64).prop_map(|(ward, by)| Step::Add(ward, by)),
        (token, -1e6..1e6_f64).prop_map(|(ward, value)| Step::Record(ward, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_recorded_is_what_a_scraper_reads(
        help in any::<String>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let bed = Bed::new();
        let help: &'static str = help.leak();
        let counter = CounterDesc::new("clinic_visits", help);
        let gauge = GaugeDesc::new("clinic_beds", help);
        let mut counts = BTreeMap::new();
        let mut levels = BTreeMap::new();
        let mut records: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Count(name, by) => {
                    bed.metrics.counter(&counter, &ward(name)).unwrap().add(*by);
                    *counts.entry(name).or_insert(0) += by;
                }
                Step::Set(name, to) => {
                    bed.metrics.gauge(&gauge, &ward(name)).unwrap().set(*to);
                    if to.is_finite() {
                        levels.insert(name, *to);
                    }
                }
                Step::Add(name, by) => {
                    bed.metrics.gauge(&gauge, &ward(name)).unwrap().add(*by);
                    *levels.entry(name).or_insert(0.0) += by;
                }
                Step::Record(name, value) => {
                    bed.metrics.histogram(&WAIT, &ward(name)).unwrap().record(*value);
                    records.entry(name).or_default().push(*value);
                }
            }
        }
        let seen = bed.scrape();
        for (name, count) in &counts {
            let value = seen.value("clinic_visits_total", &[("ward", name)]);
            prop_assert_eq!(value, Some(*count as f64));
        }
        for (name, level) in &levels {
            prop_assert_eq!(seen.value("clinic_beds", &[("ward", name)]), Some(*level));
        }
        for (name, values) in &records {
            for (le, bound) in [("0.1", 0.1), ("1", 1.0), ("5", 5.0), ("+Inf", f64::INFINITY)] {
                let below = values.iter().filter(|value| **value <= bound).count();
                let bucket = seen.value("clinic_wait_seconds_bucket", &[("ward", name), ("le", le)]);
                prop_assert_eq!(bucket, Some(below as f64));
            }
            let sum = seen.value("clinic_wait_seconds_sum", &[("ward", name)]);
            prop_assert_eq!(sum, Some(values.iter().sum()));
        }
        if !counts.is_empty() {
            let family = seen.family("clinic_visits_total");
            prop_assert_eq!((family.help.as_str(), family.kind), (help, Kind::Counter));
            prop_assert_eq!(family.samples.len(), counts.len());
        }
    }
}
