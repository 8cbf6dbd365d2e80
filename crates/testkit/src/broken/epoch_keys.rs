//! Custodies of epoch keys with one defect each, around the sound one in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{
    CryptoError, Destruction, EpochId, EpochKeys, KeyId, RootKey, WrapContext,
};

use super::gap::Gap;
use crate::MemoryEpochs;
use crate::conformance::epoch_keys::UNIQUE_NAMES;

/// What is wrong with the custody.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EpochDefect {
    /// Unwraps for every context.
    IgnoresContext,
    /// Gives a key of zeros where it should refuse changed bytes.
    ReturnsAnotherKey,
    /// Uses one key for all epochs.
    SharesOneKey,
    /// Chooses the next id first and takes it later, with a gap in between.
    RacesCreates,
    /// A handle does not see what another made after it was opened.
    SeesOnlyItsOwn,
    /// Has lost the first epoch after reopening.
    LosesAnEpoch,
    /// Does not list one of the epochs.
    ListsOneLess,
    /// Lists epochs that were destroyed.
    ListsTheDead,
    /// Refuses to unwrap under a destroyed epoch, but wraps.
    WrapsForTheDead,
    /// Refuses to wrap under a destroyed epoch, but unwraps.
    UnwrapsForTheDead,
    /// Destroys its other epochs, too.
    DestroysTooMuch,
    /// A handle keeps keys that it has used, whatever other handles destroy.
    CachesKeys,
    /// Destroys in memory only: reopening brings the epoch back.
    ForgetsDestructions,
    /// Refuses to destroy twice.
    DestroysOnce,
    /// Calls an epoch that never was a mismatch.
    MistakesTheUnknown,
    /// Gives ids of destroyed epochs again.
    RepeatsIds,
    /// Calls what cannot be its own destroyed.
    DestroysTheForeign,
    /// Each handle has a name of its own.
    RenamesItself,
    /// Has the name that all others have.
    SharesItsName,
}

impl EpochDefect {
    /// Every defect.
    pub const ALL: [Self; 19] = [
        Self::IgnoresContext,
        Self::ReturnsAnotherKey,
        Self::SharesOneKey,
        Self::RacesCreates,
        Self::SeesOnlyItsOwn,
        Self::LosesAnEpoch,
        Self::ListsOneLess,
        Self::ListsTheDead,
        Self::WrapsForTheDead,
        Self::UnwrapsForTheDead,
        Self::DestroysTooMuch,
        Self::CachesKeys,
        Self::ForgetsDestructions,
        Self::DestroysOnce,
        Self::MistakesTheUnknown,
        Self::RepeatsIds,
        Self::DestroysTheForeign,
        Self::RenamesItself,
        Self::SharesItsName,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::IgnoresContext => "life::a_wrapped_key_is_bound_to_its_context",
            Self::ReturnsAnotherKey => "life::a_changed_wrapped_key_is_refused",
            Self::SharesOneKey => "life::one_epoch_unwraps_nothing_of_another",
            Self::RacesCreates => "life::concurrent_creates_give_different_epochs",
            Self::SeesOnlyItsOwn => "life::a_second_handle_uses_every_epoch",
            Self::LosesAnEpoch => "life::an_epoch_survives_reopening",
            Self::ListsOneLess | Self::ListsTheDead => "life::exactly_the_living_are_listed",
            Self::WrapsForTheDead | Self::UnwrapsForTheDead => {
                "destruction::a_destroyed_epoch_neither_wraps_nor_unwraps"
            }
            Self::DestroysTooMuch => "destruction::other_epochs_live_on",
            Self::CachesKeys => "destruction::a_second_handle_sees_the_destruction",
            Self::ForgetsDestructions => "destruction::a_destroyed_epoch_is_gone_after_reopening",
            Self::DestroysOnce => "destruction::destroying_again_is_no_error",
            Self::MistakesTheUnknown => "destruction::an_epoch_that_never_was_is_gone",
            Self::RepeatsIds => "destruction::an_id_is_never_given_again",
            Self::DestroysTheForeign => {
                "destruction::what_cannot_be_its_own_is_not_called_destroyed"
            }
            Self::RenamesItself => "life::a_custody_keeps_its_name",
            Self::SharesItsName => UNIQUE_NAMES,
        }
    }
}

type Keys = BTreeMap<EpochId, Arc<EphemeralRoot>>;

/// A custody with one [`EpochDefect`].
#[derive(Debug)]
pub struct BrokenEpochKeys {
    defect: EpochDefect,
    sound: MemoryEpochs,
    /// What all handles remember of destroyed keys.
    dead: Arc<Mutex<Keys>>,
    /// What this handle has seen.
    own: Mutex<Keys>,
    name: String,
    /// Where creates of all handles meet between choosing an id and taking it.
    gap: Arc<Gap>,
}

impl BrokenEpochKeys {
    /// An empty custody with that defect.
    #[must_use]
    pub fn new(defect: EpochDefect) -> Self {
        Self::with(defect, MemoryEpochs::new(), Arc::default(), Arc::default())
    }

    /// A second handle on the same custody.
    #[must_use]
    pub fn second(&self) -> Self {
        let (dead, gap) = (Arc::clone(&self.dead), Arc::clone(&self.gap));
        Self::with(self.defect, self.sound.clone(), dead, gap)
    }

    /// The same custody as another process would open it.
    #[must_use]
    pub fn reopened(&self) -> Self {
        match self.defect {
            EpochDefect::LosesAnEpoch => {
                if let Some(first) = self.sound.living().first() {
                    self.sound.remove(first);
                }
            }
            EpochDefect::ForgetsDestructions => {
                for (id, key) in &*locked(&self.dead) {
                    self.sound.insert(id.clone(), Arc::clone(key));
                }
            }
            _ => {}
        }
        self.second()
    }

    fn with(
        defect: EpochDefect,
        sound: MemoryEpochs,
        dead: Arc<Mutex<Keys>>,
        gap: Arc<Gap>,
    ) -> Self {
        let own = match defect {
            EpochDefect::SeesOnlyItsOwn => sound
                .living()
                .into_iter()
                .filter_map(|id| Some((id.clone(), sound.key(&id).ok()?)))
                .collect(),
            _ => Keys::new(),
        };
        let name = match defect {
            EpochDefect::RenamesItself => MemoryEpochs::new().custody_id().to_owned(),
            EpochDefect::SharesItsName => "memory-epochs".to_owned(),
            _ => sound.custody_id().to_owned(),
        };
        Self {
            defect,
            sound,
            dead,
            own: Mutex::new(own),
            name,
            gap,
        }
    }

    fn has(&self, defect: EpochDefect) -> bool {
        self.defect == defect
    }

    fn key(&self, id: &EpochId) -> Result<Arc<EphemeralRoot>, CryptoError> {
        let mut own = locked(&self.own);
        match self.defect {
            EpochDefect::CachesKeys => {
                if let Some(key) = own.get(id) {
                    return Ok(Arc::clone(key));
                }
                let key = self.sound.key(id)?;
                own.insert(id.clone(), Arc::clone(&key));
                Ok(key)
            }
            EpochDefect::SeesOnlyItsOwn if !own.contains_key(id) => Err(CryptoError::EpochGone),
            EpochDefect::SharesOneKey => {
                self.sound.key(id)?;
                let first = self.sound.living().into_iter().next();
                self.sound.key(&first.ok_or(CryptoError::EpochGone)?)
            }
            EpochDefect::MistakesTheUnknown if !locked(&self.dead).contains_key(id) => {
                self.sound.key(id).map_err(|_| CryptoError::RootMismatch)
            }
            _ => self.sound.key(id),
        }
    }

    fn key_or_dead(
        &self,
        id: &EpochId,
        defect: EpochDefect,
    ) -> Result<Arc<EphemeralRoot>, CryptoError> {
        match self.key(id) {
            Err(CryptoError::EpochGone) if self.has(defect) => {
                let dead = locked(&self.dead).get(id).cloned();
                dead.ok_or(CryptoError::EpochGone)
            }
            other => other,
        }
    }

    fn bound(&self, context: &WrapContext) -> WrapContext {
        if self.has(EpochDefect::IgnoresContext) {
            WrapContext {
                scope: SealScope::System,
                key: KeyId::from_be_bytes([0, 0, 0, 1]),
            }
        } else {
            *context
        }
    }
}

fn locked(keys: &Mutex<Keys>) -> MutexGuard<'_, Keys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Component for BrokenEpochKeys {
    fn name(&self) -> &'static str {
        "broken-epochs"
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
impl EpochKeys for BrokenEpochKeys {
    fn custody_id(&self) -> &str {
        &self.name
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        match self.defect {
            EpochDefect::RacesCreates => {
                let living = self.sound.living().len() as u64;
                self.gap.pass().await;
                self.sound.make(living + 1)
            }
            EpochDefect::RepeatsIds => {
                let living = self.sound.living().len() as u64;
                self.sound.make(living + 1)
            }
            _ => {
                let id = self.sound.create().await?;
                if self.has(EpochDefect::SeesOnlyItsOwn) {
                    locked(&self.own).insert(id.clone(), self.sound.key(&id)?);
                }
                Ok(id)
            }
        }
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let wrapping = self.key_or_dead(epoch, EpochDefect::WrapsForTheDead)?;
        wrapping.wrap(key, &self.bound(context)).await
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let wrapping = self.key_or_dead(epoch, EpochDefect::UnwrapsForTheDead)?;
        match wrapping.unwrap(wrapped, &self.bound(context)).await {
            Err(CryptoError::RootMismatch) if self.has(EpochDefect::ReturnsAnotherKey) => {
                Ok(KeyBytes::take(&mut [0; 32]))
            }
            other => other,
        }
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        if !epoch.as_str().starts_with("memory:") && !self.has(EpochDefect::DestroysTheForeign) {
            return Err(CryptoError::ForeignCustody);
        }
        locked(&self.own).remove(epoch);
        let Some(key) = self.sound.remove(epoch) else {
            return if self.has(EpochDefect::DestroysOnce) {
                Err(CryptoError::EpochGone)
            } else {
                Ok(Destruction::Done)
            };
        };
        locked(&self.dead).insert(epoch.clone(), key);
        if self.has(EpochDefect::DestroysTooMuch) {
            for other in self.sound.living() {
                self.sound.remove(&other);
            }
        }
        Ok(Destruction::Done)
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        let mut living = self.sound.living();
        match self.defect {
            EpochDefect::ListsOneLess => {
                living.pop();
            }
            EpochDefect::ListsTheDead => living.extend(locked(&self.dead).keys().cloned()),
            _ => {}
        }
        Ok(living)
    }
}
