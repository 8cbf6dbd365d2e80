//! An offline recovery recipient: every key-encryption key is wrapped to a public key, too, whose
//! private half lies in a safe.
//!
//! HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: `encapsulated key
//! (32) || ciphertext and tag (48)`, with `info = PAE("eonpro/recovery-kek/v1", recipient, scope, key id)`
//! and no associated data. The process that wraps cannot unwrap.

use std::fmt;

use async_trait::async_trait;
use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::pae;
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use zeroize::Zeroizing;

use crate::envelope::scope_bytes;
use crate::error::CryptoError;
use crate::keyset::Keyset;
use crate::random::random_key;
use crate::root::{Recipient, RootKeyId, WrapContext};
use crate::vault::{Vault, VaultOptions, VaultParts};

type Kem = X25519HkdfSha256;

const ENCAPSULATED_LEN: usize = 32;
const SEALED_LEN: usize = 48;

/// The public half: wraps, and cannot unwrap.
pub struct RecoveryRecipient {
    id: RootKeyId,
    public: <Kem as hpke::Kem>::PublicKey,
}

/// The private half. Make it on a machine that is kept apart, lock its bytes up, and forget it.
pub struct RecoveryIdentity {
    bytes: KeyBytes<32>,
    private: <Kem as hpke::Kem>::PrivateKey,
    public: <Kem as hpke::Kem>::PublicKey,
}

impl RecoveryIdentity {
    /// A fresh pair.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] if the system has no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self::from_bytes(random_key()?))
    }

    /// The pair of these 32 random bytes (`DeriveKeyPair` of RFC 9180).
    #[must_use]
    pub fn from_bytes(bytes: KeyBytes<32>) -> Self {
        let (private, public) = Kem::derive_keypair(bytes.expose());
        Self {
            bytes,
            private,
            public,
        }
    }

    /// The bytes for the safe.
    #[must_use]
    pub fn bytes(&self) -> &KeyBytes<32> {
        &self.bytes
    }

    /// The public half, under the id by which key records name it.
    #[must_use]
    pub fn recipient(&self, id: RootKeyId) -> RecoveryRecipient {
        RecoveryRecipient {
            id,
            public: self.public.clone(),
        }
    }

    /// The key-encryption key of `keyset`, whoever of its recipients this is.
    pub(crate) fn unwrap(
        &self,
        scope: SealScope,
        keyset: &Keyset,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let key = keyset.wrapping()?.id;
        let context = WrapContext { scope, key };
        let tried = keyset.also.iter().filter_map(|also| {
            let id = RootKeyId::new(&also.by)?;
            self.open(&id, &also.wrapped, &context)
        });
        let mut tried = tried;
        tried.next().ok_or(CryptoError::RootMismatch)
    }

    fn open(&self, id: &RootKeyId, wrapped: &[u8], context: &WrapContext) -> Option<KeyBytes<32>> {
        let (encapsulated, sealed) = wrapped.split_first_chunk::<ENCAPSULATED_LEN>()?;
        if sealed.len() != SEALED_LEN {
            return None;
        }
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
        let info = info(id, context);
        let mut opening = hpke::setup_receiver::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            &info,
        )
        .ok()?;
        let opened = Zeroizing::new(opening.open(sealed, &[]).ok()?);
        KeyBytes::copy_from(&opened)
    }
}

impl RecoveryRecipient {
    /// From the 32 bytes of an X25519 public key; `None` if they are none.
    #[must_use]
    pub fn new(id: RootKeyId, public: &[u8; 32]) -> Option<Self> {
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(public).ok()?;
        Some(Self { id, public })
    }

    /// The public key, for the configuration of the process that wraps.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes().into()
    }
}

/// `PAE("eonpro/recovery-kek/v1", recipient, scope, key id big endian)`.
fn info(id: &RootKeyId, context: &WrapContext) -> Vec<u8> {
    pae::encode(&[
        b"eonpro/recovery-kek/v1",
        id.as_str().as_bytes(),
        scope_bytes(&context.scope.tenant()),
        &context.key.to_be_bytes(),
    ])
}

fn failed(error: hpke::HpkeError) -> CryptoError {
    CryptoError::Root(Box::new(error))
}

#[async_trait]
impl Recipient for RecoveryRecipient {
    fn id(&self) -> &RootKeyId {
        &self.id
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let info = info(&self.id, context);
        let (encapsulated, mut sealing) =
            hpke::setup_sender::<AesGcm256, HkdfSha256, Kem>(&OpModeS::Base, &self.public, &info)
                .map_err(failed)?;
        let sealed = sealing.seal(key.expose(), &[]).map_err(failed)?;
        let mut wrapped = encapsulated.to_bytes().to_vec();
        wrapped.extend_from_slice(&sealed);
        Ok(wrapped)
    }
}

impl Vault {
    /// Brings scopes back whose root key is lost: takes each key-encryption key from what it was wrapped
    /// to `identity`, and wraps all data keys under a fresh one of the root in `parts`. Begin with
    /// [`SealScope::System`]. Afterwards open the vault as always.
    ///
    /// Each scope is one commit, verified as that of
    /// [`rewrap_keys`](crate::Encryption::rewrap_keys), and emits KEY-002; a repeat goes on where a call
    /// failed, because what was brought back is skipped.
    ///
    /// # Errors
    /// [`CryptoError::RootMismatch`] if a scope's keys were not wrapped to this identity; otherwise as
    /// [`rewrap_keys`](crate::Encryption::rewrap_keys). Scopes before the failing one are back.
    pub async fn recover(
        parts: VaultParts,
        options: VaultOptions,
        cx: &RequestContext,
        identity: &RecoveryIdentity,
        scopes: &[SealScope],
    ) -> Result<usize, CryptoError> {
        let vault = Self::assemble(parts, options)?;
        let mut back = 0;
        for scope in scopes {
            if vault.inner.recover(cx, *scope, identity).await? {
                back += 1;
            }
        }
        vault.close().await;
        Ok(back)
    }
}

impl fmt::Debug for RecoveryRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryRecipient({})", self.id)
    }
}

impl fmt::Debug for RecoveryIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}
