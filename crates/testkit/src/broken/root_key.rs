//! Root keys with one defect each, around the sound one in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{CryptoError, KeyId, RootKey, RootKeyId, WrapContext};

use super::gap::Gap;

/// What is wrong with the root key.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootDefect {
    /// Unwraps for every scope.
    IgnoresScope,
    /// Unwraps for every key id.
    IgnoresKeyId,
    /// Gives a key of zeros where it should refuse changed bytes.
    ReturnsAnotherKey,
    /// Unwraps the beginning of what is longer than it should be.
    IgnoresTail,
    /// Panics at what is shorter than it should be.
    PanicsAtShortInput,
    /// Calls changed bytes a failure of its backend, which invites to try again.
    BlamesTheBackend,
    /// Wraps to more than 4 KiB.
    WrapsToTooMuch,
    /// Unwraps only the last key that it wrapped.
    RemembersOne,
    /// Takes keys through a place that all calls share.
    MixesCalls,
    /// A dropped call leaves it busy for ever.
    StaysBusy,
    /// Has the same key as all of its kind.
    SharesItsKey,
    /// Has another key after reopening.
    LosesItsKey,
    /// Has another name after reopening.
    ChangesItsId,
}

impl RootDefect {
    /// Every defect.
    pub const ALL: [Self; 13] = [
        Self::IgnoresScope,
        Self::IgnoresKeyId,
        Self::ReturnsAnotherKey,
        Self::IgnoresTail,
        Self::PanicsAtShortInput,
        Self::BlamesTheBackend,
        Self::WrapsToTooMuch,
        Self::RemembersOne,
        Self::MixesCalls,
        Self::StaysBusy,
        Self::SharesItsKey,
        Self::LosesItsKey,
        Self::ChangesItsId,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::IgnoresScope | Self::IgnoresKeyId => "a_wrapped_key_is_bound_to_its_context",
            Self::ReturnsAnotherKey
            | Self::IgnoresTail
            | Self::PanicsAtShortInput
            | Self::BlamesTheBackend => "a_changed_wrapped_key_is_refused",
            Self::WrapsToTooMuch => "a_wrapped_key_comes_back_and_is_short",
            Self::RemembersOne => "several_wraps_of_one_key_all_unwrap",
            Self::MixesCalls => "concurrent_calls_do_not_mix",
            Self::StaysBusy => "dropped_calls_leave_it_usable",
            Self::SharesItsKey => "a_stranger_of_the_same_kind_unwraps_nothing",
            Self::LosesItsKey | Self::ChangesItsId => "reopened_it_is_the_same",
        }
    }
}

/// A root key with one [`RootDefect`].
#[derive(Debug)]
pub struct BrokenRoot {
    defect: RootDefect,
    /// Gives the id.
    named: Arc<EphemeralRoot>,
    /// Wraps.
    sound: Arc<EphemeralRoot>,
    shared: Mutex<Option<KeyBytes<32>>>,
    last: Mutex<Vec<u8>>,
    busy: AtomicBool,
    gap: Gap,
}

impl BrokenRoot {
    /// A fresh root key with that defect.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] if the system has no randomness.
    pub fn new(defect: RootDefect) -> Result<Self, CryptoError> {
        static SHARED: OnceLock<Arc<EphemeralRoot>> = OnceLock::new();
        let own = Arc::new(EphemeralRoot::generate()?);
        let sound = if defect == RootDefect::SharesItsKey {
            Arc::clone(SHARED.get_or_init(|| Arc::clone(&own)))
        } else {
            Arc::clone(&own)
        };
        Ok(Self::with(defect, own, sound))
    }

    /// The same root key as another process would open it.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] if the system has no randomness.
    pub fn reopened(&self) -> Result<Self, CryptoError> {
        let other = Arc::new(EphemeralRoot::generate()?);
        let (mut named, mut sound) = (Arc::clone(&self.named), Arc::clone(&self.sound));
        match self.defect {
            RootDefect::ChangesItsId => named = other,
            RootDefect::LosesItsKey => sound = other,
            _ => {}
        }
        Ok(Self::with(self.defect, named, sound))
    }

    fn with(defect: RootDefect, named: Arc<EphemeralRoot>, sound: Arc<EphemeralRoot>) -> Self {
        Self {
            defect,
            named,
            sound,
            shared: Mutex::default(),
            last: Mutex::default(),
            busy: AtomicBool::new(false),
            gap: Gap::default(),
        }
    }

    fn was_last(&self, wrapped: &[u8]) -> bool {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) == wrapped
    }

    fn bound(&self, context: &WrapContext) -> WrapContext {
        let mut bound = *context;
        match self.defect {
            RootDefect::IgnoresScope => bound.scope = SealScope::System,
            RootDefect::IgnoresKeyId => bound.key = KeyId::from_be_bytes([0, 0, 0, 1]),
            _ => {}
        }
        bound
    }

    /// Gives others their turn between the beginning of a call and its end.
    async fn dawdle(&self) -> Result<(), CryptoError> {
        if self.defect != RootDefect::StaysBusy {
            return Ok(());
        }
        if self.busy.swap(true, Ordering::SeqCst) {
            return Err(CryptoError::Throttled {
                retry_after: std::time::Duration::from_secs(1),
            });
        }
        self.gap.pass().await;
        self.busy.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl Component for BrokenRoot {
    fn name(&self) -> &'static str {
        "broken-root"
    }

    fn posture(&self) -> Posture {
        self.sound.posture()
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl RootKey for BrokenRoot {
    fn id(&self) -> &RootKeyId {
        self.named.id()
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.dawdle().await?;
        let mut key = key.clone();
        if self.defect == RootDefect::MixesCalls {
            let shared = || self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            *shared() = Some(key.clone());
            self.gap.pass().await;
            key = shared().clone().unwrap_or(key);
        }
        let mut wrapped = self.sound.wrap(&key, &self.bound(context)).await?;
        match self.defect {
            RootDefect::WrapsToTooMuch => wrapped.resize(4097, 0),
            RootDefect::RemembersOne => {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                last.clone_from(&wrapped);
            }
            _ => {}
        }
        Ok(wrapped)
    }

    #[expect(clippy::panic, reason = "the defect")]
    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.dawdle().await?;
        // The length of a Cobblestone-256 message of 32 bytes.
        let head = wrapped.get(..104).unwrap_or(wrapped);
        let wrapped = match self.defect {
            RootDefect::IgnoresTail | RootDefect::WrapsToTooMuch => head,
            RootDefect::PanicsAtShortInput if wrapped.len() < 16 => panic!("too short"),
            _ => wrapped,
        };
        if self.defect == RootDefect::RemembersOne && !self.was_last(wrapped) {
            return Err(CryptoError::RootMismatch);
        }
        match self.sound.unwrap(wrapped, &self.bound(context)).await {
            Err(CryptoError::RootMismatch) => match self.defect {
                RootDefect::ReturnsAnotherKey => Ok(KeyBytes::take(&mut [0; 32])),
                RootDefect::BlamesTheBackend => Err(CryptoError::Root("failed".into())),
                _ => Err(CryptoError::RootMismatch),
            },
            other => other,
        }
    }
}
