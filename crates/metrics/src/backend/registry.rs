//! Which instruments and series the application made: the same description and labels give the
//! same series, and no more of them than the limits allow.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics as otel;

use crate::config::MetricsConfig;
use crate::desc::{Desc, GaugeDesc};
use crate::error::MetricsError;
use crate::handle::{Counter, Gauge, Histogram, Level};
use crate::label::Label;

#[derive(Default)]
pub(super) struct Registry {
    instruments: HashMap<&'static str, Instrument>,
}

struct Instrument {
    desc: Desc,
    source: Source,
    series: BTreeMap<Vec<Label>, Series>,
}

/// What series are made from.
enum Source {
    Counter(otel::Counter<u64>),
    Gauge(Arc<Levels>),
    Histogram(otel::Histogram<f64>),
}

#[derive(Debug, Clone)]
pub(super) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// The gauges of one instrument, for the callback that shows them.
type Levels = Mutex<Vec<(Vec<KeyValue>, Arc<Level>)>>;

impl Registry {
    /// Finds or makes the series, and its instrument.
    pub(super) fn series(
        &mut self,
        meter: &otel::Meter,
        config: &MetricsConfig,
        desc: Desc,
        labels: &[Label],
    ) -> Result<Series, MetricsError> {
        desc.check()?;
        let labels = sorted(labels)?;
        let count = self.instruments.len();
        let instrument = match self.instruments.entry(desc.name()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if count >= config.max_instruments => {
                return Err(MetricsError::Cardinality);
            }
            std::collections::hash_map::Entry::Vacant(free) => free.insert(Instrument {
                desc,
                source: Source::make(meter, desc),
                series: BTreeMap::new(),
            }),
        };
        if instrument.desc != desc {
            return Err(MetricsError::Conflict);
        }
        let full = instrument.series.len() >= config.max_series;
        match instrument.series.entry(labels) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(_) if full => Err(MetricsError::Cardinality),
            Entry::Vacant(free) => {
                let attributes = free.key().iter().map(Label::attribute).collect();
                Ok(free.insert(instrument.source.series(attributes)).clone())
            }
        }
    }
}

impl Source {
    fn make(meter: &otel::Meter, desc: Desc) -> Self {
        match desc {
            Desc::Counter(desc) => Self::Counter(
                meter
                    .u64_counter(desc.name)
                    .with_description(desc.help)
                    .build(),
            ),
            Desc::Gauge(desc) => Self::Gauge(gauge(meter, desc)),
            Desc::Histogram(desc) => Self::Histogram(
                meter
                    .f64_histogram(desc.name)
                    .with_description(desc.help)
                    .with_boundaries(desc.bounds.to_vec())
                    .build(),
            ),
        }
    }

    fn series(&self, attributes: Vec<KeyValue>) -> Series {
        match self {
            Self::Counter(counter) => {
                let series = Counter(counter.bind(&attributes));
                // Shown from now on: a rate needs the zero before the first one.
                series.add(0);
                Series::Counter(series)
            }
            Self::Gauge(levels) => {
                let level = Arc::new(Level::unset());
                let mut levels = levels.lock().unwrap_or_else(PoisonError::into_inner);
                levels.push((attributes, Arc::clone(&level)));
                Series::Gauge(Gauge(level))
            }
            Self::Histogram(histogram) => Series::Histogram(Histogram(histogram.bind(&attributes))),
        }
    }
}

fn gauge(meter: &otel::Meter, desc: GaugeDesc) -> Arc<Levels> {
    let levels = Arc::new(Levels::default());
    let shown = Arc::clone(&levels);
    meter
        .f64_observable_gauge(desc.name)
        .with_description(desc.help)
        .with_callback(move |to| {
            let levels = shown.lock().unwrap_or_else(PoisonError::into_inner);
            for (attributes, level) in levels.iter() {
                if let Some(value) = level.value() {
                    to.observe(value, attributes);
                }
            }
        })
        .build();
    levels
}

/// By name, which is the order in which the SDK keeps them.
fn sorted(labels: &[Label]) -> Result<Vec<Label>, MetricsError> {
    let mut labels = labels.to_vec();
    labels.sort();
    let twice = labels
        .iter()
        .zip(labels.iter().skip(1))
        .any(|(one, next)| one.name() == next.name());
    if twice {
        Err(MetricsError::LabelTwice)
    } else {
        Ok(labels)
    }
}
