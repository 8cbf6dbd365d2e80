//! A generated root key in a 0600 file, for the embedded profile: convenient, and no protection
//! against whoever can read the disk. Production refuses it by its posture.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;
use eonpro_core::task;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::file;
use super::local::{LocalRoot, fresh_id};
use crate::error::CryptoError;
use crate::random::random_key;
use crate::root::{RootKey, RootKeyId, WrapContext};

const FORMAT: &str = "eonpro-key-file";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Wire {
    format: String,
    version: u32,
    id: String,
    key: String,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// A generated root key in a 0600 file: for development, since whoever reads the disk reads all.
#[derive(Debug)]
pub struct KeyFile(LocalRoot);

impl KeyFile {
    /// Opens the key file at `path`, or generates it. Warns in the log each time.
    ///
    /// # Errors
    /// [`CryptoError::File`] if it is no key file or others may read it, [`CryptoError::Io`].
    pub async fn open_or_generate(path: impl Into<PathBuf>) -> Result<Self, CryptoError> {
        let path = path.into();
        let (id, key) = task::blocking(move || read_or_generate(&path)).await??;
        let root = LocalRoot::new(id, &key);
        tracing::warn!(
            root = %root.id(),
            "the root key lies in a plain key file: for development only, whoever reads the disk \
             reads everything"
        );
        Ok(Self(root))
    }
}

/// The key in the file at `path`, which is generated if it is missing.
pub(super) fn read_or_generate(path: &Path) -> Result<(RootKeyId, KeyBytes<32>), CryptoError> {
    if let Some(bytes) = file::read(path)? {
        return parse(&bytes);
    }
    let (id, key) = (fresh_id("key-file")?, random_key()?);
    let wire = Wire {
        format: FORMAT.to_owned(),
        version: VERSION,
        id: id.as_str().to_owned(),
        key: URL_SAFE_NO_PAD.encode(key.expose()),
    };
    let text = serde_json::to_vec(&wire).map_err(|_| CryptoError::File("not JSON"))?;
    match file::create(path, &Zeroizing::new(text)) {
        Ok(()) => Ok((id, key)),
        // Another process was first: its key is the one.
        Err(CryptoError::File(file::EXISTS)) => {
            let bytes = file::read(path)?.ok_or(CryptoError::File("vanished"))?;
            parse(&bytes)
        }
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Result<(RootKeyId, KeyBytes<32>), CryptoError> {
    let wire: Wire = serde_json::from_slice(bytes).map_err(|_| CryptoError::File("no key file"))?;
    if wire.format != FORMAT {
        return Err(CryptoError::File("no key file"));
    }
    if wire.version != VERSION {
        return Err(CryptoError::Version(wire.version));
    }
    let id = RootKeyId::new(&wire.id).ok_or(CryptoError::File("malformed id"))?;
    let key = Zeroizing::new(
        URL_SAFE_NO_PAD
            .decode(&wire.key)
            .map_err(|_| CryptoError::File("malformed key"))?,
    );
    let key = KeyBytes::copy_from(&key).ok_or(CryptoError::File("malformed key"))?;
    Ok((id, key))
}

#[async_trait]
impl Component for KeyFile {
    fn name(&self) -> &'static str {
        "key-file"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: Fitness::Development,
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl RootKey for KeyFile {
    fn id(&self) -> &RootKeyId {
        self.0.id()
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.wrap(key, context)
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.0.unwrap(wrapped, context)
    }
}
