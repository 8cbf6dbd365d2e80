//! Epoch keys that die with the process: for tests only.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;

use super::local::fresh_id;
use crate::cobblestone::InputKey;
use crate::epoch::{Destruction, EpochId, EpochKeys};
use crate::error::CryptoError;
use crate::random::random_key;
use crate::root::WrapContext;

/// Epoch keys in memory, which die with the process: for tests.
pub struct EphemeralEpochs {
    id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<EpochId, Arc<InputKey>>,
    destroyed: HashMap<EpochId, Weak<InputKey>>,
}

impl Default for EphemeralEpochs {
    fn default() -> Self {
        Self::new()
    }
}

impl EphemeralEpochs {
    /// A custody without keys.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            id: format!("ephemeral-epochs:{number}"),
            state: Mutex::default(),
        }
    }

    /// Whether `epoch` was destroyed here and nobody holds its key any more: its last holder
    /// overwrote the bytes when it let go of them.
    #[must_use]
    pub fn is_wiped(&self, epoch: &EpochId) -> bool {
        let state = self.state();
        state
            .destroyed
            .get(epoch)
            .is_some_and(|key| key.strong_count() == 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, epoch: &EpochId) -> Result<Arc<InputKey>, CryptoError> {
        let state = self.state();
        state.keys.get(epoch).cloned().ok_or(CryptoError::EpochGone)
    }
}

#[async_trait]
impl Component for EphemeralEpochs {
    fn name(&self) -> &'static str {
        "ephemeral-epochs"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Volatile,
            crypto: Validation::NotValidated,
            fitness: Fitness::TestOnly,
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl EpochKeys for EphemeralEpochs {
    fn custody_id(&self) -> &str {
        &self.id
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        let id = EpochId::new(fresh_id("epoch")?.as_str()).ok_or(CryptoError::Randomness)?;
        let key = Arc::new(InputKey::new(&random_key()?));
        self.state().keys.insert(id.clone(), key);
        Ok(id)
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let context = context.encode_for_epoch(epoch);
        Ok(self.key(epoch)?.seal(&[&context], key.expose())?)
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let context = context.encode_for_epoch(epoch);
        let bytes = self
            .key(epoch)?
            .open(&[&context], wrapped)
            .map_err(|_| CryptoError::RootMismatch)?;
        KeyBytes::copy_from(&bytes).ok_or(CryptoError::RootMismatch)
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        if !epoch.as_str().starts_with("epoch:") {
            return Err(CryptoError::ForeignCustody);
        }
        let mut state = self.state();
        if let Some(key) = state.keys.remove(epoch) {
            let gone = Arc::downgrade(&key);
            state.destroyed.insert(epoch.clone(), gone);
        }
        Ok(Destruction::Done)
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        Ok(self.state().keys.keys().cloned().collect())
    }
}

impl fmt::Debug for EphemeralEpochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EphemeralEpochs({} keys)", self.state().keys.len())
    }
}
