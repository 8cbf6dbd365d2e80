//! Conformance suites: what every backend of a trait must do, ours and third parties'.
//!
//! A suite runs all its checks and returns a [`Report`] that names what failed, so that the
//! deliberately broken backends of [`crate::broken`] can be shown to fail the right check.

mod history;
pub mod kv;
mod report;

pub use report::{Failure, Mismatch, Report};
