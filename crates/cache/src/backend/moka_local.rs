//! Entries in memory, bounded in bytes by moka.
//!
//! An entry's own expiry is judged by our clock when it is read. moka's time to live runs by the
//! system's clock and only makes sure that what nobody reads is let go.

use std::fmt;
use std::sync::Arc;

use eonpro_core::digest::Digest;
use eonpro_core::time::Monotonic;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::config::{CacheConfig, Eviction};
use crate::entry::LocalEntry;

/// What an entry costs beyond its value, roughly: key, entry, and moka's own bookkeeping.
const OVERHEAD_BYTES: usize = 256;

/// See the [module](self).
pub(crate) struct MokaLocal(Cache<Digest, Arc<LocalEntry>>);

impl MokaLocal {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let policy = match config.eviction {
            Eviction::Lru => EvictionPolicy::lru(),
            Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
        };
        let cache = Cache::builder()
            .max_capacity(config.local_bytes)
            .weigher(|_: &Digest, entry: &Arc<LocalEntry>| {
                u32::try_from(OVERHEAD_BYTES + entry.bytes()).unwrap_or(u32::MAX)
            })
            .time_to_live(config.max_local_ttl)
            .eviction_policy(policy)
            .build();
        Self(cache)
    }

    /// The entry, if it may be served at `now`.
    pub(crate) fn get(&self, key: &Digest, now: Monotonic) -> Option<Arc<LocalEntry>> {
        self.0.get(key).filter(|entry| entry.is_valid(now))
    }

    pub(crate) fn insert(&self, key: &Digest, entry: LocalEntry) {
        self.0.insert(*key, Arc::new(entry));
    }

    pub(crate) fn remove(&self, key: &Digest) {
        self.0.invalidate(key);
    }

    pub(crate) fn clear(&self) {
        self.0.invalidate_all();
        self.0.run_pending_tasks();
    }
}

impl fmt::Debug for MokaLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MokaLocal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::wiped;
    use crate::generation::Generations;
    use eonpro_testkit::tenant_id;

    #[test]
    fn memory_stays_within_its_bytes() {
        for eviction in [Eviction::Lru, Eviction::TinyLfu] {
            let config = CacheConfig {
                local_bytes: 64 * 1024,
                eviction,
                ..CacheConfig::default()
            };
            let local = MokaLocal::new(&config);
            let generations = Generations::new();
            for number in 0..1_000_u32 {
                let key = Digest::of(&number.to_le_bytes());
                let guard = generations.guard(tenant_id(1), &key);
                let later = Monotonic::from_nanos(u64::MAX);
                let entry = LocalEntry::new(Some(wiped(&[7; 1_024])), later, &guard);
                local.insert(&key, entry);
            }
            local.0.run_pending_tasks();
            assert!(local.0.weighted_size() <= config.local_bytes);
            assert!(local.0.entry_count() > 0);
        }
    }
}
