//! A root key and epoch keys in a file sealed by a passphrase: Argon2id (RFC 9106), Cobblestone-256.
//!
//! The file is versioned JSON of mode 0600. Its cost parameters are bound to the sealed key and are
//! capped on reading, because the file may come from an enemy. A new passphrase seals the keys anew
//! and touches no data.

mod custody;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::task;

use self::custody::{Custody, take_turn};
use self::wire::{Sealed, Stretched};
use super::file;
use super::local::{LocalRoot, fresh_id};
use crate::config::KdfCost;
use crate::epoch::{Destruction, EpochId, EpochKeys};
use crate::error::CryptoError;
use crate::random::random_key;
use crate::root::{RootKey, RootKeyId, WrapContext};

/// The most epoch keys that a [`Keyring`] holds at one time.
const MAX_EPOCHS: usize = 512;

/// A root key and epoch keys in a file that is sealed by a passphrase (argon2id).
///
/// It is a [`RootKey`] whose key stays in memory, and a custody of [`EpochKeys`], at most 512 at a
/// time, whose keys stay in the file. Both traits have a `wrap` and an `unwrap`: with both in scope,
/// name the trait, as in `RootKey::wrap(&keyring, ..)`.
///
/// # Epochs
/// Epoch keys are sealed by what the passphrase stretches to, not by the root key. So whoever learns
/// the root key from a process, and has an old copy of the file, has no destroyed epoch: that takes
/// the passphrase of the copy's time. The price: after [`Self::change_passphrase`], handles that were
/// opened before can list and destroy epochs, but neither create nor use them
/// ([`CryptoError::Passphrase`]) until the keyring is opened again.
///
/// Any number of processes on one machine may hold the keyring open. Each use looks whether the file
/// was replaced since it was read; changes take turns by an advisory lock on `<name>.lock` beside it,
/// so a process that stands still in the middle of a change holds up changes, but no use.
/// Network file systems, which may answer from a cache, are not supported.
///
/// # What destruction promises
/// When `destroy` returns, the key is in no file that the keyring's path leads to: a new file without
/// it was synced and took the place of the old one, whose content was then overwritten with zeros.
/// The overwriting is a best effort. A disk that copies on write, journals data or levels wear may
/// keep the old blocks, and a backup or a hard link of the keyring file keeps what it holds. Such a
/// copy still needs the passphrase that it was sealed by.
#[derive(Debug)]
pub struct Keyring {
    root: LocalRoot,
    custody: Arc<Custody>,
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
            let by = Stretched::fresh(&passphrase, cost)?;
            let _turn = take_turn(&path)?;
            file::create(&path, &Sealed::new(&id, &key, &by)?.to_bytes()?)?;
            Ok(Self::with(path, id, &key, by))
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
            let bytes = file::read(&path)?.ok_or(CryptoError::File(file::MISSING))?;
            let keyring = Sealed::parse(&bytes)?;
            let by = keyring.stretch(&passphrase)?;
            let key = keyring.root_key(&by)?;
            Ok(Self::with(path, keyring.id().clone(), &key, by))
        })
        .await?
    }

    /// Seals the keyring at `path` by a new passphrase. The root key and the epoch keys stay, and so
    /// does all data. Open handles go on wrapping and unwrapping with the root key; see
    /// [`Keyring`] for their epochs.
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
            // Before a lock file is made beside a path that leads nowhere.
            file::read(&path)?.ok_or(CryptoError::File(file::MISSING))?;
            let _turn = take_turn(&path)?;
            let bytes = file::read(&path)?.ok_or(CryptoError::File(file::MISSING))?;
            let keyring = Sealed::parse(&bytes)?;
            let old = keyring.stretch(&old)?;
            let new = Stretched::fresh(&new, cost)?;
            file::replace(&path, &keyring.resealed(&old, &new)?.to_bytes()?)
        })
        .await?
    }

    fn with(path: PathBuf, id: RootKeyId, key: &KeyBytes<32>, by: Stretched) -> Self {
        Self {
            root: LocalRoot::new(id.clone(), key),
            custody: Arc::new(Custody::new(path, id, by)),
        }
    }

    /// Runs `work`, which reads or writes the file, off the asynchronous threads.
    async fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Custody) -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let custody = Arc::clone(&self.custody);
        task::blocking(move || work(&custody)).await?
    }
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
            fitness: if self.custody.stretched().cost().is_recommended() {
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

#[async_trait]
impl EpochKeys for Keyring {
    fn custody_id(&self) -> &str {
        self.custody.id()
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        self.with_file(Custody::create).await
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let (epoch, key, context) = (epoch.clone(), key.clone(), *context);
        self.with_file(move |custody| custody.wrap(&epoch, &key, &context))
            .await
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let (epoch, wrapped, context) = (epoch.clone(), wrapped.to_vec(), *context);
        self.with_file(move |custody| custody.unwrap(&epoch, &wrapped, &context))
            .await
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        let epoch = epoch.clone();
        self.with_file(move |custody| custody.destroy(&epoch)).await
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        self.with_file(Custody::epochs).await
    }
}
