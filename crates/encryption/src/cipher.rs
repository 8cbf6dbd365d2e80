//! A tenant's cipher for one request: keys at hand, every call synchronous.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::phi::{Binding, Cell, FieldSealing, IndexDef, IndexSlots, Row, Suite};
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::secret::SecretBytes;
use eonpro_core::time::SharedClock;

use crate::alarm::Alarms;
use crate::cache::{Slot, Unknowns};
use crate::cobblestone::Cause;
use crate::envelope::{self, Content, HEAD_LEN};
use crate::events::Refusal;
use crate::index_status::IndexStatus;
use crate::key_type::KeyType;
use crate::live::LiveKeys;
use crate::padding;
use crate::random::SaltPool;
use crate::sealing_key::SealingKey;
use crate::streams::{TenantStreamOpener, TenantStreamSealer};

/// Made by [`Encryption::warm`](crate::Encryption::warm), for the tenant of the scope it was given.
///
/// Works until the vault's `cache_ttl` is over, then fails with [`SealError::Disabled`]: warm one
/// per request, and do not keep it across a fork or in a process image that is resumed twice, for it
/// draws its salts sixteen at a time. Fails with [`SealError::Shredded`] from the moment at which
/// the tenant's keys are destroyed in this process, and so does every stream or record that it began to
/// open.
pub struct TenantCipher {
    pub(crate) live: Arc<LiveKeys>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) unknowns: Arc<Unknowns>,
    pub(crate) scope: SealScope,
    pub(crate) cx: RequestContext,
    pub(crate) clock: SharedClock,
    pub(crate) alarms: Alarms,
    pub(crate) max_message: usize,
    pub(crate) salts: SaltPool,
}

impl TenantCipher {
    /// Seals `plaintext` for `cell` under the present key of `purpose`, in the standard suite.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] if the purpose has no key yet: warm with
    /// [`warm_for`](crate::Encryption::warm_for). [`SealError::LimitExceeded`] beyond
    /// `max_message_bytes`, and once the key has sealed what one epoch may: the next
    /// [`warm`](crate::Encryption::warm) begins a new one.
    pub fn seal(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.seal_into(purpose, FieldSealing::STANDARD, cell, plaintext, &mut out)?;
        Ok(out)
    }

    /// Seals `plaintext` as `sealing` says and appends the sealed value to `out`.
    ///
    /// Where `out` has room for [`sealed_len`](Self::sealed_len), nothing is allocated, but for
    /// padding. After an error `out` is as it was.
    ///
    /// # Errors
    /// As [`Self::seal`]; [`SealError::LowCardinality`] for a deterministic column of few distinct
    /// values that nobody allowed; [`SealError::Unsupported`] for a deterministic value that is bound
    /// to its row, or for padding beyond [`FieldSealing::MAX_PAD`].
    pub fn seal_into(
        &self,
        purpose: KeyPurpose,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if plaintext.len() > self.max_message {
            return Err(SealError::LimitExceeded);
        }
        let keys = self.keys()?;
        if sealing.suite == Suite::Deterministic {
            check_deterministic(&keys, sealing, cell)?;
        }
        let of = KeyType {
            purpose,
            suite: sealing.suite,
        };
        let cell = &bound(sealing, cell);
        let salt = || self.salts.take();
        match sealing.pad {
            0 => keys.seal(Content::Value, of, cell, salt, plaintext, out),
            class => {
                let padded = padding::pad(plaintext, class)?;
                keys.seal(Content::Padded, of, cell, salt, &padded, out)
            }
        }
    }

    /// The length of the sealed form of `plain` bytes; `None` if that does not fit `usize`, or for
    /// impossible padding.
    #[must_use]
    pub fn sealed_len(sealing: FieldSealing, plain: usize) -> Option<usize> {
        let padded = match sealing.pad {
            0 => plain,
            class => plain
                .checked_add(1)?
                .checked_next_multiple_of(usize::from(class))?,
        };
        SealingKey::sealed_len(sealing.suite, padded)
    }

    /// Opens what was sealed, without padding, for the same tenant, purpose and cell. The key that the
    /// value names tells its suite.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for anything else, without telling why.
    pub fn open(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        self.open_field(purpose, FieldSealing::STANDARD, cell, sealed)
    }

    /// Opens what [`Self::seal_into`] sealed with the same binding, and with or without padding as
    /// `sealing` says. The suite may be another: the key that the value names tells it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_field(
        &self,
        purpose: KeyPurpose,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        let keys = self.keys()?;
        let content = match sealing.pad {
            0 => Content::Value,
            _ => Content::Padded,
        };
        let opened = keys.open(content, purpose, &bound(sealing, cell), sealed);
        let unpadded = opened.and_then(|mut plain| match content {
            Content::Padded if !padding::unpad(&mut plain) => Err(Cause::Tag),
            _ => Ok(plain),
        });
        unpadded.map_err(|cause| self.refuse(&keys, cell, sealed, cause))
    }

    /// Whether `sealed` was sealed in an earlier epoch, so that it should be sealed anew
    /// ([`LazyResealer`](crate::LazyResealer)). Looks at its first five bytes only, and says `false`
    /// for what names no key of this tenant.
    #[must_use]
    pub fn is_stale(&self, sealed: &[u8]) -> bool {
        self.keys().is_ok_and(|keys| keys.is_stale(sealed))
    }

    /// The blind index tokens of a value, to store with it: one for each live version. For writers,
    /// and for a backfill, which stores both slots as they come, the empty one as NULL.
    ///
    /// `texts` has one text for each part of the index, so one for an index over one column. Both
    /// slots are empty if a text normalizes to nothing: nothing finds the value then.
    ///
    /// # Errors
    /// [`SealError::Unindexable`] for a text that does not fit its rule; [`SealError::Unsupported`]
    /// for an impossible index or another number of texts; [`SealError::LimitExceeded`] for a text
    /// beyond 64 KiB.
    pub fn index(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        self.keys()?.index(index, texts)
    }

    /// The blind index tokens to look for: a row is a candidate if either slot is equal.
    ///
    /// # Errors
    /// As [`Self::index`]; [`SealError::EmptyQuery`] if a text normalizes to nothing.
    pub fn query(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        let slots = self.index(index, texts)?;
        match slots.is_empty() {
            true => Err(SealError::EmptyQuery),
            false => Ok(slots),
        }
    }

    /// Where `index` stands, as far as this cipher knows: what [`Self::index`] goes by.
    ///
    /// # Errors
    /// [`SealError::Disabled`], [`SealError::Shredded`].
    pub fn index_status(&self, index: &IndexDef) -> Result<IndexStatus, SealError> {
        Ok(self.keys()?.index_status(index))
    }

    /// Begins a stream for `cell` and appends its head to `out`. A stream counts as one message
    /// towards `max_key_messages`; its bytes are not counted.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_stream(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        out: &mut Vec<u8>,
    ) -> Result<TenantStreamSealer, SealError> {
        let (sealer, key) = self.keys()?.begin_stream(purpose, cell, out)?;
        let slot = Arc::clone(&self.slot);
        Ok(TenantStreamSealer::new(sealer, slot, key))
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
    ) -> Result<TenantStreamOpener, SealError> {
        let keys = self.keys()?;
        let (opener, key) = keys
            .resume_stream(purpose, cell, head)
            .map_err(|cause| self.refuse(&keys, cell, head, cause))?;
        let slot = Arc::clone(&self.slot);
        Ok(TenantStreamOpener::new(opener, slot, key))
    }

    /// The newest keys of this process, so that a cipher reads what a later epoch sealed.
    pub(crate) fn keys(&self) -> Result<Keys<'_>, SealError> {
        let now = self.clock.monotonic();
        self.slot.usable()?;
        self.live.usable(now)?;
        let Some(newer) = self.slot.newer(self.live.version) else {
            return Ok(Keys::Own(&self.live));
        };
        newer.usable(now)?;
        Ok(Keys::Newer(newer))
    }

    pub(crate) fn refuse(
        &self,
        keys: &LiveKeys,
        cell: &Cell<'_>,
        sealed: &[u8],
        cause: Cause,
    ) -> SealError {
        let refusal = Refusal::new(
            cell.table(),
            Some(cell.column()),
            self.epoch_of(keys, sealed),
            cause,
        );
        self.alarms.raise(Some(self.cx.clone()), refusal);
        SealError::from(cause)
    }

    /// The epoch of the key that `sealed` names, 0 if there is none.
    pub(crate) fn epoch_of(&self, keys: &LiveKeys, sealed: &[u8]) -> u64 {
        let named = envelope::split(sealed).map(|(id, _)| id);
        let key = named.and_then(|id| keys.key(id));
        if let (Some(id), None) = (named, key) {
            // Another process may have turned the epoch: the next to ask looks at the store.
            let now = self.clock.monotonic();
            self.unknowns.want(&self.slot, self.scope, id, now);
        }
        key.map_or(0, |key| key.epoch)
    }
}

/// The keys that a cipher works with now.
pub(crate) enum Keys<'a> {
    /// Those it was warmed with.
    Own(&'a LiveKeys),
    /// Those of a later change.
    Newer(Arc<LiveKeys>),
}

impl Deref for Keys<'_> {
    type Target = LiveKeys;

    fn deref(&self) -> &LiveKeys {
        match self {
            Self::Own(keys) => keys,
            Self::Newer(keys) => keys,
        }
    }
}

/// Equal ciphertexts in different rows are what deterministic sealing is for; they must not tell the
/// values by how frequent they are.
fn check_deterministic(
    keys: &LiveKeys,
    sealing: FieldSealing,
    cell: &Cell<'_>,
) -> Result<(), SealError> {
    if sealing.bind != Binding::Column {
        return Err(SealError::Unsupported);
    }
    let few = sealing.cardinality < FieldSealing::MIN_CARDINALITY;
    if few && !keys.allows_low_cardinality(cell.table(), cell.column()) {
        return Err(SealError::LowCardinality);
    }
    Ok(())
}

/// The cell to which a value is bound.
pub(crate) fn bound<'a>(sealing: FieldSealing, cell: &Cell<'a>) -> Cell<'a> {
    match sealing.bind {
        Binding::Row => *cell,
        Binding::Column => Cell::new(cell.table(), cell.column(), Row::ANY),
    }
}

impl fmt::Debug for TenantCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCipher")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
