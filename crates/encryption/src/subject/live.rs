//! A subject's key, unlocked, and its place in the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use eonpro_core::port::SealError;
use eonpro_core::time::Monotonic;
use tokio::sync::Mutex;

use crate::envelope::KeyContext;
use crate::keyset::KeyId;
use crate::sealing_key::SealingKey;

/// A subject's key at hand.
#[derive(Debug)]
pub(crate) struct LiveSubject {
    pub(crate) id: KeyId,
    pub(crate) context: KeyContext,
    pub(crate) key: SealingKey,
    /// The tenant's data key under which it lies.
    pub(crate) dek: KeyId,
    pub(crate) announced: bool,
    pub(crate) expires: Monotonic,
}

/// One subject's place in the cache.
#[derive(Debug, Default)]
pub(crate) struct SubjectSlot {
    live: ArcSwapOption<LiveSubject>,
    shredded: AtomicBool,
    closed: AtomicBool,
    /// Held while the key is made, fetched or destroyed; never while an event is emitted.
    pub(crate) gate: Mutex<()>,
}

impl SubjectSlot {
    /// The key at hand, if its lease lasts.
    pub(crate) fn fresh(&self, now: Monotonic) -> Option<Arc<LiveSubject>> {
        let live = self.live.load_full()?;
        (now < live.expires && self.usable().is_ok()).then_some(live)
    }

    /// Whether nobody destroyed the key here.
    ///
    /// # Errors
    /// [`SealError::Shredded`]; [`SealError::Disabled`] once the vault was closed.
    pub(crate) fn usable(&self) -> Result<(), SealError> {
        if self.shredded.load(Ordering::Acquire) {
            return Err(SealError::Shredded);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(SealError::Disabled);
        }
        Ok(())
    }

    /// Puts a fetched key at hand.
    ///
    /// # Errors
    /// As [`Self::usable`], if it was destroyed or the vault closed meanwhile. It is not kept then.
    pub(crate) fn put(&self, live: Arc<LiveSubject>) -> Result<(), SealError> {
        self.live.store(Some(live));
        self.usable().inspect_err(|_| self.forget())
    }

    /// Lets the next who asks look at the store.
    pub(crate) fn forget(&self) {
        self.live.store(None);
    }

    /// Takes the key from all who hold it here, for ever.
    pub(crate) fn bury(&self) {
        self.shredded.store(true, Ordering::Release);
        self.live.store(None);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.live.store(None);
    }
}
