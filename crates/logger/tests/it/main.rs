//! The logger from outside: what its lines hold, what they never hold, and how it loses lines.

#![allow(clippy::unwrap_used, reason = "a test's own mistake ends the test")]

mod bed;
mod correlation;
mod fields;
mod files;
mod lines;
mod queue;
mod redaction;
mod ui;
