//! A vault with patients' keys: epochs in memory, a signer, people who decide, and a key table that
//! can be copied, restored and made to fail at its n-th call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, PublicId as _, SubjectId};
use eonpro_core::identity::{Aal, Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction,
    Version, Versioned,
};
use eonpro_core::port::{NoObserver, SealScope, Sealer as _, SignError, Signer};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope};
use eonpro_encryption::backend::{EphemeralEpochs, EphemeralRoot};
use eonpro_encryption::{
    CryptoError, Destruction, EncryptionConfig, EpochId, EpochKeys, KeyId, RootKey, ShredParts,
    ShredReceipt, ShredRequest, ShredTarget, Shredding as _, Subjects as _, Vault, VaultParts,
    WrapContext,
};
use eonpro_testkit::{RecordingSink, authority, scope};
use futures_util::stream::BoxStream;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use uuid::Uuid;

use crate::support::cell;

pub(crate) const REASON: Code = Code::constant("erasure-request");

pub(crate) fn patient(number: u128) -> SubjectId {
    SubjectId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn target(number: u128) -> ShredTarget {
    ShredTarget::Subject(patient(number))
}

/// The context of a person, or of something else, that decides.
pub(crate) fn decider(name: &str, kind: ActorKind) -> RequestContext {
    let clock = ManualClock::at(Timestamp::EPOCH);
    let cx = RequestContext::anonymous(&clock, &SeededEntropy::new(1));
    let claims = IdentityClaims {
        issuer: Arc::from("https://issuer.test"),
        actor: Actor {
            kind,
            id: ActorId::new(name).unwrap(),
            roles: Arc::from([]),
            session: None,
        },
        tenant: None,
        assurance: Assurance {
            aal: Aal::Aal2,
            amr: Arc::from(["pwd".into()]),
            at: None,
        },
        expires: Timestamp::from_nanos(i64::MAX),
    };
    authority().identify(cx, &authority().vouch(claims))
}

pub(crate) fn person(name: &str) -> RequestContext {
    decider(name, ActorKind::User)
}

#[derive(Debug)]
pub(crate) struct TestSigner {
    key: Ed25519KeyPair,
    pub(crate) signed: AtomicUsize,
}

impl TestSigner {
    pub(crate) fn new(seed: u8) -> Arc<Self> {
        Arc::new(Self {
            key: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
            signed: AtomicUsize::new(0),
        })
    }
}

fn test_posture() -> Posture {
    Posture {
        durability: Durability::Volatile,
        crypto: Validation::NotValidated,
        fitness: Fitness::TestOnly,
    }
}

#[async_trait]
impl Component for TestSigner {
    fn name(&self) -> &'static str {
        "test-signer"
    }
    fn posture(&self) -> Posture {
        test_posture()
    }
    async fn health(&self) -> Health {
        Health::Healthy
    }
    async fn close(&self) {}
}

#[async_trait]
impl Signer for TestSigner {
    fn public_key(&self) -> [u8; 32] {
        self.key.public_key().as_ref().try_into().unwrap()
    }
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        Ok(self.key.sign(message).as_ref().try_into().unwrap())
    }
}

/// Shared by the store and the custody: once it runs out every call fails, as after a crash.
#[derive(Debug)]
pub(crate) struct Fuse(AtomicI64);

impl Fuse {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(i64::MAX)))
    }

    pub(crate) fn set(&self, calls: i64) {
        self.0.store(calls, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.set(i64::MAX);
    }

    /// Whether the call may begin.
    fn burn(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

/// A key table that can be copied as a backup and restored.
#[derive(Debug)]
pub(crate) struct Table {
    inner: MemoryKeyValue,
    known: Mutex<BTreeMap<(Partition, Key), ()>>,
    pub(crate) fuse: Arc<Fuse>,
    meddle: Mutex<Option<(Partition, Transaction, usize)>>,
}

pub(crate) type Backup = BTreeMap<(Partition, Key), Versioned>;

impl Table {
    fn new(clock: &Arc<ManualClock>, fuse: &Arc<Fuse>) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryKeyValue::new(Arc::<ManualClock>::clone(clock)),
            known: Mutex::default(),
            fuse: Arc::clone(fuse),
            meddle: Mutex::new(None),
        })
    }

    /// Commits `tx` just before the `nth` commit from now (0: the next).
    pub(crate) fn meddle(&self, partition: Partition, tx: Transaction, nth: usize) {
        *self.meddle.lock().unwrap() = Some((partition, tx, nth));
    }

    pub(crate) async fn backup(&self) -> Backup {
        let known: Vec<_> = self.known.lock().unwrap().keys().cloned().collect();
        let mut backup = Backup::new();
        for (partition, key) in known {
            if let Some(found) = self.inner.get(&partition, &key).await.unwrap() {
                backup.insert((partition, key), found);
            }
        }
        backup
    }

    pub(crate) async fn restore(&self, backup: &Backup) {
        let known: Vec<_> = self.known.lock().unwrap().keys().cloned().collect();
        for (partition, key) in known {
            let tx = match backup.get(&(partition, key.clone())) {
                Some(found) => Transaction::new().put(key, found.value.clone()),
                None => Transaction::new().delete(key),
            };
            self.inner.commit(&partition, tx).await.unwrap();
        }
    }

    pub(crate) async fn text(&self, tenant: &TenantScope, key: &str) -> Option<String> {
        let partition = Partition::tenant(tenant.tenant(), "encryption");
        let key = Key::new(key.as_bytes().to_vec()).unwrap();
        let found = self.inner.get(&partition, &key).await.unwrap()?;
        Some(String::from_utf8(found.value.to_vec()).unwrap())
    }
}

fn broken() -> KvError {
    KvError::Backend("the test refuses".into())
}

#[async_trait]
impl Component for Table {
    fn name(&self) -> &'static str {
        "table"
    }
    fn posture(&self) -> Posture {
        self.inner.posture()
    }
    async fn health(&self) -> Health {
        Health::Healthy
    }
    async fn close(&self) {}
}

#[async_trait]
impl KeyValue for Table {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        if !self.fuse.burn() {
            return Err(broken());
        }
        self.inner.get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        if !self.fuse.burn() {
            return Err(broken());
        }
        self.inner.scan(partition, prefix, after, limit).await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        let meddle = {
            let mut meddle = self.meddle.lock().unwrap();
            match meddle.take() {
                Some((partition, tx, 0)) => Some((partition, tx)),
                Some((partition, tx, nth)) => {
                    *meddle = Some((partition, tx, nth - 1));
                    None
                }
                None => None,
            }
        };
        if let Some((partition, tx)) = meddle {
            self.inner.commit(&partition, tx).await.unwrap();
        }
        // A crash leaves the caller in doubt: the commit happened, its answer never came.
        let last = self.fuse.0.load(Ordering::SeqCst) == 1;
        if !self.fuse.burn() {
            return Err(broken());
        }
        for write in tx.writes() {
            let (eonpro_core::port::kv::Write::Put { key, .. }
            | eonpro_core::port::kv::Write::Delete(key)) = write;
            let mut known = self.known.lock().unwrap();
            known.insert((*partition, key.clone()), ());
        }
        let done = self.inner.commit(partition, tx).await;
        if last { Err(broken()) } else { done }
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.inner.watch(partition, prefix).await
    }
}

/// Epochs in memory behind a fuse, counting what they destroy.
#[derive(Debug)]
pub(crate) struct Custody {
    pub(crate) keys: EphemeralEpochs,
    pub(crate) destroys: AtomicUsize,
    /// Whether keys answer as if they were gone.
    pub(crate) silent: AtomicBool,
    /// Unwraps to something else from that many unwraps on.
    pub(crate) lies_after: AtomicI64,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Component for Custody {
    fn name(&self) -> &'static str {
        self.keys.name()
    }
    fn posture(&self) -> Posture {
        self.keys.posture()
    }
    async fn health(&self) -> Health {
        Health::Healthy
    }
    async fn close(&self) {}
}

impl Custody {
    fn check(&self) -> Result<(), CryptoError> {
        if self.fuse.burn() {
            Ok(())
        } else {
            Err(CryptoError::Root("the test refuses".into()))
        }
    }
}

#[async_trait]
impl EpochKeys for Custody {
    fn custody_id(&self) -> &str {
        self.keys.custody_id()
    }
    async fn create(&self) -> Result<EpochId, CryptoError> {
        self.check()?;
        self.keys.create().await
    }
    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        self.check()?;
        self.keys.wrap(epoch, key, context).await
    }
    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.check()?;
        if self.silent.load(Ordering::SeqCst) {
            return Err(CryptoError::EpochGone);
        }
        let key = self.keys.unwrap(epoch, wrapped, context).await?;
        if self.lies_after.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Ok(KeyBytes::take(&mut [0xee; 32]));
        }
        Ok(key)
    }
    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        self.check()?;
        self.destroys.fetch_add(1, Ordering::SeqCst);
        self.keys.destroy(epoch).await
    }
    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        self.keys.epochs().await
    }
}

pub(crate) struct Ward {
    pub(crate) vault: Vault,
    pub(crate) root: Arc<dyn RootKey>,
    pub(crate) table: Arc<Table>,
    pub(crate) custody: Arc<Custody>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) signer: Arc<TestSigner>,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tenant: TenantScope,
    pub(crate) config: EncryptionConfig,
}

impl Ward {
    pub(crate) async fn build() -> Self {
        Self::with(EncryptionConfig::default()).await
    }

    pub(crate) async fn with(config: EncryptionConfig) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000_000)));
        let fuse = Fuse::new();
        let table = Table::new(&clock, &fuse);
        let custody = Arc::new(Custody {
            keys: EphemeralEpochs::new(),
            destroys: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            lies_after: AtomicI64::new(i64::MAX),
            fuse: Arc::clone(&fuse),
        });
        let root: Arc<dyn RootKey> = Arc::new(EphemeralRoot::generate().unwrap());
        let sink = RecordingSink::new();
        let signer = TestSigner::new(7);
        let parts = ShredParts {
            epochs: custody.clone(),
            signer: signer.clone(),
        };
        let vault = open(&root, &table, &sink, &clock, &config, parts).await;
        let tenant = scope(1);
        vault.provision(SealScope::from(&tenant)).await.unwrap();
        Self {
            vault,
            root,
            table,
            custody,
            fuse,
            signer,
            sink,
            clock,
            tenant,
            config,
        }
    }

    /// Another process on the same key table, root and custody.
    pub(crate) async fn another_process(&self) -> Vault {
        let (parts, shredding) = self.parts();
        Vault::open_with_epochs(parts, shredding).await.unwrap()
    }

    /// What a vault on the same key table and root is made of.
    pub(crate) fn parts(&self) -> (VaultParts, ShredParts) {
        let shredding = ShredParts {
            epochs: self.custody.clone(),
            signer: self.signer.clone(),
        };
        let parts = VaultParts {
            root: Arc::clone(&self.root),
            state: Arc::<Table>::clone(&self.table),
            emitter: self.sink.emitter(Arc::<ManualClock>::clone(&self.clock)),
            observer: Arc::new(NoObserver),
            config: self.config.clone(),
        };
        (parts, shredding)
    }

    pub(crate) fn scope(&self) -> SealScope {
        SealScope::from(&self.tenant)
    }

    pub(crate) async fn seal(&self, number: u128, text: &[u8]) -> Vec<u8> {
        let subject = patient(number);
        self.vault
            .provision_subject(&self.tenant, subject)
            .await
            .unwrap();
        let cipher = self.vault.warm_subject(&self.tenant, subject).await;
        cipher.unwrap().seal(&cell(b"r"), text).unwrap()
    }

    pub(crate) async fn open(&self, number: u128, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        open_in(&self.vault, &self.tenant, number, sealed).await
    }

    /// A request with its two approvals.
    pub(crate) async fn approved(&self, target: ShredTarget) -> ShredRequest {
        let (vault, scope) = (&self.vault, self.scope());
        let request = vault
            .request_shred(&person("asks"), scope, target, REASON)
            .await
            .unwrap();
        for name in ["one", "two"] {
            vault
                .approve_shred(&person(name), scope, target, request.id)
                .await
                .unwrap();
        }
        request
    }

    pub(crate) async fn carry_out(
        &self,
        request: &ShredRequest,
    ) -> Result<ShredReceipt, CryptoError> {
        let (cx, scope) = (person("clerk"), self.scope());
        self.vault
            .carry_out_shred(&cx, scope, request.target, request.id)
            .await
    }

    pub(crate) async fn shred(&self, number: u128) -> ShredReceipt {
        let request = self.approved(target(number)).await;
        self.carry_out(&request).await.unwrap()
    }

    /// Marks a key drained as a scan of tables would, in the stored record.
    pub(crate) async fn mark_drained(&self, id: KeyId) {
        let text = self.table.text(&self.tenant, "keyset").await.unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in record["keys"].as_array_mut().unwrap() {
            if key["id"] == id.to_string() {
                key["state"] = "drained".into();
            }
        }
        let partition = Partition::tenant(self.tenant.tenant(), "encryption");
        let key = Key::new(b"keyset".as_slice()).unwrap();
        let doctored = Transaction::new().put(key, record.to_string().into_bytes());
        self.table.commit(&partition, doctored).await.unwrap();
    }

    pub(crate) async fn end_epoch(&self) -> eonpro_encryption::EpochEnded {
        self.vault
            .end_shred_epoch(&person("clerk"), self.scope())
            .await
            .unwrap()
    }
}

pub(crate) async fn open_in(
    vault: &Vault,
    tenant: &TenantScope,
    number: u128,
    sealed: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let cipher = vault.warm_subject(tenant, patient(number)).await?;
    Ok(cipher.open(&cell(b"r"), sealed)?.to_vec())
}

pub(crate) async fn open(
    root: &Arc<dyn RootKey>,
    table: &Arc<Table>,
    sink: &Arc<RecordingSink>,
    clock: &Arc<ManualClock>,
    config: &EncryptionConfig,
    shredding: ShredParts,
) -> Vault {
    let parts = VaultParts {
        root: Arc::clone(root),
        state: Arc::<Table>::clone(table),
        emitter: sink.emitter(Arc::<ManualClock>::clone(clock)),
        observer: Arc::new(NoObserver),
        config: config.clone(),
    };
    Vault::open_with_epochs(parts, shredding).await.unwrap()
}
