//! The Door with real tenants and real tokens behind it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own mistake ends the test"
)]

mod door;
mod house;
