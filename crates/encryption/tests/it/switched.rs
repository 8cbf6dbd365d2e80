//! A root key that answers only while it is switched on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{CryptoError, RootKey, RootKeyId, WrapContext};

/// A root that can be switched off, as by an owner who takes it away.
#[derive(Debug)]
pub(crate) struct Switched {
    root: EphemeralRoot,
    off: AtomicBool,
}

impl Switched {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            root: EphemeralRoot::generate().unwrap(),
            off: AtomicBool::new(false),
        })
    }

    pub(crate) fn switch(&self, off: bool) {
        self.off.store(off, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), CryptoError> {
        match self.off.load(Ordering::SeqCst) {
            true => Err(CryptoError::RootDisabled),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Component for Switched {
    fn name(&self) -> &'static str {
        "switched"
    }

    fn posture(&self) -> Posture {
        self.root.posture()
    }

    async fn health(&self) -> Health {
        match self.check() {
            Ok(()) => Health::Healthy,
            Err(_) => Health::Unhealthy("switched off"),
        }
    }

    async fn close(&self) {}
}

#[async_trait]
impl RootKey for Switched {
    fn id(&self) -> &RootKeyId {
        self.root.id()
    }

    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.check()?;
        self.root.wrap(key, context).await
    }

    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.check()?;
        self.root.unwrap(wrapped, context).await
    }
}
