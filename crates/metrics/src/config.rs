//! Limits of the metrics of one process.

use crate::error::MetricsError;

/// How many of everything there may be. The defaults suit one service process.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The most series of one instrument; one more is refused. 1 to 100,000, default 1,000.
    ///
    /// Memory is set aside for them when the instrument is made, about 64 bytes each.
    pub max_series: usize,
    /// The most instruments that the application may make. 1 to 10,000, default 500.
    pub max_instruments: usize,
    /// The most objectives. 1 to 1,000, default 64.
    pub max_objectives: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            max_series: 1_000,
            max_instruments: 500,
            max_objectives: 64,
        }
    }
}

impl MetricsConfig {
    pub(crate) fn check(&self) -> Result<(), MetricsError> {
        if !(1..=100_000).contains(&self.max_series) {
            return Err(MetricsError::Config("max_series outside of 1 to 100,000"));
        }
        if !(1..=10_000).contains(&self.max_instruments) {
            return Err(MetricsError::Config(
                "max_instruments outside of 1 to 10,000",
            ));
        }
        if !(1..=1_000).contains(&self.max_objectives) {
            return Err(MetricsError::Config("max_objectives outside of 1 to 1,000"));
        }
        Ok(())
    }
}
