//! Keys that are wrapped for several roots, and for somebody who keeps a private key in a safe.

use std::sync::Arc;

use eonpro_core::component::{Component, Health};
use eonpro_core::port::kv::{KeyValue, MemoryKeyValue};
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_encryption::{
    CryptoError, Encryption as _, KeyRole, KeyState, RecoveryIdentity, RecoveryRecipient, RootKey,
    RootKeyId, TenantRoots, Vault, VaultOptions, VaultParts,
};
use eonpro_testkit::{RecordingSink, scope};

use crate::support::{RECORDS, cell, chore};
use crate::switched::Switched;

struct Table(Arc<MemoryKeyValue>, Arc<ManualClock>);

impl Table {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let state = Arc::new(MemoryKeyValue::new(Arc::<ManualClock>::clone(&clock)));
        Self(state, clock)
    }

    fn parts(&self, root: &Arc<Switched>) -> VaultParts {
        let state: Arc<dyn KeyValue> = Arc::<MemoryKeyValue>::clone(&self.0);
        VaultParts {
            root: Arc::<Switched>::clone(root),
            state,
            emitter: RecordingSink::new().emitter(Arc::<ManualClock>::clone(&self.1)),
            observer: Arc::new(NoObserver),
            config: Default::default(),
        }
    }

    async fn open(
        &self,
        root: &Arc<Switched>,
        options: VaultOptions,
    ) -> Result<Vault, CryptoError> {
        Vault::open_with(self.parts(root), options).await
    }
}

fn standby(root: &Arc<Switched>) -> VaultOptions {
    VaultOptions {
        standbys: vec![Arc::<Switched>::clone(root)],
        ..VaultOptions::default()
    }
}

fn safe(recipient: RecoveryRecipient) -> VaultOptions {
    VaultOptions {
        recipients: vec![Arc::new(recipient)],
        ..VaultOptions::default()
    }
}

fn name(text: &str) -> RootKeyId {
    RootKeyId::new(text).unwrap()
}

#[tokio::test]
async fn a_standby_opens_what_the_first_root_cannot_and_may_take_its_place() {
    let (table, ours) = (Table::new(), SealScope::from(&scope(1)));
    let (first, second) = (Switched::new(), Switched::new());
    let vault = table.open(&first, standby(&second)).await.unwrap();
    vault.provision(ours).await.unwrap();
    let place = cell(b"r");
    let sealed = vault.seal(ours, RECORDS, &place, b"x").await.unwrap();
    let opens = async |vault: Vault| vault.open(ours, RECORDS, &place, &sealed).await;

    first.switch(true);
    let vault = table.open(&first, standby(&second)).await.unwrap();
    assert_eq!(&**opens(vault).await.unwrap(), b"x");
    let vault = table.open(&second, standby(&first)).await.unwrap();
    assert_eq!(&**opens(vault).await.unwrap(), b"x");
    let vault = table.open(&second, VaultOptions::default()).await.unwrap();
    assert_eq!(&**opens(vault).await.unwrap(), b"x");
    second.switch(true);
    let vault = table.open(&first, standby(&second)).await.unwrap();
    assert!(opens(vault).await.is_err(), "nobody is left");
    first.switch(false);
    let stranger = table
        .open(&Switched::new(), VaultOptions::default())
        .await
        .unwrap();
    assert!(opens(stranger).await.is_err());
}

#[tokio::test]
async fn a_rewrap_renews_what_standbys_hold_and_leaves_none_that_is_not_asked_for() {
    let (table, ours) = (Table::new(), SealScope::from(&scope(1)));
    let (first, second) = (Switched::new(), Switched::new());
    let vault = table.open(&first, standby(&second)).await.unwrap();
    vault.provision(ours).await.unwrap();
    let alone = table.open(&first, VaultOptions::default()).await.unwrap();
    alone.rewrap_keys(&chore(), ours).await.unwrap();
    let other = table.open(&second, VaultOptions::default()).await.unwrap();
    assert!(other.seal(ours, RECORDS, &cell(b"r"), b"x").await.is_err());

    let vault = table.open(&first, standby(&second)).await.unwrap();
    vault.rewrap_keys(&chore(), ours).await.unwrap();
    let other = table.open(&second, VaultOptions::default()).await.unwrap();
    assert!(other.seal(ours, RECORDS, &cell(b"r"), b"x").await.is_ok());
}

#[tokio::test]
async fn a_tenant_with_its_own_root_shares_its_keys_with_nobody() {
    let (table, tenant) = (Table::new(), scope(1));
    let ours = SealScope::from(&tenant);
    let (first, second, own) = (Switched::new(), Switched::new(), Switched::new());
    let identity = RecoveryIdentity::generate().unwrap();
    let roots = Arc::new(TenantRoots::new());
    roots.set(
        tenant.tenant(),
        Some(Arc::<Switched>::clone(&own) as Arc<dyn RootKey>),
    );
    let options = VaultOptions {
        roots,
        recipients: vec![Arc::new(identity.recipient(name("safe:1")))],
        ..standby(&second)
    };
    let vault = table.open(&first, options.clone()).await.unwrap();
    vault.provision(ours).await.unwrap();
    own.switch(true);
    let vault = table.open(&first, options).await.unwrap();
    assert!(vault.seal(ours, RECORDS, &cell(b"r"), b"x").await.is_err());
    let (parts, options) = (table.parts(&Switched::new()), VaultOptions::default());
    let recovered = Vault::recover(parts, options, &chore(), &identity, &[ours]).await;
    assert!(matches!(recovered, Err(CryptoError::RootMismatch)));
}

#[tokio::test]
async fn roots_and_recipients_need_ids_of_their_own_and_are_eight_at_most() {
    let table = Table::new();
    let first = Switched::new();
    let twice = table.open(&first, standby(&first)).await;
    assert!(matches!(twice, Err(CryptoError::Config(_))));
    let many = VaultOptions {
        standbys: (0..9)
            .map(|_| Switched::new() as Arc<dyn RootKey>)
            .collect(),
        ..VaultOptions::default()
    };
    let many = table.open(&first, many).await;
    assert!(matches!(many, Err(CryptoError::Config(_))));
}

#[tokio::test]
async fn what_a_lost_root_wrapped_comes_back_with_the_key_from_the_safe() {
    let (table, ours) = (Table::new(), SealScope::from(&scope(1)));
    let identity = RecoveryIdentity::generate().unwrap();
    let public = identity.recipient(name("safe:1")).public();
    let recipient = RecoveryRecipient::new(name("safe:1"), &public).unwrap();
    let vault = table.open(&Switched::new(), safe(recipient)).await.unwrap();
    for scope in [SealScope::System, ours] {
        vault.provision(scope).await.unwrap();
    }
    let place = cell(b"r");
    let sealed = vault.seal(ours, RECORDS, &place, b"x").await.unwrap();
    drop(vault);

    let new = Switched::new();
    let refused = table.open(&new, VaultOptions::default()).await;
    assert!(matches!(refused, Err(CryptoError::RootMismatch)));
    let recover = async |identity: &RecoveryIdentity| {
        let (parts, options) = (table.parts(&new), VaultOptions::default());
        Vault::recover(
            parts,
            options,
            &chore(),
            identity,
            &[SealScope::System, ours],
        )
        .await
    };
    let wrong = RecoveryIdentity::generate().unwrap();
    assert!(matches!(
        recover(&wrong).await,
        Err(CryptoError::RootMismatch)
    ));
    let kept = KeyBytes::copy_from(identity.bytes().expose()).unwrap();
    let identity = RecoveryIdentity::from_bytes(kept);
    assert_eq!(recover(&identity).await.unwrap(), 2);
    assert_eq!(
        recover(&identity).await.unwrap(),
        0,
        "they are back already"
    );

    let vault = table.open(&new, VaultOptions::default()).await.unwrap();
    let opened = vault.open(ours, RECORDS, &place, &sealed).await;
    assert_eq!(&**opened.unwrap(), b"x");
    assert_eq!(format!("{identity:?}"), "[SECRET]");
}

#[tokio::test]
async fn all_scopes_move_to_another_root_and_one_that_fails_holds_up_no_other() {
    let (table, sealed_at) = (Table::new(), cell(b"r"));
    let (old, new, lost) = (Switched::new(), Switched::new(), Switched::new());
    let scopes = [1, 2, 3, 4].map(|tenant| SealScope::from(&scope(tenant)));
    let [first, theirs, shredded, last] = scopes;
    let roots = Arc::new(TenantRoots::new());
    roots.set(
        scope(2).tenant(),
        Some(Arc::<Switched>::clone(&lost) as Arc<dyn RootKey>),
    );
    let held = VaultOptions {
        roots,
        ..standby(&new)
    };
    let vault = table.open(&old, held.clone()).await.unwrap();
    let mut sealed = Vec::new();
    for scope in scopes {
        vault.provision(scope).await.unwrap();
        let one = vault.seal(scope, RECORDS, &sealed_at, b"x").await;
        sealed.push((scope, one.unwrap()));
    }
    let ids = async |vault: &Vault| {
        let keys = vault.keys(first).await.unwrap();
        let sealing = keys
            .into_iter()
            .filter(|key| key.state == KeyState::Primary);
        let (wrapping, data): (Vec<_>, Vec<_>) = sealing
            .map(|key| (key.role == KeyRole::Wrapping, key.id))
            .partition(|(wraps, _)| *wraps);
        assert_eq!((wrapping.len(), data.is_empty()), (1, false));
        (wrapping, data)
    };
    let before = ids(&vault).await;
    vault.destroy_scope(shredded).await.unwrap();
    drop(vault);
    lost.switch(true);

    // The new root leads, the old one stands by until everything has moved.
    let both = VaultOptions {
        standbys: vec![Arc::<Switched>::clone(&old)],
        ..held
    };
    let vault = table.open(&new, both).await.unwrap();
    let all = futures_util::stream::iter(scopes);
    let done = vault.rewrap_all(&chore(), all).await;
    assert_eq!((done.rewrapped, done.shredded, done.failures), (2, 1, 1));
    let [(failed, CryptoError::RootDisabled)] = done.failed.as_slice() else {
        panic!("{done:?}");
    };
    assert_eq!(*failed, theirs);
    let after = ids(&vault).await;
    assert_ne!(before.0, after.0, "another key wraps");
    assert_eq!(before.1, after.1, "the same keys");

    old.switch(true);
    let alone = table.open(&new, VaultOptions::default()).await.unwrap();
    for (scope, one) in sealed {
        let opened = alone.open(scope, RECORDS, &sealed_at, &one).await;
        assert_eq!(opened.is_ok(), [first, last].contains(&scope), "{scope:?}");
    }
}

#[tokio::test]
async fn a_root_that_is_down_degrades_a_vault_with_a_standby_and_takes_others_down() {
    let table = Table::new();
    let (first, second) = (Switched::new(), Switched::new());
    let alone = table.open(&first, VaultOptions::default()).await.unwrap();
    alone.provision(SealScope::System).await.unwrap();
    let guarded = table.open(&first, standby(&second)).await.unwrap();
    assert_eq!(guarded.health().await, Health::Healthy);
    first.switch(true);
    let health = guarded.health().await;
    assert!(
        matches!(health, Health::Unhealthy(_)),
        "it wraps nothing yet"
    );
    first.switch(false);
    let rewrapped = guarded.rewrap_keys(&chore(), SealScope::System).await;
    rewrapped.unwrap();
    first.switch(true);
    assert!(matches!(guarded.health().await, Health::Degraded(_)));
    assert!(matches!(alone.health().await, Health::Unhealthy(_)));
    second.switch(true);
    assert!(matches!(guarded.health().await, Health::Unhealthy(_)));
}
