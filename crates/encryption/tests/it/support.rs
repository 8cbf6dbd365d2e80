//! A vault on a manual clock, with a root that counts and a key store that can be meddled with.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::event::{EmitError, Emitter, Event, EventSink};
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction,
    Version, Versioned,
};
use eonpro_core::port::{KeyPurpose, NoObserver, SealScope, Sealer as _};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope};
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{
    CryptoError, Encryption as _, EncryptionConfig, RootKey, RootKeyId, Vault, VaultParts,
    WrapContext,
};
use eonpro_testkit::RecordingSink;
use futures_util::stream::BoxStream;

pub(crate) const RECORDS: KeyPurpose = KeyPurpose::RECORDS;

pub(crate) fn cell(row: &[u8]) -> Cell<'_> {
    let row = Row::named(row).unwrap();
    Cell::new(Table::new("patients"), Column::new("ssn"), row)
}

/// Counts what it is asked, and lies on demand.
#[derive(Debug)]
pub(crate) struct CountingRoot {
    root: EphemeralRoot,
    pub(crate) unwraps: AtomicUsize,
    pub(crate) lies: AtomicBool,
    pub(crate) is_down: AtomicBool,
    pub(crate) hangs: AtomicBool,
}

impl CountingRoot {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            root: EphemeralRoot::generate().unwrap(),
            unwraps: AtomicUsize::new(0),
            lies: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        })
    }

    pub(crate) fn unwraps(&self) -> usize {
        self.unwraps.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Component for CountingRoot {
    fn name(&self) -> &'static str {
        "counting"
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
impl RootKey for CountingRoot {
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
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Err(CryptoError::RootMismatch);
        }
        // A remote root takes a while: let all others arrive.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let key = self.root.unwrap(wrapped, context).await?;
        if self.lies.load(Ordering::SeqCst) {
            return Ok(KeyBytes::take(&mut [0xee; 32]));
        }
        Ok(key)
    }
}

/// A key store that counts reads, and lets another vault turn a key just before a commit.
#[derive(Debug)]
pub(crate) struct MeddledStore {
    pub(crate) inner: Arc<MemoryKeyValue>,
    pub(crate) reads: AtomicUsize,
    pub(crate) refuses: AtomicBool,
    rival: Mutex<Option<(Vault, SealScope)>>,
    closes: Mutex<Option<Vault>>,
}

impl MeddledStore {
    pub(crate) fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryKeyValue::new(Arc::<ManualClock>::clone(clock))),
            reads: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            rival: Mutex::new(None),
            closes: Mutex::new(None),
        })
    }

    /// Before the next commit, `rival` begins a new records epoch.
    pub(crate) fn let_rival_win_once(&self, rival: Vault, scope: SealScope) {
        *self.rival.lock().unwrap() = Some((rival, scope));
    }

    /// `vault` is closed as soon as the next commit is made.
    pub(crate) fn close_after_commit(&self, vault: Vault) {
        *self.closes.lock().unwrap() = Some(vault);
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Component for MeddledStore {
    fn name(&self) -> &'static str {
        "meddled"
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
impl KeyValue for MeddledStore {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.inner.scan(partition, prefix, after, limit).await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(KvError::Backend("the test lets it fail".into()));
        }
        let rival = self.rival.lock().unwrap().take();
        if let Some((vault, scope)) = rival {
            vault
                .turn_epoch(&chore(), scope, RECORDS.into())
                .await
                .unwrap();
        }
        let done = self.inner.commit(partition, tx).await;
        let closes = self.closes.lock().unwrap().take();
        if let Some(vault) = closes {
            vault.close().await;
        }
        done
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.inner.watch(partition, prefix).await
    }
}

/// No listener is attached until told so.
#[derive(Debug)]
pub(crate) struct LateSink {
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) attached: AtomicBool,
}

#[async_trait]
impl EventSink for LateSink {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        if !self.attached.load(Ordering::SeqCst) {
            return Err(EmitError::NotAttached);
        }
        self.sink.emit(cx, event).await
    }
}

pub(crate) fn chore() -> RequestContext {
    let clock = ManualClock::at(Timestamp::EPOCH);
    RequestContext::system("test", &clock, &eonpro_core::entropy::SeededEntropy::new(1))
}

pub(crate) struct House {
    pub(crate) vault: Vault,
    pub(crate) root: Arc<CountingRoot>,
    pub(crate) store: Arc<MeddledStore>,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) clock: Arc<ManualClock>,
    config: EncryptionConfig,
}

impl House {
    pub(crate) async fn build() -> Self {
        Self::configured(EncryptionConfig::default()).await
    }

    pub(crate) async fn configured(config: EncryptionConfig) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let root = CountingRoot::new();
        let store = MeddledStore::new(&clock);
        let sink = RecordingSink::new();
        let emitter = sink.emitter(Arc::<ManualClock>::clone(&clock));
        let state: Arc<dyn KeyValue> = Arc::<MeddledStore>::clone(&store);
        let parts = VaultParts {
            root: Arc::<CountingRoot>::clone(&root),
            state,
            emitter,
            observer: Arc::new(NoObserver),
            config: config.clone(),
        };
        let vault = Vault::open(parts).await.unwrap();
        Self {
            config,
            vault,
            root,
            store,
            sink,
            clock,
        }
    }

    /// A house whose given tenants have their keys.
    pub(crate) async fn with_tenants(scopes: &[&TenantScope]) -> Self {
        let house = Self::build().await;
        for scope in scopes {
            house.vault.provision((*scope).into()).await.unwrap();
        }
        house.sink.clear();
        house
    }

    /// Another process on the same key store and root.
    pub(crate) async fn another_process(&self) -> Vault {
        let emitter = self.sink.emitter(Arc::<ManualClock>::clone(&self.clock));
        let state: Arc<dyn KeyValue> = Arc::<MemoryKeyValue>::clone(&self.store.inner);
        let parts = VaultParts {
            root: Arc::<CountingRoot>::clone(&self.root),
            state,
            emitter,
            observer: Arc::new(NoObserver),
            config: self.config.clone(),
        };
        Vault::open(parts).await.unwrap()
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// The stored record of `scope`, as text.
    pub(crate) async fn record(&self, scope: SealScope) -> String {
        let partition = match scope.tenant() {
            None => Partition::system("encryption"),
            Some(tenant) => Partition::tenant(tenant, "encryption"),
        };
        let key = Key::new(b"keyset".as_slice()).unwrap();
        let found = self.store.inner.get(&partition, &key).await.unwrap();
        String::from_utf8(found.unwrap().value.to_vec()).unwrap()
    }
}

pub(crate) async fn vault(
    root: &Arc<CountingRoot>,
    store: &Arc<MeddledStore>,
    emitter: Emitter,
) -> Vault {
    let state: Arc<dyn KeyValue> = Arc::<MeddledStore>::clone(store);
    open(Arc::<CountingRoot>::clone(root), state, emitter).await
}

pub(crate) async fn open(
    root: Arc<dyn RootKey>,
    state: Arc<dyn KeyValue>,
    emitter: Emitter,
) -> Vault {
    let parts = VaultParts {
        root,
        state,
        emitter,
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    Vault::open(parts).await.unwrap()
}
