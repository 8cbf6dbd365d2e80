//! Shred epochs: keys that live inside a root's own custody and nowhere else.
//!
//! What an epoch key wrapped is gone once the epoch key is, also from backups of the key store: the
//! wrapped form may be restored, the epoch key may not.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::component::Component;
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::Timestamp;

use crate::error::CryptoError;
use crate::root::{WrapContext, is_key_name};

/// Names one epoch key within its custody: 1 to 64 characters of `a-z 0-9 . _ : / -`. No secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(Arc<str>);

impl EpochId {
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

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a destroyed epoch key is really gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destruction {
    /// At once: the custody holds no copy of it.
    Done,
    /// Its provider keeps it, disabled, until then; up to that time an administrator of the provider
    /// can still cancel the destruction.
    Scheduled {
        /// When it will be gone.
        at: Timestamp,
    },
}

/// Makes, uses and destroys epoch keys. A keyring keeps them in its file, a KMS or an HSM inside.
#[async_trait]
pub trait EpochKeys: Component {
    /// Names the custody: the same from every handle and after reopening, and that of no other. No
    /// secret. 1 to 64 characters.
    fn custody_id(&self) -> &str;

    /// Makes a fresh epoch key. Returns once it is durable. Not idempotent; a dropped call may leave a
    /// key that wrapped nothing, which [`Self::epochs`] lists.
    ///
    /// # Errors
    /// [`CryptoError::Root`], [`CryptoError::Io`] if the custody failed.
    async fn create(&self) -> Result<EpochId, CryptoError>;

    /// Wraps `key` under `epoch` so that it unwraps for the same `context` only. At most 4 KiB.
    /// Cancel-safe; each call may give other bytes.
    ///
    /// # Errors
    /// [`CryptoError::EpochGone`] if the epoch key does not exist or was destroyed; errors of the
    /// custody.
    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError>;

    /// Unwraps what [`Self::wrap`] gave for the same epoch and context. Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`CryptoError::EpochGone`] as above; [`CryptoError::RootMismatch`] if `wrapped` was made under
    /// another key, for another context, or was changed; errors of the custody.
    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError>;

    /// Destroys an epoch key. From the moment of return it neither wraps nor unwraps, in this process
    /// and in every other that asks the custody. Idempotent: an epoch that is gone is
    /// [`Destruction::Done`].
    ///
    /// A custody keeps nothing of what it destroyed, so it calls an epoch of *another* custody gone as
    /// well: whoever asks compares [`Self::custody_id`] with that of the custody that made the epoch, as
    /// the vault does.
    ///
    /// # Errors
    /// [`CryptoError::ForeignCustody`] for an id that this custody cannot have given. Errors of the
    /// custody; the key may then be there or not, and the call must be repeated.
    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError>;

    /// The epoch keys that still wrap and unwrap, in no particular order.
    ///
    /// # Errors
    /// Errors of the custody.
    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError>;
}
