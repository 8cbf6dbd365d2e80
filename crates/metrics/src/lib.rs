//! Metrics: counters, gauges and histograms, RED for every service operation, USE of the process,
//! and error budgets of service level objectives.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_core::time::SystemClock;
//! use eonpro_metrics::{CounterDesc, Label, Metrics as _, MetricsConfig, OtelMetrics};
//!
//! const ADMISSIONS: CounterDesc = CounterDesc::new("clinic_admissions", "Patients admitted.");
//!
//! let metrics = OtelMetrics::new(Arc::new(SystemClock::new()), MetricsConfig::default())?;
//! let emergency = metrics.counter(&ADMISSIONS, &[Label::new("ward", "emergency")?])?;
//! emergency.add(1);
//! assert!(metrics.render()?.contains("clinic_admissions_total{ward=\"emergency\"} 1\n"));
//! # Ok::<(), eonpro_metrics::MetricsError>(())
//! ```
//!
//! Instruments are those of OpenTelemetry's SDK behind handles of our own: a handle has its labels
//! built in, so that recording is one call. [`Metrics::render`] gives Prometheus text exposition
//! 0.0.4; the library opens no port, since who may read metrics is the application's decision.
//!
//! Labels take short tokens only. Never make one of an identifier of a patient or a user: each
//! label set is a time series of its own, kept and shown for ever.
//!
//! What is measured by itself:
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `eonpro_operations_total` | service, operation, outcome | rate and errors of every operation |
//! | `eonpro_operation_duration_seconds` | service, operation | duration of every operation |
//! | `eonpro_slo_budget_remaining_ratio` | slo | what is left of the error budget |
//! | `eonpro_metrics_refused_total` | | series refused beyond the limits |
//! | `process_cpu_seconds_total` | | processor time used |
//! | `process_resident_memory_bytes`, `process_virtual_memory_bytes` | | memory in use, reserved |
//! | `process_major_page_faults_total` | | pages read from disk: memory is short |
//! | `process_open_fds`, `process_max_fds` | | file descriptors, used and allowed |
//! | `process_threads` | | threads |
//! | `process_start_time_seconds` | | start of the process, in Unix seconds |

pub mod backend;
mod config;
mod desc;
mod error;
pub mod events;
mod exposition;
mod handle;
mod label;
mod process;
mod red;
mod service;
mod slo;

pub use backend::OtelMetrics;
pub use config::MetricsConfig;
pub use desc::{CounterDesc, GaugeDesc, HistogramDesc, LATENCY_SECONDS};
pub use error::MetricsError;
pub use exposition::CONTENT_TYPE;
pub use handle::{Counter, Gauge, Histogram};
pub use label::Label;
pub use service::Metrics;
pub use slo::{Budget, Slo, SloTracker};
