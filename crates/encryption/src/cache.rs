//! Which scopes have their keys unwrapped: bounded, with one unwrapping for all who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use eonpro_core::port::SealScope;
use eonpro_core::time::Monotonic;
use tokio::sync::Mutex;

use crate::config::EncryptionConfig;
use crate::keyset::KeyId;
use crate::live::LiveKeys;
use crate::usage::Usages;

/// One scope's place in the cache.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    live: ArcSwapOption<LiveKeys>,
    stale: AtomicBool,
    /// What the scope's keys have sealed here.
    pub(crate) usages: Usages,
    /// Whether a task turns an epoch that is nearly used up.
    pub(crate) turning: AtomicBool,
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
        self.get().filter(|live| live.usable(now).is_ok())
    }

    /// Lets the next who asks fetch the keys again: they were seen to lack one.
    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// To be called before keys are fetched: what turns stale after that stays stale.
    pub(crate) fn begin_fetch(&self) {
        self.stale.store(false, Ordering::Release);
    }

    pub(crate) fn put(&self, live: Arc<LiveKeys>) {
        self.live.store(Some(live));
    }

    pub(crate) fn take(&self) -> Option<Arc<LiveKeys>> {
        self.live.swap(None)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KeyCache {
    slots: moka::sync::Cache<SealScope, Arc<Slot>>,
    /// Key ids that do not exist, until when that is believed.
    unknown: moka::sync::Cache<(SealScope, KeyId), Monotonic>,
    unknown_ttl: Duration,
}

impl KeyCache {
    pub(crate) fn new(config: &EncryptionConfig) -> Self {
        Self {
            slots: moka::sync::Cache::new(config.cache_scopes),
            unknown: moka::sync::Cache::new(config.unknown_keys),
            unknown_ttl: config.unknown_key_ttl,
        }
    }

    pub(crate) fn slot(&self, scope: SealScope) -> Arc<Slot> {
        match self.slots.get(&scope) {
            Some(slot) => slot,
            None => self.slots.get_with(scope, Arc::default),
        }
    }

    pub(crate) fn is_unknown(&self, scope: SealScope, id: KeyId, now: Monotonic) -> bool {
        self.unknown
            .get(&(scope, id))
            .is_some_and(|until| now < until)
    }

    pub(crate) fn remember_unknown(&self, scope: SealScope, id: KeyId, now: Monotonic) {
        self.unknown.insert((scope, id), now.plus(self.unknown_ttl));
    }

    /// Forgets everything; ciphers that are still held stop working.
    pub(crate) fn close(&self) {
        for (_, slot) in &self.slots {
            if let Some(live) = slot.take() {
                live.mark_closed();
            }
        }
        self.slots.invalidate_all();
        self.unknown.invalidate_all();
        // moka drops values in later maintenance: do it now, keys must not linger.
        self.slots.run_pending_tasks();
        self.unknown.run_pending_tasks();
    }
}
