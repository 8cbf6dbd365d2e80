//! Keys in and out as Tink keysets, so that others open what we seal, and we what others seal.
//!
//! A keyset is Tink's JSON in clear: an id for each key, the key as a protocol buffer under its
//! type's URL, and which of the keys seals. Compact and deterministic keys are of Tink's own types
//! [`XAES_GCM`](proto::XAES_GCM) and [`AES_SIV`](proto::AES_SIV). Cobblestone-256 has none: it is
//! exported under an address of ours, and Tink refuses it. What is read is hostile until proven
//! otherwise: sizes are bounded, and only what Tink writes is taken.

mod json;
mod proto;

#[cfg(test)]
mod tests;

use std::fmt;

use eonpro_core::phi::Suite;

use crate::keyset::KeyId;
use crate::material::KeyMaterial;
use crate::state::KeyState;

pub(crate) use json::{read, write};

/// Permits one to hold data keys in clear. Whoever has an exported keyset opens everything that was
/// sealed under its keys, forges values, and escapes a shred: keep it as you would keep the PHI.
///
/// It cannot be had but by the call that says so, which a review can look for.
pub struct KeyExport(());

impl KeyExport {
    /// Says that the caller will hold key bytes in clear, outside of the vault.
    #[must_use]
    pub const fn insecurely_expose_key_bytes() -> Self {
        Self(())
    }
}

impl fmt::Debug for KeyExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyExport")
    }
}

/// The longest keyset that is read, in bytes.
pub const MAX_TINK_KEYSET: usize = 512 * 1024;

/// One key of a keyset.
#[derive(Debug, PartialEq)]
pub(crate) struct TinkKey {
    pub(crate) id: KeyId,
    pub(crate) state: KeyState,
    /// `None` if and only if it is destroyed.
    pub(crate) material: Option<KeyMaterial>,
}

/// The address of a suite's key type.
const fn type_url(suite: Suite) -> &'static str {
    match suite {
        Suite::Standard => proto::COBBLESTONE,
        Suite::Compact => proto::XAES_GCM,
        Suite::Deterministic => proto::AES_SIV,
    }
}
