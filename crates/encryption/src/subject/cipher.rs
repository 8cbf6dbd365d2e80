//! A patient's cipher for one request: the key at hand, every call synchronous.

use std::fmt;
use std::sync::Arc;

use eonpro_core::phi::{
    Cell, Column, FieldOpener, FieldSealer, FieldSealing, IndexDef, IndexSlots, RecordHead,
    RecordOpener, RecordSealer, Row, Suite, Table,
};
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;

use super::{LiveSubject, SubjectSlot};
use crate::cipher::{TenantCipher, bound};
use crate::cobblestone::{Cause, InputKey};
use crate::envelope::{self, Content, Place};
use crate::events::Refusal;
use crate::key_states::SharedState;
use crate::padding;
use crate::streams::UsableRecord;
use crate::whole::{RecordKey, WholeOpener, WholeSealer};

/// Made by [`Subjects::warm_subject`](crate::Subjects::warm_subject), for one patient of the tenant
/// of the scope it was given.
///
/// Works until the vault's `cache_ttl` is over, then fails with [`SealError::Disabled`]: warm one
/// per request. Fails with [`SealError::Shredded`] from the moment at which the patient's key, or
/// the tenant's, is destroyed in this process, and with [`SealError::Disabled`] once the tenant's key of
/// purpose `subject` under which it lies may no longer open.
pub struct SubjectCipher {
    pub(crate) live: Arc<LiveSubject>,
    pub(crate) slot: Arc<SubjectSlot>,
    pub(crate) tenant: TenantCipher,
    /// What the tenant's key under which the patient's lies may do.
    pub(crate) lock: Arc<SharedState>,
}

impl SubjectCipher {
    /// Seals `plaintext` for `cell` under the patient's key.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond `max_message_bytes`; [`SealError::Shredded`],
    /// [`SealError::Disabled`] as above.
    pub fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_field(FieldSealing::STANDARD, cell, plaintext)
    }

    /// Opens what was sealed for the same patient and cell.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else, without telling why;
    /// [`SealError::Shredded`], [`SealError::Disabled`] as above.
    pub fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        self.open_field(FieldSealing::STANDARD, cell, sealed)
    }

    /// The blind index tokens of `texts`, under the *tenant's* search key: they find the patient among
    /// all others, and they stay when the patient is shredded. Delete them with the row.
    ///
    /// # Errors
    /// As [`TenantCipher::index`]; [`SealError::Shredded`], [`SealError::Disabled`] as above.
    pub fn index(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        self.check()?;
        self.tenant.index(index, texts)
    }

    /// A patient's key is of the standard suite: a compact field is sealed in that one, too.
    fn seal_field(
        &self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > self.tenant.max_message {
            return Err(SealError::LimitExceeded);
        }
        self.check()?;
        // Equal values of two patients have nothing in common, so there is nothing to be found by.
        if sealing.suite == Suite::Deterministic {
            return Err(SealError::Unsupported);
        }
        let cell = bound(sealing, cell);
        let live = &self.live;
        let salt = || self.tenant.salts.take();
        let mut out = Vec::new();
        match sealing.pad {
            0 => {
                let place = Place::new(Content::Value, &live.context, &cell);
                live.key.seal(&place, live.id, salt, plaintext, &mut out)?;
            }
            class => {
                let padded = padding::pad(plaintext, class)?;
                let place = Place::new(Content::Padded, &live.context, &cell);
                live.key.seal(&place, live.id, salt, &padded, &mut out)?;
            }
        }
        Ok(out)
    }

    fn open_field(
        &self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        self.check()?;
        let bound = bound(sealing, cell);
        let content = match sealing.pad {
            0 => Content::Value,
            _ => Content::Padded,
        };
        let opened = self.message(sealed).and_then(|message| {
            let place = Place::new(content, &self.live.context, &bound);
            self.live.key.open(&place, message)
        });
        let unpadded = opened.and_then(|mut plain| match content {
            Content::Padded if !padding::unpad(&mut plain) => Err(Cause::Tag),
            _ => Ok(plain),
        });
        unpadded.map_err(|cause| self.refuse(cell.table(), Some(cell.column()), cause))
    }

    /// The message of a value that names the patient's key.
    fn message<'s>(&self, sealed: &'s [u8]) -> Result<&'s [u8], Cause> {
        match envelope::split(sealed) {
            None => Err(Cause::Tag),
            Some((id, _)) if id != self.live.id => Err(Cause::Key),
            Some((_, message)) => Ok(message),
        }
    }

    fn refuse(&self, table: Table, column: Option<Column>, cause: Cause) -> SealError {
        let cx = Some(self.tenant.cx.clone());
        let refusal = Refusal::new(table, column, 1, cause);
        self.tenant.alarms.raise(cx, refusal);
        SealError::from(cause)
    }

    fn check(&self) -> Result<(), SealError> {
        self.slot.usable()?;
        self.lock.check()?;
        if self.tenant.clock.monotonic() >= self.live.expires {
            return Err(SealError::Disabled);
        }
        // The tenant may have been shredded, or its lease ended.
        self.tenant.keys()?;
        Ok(())
    }

    fn key(&self) -> Result<&InputKey, SealError> {
        self.live.key.standard().ok_or(SealError::UnknownKey)
    }
}

/// Seals record fields under the patient's key.
impl FieldSealer for SubjectCipher {
    fn seal(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.seal_field(sealing, cell, plaintext)
    }

    fn record(&mut self, table: Table, row: &Row<'_>) -> Result<Box<dyn RecordSealer>, SealError> {
        self.check()?;
        let (key, id, salt) = (self.key()?, self.live.id, self.tenant.salts.take()?);
        let place = Place::of_record(&self.live.context, table, row);
        let sealer = WholeSealer::begin(key, id, &place, salt, self.tenant.max_message)?;
        Ok(Box::new(sealer))
    }

    fn index(&mut self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        Self::index(self, index, texts)
    }
}

/// Opens record fields sealed under the patient's key.
impl FieldOpener for SubjectCipher {
    fn open(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        self.open_field(sealing, cell, sealed)
    }

    fn record<'a>(
        &'a mut self,
        table: Table,
        row: &'a Row<'a>,
        head: &'a RecordHead,
    ) -> Result<Box<dyn RecordOpener + 'a>, SealError> {
        self.check()?;
        let key = self.key()?;
        let resumed = self.message(head.as_bytes()).and_then(|header| {
            let place = Place::of_record(&self.live.context, table, row);
            RecordKey::resume(key, self.live.id, &place, header, self.tenant.max_message)
        });
        let key = resumed.map_err(|cause| self.refuse(table, None, cause))?;
        let this = &*self;
        let opener = WholeOpener::new(key, move |column, cause| {
            this.refuse(table, Some(column), cause)
        });
        let usable = move || {
            this.slot.usable()?;
            this.lock.check()?;
            this.tenant.slot.usable()
        };
        Ok(Box::new(UsableRecord { opener, usable }))
    }
}

impl fmt::Debug for SubjectCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectCipher")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
