//! Epoch keys for the embedded profile: a keyring whose passphrase lies in a file beside it.
//!
//! The passphrase is 256 random bits, so stretching it would add nothing and the least cost is used.
//! Production refuses it by its posture.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::task;

use super::Keyring;
use super::{file, key_file};
use crate::config::KdfCost;
use crate::epoch::{Destruction, EpochId, EpochKeys};
use crate::error::CryptoError;
use crate::root::WrapContext;

/// Epoch keys in a [`Keyring`] of their own, whose passphrase is generated and lies in a 0600 file: for
/// development, since whoever reads the disk reads all.
///
/// What [`Keyring`] says of destruction holds: a destroyed epoch is in no file that the path leads to.
/// A copy of both files opens the epochs of its time, so give backups of them an expiry.
#[derive(Debug)]
pub struct KeyFileEpochs(Keyring);

impl KeyFileEpochs {
    /// Opens the keyring at `keyring` with the key file at `key`, or generates both.
    ///
    /// A key file without a keyring is what a first start leaves that is killed between the two, so the
    /// keyring is made, with a warning in the log: if it was lost instead, that is another custody, which
    /// opens no patient's key of before.
    ///
    /// # Errors
    /// [`CryptoError::File`] if one is malformed, may be read by others, or the keyring is there
    /// without its key file; [`CryptoError::Passphrase`] if the two do not belong together;
    /// [`CryptoError::Io`].
    pub async fn open_or_generate(
        keyring: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, CryptoError> {
        let (path, key) = (keyring.into(), key.into());
        let at = path.clone();
        let (passphrase, key_was_there) = task::blocking(move || passphrase(&at, &key)).await??;
        match Keyring::open(&path, &passphrase).await {
            Err(CryptoError::File(file::MISSING)) => {}
            other => return other.map(Self),
        }
        let made = match Keyring::create(&path, &passphrase, KdfCost::FLOOR).await {
            // Another process was first: its keyring is the one.
            Err(CryptoError::File(file::EXISTS)) => {
                return Keyring::open(&path, &passphrase).await.map(Self);
            }
            other => other?,
        };
        if key_was_there {
            tracing::warn!(
                custody = made.custody_id(),
                "a key file had no keyring of epoch keys beside it, so a new custody was made: if patients \
                 were sealed before, bring back the keyring that is lost"
            );
        }
        Ok(Self(made))
    }
}

/// The key file's key as text, and whether it was there. A fresh one would open no keyring that is
/// there already.
fn passphrase(keyring: &Path, key: &Path) -> Result<(SecretText, bool), CryptoError> {
    let is_there = |path| Ok::<_, CryptoError>(file::read(path)?.is_some());
    let key_is_there = is_there(key)?;
    if is_there(keyring)? && !key_is_there {
        return Err(CryptoError::File("a keyring without its key file"));
    }
    let (_, key) = key_file::read_or_generate(key)?;
    let text = SecretText::new(URL_SAFE_NO_PAD.encode(key.expose()));
    Ok((text, key_is_there))
}

#[async_trait]
impl Component for KeyFileEpochs {
    fn name(&self) -> &'static str {
        "key-file-epochs"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: Fitness::Development,
        }
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl EpochKeys for KeyFileEpochs {
    fn custody_id(&self) -> &str {
        self.0.custody_id()
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        EpochKeys::create(&self.0).await
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        EpochKeys::wrap(&self.0, epoch, key, context).await
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        EpochKeys::unwrap(&self.0, epoch, wrapped, context).await
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        self.0.destroy(epoch).await
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        self.0.epochs().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use eonpro_core::port::SealScope;
    use tracing::span;

    use super::*;
    use crate::keyset::KeyId;

    const CONTEXT: WrapContext = WrapContext {
        scope: SealScope::System,
        key: KeyId::AT_HAND,
    };

    #[tokio::test]
    async fn what_an_epoch_wrapped_unwraps_after_reopening_until_it_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let (ring, file) = (
            dir.path().join("epochs.keyring"),
            dir.path().join("epochs.key"),
        );
        let first = KeyFileEpochs::open_or_generate(&ring, &file).await.unwrap();
        let epoch = first.create().await.unwrap();
        let key = KeyBytes::take(&mut [7; 32]);
        let wrapped = first.wrap(&epoch, &key, &CONTEXT).await.unwrap();
        drop(first);
        let again = KeyFileEpochs::open_or_generate(&ring, &file).await.unwrap();
        let unwrapped = again.unwrap(&epoch, &wrapped, &CONTEXT).await.unwrap();
        assert!(unwrapped == key);
        again.destroy(&epoch).await.unwrap();
        let gone = again.unwrap(&epoch, &wrapped, &CONTEXT).await;
        assert!(matches!(gone, Err(CryptoError::EpochGone)));
        // Good enough to develop with, and no more.
        assert_eq!(again.posture().fitness, Fitness::Development);
    }

    /// Counts what is logged as a warning.
    struct Warnings(Arc<AtomicUsize>);

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
            *about.level() == tracing::Level::WARN
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[tokio::test]
    async fn a_keyring_that_is_missing_beside_its_key_file_is_made_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let (ring, file) = (
            dir.path().join("epochs.keyring"),
            dir.path().join("epochs.key"),
        );
        let told = Arc::new(AtomicUsize::new(0));
        let _heard = tracing::subscriber::set_default(Warnings(Arc::clone(&told)));
        let warned = || told.swap(0, Ordering::SeqCst);
        let open = || KeyFileEpochs::open_or_generate(&ring, &file);
        let first = open().await.unwrap();
        assert_eq!(warned(), 0, "a first start");
        drop(open().await.unwrap());
        assert_eq!(warned(), 0, "both are there");
        std::fs::remove_file(&ring).unwrap();
        let second = open().await.unwrap();
        assert_eq!(warned(), 1);
        assert_ne!(first.custody_id(), second.custody_id());
    }

    #[tokio::test]
    async fn a_keyring_whose_key_file_is_lost_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (ring, file) = (
            dir.path().join("epochs.keyring"),
            dir.path().join("epochs.key"),
        );
        drop(KeyFileEpochs::open_or_generate(&ring, &file).await.unwrap());
        std::fs::remove_file(&file).unwrap();
        let refused = KeyFileEpochs::open_or_generate(&ring, &file).await;
        assert!(matches!(refused, Err(CryptoError::File(_))));
        assert!(!file.exists());
    }
}
