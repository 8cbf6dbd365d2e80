//! Where the numbers are kept: OpenTelemetry's SDK.

mod objectives;
mod otel;
mod reader;
mod registry;
mod usage;

pub use otel::OtelMetrics;
