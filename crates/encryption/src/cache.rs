//! Which scopes have their keys unwrapped: bounded, with one unwrapping for all who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use eonpro_core::limit::Gcra;
use eonpro_core::port::{Rate, RateDecision, SealError, SealScope};
use eonpro_core::time::Monotonic;
use tokio::sync::Mutex;

use crate::config::EncryptionConfig;
use crate::keyset::KeyId;
use crate::live::LiveKeys;
use crate::slots::Slots;
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
    /// Whether a task renews the lease before it ends.
    pub(crate) renewing: AtomicBool,
    /// How often unknown key ids sent somebody to the key store.
    lookups: std::sync::Mutex<Gcra>,
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

    /// Lets the next who asks fetch the keys again: they were seen to lack one.
    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// To be called before keys are fetched: what turns stale after that stays stale.
    pub(crate) fn begin_fetch(&self) {
        self.stale.store(false, Ordering::Release);
    }

    /// Whether an unknown key id may send somebody to the key store now.
    pub(crate) fn may_look(&self, rate: Rate, now: Monotonic) -> bool {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(lookups.check(rate, now), RateDecision::Allowed { .. })
    }

    /// Puts fetched keys at hand.
    ///
    /// # Errors
    /// As [`Self::usable`], if the scope was destroyed or the vault closed while they were fetched. They
    /// are not kept then.
    pub(crate) fn put(&self, live: Arc<LiveKeys>) -> Result<(), SealError> {
        // Stored before the look: whoever destroys or closes says so first and takes the keys then, so
        // one of the two sees what the other did.
        self.live.store(Some(live));
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

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KeyCache {
    slots: Slots<SealScope, Slot>,
    /// Key ids that do not exist, until when that is believed.
    unknown: moka::sync::Cache<(SealScope, KeyId), Monotonic>,
    unknown_ttl: Duration,
}

impl KeyCache {
    pub(crate) fn new(config: &EncryptionConfig) -> Self {
        Self {
            slots: Slots::new(config.cache_scopes),
            unknown: moka::sync::Cache::new(config.unknown_keys),
            unknown_ttl: config.unknown_key_ttl,
        }
    }

    pub(crate) fn slot(&self, scope: SealScope) -> Arc<Slot> {
        self.slots.slot(scope)
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
        for (_, slot) in self.slots.matching(|_| true) {
            slot.close();
        }
        self.unknown.invalidate_all();
        self.slots.clear();
        self.unknown.run_pending_tasks();
    }
}
