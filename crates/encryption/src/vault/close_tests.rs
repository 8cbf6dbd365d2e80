//! A vault that is closed, or a scope that is destroyed, while keys are on their way.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::event::Emitter;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, SealError, SealScope, Sealer as _};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::{RecordingSink, scope};
use futures_util::FutureExt as _;

use crate::backend::EphemeralRoot;
use crate::error::CryptoError;
use crate::root::{RootKey, RootKeyId, WrapContext};
use crate::service::Encryption as _;
use crate::vault::{Vault, VaultParts};

/// Holds unwraps back while it is shut.
#[derive(Debug)]
struct SlowRoot {
    root: EphemeralRoot,
    shut: AtomicBool,
}

#[async_trait]
impl Component for SlowRoot {
    fn name(&self) -> &'static str {
        "slow"
    }
    fn posture(&self) -> Posture {
        self.root.posture()
    }
    async fn health(&self) -> Health {
        Health::Healthy
    }
    async fn close(&self) {}
}

#[async_trait]
impl RootKey for SlowRoot {
    fn id(&self) -> &RootKeyId {
        self.root.id()
    }
    async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.root.wrap(key, context).await
    }
    async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        while self.shut.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        self.root.unwrap(wrapped, context).await
    }
}

struct House {
    vault: Vault,
    root: Arc<SlowRoot>,
}

impl House {
    /// A vault whose lease of the first tenant's keys is over.
    async fn with_a_cold_tenant() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let root = Arc::new(SlowRoot {
            root: EphemeralRoot::generate().unwrap(),
            shut: AtomicBool::new(false),
        });
        let emitter: Emitter = RecordingSink::new().emitter(Arc::<ManualClock>::clone(&clock));
        let parts = VaultParts {
            root: Arc::<SlowRoot>::clone(&root),
            state: Arc::new(MemoryKeyValue::new(Arc::<ManualClock>::clone(&clock))),
            emitter,
            observer: Arc::new(NoObserver),
            config: Default::default(),
        };
        let vault = Vault::open(parts).await.unwrap();
        vault.provision(SealScope::from(&scope(1))).await.unwrap();
        clock.advance(std::time::Duration::from_secs(301));
        root.shut.store(true, Ordering::SeqCst);
        Self { vault, root }
    }
}

#[tokio::test]
async fn a_vault_that_is_closed_while_keys_are_fetched_does_not_come_to_hold_them() {
    let house = House::with_a_cold_tenant().await;
    let (ours, inner) = (scope(1), &house.vault.inner);
    // Held by somebody, so that the place outlives the close.
    let slot = inner.cache.slot(SealScope::from(&ours));
    let mut warming = pin!(house.vault.warm(&ours));
    assert!((&mut warming).now_or_never().is_none());
    house.vault.close().await;
    house.root.shut.store(false, Ordering::SeqCst);
    assert!(warming.await.is_err());
    assert!(slot.get().is_none());
}

#[tokio::test]
async fn a_place_that_came_into_being_after_the_close_keeps_nothing_either() {
    let house = House::with_a_cold_tenant().await;
    let (ours, inner) = (SealScope::from(&scope(1)), &house.vault.inner);
    house.root.shut.store(false, Ordering::SeqCst);
    house.vault.close().await;
    // A call that had looked whether the vault is open just before.
    let slot = inner.cache.slot(ours);
    let refused = inner.live_at(ours, &slot).await;
    assert!(matches!(refused, Err(CryptoError::Closed)), "{refused:?}");
    assert!(slot.get().is_none());
}

#[tokio::test]
async fn keys_that_were_fetched_while_their_scope_was_destroyed_are_not_kept() {
    let house = House::with_a_cold_tenant().await;
    let (ours, inner) = (scope(1), &house.vault.inner);
    let slot = inner.cache.slot(SealScope::from(&ours));
    let mut warming = pin!(house.vault.warm(&ours));
    assert!((&mut warming).now_or_never().is_none());
    slot.bury();
    house.root.shut.store(false, Ordering::SeqCst);
    let refused = warming.await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Shredded))
    ));
    assert!(slot.get().is_none());
}
