//! Conformance suites, deliberately broken backends and test harnesses.
//!
//! A dev-dependency everywhere, a dependency nowhere. Doubles keep the contracts of the ports they
//! stand for: [`TestSealer`] really seals, [`RecordingSink`] is idempotent on the event id.
//!
//! ```
//! use eonpro_testkit::{RecordingSink, TestSealer, scope};
//!
//! let ours = scope(1);
//! let sealer = TestSealer::ready_for(&[&ours]);
//! let sink = RecordingSink::new();
//! assert_eq!(sink.codes(), Vec::<&str>::new());
//! # let _ = sealer;
//! ```

mod alerts;
pub mod broken;
pub mod conformance;
#[cfg(feature = "encryption")]
mod epochs;
mod postgres;
mod recording;
mod rotation;
mod scope;
mod sealer;
pub mod servers;

pub use alerts::RecordingAlerts;
#[cfg(feature = "encryption")]
pub use epochs::MemoryEpochs;
pub use postgres::Postgres;
pub use recording::{Recorded, RecordingSink};
pub use rotation::MemoryRotation;
pub use scope::{
    Actors, authority, context, scope, scope_at, scope_with, standing_context, tenant_id,
};
pub use sealer::TestSealer;
