//! Places in a bounded cache. A place that somebody still holds is found again after its eviction,
//! so that a shred reaches every cipher of this process.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use eonpro_core::id::{SubjectId, TenantId};
use eonpro_core::port::SealScope;

/// How many held places are kept in mind before the forgotten ones are swept out.
const SWEEP_FLOOR: usize = 1024;

/// A key of a place, which is found by its name as well: who hears of a name may not make the key.
pub(crate) trait Named: Copy + Eq + Hash + Send + Sync + 'static {
    /// Different for different keys.
    type Name: Eq + Hash + Send;

    fn name(self) -> Self::Name;
}

impl Named for SealScope {
    type Name = Option<TenantId>;

    fn name(self) -> Self::Name {
        self.tenant()
    }
}

impl Named for (SealScope, SubjectId) {
    type Name = (Option<TenantId>, SubjectId);

    fn name(self) -> Self::Name {
        (self.0.tenant(), self.1)
    }
}

/// See the [module](self).
pub(crate) struct Slots<K: Named, S> {
    cached: quick_cache::sync::Cache<K, Arc<S>>,
    held: Mutex<Held<K, S>>,
}

struct Held<K: Named, S> {
    slots: HashMap<K::Name, (K, Weak<S>)>,
    sweep_at: usize,
}

impl<K, S> Slots<K, S>
where
    K: Named,
    S: Default + Send + Sync + 'static,
{
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            cached: quick_cache::sync::Cache::new(usize::try_from(capacity).unwrap_or(usize::MAX)),
            held: Mutex::new(Held {
                slots: HashMap::new(),
                sweep_at: SWEEP_FLOOR,
            }),
        }
    }

    pub(crate) fn slot(&self, key: K) -> Arc<S> {
        if let Some(slot) = self.cached.get(&key) {
            return slot;
        }
        let mut held = self.held();
        let known = held.slots.get(&key.name());
        let known = known.and_then(|(_, slot)| slot.upgrade());
        let slot: Arc<S> = known.unwrap_or_default();
        if held.slots.len() >= held.sweep_at {
            held.slots.retain(|_, (_, slot)| slot.strong_count() > 0);
            held.sweep_at = SWEEP_FLOOR.max(held.slots.len().saturating_mul(2));
        }
        held.slots.insert(key.name(), (key, Arc::downgrade(&slot)));
        self.cached.insert(key, Arc::clone(&slot));
        slot
    }

    /// The place, if it is in use, cached or only held.
    pub(crate) fn find(&self, name: &K::Name) -> Option<(K, Arc<S>)> {
        let held = self.held();
        let (key, slot) = held.slots.get(name)?;
        Some((*key, slot.upgrade()?))
    }

    /// The places in use whose key fits, cached or only held.
    pub(crate) fn matching(&self, fits: impl Fn(&K) -> bool) -> Vec<(K, Arc<S>)> {
        let held = self.held();
        let slots = held.slots.values().filter(|(key, _)| fits(key));
        slots
            .filter_map(|(key, slot)| Some((*key, slot.upgrade()?)))
            .collect()
    }

    /// Lets go of one place.
    pub(crate) fn evict(&self, key: &K) {
        let _its_keys_go_with_it = self.cached.remove(key);
    }

    /// Lets go of all places.
    pub(crate) fn clear(&self) {
        self.cached.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held<K, S>> {
        // Nothing panics while it holds the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Named, S> fmt::Debug for Slots<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    impl Named for u32 {
        type Name = Self;

        fn name(self) -> Self {
            self
        }
    }

    #[test]
    fn a_place_that_is_held_is_found_again_after_its_eviction() {
        let slots: Slots<u32, AtomicBool> = Slots::new(10);
        let held = slots.slot(1);
        slots.evict(&1);
        assert!(Arc::ptr_eq(&held, &slots.slot(1)));
        assert_eq!(slots.matching(|key| *key == 1).len(), 1);
    }

    #[test]
    fn a_place_that_nobody_holds_is_forgotten() {
        let slots: Slots<u32, AtomicBool> = Slots::new(10);
        let gone = Arc::downgrade(&slots.slot(1));
        slots.evict(&1);
        assert!(gone.upgrade().is_none());
        assert!(slots.matching(|_| true).is_empty());
    }

    #[test]
    fn what_is_kept_in_mind_stays_bounded() {
        let slots: Slots<u32, AtomicBool> = Slots::new(10);
        for key in 0..10_000 {
            slots.slot(key);
            slots.evict(&key);
        }
        assert!(slots.held().slots.len() <= SWEEP_FLOOR);
    }
}
