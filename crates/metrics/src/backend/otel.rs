//! Metrics on OpenTelemetry's SDK, read on demand.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::port::{Observer, Operation, Verdict};
use eonpro_core::time::SharedClock;
use opentelemetry::metrics::{Counter as OtelCounter, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader as _;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};

use super::objectives::Objectives;
use super::reader::SharedReader;
use super::registry::{Registry, Series};
use super::usage::Usage;
use crate::config::MetricsConfig;
use crate::desc::{CounterDesc, Desc, GaugeDesc, HistogramDesc};
use crate::error::MetricsError;
use crate::exposition;
use crate::handle::{Counter, Gauge, Histogram};
use crate::label::Label;
use crate::red::{self, Red};
use crate::service::Metrics;
use crate::slo::{Budget, Slo};

/// The metrics of one process, kept by OpenTelemetry's SDK and read on demand.
pub struct OtelMetrics {
    config: MetricsConfig,
    provider: SdkMeterProvider,
    reader: SharedReader,
    meter: Meter,
    red: Red,
    objectives: Arc<Objectives>,
    usage: Arc<Usage>,
    registry: Mutex<Registry>,
    refused: OtelCounter<u64>,
    closed: AtomicBool,
}

impl OtelMetrics {
    /// Metrics of this process.
    ///
    /// # Errors
    /// [`MetricsError::Config`] for a limit out of range.
    pub fn new(clock: SharedClock, config: MetricsConfig) -> Result<Self, MetricsError> {
        config.check()?;
        let reader = SharedReader::new();
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(reader.clone())
            .with_view(move |instrument: &Instrument| {
                let limit = series_limit(instrument.name(), &config);
                Stream::builder().with_cardinality_limit(limit).build().ok()
            })
            .build();
        let meter = provider.meter("eonpro");
        let refused = meter
            .u64_counter("eonpro_metrics_refused")
            .with_description("Series, instruments and objectives refused beyond the limits.")
            .build();
        refused.add(0, &[]);
        Ok(Self {
            red: Red::new(&meter),
            objectives: Objectives::register(&meter, clock, config.max_objectives),
            usage: Usage::register(&meter),
            registry: Mutex::default(),
            closed: AtomicBool::new(false),
            config,
            provider,
            reader,
            meter,
            refused,
        })
    }

    fn series(&self, desc: Desc, labels: &[Label]) -> Result<Series, MetricsError> {
        self.admit_open()?;
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let series = registry.series(&self.meter, &self.config, desc, labels);
        self.count_refusal(series)
    }

    fn count_refusal<T>(&self, result: Result<T, MetricsError>) -> Result<T, MetricsError> {
        if matches!(result, Err(MetricsError::Cardinality)) {
            self.refused.add(1, &[]);
        }
        result
    }

    fn admit_open(&self) -> Result<(), MetricsError> {
        if self.closed.load(Ordering::Acquire) {
            Err(MetricsError::Closed)
        } else {
            Ok(())
        }
    }
}

/// The SDK's own limit, which is never reached; it sets aside memory for that many series.
fn series_limit(instrument: &str, config: &MetricsConfig) -> usize {
    if instrument.starts_with("eonpro_operation") {
        red::MAX_SERIES
    } else if instrument.starts_with("eonpro_slo_") {
        config.max_objectives
    } else if instrument.starts_with("eonpro_") || instrument.starts_with("process_") {
        1
    } else {
        config.max_series
    }
}

impl Metrics for OtelMetrics {
    fn counter(&self, desc: &CounterDesc, labels: &[Label]) -> Result<Counter, MetricsError> {
        match self.series(Desc::Counter(*desc), labels)? {
            Series::Counter(counter) => Ok(counter),
            Series::Gauge(_) | Series::Histogram(_) => Err(MetricsError::Conflict),
        }
    }

    fn gauge(&self, desc: &GaugeDesc, labels: &[Label]) -> Result<Gauge, MetricsError> {
        match self.series(Desc::Gauge(*desc), labels)? {
            Series::Gauge(gauge) => Ok(gauge),
            Series::Counter(_) | Series::Histogram(_) => Err(MetricsError::Conflict),
        }
    }

    fn histogram(&self, desc: &HistogramDesc, labels: &[Label]) -> Result<Histogram, MetricsError> {
        match self.series(Desc::Histogram(*desc), labels)? {
            Series::Histogram(histogram) => Ok(histogram),
            Series::Counter(_) | Series::Gauge(_) => Err(MetricsError::Conflict),
        }
    }

    fn render(&self) -> Result<String, MetricsError> {
        self.admit_open()?;
        self.usage.refresh();
        let mut collected = ResourceMetrics::default();
        if self.reader.collect(&mut collected).is_err() {
            // Closed while it was collected, or a defect.
            self.admit_open()?;
            return Err(MetricsError::Collect);
        }
        let mut out = String::new();
        exposition::render(&collected, &mut out);
        Ok(out)
    }

    fn track(&self, slo: Slo) -> Result<(), MetricsError> {
        self.admit_open()?;
        self.count_refusal(self.objectives.track(slo))
    }

    fn budget(&self, slo: &str) -> Option<Budget> {
        self.objectives.budget(slo)
    }
}

impl Observer for OtelMetrics {
    fn observe(&self, op: Operation, verdict: Verdict, elapsed: Duration) {
        self.red.observe(op, verdict, elapsed);
        self.objectives.observe(op, verdict, elapsed);
    }
}

#[async_trait]
impl Component for OtelMetrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn posture(&self) -> Posture {
        // Counters start at zero after a restart, as Prometheus expects: nothing is lost.
        Posture {
            durability: Durability::Stateless,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        match self.admit_open() {
            Ok(()) => Health::Healthy,
            Err(_) => Health::Unhealthy("closed"),
        }
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // There is no exporter that could fail to flush.
        let _nothing_to_flush = self.provider.shutdown();
    }
}

impl fmt::Debug for OtelMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMetrics").finish_non_exhaustive()
    }
}
