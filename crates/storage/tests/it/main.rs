//! Facts about the document store as its callers see it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test's own mistake ends the test"
)]

mod crash;
mod leaks;
mod lifecycle;
mod policy_page;
mod quarantine;
mod races;
mod retention;
mod support;
mod tampering;
mod tenants;
mod urls;
