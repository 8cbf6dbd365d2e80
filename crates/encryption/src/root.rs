//! The root key: wraps each scope's key-encryption key, and nothing else.
//!
//! The `Keyring` and the `KeyFile` keep theirs in a file; a KMS or an HSM keeps it outside of the
//! process. The wrap context is bound to the wrapped key, so that a tenant's key does not unwrap
//! as another's.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::component::Component;
use eonpro_core::pae;
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;

use crate::envelope::scope_bytes;
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::keyset::KeyId;

/// Names one root key: 1 to 64 characters of `a-z 0-9 . _ : / -`. No secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RootKeyId(Arc<str>);

impl RootKeyId {
    /// Checks and takes `text`; `None` outside of the limits above.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_key_name(text).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` may name a root key or an epoch key.
pub(crate) fn is_key_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'/' | b'-'),
        )
}

/// What a wrapped key is: whose, and which. Holds ids only, because providers log it in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapContext {
    /// Whose key-encryption key.
    pub scope: SealScope,
    /// Its id.
    pub key: KeyId,
}

impl WrapContext {
    /// `PAE("eonpro/kek/v1", root, scope, key id big endian)`, for roots that bind bytes.
    #[must_use]
    pub fn encode(&self, root: &RootKeyId) -> Vec<u8> {
        pae::encode(&[
            b"eonpro/kek/v1",
            root.as_str().as_bytes(),
            scope_bytes(&self.scope.tenant()),
            &self.key.to_be_bytes(),
        ])
    }

    /// `PAE("eonpro/epoch/v1", epoch, scope, key id big endian)`, for epoch keys.
    #[must_use]
    pub fn encode_for_epoch(&self, epoch: &EpochId) -> Vec<u8> {
        pae::encode(&[
            b"eonpro/epoch/v1",
            epoch.as_str().as_bytes(),
            scope_bytes(&self.scope.tenant()),
            &self.key.to_be_bytes(),
        ])
    }
}

/// Somebody for whom each key-encryption key is wrapped as well, and who is not asked to unwrap it in
/// daily use.
#[async_trait]
pub trait Recipient: fmt::Debug + Send + Sync + 'static {
    /// Which recipient this is; no root key has the same id.
    fn id(&self) -> &RootKeyId;

    /// Wraps `key` for the recipient, bound to `context`. At most 4 KiB. Cancel-safe.
    ///
    /// # Errors
    /// [`CryptoError::Root`] if that failed.
    async fn wrap(&self, key: &KeyBytes<32>, context: &WrapContext)
    -> Result<Vec<u8>, CryptoError>;
}

/// Wraps and unwraps key-encryption keys.
#[async_trait]
pub trait RootKey: Component {
    /// Which root key this is.
    fn id(&self) -> &RootKeyId;

    /// Wraps `key` so that it unwraps for the same `context` only. At most 4 KiB.
    /// Cancel-safe; each call may give other bytes.
    ///
    /// # Errors
    /// [`CryptoError::Root`] if the backend failed.
    async fn wrap(&self, key: &KeyBytes<32>, context: &WrapContext)
    -> Result<Vec<u8>, CryptoError>;

    /// Unwraps what [`Self::wrap`] gave for the same `context`. Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`CryptoError::RootMismatch`] if `wrapped` was made by another root, for another context, or
    /// was changed; [`CryptoError::RootDisabled`] while its provider refuses to use the key;
    /// [`CryptoError::Throttled`]; [`CryptoError::Root`] if the backend failed.
    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError>;
}
