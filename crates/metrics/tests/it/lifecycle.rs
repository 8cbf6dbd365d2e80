//! Metrics as a part of the system.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::{Observer, Operation, Verdict};
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_metrics::{GaugeDesc, HistogramDesc, MetricsError, Slo};

use crate::bed::{Bed, VISITS};

#[tokio::test]
async fn metrics_are_fit_for_production_and_healthy() {
    let bed = Bed::new();
    assert_eq!(bed.metrics.name(), "metrics");
    assert_eq!(bed.metrics.posture(), Posture::STRONGEST);
    assert_eq!(bed.metrics.health().await, Health::Healthy);
}

#[test]
fn they_are_handed_out_as_what_each_part_needs() {
    let bed = Bed::new();
    let observer: Arc<dyn Observer> = bed.metrics.clone();
    let component: Arc<dyn Component> = bed.metrics.clone();
    observer.observe(Operation::new("cache", "get"), Verdict::Ok, Duration::ZERO);
    assert_eq!(component.name(), "metrics");
    assert_eq!(bed.scrape().sum("eonpro_operations_total"), 1.0);
}

#[tokio::test]
async fn closed_metrics_take_numbers_silently_and_refuse_the_rest() {
    let bed = Bed::new();
    let beds = GaugeDesc::new("clinic_beds", "");
    let wait = HistogramDesc::new("clinic_wait_seconds", "", &[1.0]);
    let visits = bed.metrics.counter(&VISITS, &[]).unwrap();
    let gauge = bed.metrics.gauge(&beds, &[]).unwrap();
    bed.metrics.close().await;
    bed.metrics.close().await;

    visits.add(1);
    gauge.set(1.0);
    bed.metrics
        .observe(Operation::new("cache", "get"), Verdict::Ok, Duration::ZERO);
    let slo = Slo {
        name: "reads",
        operation: Operation::new("cache", "get"),
        target: 0.9,
        window: Duration::from_secs(3_600),
        slower_than: None,
    };
    let refused = [
        bed.metrics.counter(&VISITS, &[]).map(|_| ()),
        bed.metrics.gauge(&beds, &[]).map(|_| ()),
        bed.metrics.histogram(&wait, &[]).map(|_| ()),
        bed.metrics.render().map(|_| ()),
        bed.metrics.track(slo),
    ];
    assert_eq!(refused, [Err(MetricsError::Closed); 5]);
    assert_eq!(MetricsError::Closed.kind(), ErrorKind::Unavailable);
    assert_eq!(bed.metrics.health().await, Health::Unhealthy("closed"));
}
