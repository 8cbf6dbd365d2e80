//! What can go wrong with metrics. Recording itself never fails.

use eonpro_core::{Classify, ErrorKind};

/// Why metrics refused. No variant tells a name or a value.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// A name is not `[a-z][a-z0-9_]*` of at most 100 characters, or one that the exposition
    /// format needs for itself.
    #[error("malformed or reserved metric or label name")]
    Name,
    /// A label value is empty, too long or no token.
    #[error("label value is not a token of at most 128 characters")]
    LabelValue,
    /// A series has two labels of one name.
    #[error("label name is given twice")]
    LabelTwice,
    /// The bounds of a histogram are not 1 to 100 finite numbers, each above the one before.
    #[error("histogram needs 1 to 100 ascending finite bounds")]
    Bounds,
    /// The name is taken by an instrument of another kind, help or bounds, or by an objective.
    #[error("name is taken by something else")]
    Conflict,
    /// Too many series, instruments or objectives.
    #[error("too many metric series")]
    Cardinality,
    /// An objective's target, window or threshold is out of range.
    #[error("objective needs a target between 0 and 1 and a window of 1 hour to 90 days")]
    Objective,
    /// A number in the configuration is out of range; the text names it.
    #[error("metrics configuration is out of range: {0}")]
    Config(&'static str),
    /// The metrics were closed.
    #[error("metrics are closed")]
    Closed,
    /// The SDK failed to collect.
    #[error("metrics could not be collected")]
    Collect,
}

impl Classify for MetricsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name | Self::LabelValue | Self::LabelTwice | Self::Bounds | Self::Objective => {
                ErrorKind::InvalidInput
            }
            Self::Conflict => ErrorKind::Conflict,
            // Waiting does not help: a series stays until the process ends.
            Self::Cardinality => ErrorKind::Misuse,
            Self::Config(_) => ErrorKind::Config,
            Self::Closed => ErrorKind::Unavailable,
            Self::Collect => ErrorKind::Internal,
        }
    }
}
