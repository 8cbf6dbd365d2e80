//! What applications and the facade see of metrics.

use eonpro_core::component::Component;
use eonpro_core::port::Observer;

use crate::desc::{CounterDesc, GaugeDesc, HistogramDesc};
use crate::error::MetricsError;
use crate::handle::{Counter, Gauge, Histogram};
use crate::label::Label;
use crate::slo::{Budget, Slo};

/// The metrics of one process. As an [`Observer`] it takes the operations of every service.
///
/// All methods are synchronous. Making a handle takes a lock; keep the handle and record through
/// it. Once closed, handles and the observer take numbers silently.
pub trait Metrics: Component + Observer {
    /// The series of a counter with those labels, in any order. The same labels give the same
    /// series. It is exposed from now on, beginning with 0.
    ///
    /// # Errors
    /// [`MetricsError::Name`] for a name that is malformed or ends in what the format appends
    /// (`_total`, `_bucket`, `_sum`, `_count`); [`MetricsError::Conflict`] if an instrument of
    /// another kind, help or bounds has it, or if it begins with `eonpro_` or `process_`;
    /// [`MetricsError::LabelTwice`]; [`MetricsError::Cardinality`] beyond the limit of series or
    /// instruments, counted as `eonpro_metrics_refused_total`; [`MetricsError::Closed`].
    fn counter(&self, desc: &CounterDesc, labels: &[Label]) -> Result<Counter, MetricsError>;

    /// The series of a gauge with those labels. It is exposed once it has a value.
    ///
    /// # Errors
    /// As [`Self::counter`].
    fn gauge(&self, desc: &GaugeDesc, labels: &[Label]) -> Result<Gauge, MetricsError>;

    /// The series of a histogram with those labels.
    ///
    /// # Errors
    /// As [`Self::counter`]; [`MetricsError::Bounds`].
    fn histogram(&self, desc: &HistogramDesc, labels: &[Label]) -> Result<Histogram, MetricsError>;

    /// Everything in Prometheus text exposition format 0.0.4, sorted; serve it as
    /// [`CONTENT_TYPE`](crate::CONTENT_TYPE). Reads `/proc`, so not for a hot path.
    ///
    /// # Errors
    /// [`MetricsError::Closed`], [`MetricsError::Collect`].
    fn render(&self) -> Result<String, MetricsError>;

    /// Starts to track an objective. Every observed operation that it names counts from now on.
    ///
    /// # Errors
    /// [`MetricsError::Name`]; [`MetricsError::Objective`] for a target, window or threshold out of
    /// range; [`MetricsError::Conflict`] if the name is taken; [`MetricsError::Cardinality`] beyond
    /// the limit of objectives; [`MetricsError::Closed`].
    fn track(&self, slo: Slo) -> Result<(), MetricsError>;

    /// The error budget of the objective with that name; `None` if there is none.
    fn budget(&self, slo: &str) -> Option<Budget>;
}
