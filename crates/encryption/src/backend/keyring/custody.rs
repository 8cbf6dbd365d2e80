//! The epoch keys of a keyring: in its file and nowhere else, so that they are gone once it is rewritten.
//!
//! Nothing is kept in memory but what the passphrase stretches to. Each call looks whether the file
//! is still the one that was read; writers of all processes take turns by a lock file beside it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use eonpro_core::secret::KeyBytes;

use super::super::file::{self, Held};
use super::wire::{Sealed, Stretched};
use crate::cobblestone::InputKey;
use crate::epoch::{Destruction, EpochId};
use crate::error::CryptoError;
use crate::random::{fill_random, random_key};
use crate::root::{RootKeyId, WrapContext};

#[derive(Debug)]
pub(super) struct Custody {
    path: PathBuf,
    /// The keyring that was opened: one put in its place later is another.
    id: RootKeyId,
    by: Stretched,
    seen: Mutex<Option<(Held, Arc<Sealed>)>>,
}

impl Custody {
    pub(super) fn new(path: PathBuf, id: RootKeyId, by: Stretched) -> Self {
        Self {
            path,
            id,
            by,
            seen: Mutex::default(),
        }
    }

    pub(super) fn stretched(&self) -> &Stretched {
        &self.by
    }

    pub(super) fn create(&self) -> Result<EpochId, CryptoError> {
        let _turn = take_turn(&self.path)?;
        let mut keyring = self.current()?.as_ref().clone();
        let epoch = fresh_epoch()?;
        keyring.add(epoch.clone(), &random_key()?, &self.by)?;
        file::replace(&self.path, &keyring.to_bytes()?)?;
        Ok(epoch)
    }

    pub(super) fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let context = context.encode_for_epoch(epoch);
        Ok(self.key(epoch)?.seal(&[&context], key.expose())?)
    }

    pub(super) fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let bytes = self
            .key(epoch)?
            .open(&[&context.encode_for_epoch(epoch)], wrapped)
            .map_err(|_| CryptoError::RootMismatch)?;
        KeyBytes::copy_from(&bytes).ok_or(CryptoError::RootMismatch)
    }

    pub(super) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Needs no passphrase: the other epochs are copied as they are sealed.
    pub(super) fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        if !is_epoch(epoch) {
            return Err(CryptoError::ForeignCustody);
        }
        let _turn = take_turn(&self.path)?;
        let mut keyring = self.current()?.as_ref().clone();
        if keyring.remove(epoch) {
            file::replace(&self.path, &keyring.to_bytes()?)?;
        } else {
            // Whoever destroyed it may have died before its rename was durable.
            file::sync_parent(&self.path)?;
        }
        Ok(Destruction::Done)
    }

    pub(super) fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        Ok(self.current()?.epochs().cloned().collect())
    }

    fn key(&self, epoch: &EpochId) -> Result<InputKey, CryptoError> {
        let key = self.current()?.epoch_key(epoch, &self.by)?;
        Ok(InputKey::new(&key))
    }

    /// The keyring as its file is now, read only if it is another than before.
    fn current(&self) -> Result<Arc<Sealed>, CryptoError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((held, keyring)) = &*seen
            && held.is_current(&self.path)?
        {
            return Ok(Arc::clone(keyring));
        }
        *seen = None;
        let (held, bytes) = file::read_held(&self.path)?.ok_or(CryptoError::File(file::MISSING))?;
        let keyring = Arc::new(Sealed::parse(&bytes)?);
        if *keyring.id() != self.id {
            return Err(CryptoError::File("another keyring"));
        }
        *seen = Some((held, Arc::clone(&keyring)));
        Ok(keyring)
    }
}

/// Waits until no other process and no other handle writes the keyring at `path`; they wait while the
/// result lives. The lock is advisory, on an empty file beside the keyring that is never removed: the
/// keyring itself is replaced, and with it would go its lock.
///
/// Whose turn it is first clears what a killed writer left, which may hold epochs that are to be gone.
pub(super) fn take_turn(path: &Path) -> Result<File, CryptoError> {
    let mut name = OsString::from(
        path.file_name()
            .ok_or(CryptoError::File("path names no file"))?,
    );
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let lock = options
        .open(path.with_file_name(name))
        .map_err(CryptoError::Io)?;
    lock.lock().map_err(CryptoError::Io)?;
    file::clear_leftovers(path)?;
    Ok(lock)
}

/// Whether [`fresh_epoch`] may have given it.
fn is_epoch(epoch: &EpochId) -> bool {
    let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let hex = epoch.as_str().strip_prefix("epoch:");
    hex.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(digit))
}

/// `epoch:<32 random hex digits>`: never given twice, also not after its epoch is gone.
fn fresh_epoch() -> Result<EpochId, CryptoError> {
    let mut random = [0; 16];
    fill_random(&mut random)?;
    let text = format!("epoch:{:032x}", u128::from_be_bytes(random));
    EpochId::new(&text).ok_or(CryptoError::File("malformed id"))
}
