//! A root key in this process's memory: what all embedded roots have in common.

use eonpro_core::secret::KeyBytes;

use crate::cobblestone::InputKey;
use crate::error::CryptoError;
use crate::random::fill_random;
use crate::root::{RootKeyId, WrapContext};

#[derive(Debug)]
pub(super) struct LocalRoot {
    id: RootKeyId,
    key: InputKey,
}

impl LocalRoot {
    pub(super) fn new(id: RootKeyId, key: &KeyBytes<32>) -> Self {
        Self {
            id,
            key: InputKey::new(key),
        }
    }

    pub(super) fn id(&self) -> &RootKeyId {
        &self.id
    }

    /// A Cobblestone-256 message without prefix.
    pub(super) fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let context = context.encode(&self.id);
        Ok(self.key.seal(&[&context], key.expose())?)
    }

    pub(super) fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let context = context.encode(&self.id);
        let bytes = self
            .key
            .open(&[&context], wrapped)
            .map_err(|_| CryptoError::RootMismatch)?;
        KeyBytes::copy_from(&bytes).ok_or(CryptoError::RootMismatch)
    }
}

/// `<kind>:<16 random hex digits>`.
pub(super) fn fresh_id(kind: &str) -> Result<RootKeyId, CryptoError> {
    let mut random = [0; 8];
    fill_random(&mut random)?;
    let text = format!("{kind}:{:016x}", u64::from_be_bytes(random));
    RootKeyId::new(&text).ok_or(CryptoError::File("root key id"))
}
