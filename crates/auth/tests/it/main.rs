//! Auth as a whole: published vectors, forgeries, sessions, factors, throttling, events.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's own mistake ends the test"
)]

mod factors;
mod forgeries;
mod logins;
mod roles;
mod sessions;
mod tokens;
mod ui;
mod vectors;
mod world;
