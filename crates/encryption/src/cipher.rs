//! A tenant's cipher for one request: keys at hand, every call synchronous.

use std::fmt;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::phi::{Cell, FieldOpener, FieldSealer, IndexDef, IndexToken};
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::time::SharedClock;
use zeroize::Zeroizing;

use crate::alarm::Alarms;
use crate::cache::Slot;
use crate::cobblestone::{Cause, StreamOpener, StreamSealer};
use crate::envelope::{self, Content, HEAD_LEN};
use crate::events::Refusal;
use crate::live::LiveKeys;

/// Made by [`Encryption::warm`](crate::Encryption::warm), for the tenant of the scope it was given.
///
/// Works until the vault's `cache_ttl` is over, then fails with [`SealError::Disabled`]: warm one
/// per request. Fails with [`SealError::Shredded`] from the moment at which the tenant's keys are
/// destroyed in this process.
pub struct TenantCipher {
    pub(crate) live: Arc<LiveKeys>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) scope: SealScope,
    pub(crate) cx: RequestContext,
    pub(crate) clock: SharedClock,
    pub(crate) alarms: Alarms,
    pub(crate) max_message: usize,
}

impl TenantCipher {
    /// Seals `plaintext` for `cell` under the present key of `purpose`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] if the purpose has no key yet: seal once through
    /// [`Sealer`](eonpro_core::port::Sealer). [`SealError::LimitExceeded`] beyond
    /// `max_message_bytes`.
    pub fn seal(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > self.max_message {
            return Err(SealError::LimitExceeded);
        }
        self.keys()?.seal(Content::Value, purpose, cell, plaintext)
    }

    /// Opens what was sealed for the same tenant, purpose and cell.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else, without telling why.
    pub fn open(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let keys = self.keys()?;
        keys.open(Content::Value, purpose, cell, sealed)
            .map_err(|cause| self.refuse(&keys, cell, sealed, cause))
    }

    /// The blind index token of `text`, to store or to look for.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] for an impossible index; [`SealError::LimitExceeded`] for a text
    /// beyond 64 KiB.
    pub fn index(&self, index: &IndexDef, text: &str) -> Result<IndexToken, SealError> {
        self.keys()?.index(index, text)
    }

    /// Begins a stream for `cell` and appends its head to `out`.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_stream(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        out: &mut Vec<u8>,
    ) -> Result<StreamSealer, SealError> {
        let keys = self.keys()?;
        let key = keys
            .primary(purpose.as_str())
            .ok_or(SealError::UnknownKey)?;
        keys.place(Content::Value, purpose, cell)
            .begin(key.id, &key.key, out)
    }

    /// Begins to open a stream, or a value, by its first [`HEAD_LEN`] bytes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_stream(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        head: &[u8; HEAD_LEN],
    ) -> Result<StreamOpener, SealError> {
        let keys = self.keys()?;
        let begun = || {
            let (id, header) = envelope::split(head).ok_or(Cause::Tag)?;
            let header = header.try_into().map_err(|_| Cause::Tag)?;
            let key = keys.opening(id, purpose)?;
            keys.place(Content::Value, purpose, cell)
                .resume(id, &key.key, header)
        };
        begun().map_err(|cause| self.refuse(&keys, cell, head, cause))
    }

    /// The newest keys of this process, so that a cipher reads what a later epoch sealed.
    pub(crate) fn keys(&self) -> Result<Arc<LiveKeys>, SealError> {
        let now = self.clock.monotonic();
        self.slot.usable()?;
        self.live.usable(now)?;
        match self.slot.get() {
            Some(newest) if newest.version >= self.live.version => {
                newest.usable(now)?;
                Ok(newest)
            }
            _ => Ok(Arc::clone(&self.live)),
        }
    }

    fn refuse(&self, keys: &LiveKeys, cell: &Cell<'_>, sealed: &[u8], cause: Cause) -> SealError {
        let named = envelope::split(sealed).map(|(id, _)| id);
        let key = named.and_then(|id| keys.key(id));
        if named.is_some() && key.is_none() {
            // Another process may have turned the epoch: the next to ask fetches the keys again.
            self.slot.mark_stale();
        }
        let epoch = key.map_or(0, |key| key.epoch);
        self.alarms
            .raise(Some(self.cx.clone()), Refusal::new(cell, epoch, cause));
        SealError::from(cause)
    }
}

/// Seals record fields under [`KeyPurpose::RECORDS`].
impl FieldSealer for TenantCipher {
    fn seal(&mut self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        Self::seal(self, KeyPurpose::RECORDS, cell, plaintext)
    }

    fn index(&mut self, index: &IndexDef, text: &str) -> Result<IndexToken, SealError> {
        Self::index(self, index, text)
    }
}

/// Opens record fields sealed under [`KeyPurpose::RECORDS`].
impl FieldOpener for TenantCipher {
    fn open(&mut self, cell: &Cell<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        Self::open(self, KeyPurpose::RECORDS, cell, sealed)
    }
}

impl fmt::Debug for TenantCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCipher")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
