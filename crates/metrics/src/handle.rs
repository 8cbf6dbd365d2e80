//! Handles to series: cheap to clone, synchronous, labels built in.
//!
//! A handle leads to the numbers of its series without a look-up, a lock (histograms take one of
//! their own series) or an allocation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics as otel;

/// One series of a counter.
#[derive(Clone)]
pub struct Counter(pub(crate) otel::BoundCounter<u64>);

/// One series of a gauge. It is exposed once it has a value.
#[derive(Clone)]
pub struct Gauge(pub(crate) Arc<Level>);

/// One series of a histogram.
#[derive(Clone)]
pub struct Histogram(pub(crate) otel::BoundHistogram<f64>);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.add(amount);
    }
}

impl Gauge {
    /// Sets the value. NaN and infinities are ignored.
    pub fn set(&self, value: f64) {
        self.0.change(|_| value);
    }

    /// Adds `amount`, which may be negative, to a value that begins as 0. An amount or a sum that
    /// is NaN or infinite is ignored.
    pub fn add(&self, amount: f64) {
        self.0.change(|value| value + amount);
    }
}

impl Histogram {
    /// Records one value. NaN and infinities are ignored.
    pub fn record(&self, value: f64) {
        if value.is_finite() {
            self.0.record(value);
        }
    }
}

macro_rules! debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

debug!(Counter Gauge Histogram);

/// The value of a gauge. The SDK's gauge knows no addition.
#[derive(Debug)]
pub(crate) struct Level(AtomicU64);

impl Level {
    // NaN stands for no value: it can never be set.
    const UNSET: f64 = f64::NAN;

    pub(crate) fn unset() -> Self {
        Self(AtomicU64::new(Self::UNSET.to_bits()))
    }

    pub(crate) fn value(&self) -> Option<f64> {
        let value = f64::from_bits(self.0.load(Ordering::Relaxed));
        value.is_finite().then_some(value)
    }

    fn change(&self, to: impl Fn(f64) -> f64) {
        // An update that is refused leaves the value as it is, which is what ignoring means.
        let _ignored = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                let value = f64::from_bits(bits);
                let next = to(if value.is_finite() { value } else { 0.0 });
                next.is_finite().then(|| next.to_bits())
            });
    }
}
