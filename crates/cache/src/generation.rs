//! Generations: what an invalidation raises, and what a result must still match to be stored.
//!
//! A flight reads the generations of its key and its tenant before its work starts. An invalidation
//! raises them. A result is stored only while they are unchanged, judged under the same lock as
//! the removal, so that the invalidation wins whichever comes first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eonpro_core::digest::Digest;
use eonpro_core::id::TenantId;

const STRIPES: usize = 1_024;
/// Beyond this many tenants, those without entries or flights are forgotten.
const TENANTS: usize = 16_384;

/// One tenant's generation; entries point to it.
#[derive(Debug, Default)]
pub(crate) struct TenantGeneration(AtomicU64);

impl TenantGeneration {
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// All generations of one cache.
#[derive(Debug)]
pub(crate) struct Generations {
    stripes: Box<[Arc<Mutex<u64>>]>,
    tenants: Mutex<HashMap<TenantId, Arc<TenantGeneration>>>,
}

/// The generations at one moment, and whether they are still current.
#[derive(Debug, Clone)]
pub struct Guard {
    stripe: Arc<Mutex<u64>>,
    seen: u64,
    tenant: Arc<TenantGeneration>,
    tenant_seen: u64,
}

fn locked(stripe: &Mutex<u64>) -> std::sync::MutexGuard<'_, u64> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generations {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            tenants: Mutex::default(),
        }
    }

    fn stripe(&self, key: &Digest) -> Arc<Mutex<u64>> {
        let [low, high, ..] = *key.as_bytes();
        let index = usize::from(u16::from_le_bytes([low, high])) % STRIPES;
        // The index is below the number of stripes; a stripe of one's own would only be too strict.
        self.stripes.get(index).cloned().unwrap_or_default()
    }

    fn tenant(&self, tenant: TenantId) -> Arc<TenantGeneration> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS && !tenants.contains_key(&tenant) {
            // Nobody holds these, so no entry and no flight can be judged by them.
            tenants.retain(|_, generation| Arc::strong_count(generation) > 1);
        }
        Arc::clone(tenants.entry(tenant).or_default())
    }

    /// The present generations of a key: to be read before the work starts.
    pub(crate) fn guard(&self, tenant: TenantId, key: &Digest) -> Guard {
        let stripe = self.stripe(key);
        let seen = *locked(&stripe);
        let tenant = self.tenant(tenant);
        let tenant_seen = tenant.current();
        Guard {
            stripe,
            seen,
            tenant,
            tenant_seen,
        }
    }

    /// Raises the key's generation and removes it by `remove`, as one step.
    pub(crate) fn invalidate(&self, key: &Digest, remove: impl FnOnce()) {
        let stripe = self.stripe(key);
        let mut generation = locked(&stripe);
        *generation += 1;
        remove();
    }

    /// Raises the key's generation and stores under the new one, as one step.
    pub(crate) fn supersede(
        &self,
        tenant: TenantId,
        key: &Digest,
        store: impl FnOnce(&Guard),
    ) -> Guard {
        let stripe = self.stripe(key);
        let tenant = self.tenant(tenant);
        let tenant_seen = tenant.current();
        let mut generation = locked(&stripe);
        *generation += 1;
        let guard = Guard {
            stripe: Arc::clone(&stripe),
            seen: *generation,
            tenant,
            tenant_seen,
        };
        store(&guard);
        guard
    }

    /// Raises the tenant's generation: all its entries are invalid.
    pub(crate) fn clear(&self, tenant: TenantId) {
        self.tenant(tenant).raise();
    }
}

impl Guard {
    /// Whether no invalidation came since.
    ///
    /// Synchronous and short.
    #[must_use]
    pub fn holds(&self) -> bool {
        *locked(&self.stripe) == self.seen && self.tenant_current()
    }

    /// Stores by `store` if no invalidation came since, as one step.
    pub(crate) fn store(&self, store: impl FnOnce()) -> bool {
        let generation = locked(&self.stripe);
        let holds = *generation == self.seen && self.tenant_current();
        if holds {
            store();
        }
        holds
    }

    pub(crate) fn tenant(&self) -> (&Arc<TenantGeneration>, u64) {
        (&self.tenant, self.tenant_seen)
    }

    fn tenant_current(&self) -> bool {
        self.tenant.current() == self.tenant_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_testkit::tenant_id;

    #[test]
    fn an_invalidation_ends_older_guards_of_its_key() {
        let generations = Generations::new();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let guard = generations.guard(tenant_id(1), &one);
        let unrelated = generations.guard(tenant_id(1), &other);
        generations.invalidate(&one, || {});
        assert!(!guard.holds());
        assert!(!guard.store(|| panic!("must not store")));
        assert!(unrelated.holds());
        assert!(generations.guard(tenant_id(1), &one).holds());
    }

    #[test]
    fn clearing_a_tenant_ends_its_guards_and_no_others() {
        let generations = Generations::new();
        let key = Digest::of(b"one");
        let ours = generations.guard(tenant_id(1), &key);
        let theirs = generations.guard(tenant_id(2), &key);
        generations.clear(tenant_id(1));
        assert!(!ours.holds());
        assert!(theirs.holds());
    }

    #[test]
    fn tenants_in_use_are_never_forgotten() {
        let generations = Generations::new();
        let key = Digest::of(b"one");
        let guard = generations.guard(tenant_id(1), &key);
        for tenant in 2..(TENANTS as u128 + 10) {
            generations.tenant(tenant_id(tenant));
        }
        assert!(generations.tenants.lock().unwrap().len() <= TENANTS);
        generations.clear(tenant_id(1));
        assert!(!guard.holds());
    }
}
