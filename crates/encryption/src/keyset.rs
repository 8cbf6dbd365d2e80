//! The keys of one scope: one key-encryption key in use, and data keys in epochs by purpose.
//!
//! A keyset is one value and changes as a whole, by compare-and-swap. So at every commit there is
//! exactly one primary key of each role, and all data keys are wrapped under the same
//! key-encryption key.

use std::fmt;

use eonpro_core::phi::IndexDef;
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_core::time::Timestamp;

use crate::error::CryptoError;
use crate::index_status::{IndexStatus, MAX_ROTATED_INDEXES, StoredIndex, index_status};
pub use crate::state::KeyState;

/// The most keys of one scope. Where there would be more, the destroyed ones are pruned, and only their
/// ids stay.
pub const MAX_KEYS: usize = 1024;

/// The most ids of pruned keys that a scope keeps, so that they are not given again. Beyond it the oldest
/// is forgotten.
pub(crate) const MAX_PRUNED: usize = 32 * 1024;

/// The most further roots and recipients for which a key-encryption key is wrapped.
pub(crate) const MAX_ALSO: usize = 8;

/// The most columns of one scope that are allowed deterministic sealing despite few values.
pub(crate) const MAX_LOW_CARDINALITY: usize = 64;

/// The purposes whose keys every scope has from the start.
pub(crate) const STANDARD: [&str; 8] = [
    KeyPurpose::RECORDS.as_str(),
    KeyPurpose::SEARCH.as_str(),
    KeyPurpose::FILES.as_str(),
    KeyPurpose::QUARANTINE.as_str(),
    KeyPurpose::CACHE.as_str(),
    KeyPurpose::AUDIT.as_str(),
    KeyPurpose::STATE.as_str(),
    MAC,
];

/// The purpose of the key behind `mac_key`.
pub(crate) const MAC: &str = "mac";

/// Names one key within its scope: random, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// Stands in parts for the data key that the caller unwrapped; no stored key has it.
    pub(crate) const AT_HAND: Self = Self(0);

    /// From its four bytes, big endian.
    #[must_use]
    pub const fn from_be_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    /// Its four bytes, big endian.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = plain.then(|| u32::from_str_radix(text, 16).ok())??;
        (id != 0).then_some(Self(id))
    }
}

/// Eight lowercase hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a key does.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// Wraps the scope's data keys.
    Wrapping,
    /// Seals for the named purpose.
    Data(Box<str>),
}

impl KeyRole {
    pub(crate) fn data(purpose: &str) -> Self {
        Self::Data(purpose.into())
    }

    /// `kek`, or the purpose.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Wrapping => "kek",
            Self::Data(purpose) => purpose,
        }
    }
}

/// One key, wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) id: KeyId,
    pub(crate) role: KeyRole,
    pub(crate) epoch: u64,
    pub(crate) state: KeyState,
    pub(crate) created: Timestamp,
    /// Empty once destroyed.
    pub(crate) wrapped: Vec<u8>,
    /// Whether its creation is in the audit log.
    pub(crate) announced: bool,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keyset {
    /// The root key that wrapped the key-encryption key in use.
    pub(crate) root: Box<str>,
    pub(crate) keys: Vec<StoredKey>,
    /// The ids of destroyed keys that are no longer among `keys`, oldest first.
    pub(crate) pruned: Vec<KeyId>,
    /// The key-encryption key in use, as further roots and recipients wrapped it.
    pub(crate) also: Vec<AlsoWrapped>,
    /// Columns of few distinct values that may be sealed deterministically, as `table/column`.
    pub(crate) low_cardinality: Vec<Box<str>>,
    /// The blind indexes that were ever rotated.
    pub(crate) indexes: Vec<StoredIndex>,
}

/// A key-encryption key as another root, or a recipient, wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlsoWrapped {
    /// The root's or recipient's id.
    pub(crate) by: Box<str>,
    pub(crate) wrapped: Vec<u8>,
}

/// What remains of a destroyed scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) at: Timestamp,
    pub(crate) keys: u64,
}

/// A scope's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScopeRecord {
    Live(Keyset),
    Shredded(Tombstone),
}

impl Keyset {
    pub(crate) fn primary(&self, role: &KeyRole) -> Option<&StoredKey> {
        self.keys
            .iter()
            .find(|key| key.state == KeyState::Primary && key.role == *role)
    }

    pub(crate) fn wrapping(&self) -> Result<&StoredKey, CryptoError> {
        self.primary(&KeyRole::Wrapping)
            .ok_or(CryptoError::Record("no key-encryption key"))
    }

    /// The data keys that are not destroyed, whatever else they may do.
    pub(crate) fn data_keys(&self) -> impl Iterator<Item = &StoredKey> {
        self.keys
            .iter()
            .filter(|key| key.state != KeyState::Destroyed && matches!(key.role, KeyRole::Data(_)))
    }

    pub(crate) fn data_keys_mut(&mut self) -> impl Iterator<Item = &mut StoredKey> {
        self.keys
            .iter_mut()
            .filter(|key| key.state != KeyState::Destroyed && matches!(key.role, KeyRole::Data(_)))
    }

    pub(crate) fn lacks(&self, purpose: &str) -> bool {
        self.primary(&KeyRole::data(purpose)).is_none()
    }

    /// Whether a key has, or had, that id.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id) || self.was_pruned(id)
    }

    /// Whether a destroyed key had that id, of which nothing else is left.
    pub(crate) fn was_pruned(&self, id: KeyId) -> bool {
        self.pruned.contains(&id)
    }

    /// Makes room for `more` keys, where there is none, by leaving nothing of destroyed keys but their
    /// ids. Not of one that is the newest of its role: the epochs count on from it.
    pub(crate) fn make_room(&mut self, more: usize) {
        if self.keys.len().saturating_add(more) <= MAX_KEYS {
            return;
        }
        let keys = std::mem::take(&mut self.keys);
        let newest = |key: &StoredKey| {
            let mut others = keys.iter().filter(|other| other.role == key.role);
            others.all(|other| other.epoch <= key.epoch)
        };
        let goes = |key: &StoredKey| key.state == KeyState::Destroyed && !newest(key);
        let (gone, stay): (Vec<&StoredKey>, Vec<&StoredKey>) =
            keys.iter().partition(|key| goes(key));
        self.pruned.extend(gone.into_iter().map(|key| key.id));
        self.keys = stay.into_iter().cloned().collect();
        let spare = self.pruned.len().saturating_sub(MAX_PRUNED);
        self.pruned.drain(..spare);
    }

    /// How many keys a shred destroys.
    pub(crate) fn live_count(&self) -> u64 {
        let live = self
            .keys
            .iter()
            .filter(|key| key.state != KeyState::Destroyed);
        live.count() as u64
    }

    /// The epoch that follows the newest of that role.
    pub(crate) fn next_epoch(&self, role: &KeyRole) -> u64 {
        let newest = self
            .keys
            .iter()
            .filter(|key| key.role == *role)
            .map(|key| key.epoch)
            .max();
        newest.unwrap_or(0).saturating_add(1)
    }

    /// Adds `key` as the primary of its role; the primary before gets `retired`. Prunes destroyed keys if
    /// there is no room.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] if there is none even so; [`CryptoError::Record`] for a contradiction.
    pub(crate) fn install(
        &mut self,
        key: StoredKey,
        retired: KeyState,
    ) -> Result<Option<KeyId>, CryptoError> {
        let mut old = None;
        self.make_room(1);
        if self.keys.len() >= MAX_KEYS {
            return Err(SealError::LimitExceeded.into());
        }
        for before in &mut self.keys {
            if before.role == key.role && before.state == KeyState::Primary {
                before.state = retired;
                if retired == KeyState::Destroyed {
                    before.wrapped.clear();
                }
                old = Some(before.id);
            }
        }
        self.keys.push(key);
        self.check()?;
        Ok(old)
    }

    pub(crate) fn index_status(&self, index: &IndexDef) -> IndexStatus {
        index_status(&self.indexes, index)
    }

    pub(crate) fn set_index(
        &mut self,
        index: &IndexDef,
        status: IndexStatus,
    ) -> Result<(), CryptoError> {
        match self.indexes.iter_mut().find(|line| line.is_of(index)) {
            Some(line) => line.status = status,
            None => self.indexes.push(StoredIndex::new(index, status)),
        }
        self.check_indexes()
    }

    fn check_indexes(&self) -> Result<(), CryptoError> {
        if self.indexes.len() > MAX_ROTATED_INDEXES {
            return Err(CryptoError::Record("more than 256 rotated indexes"));
        }
        let mut rest = self.indexes.as_slice();
        while let [line, others @ ..] = rest {
            line.check()?;
            if others.iter().any(|other| other.is_same(line)) {
                return Err(CryptoError::Record("one index twice"));
            }
            rest = others;
        }
        Ok(())
    }

    /// Checks the invariants, before every commit and after every read.
    pub(crate) fn check(&self) -> Result<(), CryptoError> {
        if self.keys.len() > MAX_KEYS {
            return Err(CryptoError::Record("more than 1024 keys"));
        }
        if self.pruned.len() > MAX_PRUNED {
            return Err(CryptoError::Record("more than 32768 pruned keys"));
        }
        if self.also.len() > MAX_ALSO {
            return Err(CryptoError::Record("more than 8 further wrappings"));
        }
        if self.low_cardinality.len() > MAX_LOW_CARDINALITY {
            return Err(CryptoError::Record("more than 64 allowed columns"));
        }
        self.wrapping()?;
        let kept = self.keys.iter().map(|key| key.id);
        let mut ids: Vec<KeyId> = kept.chain(self.pruned.iter().copied()).collect();
        ids.sort_unstable();
        let twice = ids
            .windows(2)
            .any(|pair| matches!(pair, [one, next] if one == next));
        if twice || ids.contains(&KeyId::AT_HAND) {
            return Err(CryptoError::Record("key ids are not unique"));
        }
        for key in &self.keys {
            let primaries = self
                .keys
                .iter()
                .filter(|other| other.state == KeyState::Primary && other.role == key.role);
            let may_lack = key.state == KeyState::Destroyed;
            if !matches!((primaries.count(), may_lack), (1, _) | (0, true)) {
                return Err(CryptoError::Record("not exactly one primary key"));
            }
            let whole = matches!(key.state, KeyState::Primary | KeyState::Destroyed);
            if key.role == KeyRole::Wrapping && !whole {
                return Err(CryptoError::Record(
                    "key-encryption key in a data key's state",
                ));
            }
            // The epoch is part of what a key is wrapped for, the state is not: so nobody who can write
            // the record makes an old key seal again.
            let newest = |other: &StoredKey| other.role != key.role || other.epoch <= key.epoch;
            if key.state == KeyState::Primary && !self.keys.iter().all(newest) {
                return Err(CryptoError::Record("primary key is not the newest"));
            }
            if key.wrapped.is_empty() != (key.state == KeyState::Destroyed) {
                return Err(CryptoError::Record("key and state disagree"));
            }
        }
        self.check_indexes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32, role: KeyRole, epoch: u64) -> StoredKey {
        StoredKey {
            id: KeyId(id),
            role,
            epoch,
            state: KeyState::Primary,
            created: Timestamp::EPOCH,
            wrapped: vec![1],
            announced: false,
        }
    }

    fn keyset() -> Keyset {
        Keyset {
            root: "root".into(),
            keys: vec![
                key(1, KeyRole::Wrapping, 1),
                key(2, KeyRole::data("records"), 1),
            ],
            pruned: Vec::new(),
            also: Vec::new(),
            low_cardinality: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// A scope whose records key has turned until there was room for no more; all but the newest are
    /// in `state`.
    fn full(state: KeyState) -> Keyset {
        let mut keys = keyset();
        for number in 3..=MAX_KEYS as u32 {
            if let Some(before) = keys.keys.last_mut() {
                before.state = state;
                if state == KeyState::Destroyed {
                    before.wrapped.clear();
                }
            }
            keys.keys
                .push(key(number, KeyRole::data("records"), u64::from(number) - 1));
        }
        keys.check().unwrap();
        assert_eq!(keys.keys.len(), MAX_KEYS);
        keys
    }

    #[test]
    fn a_scope_that_is_full_of_destroyed_keys_turns_on_and_gives_neither_id_nor_epoch_again() {
        let mut keys = full(KeyState::Destroyed);
        let records = KeyRole::data("records");
        let epoch = keys.next_epoch(&records);
        let next = key(5000, records.clone(), epoch);
        keys.install(next, KeyState::DecryptOnly).unwrap();
        // The key-encryption key, the primary and the one before.
        assert_eq!(keys.keys.len(), 3);
        assert_eq!(epoch, MAX_KEYS as u64);
        assert_eq!(keys.next_epoch(&records), epoch + 1);
        assert_eq!(keys.pruned.len(), MAX_KEYS - 2);
        for id in (1..=MAX_KEYS as u32).chain([5000]) {
            assert!(keys.has(KeyId(id)), "{id}");
        }
        assert!(!keys.has(KeyId(5001)));
        let again = key(7, records, keys.next_epoch(&KeyRole::data("records")));
        assert!(keys.install(again, KeyState::DecryptOnly).is_err());
    }

    #[test]
    fn no_key_that_may_still_open_is_pruned() {
        for state in [
            KeyState::DecryptOnly,
            KeyState::Drained,
            KeyState::Suspended,
            KeyState::Compromised,
        ] {
            let mut keys = full(state);
            let before = keys.clone();
            let records = KeyRole::data("records");
            let next = key(5000, records.clone(), keys.next_epoch(&records));
            let refused = keys.install(next, KeyState::DecryptOnly);
            assert!(
                matches!(refused, Err(CryptoError::Seal(SealError::LimitExceeded))),
                "{state:?}"
            );
            assert_eq!(keys, before, "{state:?}");
        }
    }

    #[test]
    fn the_newest_of_a_role_is_not_pruned_so_that_its_epochs_count_on() {
        let mut keys = full(KeyState::Destroyed);
        // A role whose every key is destroyed.
        let other = KeyRole::data("other");
        keys.keys
            .retain(|key| key.id != KeyId(9) && key.id != KeyId(10));
        for (id, epoch) in [(9, 1), (10, 2)] {
            let mut gone = key(id, other.clone(), epoch);
            gone.state = KeyState::Destroyed;
            gone.wrapped.clear();
            keys.keys.push(gone);
        }
        let first = key(5000, other.clone(), keys.next_epoch(&other));
        keys.install(first, KeyState::DecryptOnly).unwrap();
        assert_eq!(keys.next_epoch(&other), 4);
        assert!(keys.keys.iter().any(|key| key.id == KeyId(10)));
        assert!(keys.was_pruned(KeyId(9)));
    }

    #[test]
    fn of_very_many_pruned_keys_the_oldest_are_forgotten() {
        let mut keys = full(KeyState::Destroyed);
        keys.pruned = (0..MAX_PRUNED as u32)
            .map(|at| KeyId(10_000 + at))
            .collect();
        let records = KeyRole::data("records");
        let next = key(5000, records.clone(), keys.next_epoch(&records));
        keys.install(next, KeyState::DecryptOnly).unwrap();
        assert_eq!(keys.pruned.len(), MAX_PRUNED);
        assert!(!keys.has(KeyId(10_000)));
        assert!(keys.has(KeyId(2)));
    }

    #[test]
    fn a_new_primary_retires_the_one_before() {
        let mut keys = keyset();
        let records = KeyRole::data("records");
        assert_eq!(keys.next_epoch(&records), 2);
        let old = keys.install(key(3, records.clone(), 2), KeyState::DecryptOnly);
        assert_eq!(old.unwrap(), Some(KeyId(2)));
        assert_eq!(keys.primary(&records).map(|key| key.id), Some(KeyId(3)));
        assert_eq!(keys.data_keys().count(), 2);
        assert_eq!(keys.live_count(), 3);
    }

    #[test]
    fn contradictions_are_refused() {
        type Change = fn(&mut Keyset);
        let changes: [(&str, Change); 9] = [
            ("a key with the id of a pruned one", |keys| {
                keys.pruned.push(KeyId(2));
            }),
            ("two primaries", |keys| {
                keys.keys.push(key(9, KeyRole::data("records"), 2));
            }),
            ("one id twice", |keys| {
                keys.keys.push(key(2, KeyRole::data("search"), 1));
            }),
            ("the reserved id", |keys| {
                keys.keys.push(key(0, KeyRole::data("search"), 1));
            }),
            ("no key-encryption key", |keys| {
                keys.keys.remove(0);
            }),
            ("a purpose without a primary", |keys| {
                keys.keys[1].state = KeyState::DecryptOnly;
            }),
            ("a suspended key-encryption key", |keys| {
                let mut kek = key(9, KeyRole::Wrapping, 2);
                kek.state = KeyState::Suspended;
                keys.keys.push(kek);
            }),
            ("an old key that seals again", |keys| {
                let mut old = key(9, KeyRole::data("records"), 0);
                old.state = KeyState::Primary;
                keys.keys[1].state = KeyState::DecryptOnly;
                keys.keys.push(old);
            }),
            ("a live key without its bytes", |keys| {
                keys.keys[1].wrapped.clear();
            }),
        ];
        assert!(keyset().check().is_ok());
        for (what, change) in changes {
            let mut keys = keyset();
            change(&mut keys);
            assert!(keys.check().is_err(), "{what}");
        }
    }

    #[test]
    fn a_key_id_is_eight_hex_digits() {
        let id = KeyId::from_be_bytes([0, 0, 0x0a, 0xbc]);
        assert_eq!(id.to_string(), "00000abc");
        assert_eq!(KeyId::parse("00000abc"), Some(id));
        for bad in ["", "abc", "00000000", "+0000abc", "00000abg", "000000abc"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }
}
