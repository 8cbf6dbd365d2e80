//! A custody of epoch keys in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{CryptoError, Destruction, EpochId, EpochKeys, RootKey, WrapContext};

/// Epoch keys in memory that really wrap: a double for tests. A clone is a second handle on the same
/// custody.
#[derive(Debug, Clone)]
pub struct MemoryEpochs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<EpochId, Arc<EphemeralRoot>>,
    made: u64,
}

impl Default for MemoryEpochs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEpochs {
    /// An empty custody.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Inner {
            id: format!("memory-epochs:{number}"),
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the epoch key numbered `number`.
    pub(crate) fn make(&self, number: u64) -> Result<EpochId, CryptoError> {
        let id = EpochId::new(&format!("memory:{number:016x}"));
        let id = id.ok_or(CryptoError::Config("epoch id"))?;
        self.insert(id.clone(), Arc::new(EphemeralRoot::generate()?));
        Ok(id)
    }

    pub(crate) fn insert(&self, id: EpochId, key: Arc<EphemeralRoot>) {
        self.state().keys.insert(id, key);
    }

    pub(crate) fn remove(&self, id: &EpochId) -> Option<Arc<EphemeralRoot>> {
        self.state().keys.remove(id)
    }

    pub(crate) fn key(&self, id: &EpochId) -> Result<Arc<EphemeralRoot>, CryptoError> {
        let found = self.state().keys.get(id).cloned();
        found.ok_or(CryptoError::EpochGone)
    }

    pub(crate) fn living(&self) -> Vec<EpochId> {
        self.state().keys.keys().cloned().collect()
    }
}

#[async_trait]
impl Component for MemoryEpochs {
    fn name(&self) -> &'static str {
        "memory-epochs"
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
impl EpochKeys for MemoryEpochs {
    fn custody_id(&self) -> &str {
        &self.0.id
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        self.make(number)
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.key(epoch)?.wrap(key, context).await
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.key(epoch)?.unwrap(wrapped, context).await
    }

    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        if !epoch.as_str().starts_with("memory:") {
            return Err(CryptoError::ForeignCustody);
        }
        self.remove(epoch);
        Ok(Destruction::Done)
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        Ok(self.living())
    }
}
