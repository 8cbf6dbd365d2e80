//! One service with everything it stands on, and a store that fails when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{Code, Emitter};
use eonpro_core::id::{ActorId, IdTagger, TenantId};
use eonpro_core::identity::{Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, MemoryKeyValue, Partition, Transaction, Version, Versioned,
};
use eonpro_core::port::{KeyValue, KvError, NoObserver};
use eonpro_core::scope::Authority;
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope, VerifiedIdentity};
use eonpro_tenant::{
    Hints, IdempotencyKey, KvTenants, NewTenant, SqliteConfig, SqliteParts, SqliteTenants,
    TenantConfig, TenantParts, TenantRecord, TenantSlug, Tenants,
};
use eonpro_testkit::{RecordingSink, TestSealer};
use futures_util::stream::BoxStream;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

/// A memory store that lets others in between and fails the commit it is told to fail.
#[derive(Debug)]
pub(crate) struct Flaky {
    inner: MemoryKeyValue,
    commits_left: AtomicI64,
}

impl Flaky {
    /// Lets `commits` more succeed and fails the one after them.
    pub(crate) fn fail_after(&self, commits: i64) {
        self.commits_left.store(commits, Ordering::SeqCst);
    }

    pub(crate) fn failed(&self) -> bool {
        self.commits_left.load(Ordering::SeqCst) < 0
    }
}

#[async_trait]
impl Component for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl KeyValue for Flaky {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        tokio::task::yield_now().await;
        self.inner.get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        // A page may be shorter than asked.
        self.inner
            .scan(partition, prefix, after, limit.min(2))
            .await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        tokio::task::yield_now().await;
        if self.commits_left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(KvError::Backend("the test lets it fail".into()));
        }
        self.inner.commit(partition, tx).await
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.inner.watch(partition, prefix).await
    }
}

pub(crate) struct House {
    pub(crate) clock: ManualClock,
    pub(crate) state: Arc<Flaky>,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) databases: Arc<SqliteTenants>,
    pub(crate) tenants: Arc<KvTenants>,
    pub(crate) dir: Arc<tempfile::TempDir>,
}

impl House {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::at(NOW);
        let state = Arc::new(Flaky {
            inner: MemoryKeyValue::new(Arc::new(clock.clone())),
            commits_left: AtomicI64::new(i64::MAX),
        });
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::on(
            clock,
            state,
            TestSealer::new(),
            RecordingSink::new(),
            dir,
            1,
        )
    }

    /// The same house after a restart.
    pub(crate) async fn reopened(self) -> Self {
        self.tenants.close().await;
        Self::on(self.clock, self.state, self.sealer, self.sink, self.dir, 2)
    }

    fn on(
        clock: ManualClock,
        state: Arc<Flaky>,
        sealer: Arc<TestSealer>,
        sink: Arc<RecordingSink>,
        dir: Arc<tempfile::TempDir>,
        seed: u64,
    ) -> Self {
        let time: SharedClock = Arc::new(clock.clone());
        let databases = SqliteTenants::open(
            &dir.path().join("tenants"),
            SqliteParts {
                state: Arc::<Flaky>::clone(&state),
                clock: Arc::clone(&time),
                observer: Arc::new(NoObserver),
            },
            SqliteConfig::default(),
        );
        let databases = Arc::new(databases.unwrap());
        let parts = TenantParts {
            state: Arc::<Flaky>::clone(&state),
            sealer: Arc::<TestSealer>::clone(&sealer),
            emitter: Emitter::new(
                Arc::<RecordingSink>::clone(&sink),
                time,
                Arc::new(SeededEntropy::new(seed)),
            ),
            observer: Arc::new(NoObserver),
            databases: Arc::clone(&databases),
            tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [7; 32]))),
        };
        let tenants = Arc::new(KvTenants::open(parts, TenantConfig::default()).unwrap());
        Self {
            clock,
            state,
            sealer,
            sink,
            databases,
            tenants,
            dir,
        }
    }

    pub(crate) fn cx(&self) -> RequestContext {
        RequestContext::system("test", &self.clock, &SeededEntropy::new(9))
    }

    /// The context of a person outside of any tenant.
    pub(crate) fn person(&self, name: &str) -> RequestContext {
        authority().identify(self.cx(), &identity(name, None))
    }

    pub(crate) async fn onboard(&self, slug: &str) -> TenantRecord {
        let (new, idem) = (new_tenant(slug), idem(slug));
        self.tenants.onboard(&self.cx(), new, idem).await.unwrap()
    }

    pub(crate) async fn admit(
        &self,
        tenant: TenantId,
    ) -> Result<RequestContext, eonpro_tenant::TenantError> {
        let identity = identity("dr.grey", Some(tenant));
        self.tenants
            .resolve(self.cx(), &identity, &Hints::none())
            .await
    }

    pub(crate) async fn scope(&self, tenant: TenantId) -> TenantScope {
        self.admit(tenant).await.unwrap().tenant_scope().unwrap()
    }

    pub(crate) async fn record(&self, tenant: TenantId) -> TenantRecord {
        self.tenants.get(&self.cx(), tenant).await.unwrap()
    }

    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("tenants"))
            .unwrap()
            .count()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests vouch for their own people"
)]
pub(crate) fn authority() -> Authority {
    Authority::assume("test")
}

pub(crate) fn identity(name: &str, tenant: Option<TenantId>) -> VerifiedIdentity {
    authority().vouch(IdentityClaims {
        issuer: Arc::from("https://issuer.test"),
        actor: Actor {
            kind: ActorKind::User,
            id: ActorId::new(name).unwrap(),
            roles: Arc::from([]),
            session: None,
        },
        tenant,
        assurance: Assurance::default(),
        expires: Timestamp::from_nanos(i64::MAX),
    })
}

pub(crate) fn idem(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).unwrap()
}

pub(crate) fn new_tenant(slug: &str) -> NewTenant {
    NewTenant::new(
        TenantSlug::new(slug).unwrap(),
        Code::constant("eu-1"),
        Code::constant("baa:1"),
    )
}
