//! What each data key of a scope may do, as this process knows it last.
//!
//! One place for each key, shared by all who hold the key: a key that is taken away stops at once, also where
//! its scope's root key cannot be had, and whatever keyset its holder was warmed with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eonpro_core::port::SealError;
use eonpro_core::port::kv::Version;

use crate::keyset::{KeyId, Keyset, StoredKey};
use crate::state::KeyState;

/// The state of one key.
#[derive(Debug)]
pub(crate) struct SharedState(AtomicU8);

impl SharedState {
    fn new(state: KeyState) -> Self {
        Self(AtomicU8::new(number(state)))
    }

    pub(crate) fn get(&self) -> KeyState {
        let number = usize::from(self.0.load(Ordering::Acquire));
        let known = KeyState::ALL.get(number).copied();
        known.unwrap_or(KeyState::Destroyed)
    }

    fn set(&self, state: KeyState) {
        self.0.store(number(state), Ordering::Release);
    }

    /// # Errors
    /// [`SealError::Disabled`] if the key no longer opens.
    pub(crate) fn check(&self) -> Result<(), SealError> {
        match self.get().opens() {
            true => Ok(()),
            false => Err(SealError::Disabled),
        }
    }
}

/// The place of `state` in [`KeyState::ALL`].
const fn number(state: KeyState) -> u8 {
    match state {
        KeyState::Primary => 0,
        KeyState::DecryptOnly => 1,
        KeyState::Drained => 2,
        KeyState::Suspended => 3,
        KeyState::Compromised => 4,
        KeyState::Destroyed => 5,
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct KeyStates(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The newest record that was learned.
    version: u64,
    states: HashMap<KeyId, Arc<SharedState>>,
}

impl KeyStates {
    /// Takes over what the scope's record of `version` says, unless a newer one was learned. A key of which
    /// it says nothing was destroyed.
    pub(crate) fn learn(&self, keyset: &Keyset, version: Version) {
        let mut known = self.known();
        if version.0 < known.version {
            return;
        }
        known.version = version.0;
        let mut said: HashMap<KeyId, KeyState> = keyset
            .data_keys()
            .map(|stored| (stored.id, stored.state))
            .collect();
        known.states.retain(|id, state| {
            let now = said.remove(id);
            state.set(now.unwrap_or(KeyState::Destroyed));
            now.is_some()
        });
        let new = said.into_iter();
        known
            .states
            .extend(new.map(|(id, state)| (id, Arc::new(SharedState::new(state)))));
    }

    /// The state of a key that some record knows: that of the newest record, in which it is destroyed if
    /// it is not there.
    pub(crate) fn of(&self, stored: &StoredKey) -> Arc<SharedState> {
        let found = self.known().states.get(&stored.id).map(Arc::clone);
        found.unwrap_or_else(|| Arc::new(SharedState::new(KeyState::Destroyed)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyset::KeyRole;
    use eonpro_core::time::Timestamp;

    fn key(id: u8, state: KeyState) -> StoredKey {
        StoredKey {
            id: KeyId::from_be_bytes([0, 0, 0, id]),
            role: KeyRole::data("records"),
            epoch: id.into(),
            state,
            created: Timestamp::EPOCH,
            wrapped: vec![1],
            announced: true,
        }
    }

    fn keyset(keys: Vec<StoredKey>) -> Keyset {
        Keyset {
            root: "root".into(),
            keys,
            pruned: Vec::new(),
            also: Vec::new(),
            low_cardinality: Vec::new(),
            indexes: Vec::new(),
        }
    }

    #[test]
    fn every_state_is_read_as_it_was_put() {
        for state in KeyState::ALL {
            assert_eq!(SharedState::new(state).get(), state);
        }
    }

    #[test]
    fn whoever_holds_a_key_sees_the_newest_record_and_no_older_one() {
        let states = KeyStates::default();
        let opens = key(1, KeyState::DecryptOnly);
        states.learn(&keyset(vec![opens.clone()]), Version(5));
        let held = states.of(&opens);
        states.learn(&keyset(vec![key(1, KeyState::Suspended)]), Version(6));
        assert!(matches!(held.check(), Err(SealError::Disabled)));
        states.learn(&keyset(vec![opens.clone()]), Version(5));
        assert_eq!(held.get(), KeyState::Suspended);
        states.learn(&keyset(vec![opens]), Version(7));
        assert_eq!(held.get(), KeyState::DecryptOnly);
    }

    #[test]
    fn a_key_that_was_pruned_is_destroyed_for_whoever_holds_it_and_whoever_comes_late() {
        let states = KeyStates::default();
        let (gone, stays) = (key(1, KeyState::Drained), key(2, KeyState::Primary));
        states.learn(&keyset(vec![gone.clone(), stays.clone()]), Version(5));
        let held = states.of(&gone);
        states.learn(&keyset(vec![stays.clone()]), Version(6));
        states.learn(&keyset(vec![gone.clone(), stays.clone()]), Version(5));
        assert_eq!(held.get(), KeyState::Destroyed);
        assert_eq!(states.of(&gone).get(), KeyState::Destroyed);
        assert_eq!(states.of(&stays).get(), KeyState::Primary);
    }
}
