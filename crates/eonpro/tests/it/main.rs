//! The foundation as an application meets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod building;
mod house;
mod hub;
mod keys;
mod life;
mod ui;
