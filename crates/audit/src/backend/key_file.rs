//! An Ed25519 signing key in a 0600 file, for the embedded profile: whoever reads the disk can sign.
//!
//! Production refuses it by its posture and hands a signer of its own to [`AuditParts`].
//!
//! [`AuditParts`]: crate::AuditParts

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::error::{Classify, ErrorKind as Kind};
use eonpro_core::port::{SignError, Signer};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::layout;

/// The first line of the file; the second is the base64 of the 32-byte seed (RFC 8032).
const FORMAT: &str = "eonpro-audit-key-v1";
const MAX_BYTES: u64 = 1024;

/// Why there is no key.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is no key file.
    #[error("audit key file is malformed")]
    Malformed,
    /// Others than its owner may read it.
    #[error("audit key file may be read by others: set mode 0600")]
    NotPrivate,
    /// The system has no randomness to give.
    #[error("no randomness for a new audit key")]
    Random,
    /// The file could not be read or written.
    #[error("audit key file could not be read or written")]
    Io(#[from] io::Error),
}

impl Classify for KeyFileError {
    fn kind(&self) -> Kind {
        match self {
            Self::Malformed | Self::NotPrivate => Kind::Config,
            Self::Random | Self::Io(_) => Kind::Unavailable,
        }
    }
}

/// An Ed25519 signing key in a 0600 file: for development, since whoever reads the disk can sign.
pub struct KeyFileSigner {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl KeyFileSigner {
    /// Opens the key file at `path`, or creates one with a fresh key. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`]; a file that is there is never replaced.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match File::open(path) {
            Ok(file) => Self::read(file),
            Err(error) if error.kind() == ErrorKind::NotFound => match Self::create(path) {
                // Another process was first: its key is the one.
                Err(KeyFileError::Io(error)) if error.kind() == ErrorKind::AlreadyExists => {
                    Self::read(File::open(path)?)
                }
                other => other,
            },
            Err(error) => Err(error.into()),
        }
    }

    fn create(path: &Path) -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *seed)
            .map_err(|_| KeyFileError::Random)?;
        let encoded = Zeroizing::new(STANDARD.encode(*seed));
        let text = Zeroizing::new(format!("{FORMAT}\n{}\n", *encoded));
        let mut unique = [0; 8];
        SystemRandom::new()
            .fill(&mut unique)
            .map_err(|_| KeyFileError::Random)?;
        let unique = format!("{:016x}.tmp", u64::from_be_bytes(unique));
        let temporary = path.with_extension(unique);
        let mut file = layout::private()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        drop(file);
        // A hard link appears whole or not at all, and unlike a rename never replaces.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        linked?;
        layout::sync_parent(path)?;
        Self::of_seed(&seed)
    }

    fn read(file: File) -> Result<Self, KeyFileError> {
        private(&file.metadata()?)?;
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(|_| KeyFileError::Malformed)?;
        let encoded = text
            .strip_prefix(FORMAT)
            .and_then(|rest| rest.strip_prefix('\n'))
            .and_then(|rest| rest.strip_suffix('\n'))
            .ok_or(KeyFileError::Malformed)?;
        let seed = Zeroizing::new(
            STANDARD
                .decode(encoded)
                .map_err(|_| KeyFileError::Malformed)?,
        );
        let seed = seed.first_chunk::<32>().filter(|_| seed.len() == 32);
        Self::of_seed(seed.ok_or(KeyFileError::Malformed)?)
    }

    fn of_seed(seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        let malformed = |_| KeyFileError::Malformed;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(malformed)?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| KeyFileError::Malformed)?;
        Ok(Self { pair, public })
    }
}

#[cfg(unix)]
fn private(about: &fs::Metadata) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    if about.permissions().mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeyFileError::NotPrivate)
    }
}

#[cfg(not(unix))]
fn private(_: &fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

impl std::fmt::Debug for KeyFileSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFileSigner").finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for KeyFileSigner {
    fn name(&self) -> &'static str {
        "audit-key-file"
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
impl Signer for KeyFileSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.pair.sign(message);
        signature
            .as_ref()
            .try_into()
            .map_err(|_| SignError("signature has another length".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        let created = KeyFileSigner::open_or_create(&path).unwrap();
        let read = KeyFileSigner::open_or_create(&path).unwrap();
        assert_eq!(created.public_key(), read.public_key());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        KeyFileSigner::open_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(matches!(
            KeyFileSigner::open_or_create(&path),
            Err(KeyFileError::NotPrivate)
        ));
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.key");
        KeyFileSigner::open_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for bad in [
            "",
            "x\n",
            text.strip_suffix("=\n").unwrap(),
            &text.replace("v1", "v2"),
        ] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(
                KeyFileSigner::open_or_create(&path),
                Err(KeyFileError::Malformed)
            ));
        }
    }
}
