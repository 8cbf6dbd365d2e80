//! Many threads at once lose nothing, and who scrapes meanwhile reads something whole.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use eonpro_core::ErrorKind;
use eonpro_core::port::{Operation, Verdict};
use eonpro_metrics::{GaugeDesc, HistogramDesc, Slo};

use crate::bed::{Bed, VISITS, ward};

const THREADS: usize = 8;
const ROUNDS: usize = 20_000;
const BEDS: GaugeDesc = GaugeDesc::new("clinic_beds", "Beds.");
const WAIT: HistogramDesc = HistogramDesc::new("clinic_wait_seconds", "Waiting.", &[1.0, 2.0]);
const GET: Operation = Operation::new("cache", "get");

#[test]
fn eight_threads_lose_nothing_while_another_scrapes() {
    let bed = Bed::new();
    let slo = Slo {
        name: "reads",
        operation: GET,
        target: 0.5,
        window: Duration::from_secs(3_600),
        slower_than: None,
    };
    bed.metrics.track(slo).unwrap();
    let start = Barrier::new(THREADS + 1);
    let running = AtomicUsize::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (bed, start, running) = (&bed, &start, &running);
            scope.spawn(move || {
                start.wait();
                count(bed, number);
                running.fetch_sub(1, Ordering::Release);
            });
        }
        start.wait();
        let mut before = 0.0;
        while running.load(Ordering::Acquire) > 0 {
            // The reader checks that buckets, sum and count fit.
            let now = bed.scrape().sum("clinic_visits_total");
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
    });

    let seen = bed.scrape();
    let all = (THREADS * ROUNDS) as f64;
    assert_eq!(seen.value("clinic_visits_total", &[]), Some(all));
    for number in 0..THREADS {
        let ward = format!("w{number}");
        let own = seen.value("clinic_visits_total", &[("ward", &ward)]);
        assert_eq!(own, Some(ROUNDS as f64));
    }
    assert_eq!(seen.value("clinic_beds", &[]), Some(all));
    assert_eq!(seen.value("clinic_wait_seconds_count", &[]), Some(all));
    assert_eq!(seen.value("clinic_wait_seconds_sum", &[]), Some(all * 1.5));
    assert_eq!(seen.sum("eonpro_operations_total"), all);
    assert_eq!(seen.sum("eonpro_operation_duration_seconds_count"), all);
    let budget = bed.metrics.budget("reads").unwrap();
    assert_eq!((budget.total, budget.bad), (all as u64, all as u64 / 4));
}

fn count(bed: &Bed, number: usize) {
    // Handles of one series are made by every thread: they must be the same.
    let shared = bed.metrics.counter(&VISITS, &[]).unwrap();
    let own = bed
        .metrics
        .counter(&VISITS, &ward(&format!("w{number}")))
        .unwrap();
    let beds = bed.metrics.gauge(&BEDS, &[]).unwrap();
    let wait = bed.metrics.histogram(&WAIT, &[]).unwrap();
    for round in 0..ROUNDS {
        shared.add(1);
        own.add(1);
        beds.add(1.0);
        wait.record(1.5);
        let verdict = match round % 4 {
            0 => Verdict::Failed(ErrorKind::Internal),
            1 => Verdict::Failed(ErrorKind::NotFound),
            _ => Verdict::Ok,
        };
        bed.metrics.observe(GET, verdict, Duration::from_micros(10));
    }
}

#[test]
fn threads_that_race_for_the_last_series_do_not_exceed_the_limit() {
    let bed = Bed::with(|config| config.max_series = 50);
    let start = Barrier::new(THREADS);
    let admitted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (bed, start, admitted) = (&bed, &start, &admitted);
            scope.spawn(move || {
                start.wait();
                for round in 0..20 {
                    let labels = ward(&format!("w{number}-{round}"));
                    if bed.metrics.counter(&VISITS, &labels).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 50);
    let seen = bed.scrape();
    assert_eq!(seen.family("clinic_visits_total").samples.len(), 50);
    let refused = (THREADS * 20 - 50) as f64;
    assert_eq!(
        seen.value("eonpro_metrics_refused_total", &[]),
        Some(refused)
    );
}
