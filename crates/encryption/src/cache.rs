//! Which scopes have their keys unwrapped: bounded, with one unwrapping for all who wait.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use eonpro_core::id::TenantId;
use eonpro_core::limit::Gcra;
use eonpro_core::port::kv::Version;
use eonpro_core::port::{Rate, RateDecision, SealError, SealScope};
use eonpro_core::time::Monotonic;
use tokio::sync::Mutex;

use crate::config::EncryptionConfig;
use crate::key_states::KeyStates;
use crate::keyset::KeyId;
use crate::live::LiveKeys;
use crate::slots::Slots;
use crate::usage::Usages;

/// One scope's place in the cache.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    live: ArcSwapOption<LiveKeys>,
    /// The version of `live`, to be compared without touching it.
    newest: AtomicU64,
    stale: AtomicBool,
    /// What the scope's keys have sealed here.
    pub(crate) usages: Usages,
    /// What they may do.
    pub(crate) states: KeyStates,
    /// Whether a task turns an epoch that is nearly used up.
    pub(crate) turning: AtomicBool,
    /// Whether a task renews the lease before it ends.
    pub(crate) renewing: AtomicBool,
    /// How often unknown key ids sent somebody to the key store.
    lookups: std::sync::Mutex<Gcra>,
    /// The key id for which the next who asks looks at the store; 0 for none.
    wanted: AtomicU32,
    shredded: AtomicBool,
    closed: AtomicBool,
    /// Held while keys are fetched, unwrapped or changed. Never while an event is emitted: the
    /// audit log may need this scope's keys to take it.
    pub(crate) gate: Mutex<()>,
    /// Held while a scope is provisioned, its events included.
    pub(crate) onboarding: Mutex<()>,
}

impl Slot {
    /// The keys at hand, whatever their age.
    pub(crate) fn get(&self) -> Option<Arc<LiveKeys>> {
        self.live.load_full()
    }

    /// The keys at hand, if they may be handed out.
    pub(crate) fn fresh(&self, now: Monotonic) -> Option<Arc<LiveKeys>> {
        if self.stale.load(Ordering::Acquire) {
            return None;
        }
        self.usable().ok()?;
        self.get().filter(|live| live.usable(now).is_ok())
    }

    /// Lets the next who asks look at the store: the keys at hand were seen to lack `id`.
    fn mark_stale(&self, id: KeyId) {
        let id = u32::from_be_bytes(id.to_be_bytes());
        self.wanted.store(id, Ordering::Release);
        self.stale.store(true, Ordering::Release);
    }

    /// Lets the next who asks look at the store.
    pub(crate) fn suspect(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// The key id that made the keys stale, once.
    pub(crate) fn take_wanted(&self) -> Option<KeyId> {
        // Mostly there is none, and a swap would be a write.
        if self.wanted.load(Ordering::Acquire) == 0 {
            return None;
        }
        let id = KeyId::from_be_bytes(self.wanted.swap(0, Ordering::AcqRel).to_be_bytes());
        (id != KeyId::AT_HAND).then_some(id)
    }

    /// To be called before keys are fetched: what turns stale after that stays stale.
    pub(crate) fn begin_fetch(&self) {
        self.stale.store(false, Ordering::Release);
    }

    /// Whether an unknown key id may send somebody to the key store now.
    fn may_look(&self, rate: Rate, now: Monotonic) -> bool {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(lookups.check(rate, now), RateDecision::Allowed { .. })
    }

    /// The keys at hand, if they are newer than `version`.
    pub(crate) fn newer(&self, version: Version) -> Option<Arc<LiveKeys>> {
        if self.newest.load(Ordering::Acquire) <= version.0 {
            return None;
        }
        self.get().filter(|live| live.version > version)
    }

    /// Puts fetched keys at hand.
    ///
    /// # Errors
    /// As [`Self::usable`], if the scope was destroyed or the vault closed while they were fetched. They
    /// are not kept then.
    pub(crate) fn put(&self, live: Arc<LiveKeys>) -> Result<(), SealError> {
        let version = live.version.0;
        // Stored before the look: whoever destroys or closes says so first and takes the keys then, so
        // one of the two sees what the other did.
        self.live.store(Some(live));
        self.newest.store(version, Ordering::Release);
        self.usable().inspect_err(|error| {
            if let Some(live) = self.take() {
                match error {
                    SealError::Shredded => live.mark_shredded(),
                    _ => live.mark_closed(),
                }
            }
        })
    }

    pub(crate) fn take(&self) -> Option<Arc<LiveKeys>> {
        self.live.swap(None)
    }

    /// Takes the keys from all who hold them here, also those from before the last change of keys.
    pub(crate) fn bury(&self) {
        self.shredded.store(true, Ordering::Release);
        if let Some(live) = self.take() {
            live.mark_shredded();
        }
    }

    /// Takes the keys from all who hold them here, because the vault closes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(live) = self.take() {
            live.mark_closed();
        }
    }

    /// # Errors
    /// [`SealError::Shredded`] if the scope was destroyed here, or was seen to be;
    /// [`SealError::Disabled`] once the vault was closed.
    pub(crate) fn usable(&self) -> Result<(), SealError> {
        if self.shredded.load(Ordering::Acquire) {
            return Err(SealError::Shredded);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(SealError::Disabled);
        }
        Ok(())
    }
}

/// What is known of key ids that do not exist: forged ids must not become reads of the key store.
#[derive(Debug)]
pub(crate) struct Unknowns {
    /// Until when it is believed that there is no such key.
    ids: moka::sync::Cache<(SealScope, KeyId), Monotonic>,
    ttl: Duration,
    rate: Rate,
}

impl Unknowns {
    fn new(config: &EncryptionConfig) -> Self {
        Self {
            ids: moka::sync::Cache::new(config.unknown_keys),
            ttl: config.unknown_key_ttl,
            rate: Rate {
                burst: config.unknown_key_rate,
                period: Duration::from_secs(1),
            },
        }
    }

    /// Whether to look at the key store for `id`, which the keys at hand lack.
    pub(crate) fn may_look(
        &self,
        slot: &Slot,
        scope: SealScope,
        id: KeyId,
        now: Monotonic,
    ) -> bool {
        let believed = || self.ids.get(&(scope, id)).is_some_and(|until| now < until);
        id != KeyId::AT_HAND && !believed() && slot.may_look(self.rate, now)
    }

    /// Lets the next who asks look at the key store for `id`, within the same bounds.
    pub(crate) fn want(&self, slot: &Slot, scope: SealScope, id: KeyId, now: Monotonic) {
        if self.may_look(slot, scope, id, now) {
            slot.mark_stale(id);
        }
    }

    /// Believes for a while that there is no such key.
    pub(crate) fn remember(&self, scope: SealScope, id: KeyId, now: Monotonic) {
        self.ids.insert((scope, id), now.plus(self.ttl));
    }

    fn clear(&self) {
        self.ids.invalidate_all();
        self.ids.run_pending_tasks();
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KeyCache {
    slots: Slots<SealScope, Slot>,
    pub(crate) unknowns: Arc<Unknowns>,
}

impl KeyCache {
    pub(crate) fn new(config: &EncryptionConfig) -> Self {
        Self {
            slots: Slots::new(config.cache_scopes),
            unknowns: Arc::new(Unknowns::new(config)),
        }
    }

    pub(crate) fn slot(&self, scope: SealScope) -> Arc<Slot> {
        self.slots.slot(scope)
    }

    /// The scope of that tenant, or of the system, if its place is in use.
    pub(crate) fn scope_at_hand(&self, tenant: Option<TenantId>) -> Option<SealScope> {
        let (scope, _) = self.slots.find(&tenant)?;
        Some(scope)
    }

    /// The places in use whose scope fits.
    pub(crate) fn matching(&self, fits: impl Fn(SealScope) -> bool) -> Vec<(SealScope, Arc<Slot>)> {
        self.slots.matching(|scope| fits(*scope))
    }

    /// Forgets everything; ciphers that are still held stop working.
    pub(crate) fn close(&self) {
        for (_, slot) in self.slots.matching(|_| true) {
            slot.close();
        }
        self.slots.clear();
        self.unknowns.clear();
    }
}
