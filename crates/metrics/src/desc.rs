//! What an instrument is: its name, its meaning, its buckets.

use crate::error::MetricsError;
use crate::label::check_name;

/// Bucket bounds for durations of requests, in seconds: those of OpenTelemetry's semantic
/// conventions 1.42, and four below them for calls that stay within the process.
pub const LATENCY_SECONDS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
    5.0, 7.5, 10.0,
];

const MAX_BOUNDS: usize = 100;

macro_rules! desc {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            pub(crate) name: &'static str,
            pub(crate) help: &'static str,
        }

        impl $name {
            /// The instrument `name`, `[a-z][a-z0-9_]*`, with its unit as suffix where it has one
            /// (`_bytes`, `_seconds`), and one sentence of help.
            #[must_use]
            pub const fn new(name: &'static str, help: &'static str) -> Self {
                Self { name, help }
            }
        }
    };
}

desc!(
    /// A number that only grows. Its exposed name ends in `_total`, which is added.
    CounterDesc
);
desc!(
    /// A number that goes up and down.
    GaugeDesc
);

/// A distribution over buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramDesc {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) bounds: &'static [f64],
}

impl HistogramDesc {
    /// The histogram `name` with 1 to 100 ascending upper `bounds`; the last bucket, up to
    /// infinity, is implied.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, help, bounds }
    }
}

/// Any of the three; two of one name must be equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Desc {
    Counter(CounterDesc),
    Gauge(GaugeDesc),
    Histogram(HistogramDesc),
}

impl Desc {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Counter(desc) => desc.name,
            Self::Gauge(desc) => desc.name,
            Self::Histogram(desc) => desc.name,
        }
    }

    pub(crate) fn check(&self) -> Result<(), MetricsError> {
        let name = self.name();
        check_name(name)?;
        // What the format appends to a name, so that no two families can share a line's name.
        let reserved = ["_total", "_bucket", "_sum", "_count"];
        if reserved.iter().any(|suffix| name.ends_with(suffix)) {
            return Err(MetricsError::Name);
        }
        if name.starts_with("eonpro_") || name.starts_with("process_") {
            return Err(MetricsError::Conflict);
        }
        match self {
            Self::Counter(_) | Self::Gauge(_) => Ok(()),
            Self::Histogram(desc) => check_bounds(desc.bounds),
        }
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), MetricsError> {
    let finite = bounds.iter().all(|bound| bound.is_finite());
    let ascending = bounds
        .iter()
        .zip(bounds.iter().skip(1))
        .all(|(low, high)| low < high);
    if finite && ascending && (1..=MAX_BOUNDS).contains(&bounds.len()) {
        Ok(())
    } else {
        Err(MetricsError::Bounds)
    }
}
