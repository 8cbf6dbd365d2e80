//! How long entries are kept, what is held beyond that, and what may go.
//!
//! A pruned leaf loses its bytes and keeps its hash: every root, proof and signed head stays what it was.
//! What goes is announced first, by a signed AUD-009 in the log itself that commits to exactly the leaves
//! that go; pruned leaves that no such entry accounts for are tampering.

mod class;
mod gone;
mod hold;
mod indexes;
mod plan;
mod refusal;
mod rewrite;
mod survey;
#[cfg(test)]
mod tests;
mod under_way;

pub use class::{Approvals, RetentionClass, RetentionError, RetentionPolicy};
pub use hold::{Hold, HoldError, HoldId, HoldScope, Holds};
pub use plan::{LogPlan, PrunePlan, Pruned, PrunedLog};
pub use refusal::PruneRefusal;

pub(crate) use gone::Gone;
pub(crate) use hold::{SET, hold_code, hold_of_code};
pub(crate) use indexes::Indexes;
pub(crate) use rewrite::{Moved, rewrite};
pub(crate) use survey::{Survey, Surveyor};
pub(crate) use under_way::{MAX_PLANS_BYTES, UnderWay, read as read_under_way, write_bytes};

/// What pruning goes by: bundles of this many entries (C2SP tlog-tiles) go together or not at all, so
/// that a published log always has all bundles from its minimum index on.
pub(crate) const BUNDLE: u64 = 256;
