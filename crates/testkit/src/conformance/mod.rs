//! Conformance suites: what every backend of a trait must do, ours and third parties'.
//!
//! A suite runs all its checks and returns a [`Report`] that names what failed, so that the
//! deliberately broken backends of [`crate::broken`] can be shown to fail the right check.

/// A list of checks by the paths of their functions.
macro_rules! checks {
    ($($path:path),* $(,)?) => {
        &[$((stringify!($path), |bed| $path(bed).boxed())),*]
    };
}

#[cfg(feature = "audit")]
pub mod audit;
#[cfg(feature = "encryption")]
pub mod epoch_keys;
mod history;
pub mod kv;
mod report;
#[cfg(feature = "encryption")]
pub mod root_key;
pub mod rotation;
#[cfg(feature = "encryption")]
mod wrapping;

#[cfg(feature = "audit")]
pub use audit::suite as audit;
#[cfg(feature = "encryption")]
pub use epoch_keys::suite as epoch_keys;
pub use report::{Failure, Mismatch, Report};
#[cfg(feature = "encryption")]
pub use root_key::suite as root_key;
pub use rotation::suite as rotation;
