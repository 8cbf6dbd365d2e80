//! The transparency-log formats of C2SP, byte for byte, as values: no clock, no network, no disk.
//!
//! What a log publishes ([`Tile`], [`Bundle`], checkpoints as [`Note`]s of a [`TreeHead`]), what witnesses
//! are asked and answer ([`witness`]), whom to believe ([`Policy`]), and the proof of one entry that
//! anybody can check later without asking anybody ([`OfflineProof`]).
//!
//! Everything that is parsed is untrusted and bounded, has one spelling, and writes back to the same bytes.

mod contents;
mod tile;
mod tile_reader;

pub use contents::{MAX_ENTRY_BYTES, TileError, TileHashes, parse_bundle, write_bundle};
pub use tile::{Bundle, FULL, Tile, bundles_added, tiles_added};
pub use tile_reader::{TileReadError, TileReader};
