//! The transparency-log formats of C2SP, byte for byte, as values: no clock, no network, no disk.
//!
//! What a log publishes ([`Tile`], [`Bundle`], checkpoints as [`Note`]s of a [`TreeHead`]), what witnesses
//! are asked and answer ([`AddCheckpoint`], [`Answer`]), whom to believe ([`Policy`]), and the proof of one
//! entry that anybody can check later without asking anybody ([`OfflineProof`]).
//!
//! Everything that is parsed is untrusted and bounded. It has one spelling: what is accepted is written
//! back as the same bytes, but for the comments and spaces of a policy.

mod contents;
mod cosignature;
mod note;
mod offline_proof;
mod policy;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod testing;
mod tile;
mod tile_reader;
mod tree_head;
mod verifier_key;
mod witness;
#[cfg(test)]
mod witness_tests;

pub use contents::{MAX_ENTRY_BYTES, TileError, TileHashes, parse_bundle, write_bundle};
pub use cosignature::Cosignature;
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, SignatureLine, Verified};
pub use offline_proof::{MAX_EXTRA_BYTES, OfflineProof, OfflineProofError};
pub use policy::{MAX_POLICY_BYTES, Party, Policy, PolicyError, PolicyFault, TrustError, Trusted};
pub use tile::{Bundle, FULL, Tile, bundles_added, tiles_added, tiles_needed};
pub use tile_reader::{TileReadError, TileReader};
pub use tree_head::TreeHead;
pub use verifier_key::{KeyId, KeyKind, KeyName, VerifierKey, VerifierKeyError};
pub use witness::{
    AddCheckpoint, Answer, AnswerError, KnownLog, MAX_ANSWER_BYTES, MAX_CONSISTENCY,
    MAX_REQUEST_BYTES, Refusal,
};
