//! A root key in a file sealed by a passphrase: Argon2id (RFC 9106) and Cobblestone-256.
//!
//! The file is versioned JSON of mode 0600. Its cost parameters are bound to the sealed key and are
//! capped on reading, because the file may come from an enemy. A new passphrase seals one key anew
//! and touches no data.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::pae;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::task;
use serde::{Deserialize, Serialize};

use super::file;
use super::local::{LocalRoot, fresh_id};
use crate::cobblestone::InputKey;
use crate::config::KdfCost;
use crate::error::CryptoError;
use crate::random::{fill_random, random_key};
use crate::root::{RootKey, RootKeyId, WrapContext};

const FORMAT: &str = "eonpro-keyring";
const VERSION: u32 = 1;
const SALT_LEN: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    version: u32,
    id: String,
    kdf: WireKdf,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKdf {
    algorithm: String,
    version: u32,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Deserialize)]
struct VersionOnly {
    format: String,
    version: u32,
}

/// A root key in a file that is sealed by a passphrase (argon2id).
#[derive(Debug)]
pub struct Keyring {
    root: LocalRoot,
    cost: KdfCost,
}

impl Keyring {
    /// Creates the keyring at `path` with a fresh root key. A keyring that is there is left alone.
    ///
    /// # Errors
    /// [`CryptoError::File`] if there is one; [`CryptoError::Config`] for a cost out of bounds;
    /// [`CryptoError::Io`].
    pub async fn create(
        path: impl Into<PathBuf>,
        passphrase: &SecretText,
        cost: KdfCost,
    ) -> Result<Self, CryptoError> {
        let (path, passphrase) = (path.into(), passphrase.clone());
        task::blocking(move || {
            let (id, key) = (fresh_id("keyring")?, random_key()?);
            file::create(&path, &seal(&id, &key, &passphrase, cost)?)?;
            Ok(Self {
                root: LocalRoot::new(id, &key),
                cost,
            })
        })
        .await?
    }

    /// Opens the keyring at `path`. Takes as long as its cost says.
    ///
    /// # Errors
    /// [`CryptoError::Passphrase`] if the passphrase is wrong or the file was changed;
    /// [`CryptoError::Config`] if it asks for more than the bounds of [`KdfCost`];
    /// [`CryptoError::File`] if there is none, it is none, or others may read it;
    /// [`CryptoError::Version`]; [`CryptoError::Io`].
    pub async fn open(
        path: impl Into<PathBuf>,
        passphrase: &SecretText,
    ) -> Result<Self, CryptoError> {
        let (path, passphrase) = (path.into(), passphrase.clone());
        task::blocking(move || {
            let (id, key, cost) = read(&path, &passphrase)?;
            Ok(Self {
                root: LocalRoot::new(id, &key),
                cost,
            })
        })
        .await?
    }

    /// Seals the keyring at `path` by a new passphrase. The root key stays, and so does all data.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::create`].
    pub async fn change_passphrase(
        path: impl Into<PathBuf>,
        old: &SecretText,
        new: &SecretText,
        cost: KdfCost,
    ) -> Result<(), CryptoError> {
        let (path, old, new) = (path.into(), old.clone(), new.clone());
        task::blocking(move || {
            let (id, key, _) = read(&path, &old)?;
            file::replace(&path, &seal(&id, &key, &new, cost)?)
        })
        .await?
    }
}

fn seal(
    id: &RootKeyId,
    key: &KeyBytes<32>,
    passphrase: &SecretText,
    cost: KdfCost,
) -> Result<Vec<u8>, CryptoError> {
    let mut salt = [0; SALT_LEN];
    fill_random(&mut salt)?;
    let sealing = stretch(passphrase, &salt, cost)?;
    let sealed = sealing.seal(&[&context(id, &salt, cost)], key.expose())?;
    let wire = Wire {
        format: FORMAT.to_owned(),
        version: VERSION,
        id: id.as_str().to_owned(),
        kdf: WireKdf {
            algorithm: "argon2id".to_owned(),
            version: u32::from(argon2::Version::V0x13),
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
            salt: URL_SAFE_NO_PAD.encode(salt),
        },
        sealed: URL_SAFE_NO_PAD.encode(sealed),
    };
    let mut text = serde_json::to_vec_pretty(&wire).map_err(|_| CryptoError::File("not JSON"))?;
    text.push(b'\n');
    Ok(text)
}

fn read(
    path: &Path,
    passphrase: &SecretText,
) -> Result<(RootKeyId, KeyBytes<32>, KdfCost), CryptoError> {
    let bytes = file::read(path)?.ok_or(CryptoError::File("does not exist"))?;
    let about: VersionOnly =
        serde_json::from_slice(&bytes).map_err(|_| CryptoError::File("no keyring"))?;
    if about.format != FORMAT {
        return Err(CryptoError::File("no keyring"));
    }
    if about.version != VERSION {
        return Err(CryptoError::Version(about.version));
    }
    let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| CryptoError::File("no keyring"))?;
    let known =
        wire.kdf.algorithm == "argon2id" && wire.kdf.version == u32::from(argon2::Version::V0x13);
    if !known {
        return Err(CryptoError::File("unknown passphrase algorithm"));
    }
    let cost = KdfCost {
        memory_kib: wire.kdf.memory_kib,
        passes: wire.kdf.passes,
        lanes: wire.kdf.lanes,
    };
    let id = RootKeyId::new(&wire.id).ok_or(CryptoError::File("malformed id"))?;
    let salt = decode(&wire.kdf.salt)?;
    let sealed = decode(&wire.sealed)?;
    let opening = stretch(passphrase, &salt, cost)?;
    let key = opening
        .open(&[&context(&id, &salt, cost)], &sealed)
        .map_err(|_| CryptoError::Passphrase)?;
    let key = KeyBytes::copy_from(&key).ok_or(CryptoError::File("malformed key"))?;
    Ok((id, key, cost))
}

fn decode(text: &str) -> Result<Vec<u8>, CryptoError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CryptoError::File("malformed base64url"))
}

/// `PAE("eonpro/keyring/v1", id, salt, memory, passes, lanes)`, numbers 4 bytes big endian.
fn context(id: &RootKeyId, salt: &[u8], cost: KdfCost) -> Vec<u8> {
    pae::encode(&[
        b"eonpro/keyring/v1",
        id.as_str().as_bytes(),
        salt,
        &cost.memory_kib.to_be_bytes(),
        &cost.passes.to_be_bytes(),
        &cost.lanes.to_be_bytes(),
    ])
}

fn stretch(passphrase: &SecretText, salt: &[u8], cost: KdfCost) -> Result<InputKey, CryptoError> {
    // Before any memory is taken.
    cost.check()?;
    if salt.len() != SALT_LEN {
        return Err(CryptoError::File("salt of another length"));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| CryptoError::Config("cost of the passphrase out of bounds"))?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, &mut key)
        .map_err(|_| CryptoError::File("passphrase cannot be stretched"))?;
    Ok(InputKey::new(&KeyBytes::take(&mut key)))
}

#[async_trait]
impl Component for Keyring {
    fn name(&self) -> &'static str {
        "keyring"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: if self.cost.is_recommended() {
                Fitness::Production
            } else {
                Fitness::TestOnly
            },
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl RootKey for Keyring {
    fn id(&self) -> &RootKeyId {
        self.root.id()
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.root.wrap(key, context)
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.root.unwrap(wrapped, context)
    }
}
