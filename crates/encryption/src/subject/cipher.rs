//! A patient's cipher for one request: the key at hand, every call synchronous.

use std::fmt;
use std::sync::Arc;

use eonpro_core::phi::{Cell, FieldOpener, FieldSealer, IndexDef, IndexToken};
use eonpro_core::port::SealError;
use zeroize::Zeroizing;

use super::{LiveSubject, SUBJECT, SubjectSlot};
use crate::cipher::TenantCipher;
use crate::cobblestone::Cause;
use crate::envelope::{self, Content, Place};
use crate::events::Refusal;

/// Made by [`Subjects::warm_subject`](crate::Subjects::warm_subject), for one patient of the tenant
/// of the scope it was given.
///
/// Works until the vault's `cache_ttl` is over, then fails with [`SealError::Disabled`]: warm one
/// per request. Fails with [`SealError::Shredded`] from the moment at which the patient's key, or
/// the tenant's, is destroyed in this process.
pub struct SubjectCipher {
    pub(crate) live: Arc<LiveSubject>,
    pub(crate) slot: Arc<SubjectSlot>,
    pub(crate) tenant: TenantCipher,
}

impl SubjectCipher {
    /// Seals `plaintext` for `cell` under the patient's key.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond `max_message_bytes`; [`SealError::Shredded`],
    /// [`SealError::Disabled`] as above.
    pub fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > self.tenant.max_message {
            return Err(SealError::LimitExceeded);
        }
        self.check()?;
        self.with_place(cell, |place| {
            place.seal(self.live.id, &self.live.key, plaintext)
        })
    }

    /// Opens what was sealed for the same patient and cell.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else, without telling why;
    /// [`SealError::Shredded`], [`SealError::Disabled`] as above.
    pub fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.check()?;
        let opened = match envelope::split(sealed) {
            None => Err(Cause::Tag),
            Some((id, _)) if id != self.live.id => Err(Cause::Key),
            Some((id, message)) => {
                self.with_place(cell, |place| place.open(id, &self.live.key, message))
            }
        };
        opened.map_err(|cause| {
            let cx = Some(self.tenant.cx.clone());
            let refusal = Refusal::new(cell, 1, cause);
            self.tenant.alarms.raise(cx, refusal);
            SealError::from(cause)
        })
    }

    /// The blind index token of `text`, under the *tenant's* search key: it finds the patient among
    /// all others, and it stays when the patient is shredded. Delete it with the row.
    ///
    /// # Errors
    /// As [`TenantCipher::index`]; [`SealError::Shredded`], [`SealError::Disabled`] as above.
    pub fn index(&self, index: &IndexDef, text: &str) -> Result<IndexToken, SealError> {
        self.check()?;
        self.tenant.index(index, text)
    }

    fn check(&self) -> Result<(), SealError> {
        self.slot.usable()?;
        if self.tenant.clock.monotonic() >= self.live.expires {
            return Err(SealError::Disabled);
        }
        // The tenant may have been shredded, or its lease ended.
        self.tenant.keys()?;
        Ok(())
    }

    fn with_place<R>(&self, cell: &Cell<'_>, use_it: impl FnOnce(Place<'_>) -> R) -> R {
        let tenant = self.tenant.scope.tenant();
        use_it(Place {
            content: Content::Value,
            tenant: &tenant,
            purpose: SUBJECT.as_str(),
            cell,
        })
    }
}

/// Seals record fields under the patient's key.
impl FieldSealer for SubjectCipher {
    fn seal(&mut self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        Self::seal(self, cell, plaintext)
    }

    fn index(&mut self, index: &IndexDef, text: &str) -> Result<IndexToken, SealError> {
        Self::index(self, index, text)
    }
}

/// Opens record fields sealed under the patient's key.
impl FieldOpener for SubjectCipher {
    fn open(&mut self, cell: &Cell<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        Self::open(self, cell, sealed)
    }
}

impl fmt::Debug for SubjectCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectCipher")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
