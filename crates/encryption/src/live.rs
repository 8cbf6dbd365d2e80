//! A scope's keys, unwrapped: what sealing and opening run on while a lease lasts.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arc_swap::ArcSwap;
use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Column, IndexDef, IndexSlots, Row, Suite, Table};
use eonpro_core::port::kv::Version;
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::secret::{KeyBytes, SecretBytes};
use eonpro_core::time::Monotonic;

use crate::cobblestone::{Cause, InputKey, StreamOpener, StreamSealer};
use crate::envelope::{self, Content, KeyContext, Place, scope_bytes};
use crate::error::CryptoError;
use crate::index_status::{IndexStatus, StoredIndex, index_status};
use crate::key_states::{KeyStates, SharedState};
use crate::key_type::{KeyType, split_role};
use crate::keyset::{KeyId, KeyRole, KeyState, Keyset, MAC, STANDARD, StoredKey};
use crate::material::KeyMaterial;
use crate::primitives::Primitives;
use crate::random::SALT_LEN;
use crate::sealing_key::SealingKey;
use crate::search::LiveIndex;
use crate::usage::{Bounds, Usage, Usages};
use crate::whole::{RecordKey, WholeSealer};

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
    pub(crate) key: SealingKey,
    /// What it may do now, whatever it might when it was unwrapped.
    state: Arc<SharedState>,
    pub(crate) usage: Arc<Usage>,
    context: KeyContext,
    announced: AtomicBool,
}

impl LiveKey {
    pub(crate) fn state(&self) -> KeyState {
        self.state.get()
    }

    /// Its state, for what goes on under the key.
    pub(crate) fn shared_state(&self) -> Arc<SharedState> {
        Arc::clone(&self.state)
    }

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

/// What the keys of one scope have sealed, what they may seal, and what they may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter<'a> {
    pub(crate) usages: &'a Usages,
    pub(crate) states: &'a KeyStates,
    pub(crate) bounds: Bounds,
}

/// See the [module](self).
pub(crate) struct LiveKeys {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) version: Version,
    pub(crate) expires: Monotonic,
    state: AtomicU8,
    keys: HashMap<KeyId, Arc<LiveKey>>,
    /// Few, so looking through them is quicker than hashing.
    primaries: Vec<Arc<LiveKey>>,
    low_cardinality: Vec<Box<str>>,
    indexes: Vec<StoredIndex>,
    /// Few, so looking through them is quicker than hashing a definition.
    index_keys: ArcSwap<Vec<(IndexDef, Arc<LiveIndex>)>>,
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
        primitives: Primitives,
    ) -> Result<Self, CryptoError> {
        meter.states.learn(keyset, version);
        let tenant = scope.tenant();
        let wrapping = Wrapping::new(tenant, keyset.wrapping()?.id, kek);
        let mut keys = HashMap::new();
        let mut primaries = Vec::new();
        for stored in keyset.data_keys() {
            let KeyRole::Data(role) = &stored.role else {
                continue;
            };
            let (purpose, suite) = split_role(role);
            let key = SealingKey::new(primitives, suite, &wrapping.unwrap(stored)?);
            let live = Arc::new(LiveKey {
                id: stored.id,
                purpose: purpose.into(),
                epoch: stored.epoch,
                key: key.ok_or(CryptoError::Record("data key of another length"))?,
                state: meter.states.of(stored),
                usage: meter.usages.of(stored.id, meter.bounds),
                context: KeyContext::new(suite, stored.id, &tenant, purpose),
                announced: AtomicBool::new(stored.announced),
            });
            if stored.state == KeyState::Primary {
                primaries.push(Arc::clone(&live));
            }
            keys.insert(stored.id, live);
        }
        Ok(Self {
            tenant,
            version,
            expires,
            state: AtomicU8::new(USABLE),
            keys,
            primaries,
            low_cardinality: keyset.low_cardinality.clone(),
            indexes: keyset.indexes.clone(),
            index_keys: ArcSwap::default(),
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
            .all(|purpose| self.primary(purpose, Suite::Standard).is_some())
            && self.keys.values().all(|key| key.is_announced())
    }

    /// Whether a key here was destroyed, or one that seals was taken away: newer keys should come to hand.
    pub(crate) fn is_outdated(&self) -> bool {
        let lost = |key: &Arc<LiveKey>| !key.state().opens();
        let gone = |key: &Arc<LiveKey>| key.state() == KeyState::Destroyed;
        self.primaries.iter().any(lost) || self.keys.values().any(gone)
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&LiveKey> {
        let primary = self.primaries.iter().find(|key| key.id == id);
        primary.or_else(|| self.keys.get(&id)).map(|key| &**key)
    }

    pub(crate) fn primary(&self, purpose: &str, suite: Suite) -> Option<&LiveKey> {
        let fits = |key: &&Arc<LiveKey>| key.key.suite() == suite && *key.purpose == *purpose;
        self.primaries.iter().find(fits).map(|key| &**key)
    }

    /// Whether somebody allowed that column deterministic sealing despite few distinct values.
    pub(crate) fn allows_low_cardinality(&self, table: Table, column: Column) -> bool {
        self.low_cardinality
            .iter()
            .any(|allowed| allowed.split_once('/') == Some((table.as_str(), column.as_str())))
    }

    /// The primary key of the standard suite, which alone streams and derives.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`]; [`SealError::Disabled`] if it was taken away since it was unwrapped.
    pub(crate) fn standard(&self, purpose: &str) -> Result<(&LiveKey, &InputKey), SealError> {
        let live = self.primary(purpose, Suite::Standard);
        let found = live.and_then(|live| Some((live, live.key.standard()?)));
        let (live, key) = found.ok_or(SealError::UnknownKey)?;
        live.state.check()?;
        Ok((live, key))
    }

    /// Appends the sealed value to `out`, under the primary key of that type.
    pub(crate) fn seal(
        &self,
        content: Content,
        of: KeyType,
        cell: &Cell<'_>,
        salt: impl FnOnce() -> Result<[u8; SALT_LEN], SealError>,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let live = self
            .primary(of.purpose.as_str(), of.suite)
            .ok_or(SealError::UnknownKey)?;
        live.state.check()?;
        live.usage.count(plaintext.len())?;
        let place = Place::new(content, &live.context, cell);
        live.key.seal(&place, live.id, salt, plaintext, out)
    }

    pub(crate) fn open(
        &self,
        content: Content,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, Cause> {
        self.open_as(Reader::Anyone, content, purpose, cell, sealed)
    }

    pub(crate) fn open_as(
        &self,
        reader: Reader,
        content: Content,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, Cause> {
        let (id, message) = envelope::split(sealed).ok_or(Cause::Tag)?;
        let live = self.opening(reader, id, purpose)?;
        let place = Place::new(content, &live.context, cell);
        live.key.open(&place, message)
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
            Reader::Anyone => key.state().opens(),
            Reader::Rotation => key.state().opens_for_rotation(),
        };
        if may { Ok(key) } else { Err(Cause::Held) }
    }

    /// Whether `sealed` names a key of the scope that no longer seals.
    pub(crate) fn is_stale(&self, sealed: &[u8]) -> bool {
        // By the keys at hand, which would seal it anew: the state may know of a newer one already.
        let seals = |id| self.primaries.iter().any(|key| key.id == id);
        envelope::split(sealed).is_some_and(|(id, _)| self.keys.contains_key(&id) && !seals(id))
    }

    /// Begins a stream and appends its head to `out`. It may go on as long as the key's state lets it.
    pub(crate) fn begin_stream(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(StreamSealer, Arc<SharedState>), SealError> {
        let (live, key) = self.standard(purpose.as_str())?;
        live.usage.count(0)?;
        let place = Place::new(Content::Value, &live.context, cell);
        out.extend_from_slice(&envelope::prefix(live.id));
        let sealer = place.with_context(|context| StreamSealer::begin(key, context, out))?;
        Ok((sealer, live.shared_state()))
    }

    /// Begins to open a stream by its head. It may go on as long as the key's state lets it.
    pub(crate) fn resume_stream(
        &self,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        head: &[u8; envelope::HEAD_LEN],
    ) -> Result<(StreamOpener, Arc<SharedState>), Cause> {
        let (id, header) = envelope::split(head).ok_or(Cause::Tag)?;
        let header = header.try_into().map_err(|_| Cause::Tag)?;
        let live = self.opening(Reader::Anyone, id, purpose)?;
        let key = live.key.standard().ok_or(Cause::Key)?;
        let place = Place::new(Content::Value, &live.context, cell);
        let opener =
            place.with_context(|context| StreamOpener::begin_or_cause(key, context, header))?;
        Ok((opener, live.shared_state()))
    }

    /// Begins a record that is sealed as a whole.
    pub(crate) fn begin_record(
        &self,
        purpose: KeyPurpose,
        table: Table,
        row: &Row<'_>,
        salt: [u8; SALT_LEN],
        max_field: usize,
    ) -> Result<WholeSealer, SealError> {
        let (live, key) = self.standard(purpose.as_str())?;
        live.usage.count(0)?;
        let place = Place::of_record(&live.context, table, row);
        WholeSealer::begin(key, live.id, &place, salt, max_field)
    }

    /// The key that opens a whole record, by its head, and the state of the data key.
    pub(crate) fn resume_record(
        &self,
        reader: Reader,
        purpose: KeyPurpose,
        table: Table,
        row: &Row<'_>,
        head: &[u8],
        max_field: usize,
    ) -> Result<(RecordKey, Arc<SharedState>), Cause> {
        let (id, header) = envelope::split(head).ok_or(Cause::Tag)?;
        let live = self.opening(reader, id, purpose)?;
        let key = live.key.standard().ok_or(Cause::Key)?;
        let place = Place::of_record(&live.context, table, row);
        let key = RecordKey::resume(key, id, &place, header, max_field)?;
        Ok((key, live.shared_state()))
    }

    /// The blind index tokens of `texts`, one for each live version.
    pub(crate) fn index(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        if let Some(live) = find(&self.index_keys.load(), index) {
            return live.slots(index, texts);
        }
        self.derive_index(index)?.slots(index, texts)
    }

    pub(crate) fn index_status(&self, index: &IndexDef) -> IndexStatus {
        index_status(&self.indexes, index)
    }

    fn derive_index(&self, index: &IndexDef) -> Result<Arc<LiveIndex>, SealError> {
        let (_, search) = self.standard(KeyPurpose::SEARCH.as_str())?;
        let status = self.index_status(index);
        let live = Arc::new(LiveIndex::derive(search, &self.tenant, index, status)?);
        self.index_keys.rcu(|known| {
            let mut known = Vec::clone(known);
            if known.len() < MAX_INDEX_KEYS && find(&known, index).is_none() {
                known.push((*index, Arc::clone(&live)));
            }
            known
        });
        Ok(live)
    }

    /// The key for `label`, derived from the scope's MAC key.
    pub(crate) fn mac_key(&self, label: &str) -> Result<KeyBytes<32>, SealError> {
        let (_, mac) = self.standard(MAC)?;
        derive_mac_key(mac, &self.tenant, label)
    }
}

/// The keys of `index` among those at hand. Names differ most, so they are compared first.
fn find<'a>(known: &'a [(IndexDef, Arc<LiveIndex>)], index: &IndexDef) -> Option<&'a LiveIndex> {
    let found = known
        .iter()
        .find(|(known, _)| known.name == index.name && known == index);
    found.map(|(_, live)| &**live)
}

/// HKDF-Expand-SHA-512 of the scope's MAC key over `PAE("eonpro/mac/v1", scope, label)`.
pub(crate) fn derive_mac_key(
    mac: &InputKey,
    tenant: &Option<TenantId>,
    label: &str,
) -> Result<KeyBytes<32>, SealError> {
    let info = pae::encode(&[b"eonpro/mac/v1", scope_bytes(tenant), label.as_bytes()]);
    mac.derive(&[&info])
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
        key: &KeyMaterial,
    ) -> Result<Vec<u8>, SealError> {
        let context = self.context(role, epoch, id);
        self.key.seal(&[&context], key.expose())
    }

    /// Unwraps one.
    pub(crate) fn unwrap(&self, stored: &StoredKey) -> Result<KeyMaterial, CryptoError> {
        let context = self.context(&stored.role, stored.epoch, stored.id);
        let bytes = self
            .key
            .open(&[&context], &stored.wrapped)
            .map_err(|_| CryptoError::Record("data key does not unwrap"))?;
        let (_, suite) = split_role(stored.role.name());
        KeyMaterial::copy_from(suite, &bytes)
            .ok_or(CryptoError::Record("data key of another length"))
    }

    /// `PAE("eonpro/dek/v1", scope, purpose, epoch, key id, key-encryption key id)`, numbers big
    /// endian.
    pub(crate) fn context(&self, role: &KeyRole, epoch: u64, id: KeyId) -> Vec<u8> {
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
