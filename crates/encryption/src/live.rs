//! A scope's keys, unwrapped: what sealing and opening run on while a lease lasts.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, IndexDef, IndexSlots};
use eonpro_core::port::kv::Version;
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::Monotonic;
use zeroize::Zeroizing;

use crate::cobblestone::{Cause, InputKey};
use crate::envelope::{self, Content, Place, scope_bytes};
use crate::error::CryptoError;
use crate::index_status::{IndexStatus, StoredIndex, index_status};
use crate::keyset::{KeyId, KeyRole, KeyState, Keyset, MAC, STANDARD, StoredKey};
use crate::search::LiveIndex;
use crate::usage::{Bounds, Usage, Usages};

/// The most index keys that one scope keeps at hand; further ones are derived each time.
const MAX_INDEX_KEYS: usize = 256;

const USABLE: u8 = 0;
const SHREDDED: u8 = 1;
const CLOSED: u8 = 2;

/// One unwrapped data key.
#[derive(Debug)]
pub(crate) struct LiveKey {
    pub(crate) id: KeyId,
    pub(crate) purpose: Box<str>,
    pub(crate) epoch: u64,
    pub(crate) key: InputKey,
    pub(crate) state: KeyState,
    pub(crate) usage: Arc<Usage>,
    announced: AtomicBool,
}

impl LiveKey {
    /// Whether its creation is in the audit log.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Acquire)
    }
}

/// Who opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever may.
    Anyone,
    /// A rotation, which reads in order to seal anew.
    Rotation,
}

/// What the keys of one scope have sealed, and what they may seal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter<'a> {
    pub(crate) usages: &'a Usages,
    pub(crate) bounds: Bounds,
}

/// See the [module](self).
pub(crate) struct LiveKeys {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) version: Version,
    pub(crate) expires: Monotonic,
    state: AtomicU8,
    keys: HashMap<KeyId, LiveKey>,
    primaries: HashMap<Box<str>, KeyId>,
    indexes: Vec<StoredIndex>,
    index_keys: RwLock<HashMap<IndexDef, Arc<LiveIndex>>>,
}

impl LiveKeys {
    /// Unwraps the data keys of `keyset` with its key-encryption key.
    pub(crate) fn unlock(
        scope: SealScope,
        keyset: &Keyset,
        kek: &KeyBytes<32>,
        version: Version,
        expires: Monotonic,
        meter: Meter<'_>,
    ) -> Result<Self, CryptoError> {
        let tenant = scope.tenant();
        let wrapping = Wrapping::new(tenant, keyset.wrapping()?.id, kek);
        let mut keys = HashMap::new();
        let mut primaries = HashMap::new();
        for stored in keyset.data_keys() {
            let KeyRole::Data(purpose) = &stored.role else {
                continue;
            };
            if stored.state == KeyState::Primary {
                primaries.insert(purpose.clone(), stored.id);
            }
            let live = LiveKey {
                id: stored.id,
                purpose: purpose.clone(),
                epoch: stored.epoch,
                key: InputKey::new(&wrapping.unwrap(stored)?),
                state: stored.state,
                usage: meter.usages.of(stored.id, meter.bounds),
                announced: AtomicBool::new(stored.announced),
            };
            keys.insert(stored.id, live);
        }
        Ok(Self {
            tenant,
            version,
            expires,
            state: AtomicU8::new(USABLE),
            keys,
            primaries,
            indexes: keyset.indexes.clone(),
            index_keys: RwLock::default(),
        })
    }

    /// Whether the lease lasts and nobody destroyed the scope.
    ///
    /// # Errors
    /// [`SealError::Shredded`]; [`SealError::Disabled`] when the lease is over.
    pub(crate) fn usable(&self, now: Monotonic) -> Result<(), SealError> {
        match self.state.load(Ordering::Acquire) {
            USABLE if now < self.expires => Ok(()),
            SHREDDED => Err(SealError::Shredded),
            _ => Err(SealError::Disabled),
        }
    }

    pub(crate) fn mark_shredded(&self) {
        self.state.store(SHREDDED, Ordering::Release);
    }

    pub(crate) fn mark_closed(&self) {
        let _kept_if_shredded =
            self.state
                .compare_exchange(USABLE, CLOSED, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn mark_announced(&self, told: &[KeyId]) {
        for key in told.iter().filter_map(|id| self.keys.get(id)) {
            key.announced.store(true, Ordering::Release);
        }
    }

    /// Whether all standard keys exist and are announced.
    pub(crate) fn is_complete(&self) -> bool {
        STANDARD
            .iter()
            .all(|name| self.primaries.contains_key(*name))
            && self.keys.values().all(LiveKey::is_announced)
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&LiveKey> {
        self.keys.get(&id)
    }

    pub(crate) fn primary(&self, purpose: &str) -> Option<&LiveKey> {
        let key = self.keys.get(self.primaries.get(purpose)?)?;
        (key.state == KeyState::Primary).then_some(key)
    }

    pub(crate) fn place<'a>(
        &'a self,
        content: Content,
        purpose: KeyPurpose,
        cell: &'a Cell<'a>,
    ) -> Place<'a> {
        Place {
            content,
            tenant: &self.tenant,
            purpose: purpose.as_str(),
            cell,
        }
    }

    pub(crate) fn seal(
        &self,
        content: Content,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self
            .primary(purpose.as_str())
            .ok_or(SealError::UnknownKey)?;
        key.usage.count(plaintext.len())?;
        self.place(content, purpose, cell)
            .seal(key.id, &key.key, plaintext)
    }

    pub(crate) fn open(
        &self,
        content: Content,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Cause> {
        self.open_as(Reader::Anyone, content, purpose, cell, sealed)
    }

    pub(crate) fn open_as(
        &self,
        reader: Reader,
        content: Content,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Cause> {
        let (id, message) = envelope::split(sealed).ok_or(Cause::Tag)?;
        let key = self.opening(reader, id, purpose)?;
        self.place(content, purpose, cell)
            .open(id, &key.key, message)
    }

    pub(crate) fn opening(
        &self,
        reader: Reader,
        id: KeyId,
        purpose: KeyPurpose,
    ) -> Result<&LiveKey, Cause> {
        let key = self
            .key(id)
            .filter(|key| *key.purpose == *purpose.as_str())
            .ok_or(Cause::Key)?;
        let may = match reader {
            Reader::Anyone => key.state.opens(),
            Reader::Rotation => key.state.opens_for_rotation(),
        };
        if may { Ok(key) } else { Err(Cause::Held) }
    }

    /// Whether `sealed` names a key of the scope that no longer seals.
    pub(crate) fn is_stale(&self, sealed: &[u8]) -> bool {
        envelope::split(sealed)
            .and_then(|(id, _)| self.key(id))
            .is_some_and(|key| key.state != KeyState::Primary)
    }

    /// The blind index tokens of `texts`, one for each live version.
    pub(crate) fn index(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        self.live_index(index)?.slots(index, texts)
    }

    pub(crate) fn index_status(&self, index: &IndexDef) -> IndexStatus {
        index_status(&self.indexes, index)
    }

    fn live_index(&self, index: &IndexDef) -> Result<Arc<LiveIndex>, SealError> {
        let known = self
            .index_keys
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = known.get(index) {
            return Ok(Arc::clone(live));
        }
        drop(known);
        let search = self
            .primary(KeyPurpose::SEARCH.as_str())
            .ok_or(SealError::UnknownKey)?;
        let status = self.index_status(index);
        let live = LiveIndex::derive(&search.key, &self.tenant, index, status)?;
        let live = Arc::new(live);
        let mut known = self
            .index_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_INDEX_KEYS {
            known.insert(*index, Arc::clone(&live));
        }
        Ok(live)
    }

    /// The key for `label`: HKDF-Expand-SHA-512 of the scope's MAC key over
    /// `PAE("eonpro/mac/v1", scope, label)`.
    pub(crate) fn mac_key(&self, label: &str) -> Result<KeyBytes<32>, SealError> {
        let mac = self.primary(MAC).ok_or(SealError::UnknownKey)?;
        let info = pae::encode(&[
            b"eonpro/mac/v1",
            scope_bytes(&self.tenant),
            label.as_bytes(),
        ]);
        mac.key.derive(&[&info])
    }
}

impl fmt::Debug for LiveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveKeys({} keys)", self.keys.len())
    }
}

/// A key-encryption key at work.
pub(crate) struct Wrapping {
    tenant: Option<TenantId>,
    id: KeyId,
    key: InputKey,
}

impl Wrapping {
    pub(crate) fn new(tenant: Option<TenantId>, id: KeyId, kek: &KeyBytes<32>) -> Self {
        Self {
            tenant,
            id,
            key: InputKey::new(kek),
        }
    }

    /// Wraps a data key: a Cobblestone-256 message without prefix.
    pub(crate) fn wrap(
        &self,
        role: &KeyRole,
        epoch: u64,
        id: KeyId,
        key: &KeyBytes<32>,
    ) -> Result<Vec<u8>, SealError> {
        let context = self.context(role, epoch, id);
        self.key.seal(&[&context], key.expose())
    }

    /// Unwraps one.
    pub(crate) fn unwrap(&self, stored: &StoredKey) -> Result<KeyBytes<32>, CryptoError> {
        let context = self.context(&stored.role, stored.epoch, stored.id);
        let bytes = self
            .key
            .open(&[&context], &stored.wrapped)
            .map_err(|_| CryptoError::Record("data key does not unwrap"))?;
        KeyBytes::copy_from(&bytes).ok_or(CryptoError::Record("data key of another length"))
    }

    /// `PAE("eonpro/dek/v1", scope, purpose, epoch, key id, key-encryption key id)`, numbers big
    /// endian.
    fn context(&self, role: &KeyRole, epoch: u64, id: KeyId) -> Vec<u8> {
        pae::encode(&[
            b"eonpro/dek/v1",
            scope_bytes(&self.tenant),
            role.name().as_bytes(),
            &epoch.to_be_bytes(),
            &id.to_be_bytes(),
            &self.id.to_be_bytes(),
        ])
    }
}
