//! The keyring's file: versioned JSON, read with suspicion, sealed by what the passphrase stretches to.

use argon2::{Algorithm, Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::pae;
use eonpro_core::secret::{KeyBytes, SecretText};
use serde::{Deserialize, Serialize};

use super::MAX_EPOCHS;
use crate::cobblestone::InputKey;
use crate::config::KdfCost;
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::random::fill_random;
use crate::root::RootKeyId;

const FORMAT: &str = "eonpro-keyring";
/// What is written. Version 1 had no epochs and is still read.
const VERSION: u32 = 2;
const SALT_LEN: usize = 16;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    version: u32,
    id: String,
    kdf: WireKdf,
    sealed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epochs: Option<Vec<WireEpoch>>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKdf {
    algorithm: String,
    version: u32,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEpoch {
    id: String,
    sealed: String,
}

#[derive(Deserialize)]
struct VersionOnly {
    format: String,
    version: u32,
}

/// What a passphrase stretches to, and from what it was stretched.
#[derive(Debug)]
pub(super) struct Stretched {
    key: InputKey,
    salt: Vec<u8>,
    cost: KdfCost,
}

impl Stretched {
    /// With a fresh salt.
    pub(super) fn fresh(passphrase: &SecretText, cost: KdfCost) -> Result<Self, CryptoError> {
        let mut salt = vec![0; SALT_LEN];
        fill_random(&mut salt)?;
        Self::new(passphrase, salt, cost)
    }

    fn new(passphrase: &SecretText, salt: Vec<u8>, cost: KdfCost) -> Result<Self, CryptoError> {
        // Before any memory is taken.
        cost.check()?;
        if salt.len() != SALT_LEN {
            return Err(CryptoError::File("salt of another length"));
        }
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
            .map_err(|_| CryptoError::Config("cost of the passphrase out of bounds"))?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(passphrase.expose().as_bytes(), &salt, &mut key)
            .map_err(|_| CryptoError::File("passphrase cannot be stretched"))?;
        let key = InputKey::new(&KeyBytes::take(&mut key));
        Ok(Self { key, salt, cost })
    }

    pub(super) fn cost(&self) -> KdfCost {
        self.cost
    }

    /// `PAE("eonpro/keyring/v1", id, salt, memory, passes, lanes)`, numbers 4 bytes big endian.
    fn root_context(&self, id: &RootKeyId) -> Vec<u8> {
        pae::encode(&[
            b"eonpro/keyring/v1",
            id.as_str().as_bytes(),
            &self.salt,
            &self.cost.memory_kib.to_be_bytes(),
            &self.cost.passes.to_be_bytes(),
            &self.cost.lanes.to_be_bytes(),
        ])
    }
}

/// `PAE("eonpro/keyring/epoch/v1", root id, epoch id)`.
fn epoch_context(id: &RootKeyId, epoch: &EpochId) -> Vec<u8> {
    pae::encode(&[
        b"eonpro/keyring/epoch/v1",
        id.as_str().as_bytes(),
        epoch.as_str().as_bytes(),
    ])
}

/// A keyring as its file has it: everything but the ids is sealed.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    id: RootKeyId,
    salt: Vec<u8>,
    cost: KdfCost,
    root: Vec<u8>,
    epochs: Vec<(EpochId, Vec<u8>)>,
}

impl Sealed {
    /// A keyring without epochs.
    pub(super) fn new(
        id: &RootKeyId,
        key: &KeyBytes<32>,
        by: &Stretched,
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            id: id.clone(),
            salt: by.salt.clone(),
            cost: by.cost,
            root: by.key.seal(&[&by.root_context(id)], key.expose())?,
            epochs: Vec::new(),
        })
    }

    pub(super) fn id(&self) -> &RootKeyId {
        &self.id
    }

    /// What `passphrase` stretches to by this keyring's cost and salt.
    pub(super) fn stretch(&self, passphrase: &SecretText) -> Result<Stretched, CryptoError> {
        Stretched::new(passphrase, self.salt.clone(), self.cost)
    }

    /// The root key.
    pub(super) fn root_key(&self, by: &Stretched) -> Result<KeyBytes<32>, CryptoError> {
        let key = by
            .key
            .open(&[&by.root_context(&self.id)], &self.root)
            .map_err(|_| CryptoError::Passphrase)?;
        KeyBytes::copy_from(&key).ok_or(CryptoError::File("malformed key"))
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = &EpochId> {
        self.epochs.iter().map(|(epoch, _)| epoch)
    }

    /// The key of `epoch`.
    pub(super) fn epoch_key(
        &self,
        epoch: &EpochId,
        by: &Stretched,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let found = self.epochs.iter().find(|(id, _)| id == epoch);
        let (_, sealed) = found.ok_or(CryptoError::EpochGone)?;
        // Another salt: the passphrase was changed since it was stretched.
        let key = by
            .key
            .open(&[&epoch_context(&self.id, epoch)], sealed)
            .map_err(|_| CryptoError::Passphrase)?;
        KeyBytes::copy_from(&key).ok_or(CryptoError::File("malformed key"))
    }

    /// Adds an epoch. `by` must be what this keyring is sealed by.
    pub(super) fn add(
        &mut self,
        epoch: EpochId,
        key: &KeyBytes<32>,
        by: &Stretched,
    ) -> Result<(), CryptoError> {
        if by.salt != self.salt || by.cost != self.cost {
            return Err(CryptoError::Passphrase);
        }
        if self.epochs.len() >= MAX_EPOCHS {
            return Err(CryptoError::Seal(
                eonpro_core::port::SealError::LimitExceeded,
            ));
        }
        let context = epoch_context(&self.id, &epoch);
        let sealed = by.key.seal(&[&context], key.expose())?;
        self.epochs.push((epoch, sealed));
        Ok(())
    }

    /// Takes an epoch out; whether it was there.
    pub(super) fn remove(&mut self, epoch: &EpochId) -> bool {
        let before = self.epochs.len();
        self.epochs.retain(|(id, _)| id != epoch);
        self.epochs.len() < before
    }

    /// All keys sealed anew.
    pub(super) fn resealed(&self, old: &Stretched, new: &Stretched) -> Result<Self, CryptoError> {
        let mut resealed = Self::new(&self.id, &self.root_key(old)?, new)?;
        for epoch in self.epochs() {
            resealed.add(epoch.clone(), &self.epoch_key(epoch, old)?, new)?;
        }
        Ok(resealed)
    }

    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, CryptoError> {
        let epochs = self.epochs.iter().map(|(id, sealed)| WireEpoch {
            id: id.as_str().to_owned(),
            sealed: URL_SAFE_NO_PAD.encode(sealed),
        });
        let wire = Wire {
            format: FORMAT.to_owned(),
            version: VERSION,
            id: self.id.as_str().to_owned(),
            kdf: WireKdf {
                algorithm: "argon2id".to_owned(),
                version: u32::from(argon2::Version::V0x13),
                memory_kib: self.cost.memory_kib,
                passes: self.cost.passes,
                lanes: self.cost.lanes,
                salt: URL_SAFE_NO_PAD.encode(&self.salt),
            },
            sealed: URL_SAFE_NO_PAD.encode(&self.root),
            epochs: Some(epochs.collect()),
        };
        let mut text =
            serde_json::to_vec_pretty(&wire).map_err(|_| CryptoError::File("not JSON"))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads what [`Self::to_bytes`] wrote, or a release before.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CryptoError> {
        let about: VersionOnly =
            serde_json::from_slice(bytes).map_err(|_| CryptoError::File("no keyring"))?;
        if about.format != FORMAT {
            return Err(CryptoError::File("no keyring"));
        }
        if !(1..=VERSION).contains(&about.version) {
            return Err(CryptoError::Version(about.version));
        }
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|_| CryptoError::File("no keyring"))?;
        let known = wire.kdf.algorithm == "argon2id"
            && wire.kdf.version == u32::from(argon2::Version::V0x13);
        if !known {
            return Err(CryptoError::File("unknown passphrase algorithm"));
        }
        let epochs = match (wire.version, wire.epochs) {
            (1, None) => Vec::new(),
            (VERSION, Some(epochs)) => parse_epochs(epochs)?,
            _ => return Err(CryptoError::File("no keyring")),
        };
        Ok(Self {
            id: RootKeyId::new(&wire.id).ok_or(CryptoError::File("malformed id"))?,
            salt: decode(&wire.kdf.salt)?,
            cost: KdfCost {
                memory_kib: wire.kdf.memory_kib,
                passes: wire.kdf.passes,
                lanes: wire.kdf.lanes,
            },
            root: decode(&wire.sealed)?,
            epochs,
        })
    }
}

fn parse_epochs(epochs: Vec<WireEpoch>) -> Result<Vec<(EpochId, Vec<u8>)>, CryptoError> {
    if epochs.len() > MAX_EPOCHS {
        return Err(CryptoError::File("too many epochs"));
    }
    let mut parsed: Vec<(EpochId, Vec<u8>)> = Vec::with_capacity(epochs.len());
    for epoch in epochs {
        let id = EpochId::new(&epoch.id).ok_or(CryptoError::File("malformed id"))?;
        if parsed.iter().any(|(other, _)| *other == id) {
            return Err(CryptoError::File("an epoch twice"));
        }
        parsed.push((id, decode(&epoch.sealed)?));
    }
    Ok(parsed)
}

fn decode(text: &str) -> Result<Vec<u8>, CryptoError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CryptoError::File("malformed base64url"))
}
