//! The tenant service as its users see it, on a memory store and real files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail like tests"
)]

mod databases;
mod directory;
mod house;
mod offboarding;
mod resolution;
mod rotation;
mod rotation_suite;
