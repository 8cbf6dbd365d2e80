//! The embedded tiers: moka in memory, redb on disk.

mod moka_local;
mod redb_tier;
mod redb_writer;

pub(crate) use moka_local::MokaLocal;
pub use redb_tier::{RedbTier, RedbTierConfig};
