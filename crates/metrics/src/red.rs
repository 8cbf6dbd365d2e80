//! Rate, errors and duration of every service operation.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use eonpro_core::port::{Operation, Verdict};
use opentelemetry::KeyValue;
use opentelemetry::metrics as otel;

use crate::desc::LATENCY_SECONDS;

/// Operations with their outcomes that get series of their own. Operations are named in the
/// source, so their number is bounded by it; this is a safety net.
const MAX_KNOWN: usize = 2_000;

/// All beyond are counted as this one, so that totals stay exact.
const OTHER: Operation = Operation::new("other", "other");

/// Series of one instrument, with room for every outcome of [`OTHER`].
pub(crate) const MAX_SERIES: usize = MAX_KNOWN + 100;

/// The two instruments behind the observer.
pub(crate) struct Red {
    operations: otel::Counter<u64>,
    durations: otel::Histogram<f64>,
    known: RwLock<HashMap<(Operation, Verdict), Series>>,
}

struct Series {
    count: otel::BoundCounter<u64>,
    duration: otel::BoundHistogram<f64>,
}

impl Series {
    fn record(&self, elapsed: Duration) {
        self.count.add(1);
        self.duration.record(elapsed.as_secs_f64());
    }
}

impl Red {
    pub(crate) fn new(meter: &otel::Meter) -> Self {
        Self {
            operations: meter
                .u64_counter("eonpro_operations")
                .with_description("Service operations by outcome.")
                .build(),
            durations: meter
                .f64_histogram("eonpro_operation_duration_seconds")
                .with_description("Duration of service operations.")
                .with_boundaries(LATENCY_SECONDS.to_vec())
                .build(),
            known: RwLock::default(),
        }
    }

    /// Counts one operation. Allocates the first time that the operation ends in this way.
    pub(crate) fn observe(&self, op: Operation, verdict: Verdict, elapsed: Duration) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.get(&(op, verdict));
        let full = known.len() >= MAX_KNOWN;
        if let Some(series) = own.or_else(|| known.get(&(OTHER, verdict)).filter(|_| full)) {
            series.record(elapsed);
            return;
        }
        drop(known);
        self.admit(op, verdict, elapsed);
    }

    #[cold]
    fn admit(&self, op: Operation, verdict: Verdict, elapsed: Duration) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let op = if known.len() < MAX_KNOWN { op } else { OTHER };
        known
            .entry((op, verdict))
            .or_insert_with(|| self.series(op, verdict))
            .record(elapsed);
    }

    fn series(&self, op: Operation, verdict: Verdict) -> Series {
        // In the order of their names, which is the SDK's own.
        let [operation, outcome, service] = [
            KeyValue::new("operation", op.name),
            KeyValue::new("outcome", outcome(verdict)),
            KeyValue::new("service", op.service),
        ];
        // The outcome is left out: a duration series per error kind costs more than it tells.
        let duration = self.durations.bind(&[operation.clone(), service.clone()]);
        Series {
            count: self.operations.bind(&[operation, outcome, service]),
            duration,
        }
    }
}

fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Failed(kind) => kind.as_str(),
    }
}
