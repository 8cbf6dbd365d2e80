//! A vault whose root key is in KMS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eonpro_core::component::Component as _;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::{KeyValue, MemoryKeyValue};
use eonpro_core::port::{KeyPurpose, NoObserver, SealError, SealScope, Sealer as _};
use eonpro_core::task;
use eonpro_core::time::SystemClock;
use eonpro_encryption::{CryptoError, Encryption as _, RootKey, Vault, VaultParts};
use eonpro_testkit::{RecordingSink, scope};

use crate::bed::Bed;
use crate::proxy::Fault;

const RECORDS: KeyPurpose = KeyPurpose::RECORDS;
const CALLERS: usize = 10_000;

fn cell() -> Cell<'static> {
    let row = Row::named(b"row").unwrap();
    Cell::new(Table::new("patients"), Column::new("ssn"), row)
}

fn store() -> Arc<dyn KeyValue> {
    Arc::new(MemoryKeyValue::new(Arc::new(SystemClock::new())))
}

async fn open(root: impl RootKey, state: &Arc<dyn KeyValue>) -> Result<Vault, CryptoError> {
    Vault::open(VaultParts {
        root: Arc::new(root),
        state: Arc::clone(state),
        emitter: RecordingSink::new().emitter(Arc::new(SystemClock::new())),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    })
    .await
}

#[tokio::test]
async fn a_tenant_is_sealed_and_opens_after_a_restart() {
    let Some(bed) = Bed::make().await else { return };
    let (state, ours) = (store(), SealScope::from(&scope(1)));
    let first = open(bed.another_process(), &state).await.unwrap();
    first.provision(SealScope::System).await.unwrap();
    first.provision(ours).await.unwrap();
    let sealed = first.seal(ours, RECORDS, &cell(), b"x").await.unwrap();
    first.close().await;

    let second = open(bed.another_process(), &state).await.unwrap();
    let opened = second.open(ours, RECORDS, &cell(), &sealed).await.unwrap();
    assert_eq!(opened.as_slice(), b"x");
    second.close().await;

    let foreign = open(bed.on_another_key().await, &state).await;
    assert!(
        matches!(foreign, Err(CryptoError::RootMismatch)),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn a_disabled_root_keeps_a_cold_tenant_shut_until_it_is_enabled() {
    let Some(bed) = Bed::make().await else { return };
    let (state, tenant) = (store(), scope(1));
    let ours = SealScope::from(&tenant);
    let first = open(bed.another_process(), &state).await.unwrap();
    first.provision(ours).await.unwrap();
    let sealed = first.seal(ours, RECORDS, &cell(), b"x").await.unwrap();

    let second = open(bed.another_process(), &state).await.unwrap();
    bed.administer("DisableKey", &bed.key).await;
    let refused = second.warm(&tenant).await;
    assert!(
        matches!(refused, Err(CryptoError::RootDisabled)),
        "{refused:?}"
    );
    let refused = second.open(ours, RECORDS, &cell(), &sealed).await;
    assert!(matches!(refused, Err(SealError::Backend(_))), "{refused:?}");
    bed.administer("EnableKey", &bed.key).await;
    assert!(second.open(ours, RECORDS, &cell(), &sealed).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_cold_callers_cost_one_decrypt() {
    let Some(bed) = Bed::make().await else { return };
    let (state, tenant) = (store(), scope(1));
    let ours = SealScope::from(&tenant);
    let first = open(bed.another_process(), &state).await.unwrap();
    first.provision(ours).await.unwrap();
    let sealed = Arc::new(first.seal(ours, RECORDS, &cell(), b"x").await.unwrap());

    let cold = Arc::new(open(bed.another_process(), &state).await.unwrap());
    bed.proxy.forget();
    bed.proxy.inject("Decrypt", CALLERS, &Fault::Hold);
    let arrived = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (vault, sealed) = (Arc::clone(&cold), Arc::clone(&sealed));
            let (tenant, arrived) = (tenant.clone(), Arc::clone(&arrived));
            task::start(async move {
                arrived.fetch_add(1, Ordering::SeqCst);
                if n % 2 == 0 {
                    return vault.warm(&tenant).await.is_ok();
                }
                vault.open(ours, RECORDS, &cell(), &sealed).await.is_ok()
            })
        })
        .collect();
    while arrived.load(Ordering::SeqCst) < CALLERS || bed.proxy.calls("Decrypt") == 0 {
        tokio::task::yield_now().await;
    }
    bed.proxy.release();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    let seen = bed.proxy.seen("Decrypt");
    let scopes: Vec<_> = seen
        .iter()
        .map(|body| &body["EncryptionContext"]["eonpro:scope"])
        .collect();
    assert_eq!(scopes, ["00000000-0000-0000-0000-000000000001"]);
}
