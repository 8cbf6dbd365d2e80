//! Keys that the client holds: what it seals, no server opens.
//!
//! The format is the vault's own, so that values move between the two without a second parser; only
//! who holds the key differs. `docs/zero-knowledge.md` tells what that protects and what it does not.

use std::fmt;

use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, IndexDef, IndexSlots, Suite};
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_core::secret::{KeyBytes, SecretBytes};

use crate::cobblestone::{Cause, InputKey};
use crate::envelope::{self, Content, KeyContext, Place, scope_bytes};
use crate::error::CryptoError;
use crate::index_status::IndexStatus;
use crate::keyset::KeyId;
use crate::random::{fill_random, fresh_salt, random_key};
use crate::sealing_key::SealingKey;
use crate::search::LiveIndex;

/// A key of 32 bytes that the caller holds and keeps; nothing of this crate stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    id: KeyId,
    bytes: KeyBytes<32>,
}

impl ClientKey {
    /// A fresh key with a random id.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] if the system has no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        loop {
            let mut id = [0; 4];
            fill_random(&mut id)?;
            if let Some(key) = Self::new(KeyId::from_be_bytes(id), random_key()?) {
                return Ok(key);
            }
        }
    }

    /// A key that was made before. `bytes` must be uniformly random, never a passphrase. `None` for
    /// the id 0, which names no key.
    #[must_use]
    pub fn new(id: KeyId, bytes: KeyBytes<32>) -> Option<Self> {
        (id != KeyId::AT_HAND).then_some(Self { id, bytes })
    }

    /// Its id, which its values name in clear.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself, for the keychain in which the client keeps it.
    #[must_use]
    pub fn bytes(&self) -> &KeyBytes<32> {
        &self.bytes
    }
}

/// Seals and opens values of one tenant and purpose under a key that the caller holds. Synchronous;
/// needs no vault, no store and no root key.
///
/// Nothing turns, shreds or revokes such a key: whoever has its bytes can open. Values of another key
/// need a cipher of that key; [`Self::names`] tells which.
pub struct ClientCipher {
    tenant: Option<TenantId>,
    purpose: KeyPurpose,
    id: KeyId,
    context: KeyContext,
    key: SealingKey,
}

impl ClientCipher {
    /// A cipher of `key` for what belongs to `tenant`. Use one key for one tenant and one purpose.
    #[must_use]
    pub fn new(tenant: TenantId, purpose: KeyPurpose, key: &ClientKey) -> Self {
        let tenant = Some(tenant);
        Self {
            context: KeyContext::new(Suite::Standard, key.id, &tenant, purpose.as_str()),
            tenant,
            purpose,
            id: key.id,
            key: SealingKey::Standard(InputKey::new(&key.bytes)),
        }
    }

    /// The id of the key that `sealed` names; `None` if it is no sealed value.
    #[must_use]
    pub fn names(sealed: &[u8]) -> Option<KeyId> {
        envelope::split(sealed).map(|(id, _)| id)
    }

    /// Seals `plaintext` for `cell`, in the standard suite.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond the suite's length; [`SealError::Backend`] if the system
    /// has no randomness.
    pub fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        let place = self.place(cell);
        self.key
            .seal(&place, self.id, fresh_salt, plaintext, &mut out)?;
        Ok(out)
    }

    /// Opens what was sealed under this key for the same tenant, purpose and cell.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else, without telling why.
    pub fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        let (id, message) = envelope::split(sealed).ok_or(Cause::Tag)?;
        if id != self.id {
            return Err(Cause::Key.into());
        }
        Ok(self.key.open(&self.place(cell), message)?)
    }

    /// The blind index token of `texts`, one for each part of the index, to store with a value or to look
    /// for: in the slot of the index's version, which no server rotates. The server learns which tokens
    /// are equal.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] unless the purpose is [`KeyPurpose::SEARCH`], whose key must stay
    /// the same as long as its tokens are stored, and for an impossible index;
    /// [`SealError::LimitExceeded`] for a text beyond 64 KiB.
    pub fn index(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        let key = self.key.standard().ok_or(SealError::Unsupported)?;
        if self.purpose != KeyPurpose::SEARCH {
            return Err(SealError::Unsupported);
        }
        let status = IndexStatus::Stable {
            version: index.version,
        };
        LiveIndex::derive(key, &self.tenant, index, status)?.slots(index, texts)
    }

    fn place<'a>(&'a self, cell: &'a Cell<'a>) -> Place<'a> {
        Place::new(Content::Value, &self.context, cell)
    }
}

impl fmt::Debug for ClientCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCipher")
            .field("purpose", &self.purpose)
            .field("key", &self.id)
            .finish_non_exhaustive()
    }
}

/// A key that is kept offline, by the patient or a trustee, and gets lost client keys back.
///
/// It is symmetric: the client that wraps its key holds the recovery key for that moment, and should
/// forget it then. The wrapped form may lie on the server.
#[derive(Debug)]
pub struct RecoveryKey(InputKey);

impl RecoveryKey {
    /// From its bytes, which must be uniformly random.
    #[must_use]
    pub fn new(bytes: &KeyBytes<32>) -> Self {
        Self(InputKey::new(bytes))
    }

    /// Wraps `key`: a Cobblestone-256 message without prefix, of 104 bytes.
    ///
    /// # Errors
    /// [`SealError::Backend`] if the system has no randomness.
    pub fn wrap(
        &self,
        tenant: TenantId,
        purpose: KeyPurpose,
        key: &ClientKey,
    ) -> Result<Vec<u8>, SealError> {
        let context = recovery_context(tenant, purpose, key.id);
        self.0.seal(&[&context], key.bytes.expose())
    }

    /// Gets the client key back that was wrapped for the same tenant, purpose and id.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else.
    pub fn recover(
        &self,
        tenant: TenantId,
        purpose: KeyPurpose,
        id: KeyId,
        wrapped: &[u8],
    ) -> Result<ClientKey, SealError> {
        let bytes = self
            .0
            .open(&[&recovery_context(tenant, purpose, id)], wrapped)?;
        let bytes = KeyBytes::copy_from(&bytes).ok_or(SealError::Authentication)?;
        ClientKey::new(id, bytes).ok_or(SealError::Authentication)
    }
}

/// `PAE("eonpro/recovery/v1", tenant, purpose, key id big endian)`.
fn recovery_context(tenant: TenantId, purpose: KeyPurpose, id: KeyId) -> Vec<u8> {
    pae::encode(&[
        b"eonpro/recovery/v1",
        scope_bytes(&Some(tenant)),
        purpose.as_str().as_bytes(),
        &id.to_be_bytes(),
    ])
}
