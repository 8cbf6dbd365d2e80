//! A root key that dies with the process: for tests and examples only.

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::secret::KeyBytes;

use super::local::{LocalRoot, fresh_id};
use crate::error::CryptoError;
use crate::random::random_key;
use crate::root::{RootKey, RootKeyId, WrapContext};

/// A root key that lives in memory and dies with the process: for tests.
#[derive(Debug)]
pub struct EphemeralRoot(LocalRoot);

impl EphemeralRoot {
    /// A fresh root key.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] if the system has no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let key = random_key()?;
        Ok(Self(LocalRoot::new(fresh_id("ephemeral")?, &key)))
    }
}

#[async_trait]
impl Component for EphemeralRoot {
    fn name(&self) -> &'static str {
        "ephemeral"
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
impl RootKey for EphemeralRoot {
    fn id(&self) -> &RootKeyId {
        self.0.id()
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.wrap(key, context)
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.0.unwrap(wrapped, context)
    }
}
