//! What the tests start from.

use std::sync::Arc;

use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_metrics::{CounterDesc, Label, Metrics, MetricsConfig, OtelMetrics};

use crate::format::Exposition;

pub(crate) const VISITS: CounterDesc = CounterDesc::new("clinic_visits", "Visits.");

pub(crate) struct Bed {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Arc<dyn Metrics>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut MetricsConfig)) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let mut config = MetricsConfig::default();
        change(&mut config);
        let metrics = Arc::new(OtelMetrics::new(clock.clone(), config).unwrap());
        Self { clock, metrics }
    }

    /// A rendering that the strict parser accepted.
    pub(crate) fn scrape(&self) -> Exposition {
        Exposition::parse(&self.metrics.render().unwrap()).unwrap()
    }
}

pub(crate) fn ward(name: &str) -> [Label; 1] {
    [Label::new("ward", name).unwrap()]
}
