//! Tenants that hold their own root key, and take it away.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Health};
use eonpro_core::port::kv::{KeyValue, MemoryKeyValue};
use eonpro_core::port::{NoObserver, SealError, SealScope, Sealer as _};
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{
    CryptoError, Encryption as _, EncryptionConfig, RootDirectory, RootKey, TenantRoots, Vault,
    VaultParts,
};
use eonpro_testkit::{RecordingSink, scope, tenant_id};

use crate::support::{RECORDS, cell, chore};
use crate::switched::Switched;

/// Tenant 1 holds its own root, tenant 2 does not.
struct Site {
    clock: Arc<ManualClock>,
    sink: Arc<RecordingSink>,
    state: Arc<MemoryKeyValue>,
    provider: Arc<EphemeralRoot>,
    own: Arc<Switched>,
    roots: Arc<TenantRoots>,
    vault: Vault,
}

impl Site {
    async fn build() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let state = Arc::new(MemoryKeyValue::new(Arc::<ManualClock>::clone(&clock)));
        let provider = Arc::new(EphemeralRoot::generate().unwrap());
        let own = Switched::new();
        let roots = Arc::new(TenantRoots::new());
        roots.set(tenant_id(1), Some(Arc::<Switched>::clone(&own)));
        let sink = RecordingSink::new();
        let vault = open(
            &clock,
            &sink,
            &state,
            &provider,
            Arc::<TenantRoots>::clone(&roots),
        )
        .await;
        Self {
            clock,
            sink,
            state,
            provider,
            own,
            roots,
            vault,
        }
    }

    /// Another process, with other roots.
    async fn another_process(&self, roots: Arc<dyn RootDirectory>) -> Vault {
        open(&self.clock, &self.sink, &self.state, &self.provider, roots).await
    }

    async fn seal(&self, scope: &TenantScope) -> Vec<u8> {
        let cipher = self.vault.warm(scope).await.unwrap();
        cipher.seal(RECORDS, &cell(b"ada"), b"x").unwrap()
    }

    async fn sealed_for_both(&self) -> (Vec<u8>, Vec<u8>) {
        for tenant in [1, 2] {
            let scope = scope(tenant);
            self.vault.provision((&scope).into()).await.unwrap();
        }
        // The keys are fetched anew, so that those at hand are as new as those that are stored.
        self.clock.advance(EncryptionConfig::default().cache_ttl);
        (self.seal(&scope(1)).await, self.seal(&scope(2)).await)
    }
}

async fn open(
    clock: &Arc<ManualClock>,
    sink: &Arc<RecordingSink>,
    state: &Arc<MemoryKeyValue>,
    root: &Arc<EphemeralRoot>,
    roots: Arc<dyn RootDirectory>,
) -> Vault {
    let parts = VaultParts {
        root: Arc::<EphemeralRoot>::clone(root),
        state: Arc::<MemoryKeyValue>::clone(state) as Arc<dyn KeyValue>,
        emitter: sink.emitter(Arc::<ManualClock>::clone(clock)),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    Vault::open_with_roots(parts, roots).await.unwrap()
}

async fn opens(vault: &Vault, scope: &TenantScope, sealed: &[u8]) -> Result<(), SealError> {
    let cell = cell(b"ada");
    let opened = vault.open(scope.into(), RECORDS, &cell, sealed).await?;
    assert_eq!(&**opened, b"x");
    Ok(())
}

fn is_disabled(outcome: &Result<(), SealError>) -> bool {
    let Err(SealError::Backend(source)) = outcome else {
        return false;
    };
    matches!(
        source.downcast_ref::<CryptoError>(),
        Some(CryptoError::RootDisabled)
    )
}

#[tokio::test]
async fn a_tenant_that_revokes_its_root_is_closed_after_the_lease_and_nobody_else_is() {
    let site = Site::build().await;
    let (ours, theirs) = site.sealed_for_both().await;
    let held = site.vault.warm(&scope(1)).await.unwrap();
    site.own.switch(true);

    // What is unwrapped already lasts as long as its lease.
    opens(&site.vault, &scope(1), &ours).await.unwrap();
    site.clock.advance(EncryptionConfig::default().cache_ttl);
    let closed = opens(&site.vault, &scope(1), &ours).await;
    assert!(is_disabled(&closed), "{closed:?}");
    assert!(matches!(
        held.open(RECORDS, &cell(b"ada"), &ours),
        Err(SealError::Disabled)
    ));
    assert!(matches!(
        site.vault.warm(&scope(1)).await,
        Err(CryptoError::RootDisabled)
    ));
    opens(&site.vault, &scope(2), &theirs).await.unwrap();
    assert_eq!(site.vault.health().await, Health::Healthy);

    // And when the tenant gives it back, nothing is lost.
    site.own.switch(false);
    opens(&site.vault, &scope(1), &ours).await.unwrap();
}

#[tokio::test]
async fn use_of_the_keys_does_not_prolong_the_lease_of_a_revoked_root() {
    let site = Site::build().await;
    let (ours, _) = site.sealed_for_both().await;
    site.own.switch(true);
    let ttl = EncryptionConfig::default().cache_ttl;
    for _ in 0..9 {
        site.clock.advance(ttl / 10);
        opens(&site.vault, &scope(1), &ours).await.unwrap();
    }
    site.clock.advance(ttl / 10 + Duration::from_nanos(1));
    assert!(is_disabled(&opens(&site.vault, &scope(1), &ours).await));
}

#[tokio::test]
async fn the_providers_root_alone_opens_nothing_of_a_tenant_with_its_own() {
    let site = Site::build().await;
    let (ours, theirs) = site.sealed_for_both().await;
    let provider_only = site.another_process(Arc::new(TenantRoots::new())).await;
    let refused = provider_only.warm(&scope(1)).await;
    assert!(
        matches!(refused, Err(CryptoError::RootMismatch)),
        "{refused:?}"
    );
    opens(&provider_only, &scope(2), &theirs).await.unwrap();

    // Nor does a root of the same tenant that is another one.
    let roots = TenantRoots::new();
    roots.set(tenant_id(1), Some(Switched::new()));
    let other_root = site.another_process(Arc::new(roots)).await;
    assert!(opens(&other_root, &scope(1), &ours).await.is_err());
}

#[tokio::test]
async fn who_has_all_that_is_stored_but_not_the_root_opens_nothing() {
    let site = Site::build().await;
    let (_, theirs) = site.sealed_for_both().await;
    site.vault.provision(SealScope::System).await.unwrap();
    let thief = Arc::new(EphemeralRoot::generate().unwrap());
    let parts = VaultParts {
        root: thief,
        state: Arc::<MemoryKeyValue>::clone(&site.state),
        emitter: site.sink.emitter(Arc::<ManualClock>::clone(&site.clock)),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    let refused = Vault::open(parts).await.err();
    assert!(
        matches!(refused, Some(CryptoError::RootMismatch)),
        "{refused:?}"
    );
    opens(&site.vault, &scope(2), &theirs).await.unwrap();
}

#[tokio::test]
async fn a_tenant_takes_its_keys_under_its_own_root_by_a_rewrap() {
    let site = Site::build().await;
    let (_, theirs) = site.sealed_for_both().await;
    let own = Switched::new();
    site.roots
        .set(tenant_id(2), Some(Arc::<Switched>::clone(&own)));
    site.vault
        .rewrap_keys(&chore(), (&scope(2)).into())
        .await
        .unwrap();
    opens(&site.vault, &scope(2), &theirs).await.unwrap();

    let provider_only = site.another_process(Arc::new(TenantRoots::new())).await;
    assert!(opens(&provider_only, &scope(2), &theirs).await.is_err());
    own.switch(true);
    site.clock.advance(EncryptionConfig::default().cache_ttl);
    assert!(is_disabled(&opens(&site.vault, &scope(2), &theirs).await));
}

#[tokio::test]
async fn a_root_that_a_tenant_had_before_unwraps_until_the_keys_moved_and_it_is_forgotten() {
    let site = Site::build().await;
    let (ours, _) = site.sealed_for_both().await;
    let ttl = EncryptionConfig::default().cache_ttl;
    site.roots.set(tenant_id(1), Some(Switched::new()));
    site.clock.advance(ttl);
    opens(&site.vault, &scope(1), &ours).await.unwrap();
    site.vault
        .rewrap_keys(&chore(), (&scope(1)).into())
        .await
        .unwrap();
    site.roots.forget_former(tenant_id(1));
    site.own.switch(true);
    site.clock.advance(ttl);
    opens(&site.vault, &scope(1), &ours).await.unwrap();

    // Forgotten too early, it is missing.
    site.roots.set(tenant_id(1), None);
    site.roots.forget_former(tenant_id(1));
    site.clock.advance(ttl);
    let cold = site.vault.warm(&scope(1)).await;
    assert!(matches!(cold, Err(CryptoError::RootMismatch)), "{cold:?}");
}

#[tokio::test]
async fn an_old_key_record_does_not_undo_a_revocation() {
    use eonpro_core::port::kv::{Key, Partition, Transaction};
    let site = Site::build().await;
    let (ours, tenant) = (SealScope::from(&scope(1)), tenant_id(1));
    // As long as the vault's own root wraps the tenant's keys.
    site.roots.set(tenant, None);
    site.vault.provision(ours).await.unwrap();
    let sealed = site.seal(&scope(1)).await;
    let partition = Partition::tenant(tenant, "encryption");
    let key = Key::new(b"keyset".as_slice()).unwrap();
    let old = site.state.get(&partition, &key).await.unwrap().unwrap();

    let own: Arc<dyn RootKey> = Arc::<Switched>::clone(&site.own);
    site.roots.set(tenant, Some(own));
    site.vault.rewrap_keys(&chore(), ours).await.unwrap();
    site.roots.forget_former(tenant);
    site.own.switch(true);
    let replayed = Transaction::new().put(key, old.value.to_vec());
    site.state.commit(&partition, replayed).await.unwrap();
    let roots: Arc<dyn RootDirectory> = Arc::<TenantRoots>::clone(&site.roots);
    let other = site.another_process(roots).await;
    assert!(opens(&other, &scope(1), &sealed).await.is_err());
}
