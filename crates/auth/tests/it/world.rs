//! A small clinic for tests: one service, a manual clock, a recording log.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_auth::token::{Audience, Issuer};
use eonpro_auth::{
    AuthConfig, AuthParts, DevIssuer, EmbeddedAuth, NewToken, Permission, RoleBook, TotpEnrolment,
};
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::Emitter;
use eonpro_core::id::{ActorId, IdTagger};
use eonpro_core::limit::LocalLimiter;
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, MemoryKeyValue, Partition, Transaction, Version, Versioned,
};
use eonpro_core::port::{KeyValue, KvError, NoObserver};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::{Clock as _, ManualClock, Timestamp};
use eonpro_testkit::{Actors, RecordingSink, TestSealer, context, scope_with};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
pub(crate) const READ: Permission = Permission::constant("patient:read");

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) store: Arc<dyn KeyValue>,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) issuer: DevIssuer,
    pub(crate) auth: EmbeddedAuth,
    twins: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(AuthConfig::default())
    }

    pub(crate) fn with(config: AuthConfig) -> Self {
        let clock = ManualClock::at(NOW);
        let store = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
        Self::on(clock, store, config)
    }

    pub(crate) fn on(clock: ManualClock, store: Arc<dyn KeyValue>, config: AuthConfig) -> Self {
        let sink = RecordingSink::new();
        let sealer = TestSealer::new();
        let issuer = DevIssuer::generate(
            Issuer::new("https://dev.invalid").unwrap(),
            Audience::new("https://api.invalid").unwrap(),
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(3)),
        )
        .unwrap();
        let parts = AuthParts {
            state: Arc::clone(&store),
            sealer: Arc::<TestSealer>::clone(&sealer),
            limiter: Arc::new(LocalLimiter::new(Arc::new(clock.clone()), 10_000)),
            emitter: sink.emitter(Arc::new(clock.clone())),
            observer: Arc::new(NoObserver),
            tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [9; 32]))),
            verifier: issuer.verifier(),
            roles: RoleBook::new().grant("clinician", [READ]).unwrap(),
        };
        let auth = EmbeddedAuth::open(parts, config).unwrap();
        Self {
            clock,
            sink,
            store,
            sealer,
            issuer,
            auth,
            twins: AtomicU64::new(100),
        }
    }

    /// A second service on the same store, clock and keys, as another process would be.
    pub(crate) fn twin(&self, store: Arc<dyn KeyValue>, config: AuthConfig) -> EmbeddedAuth {
        // Each process draws ids of its own.
        let seed = self.twins.fetch_add(1, Ordering::Relaxed);
        let parts = AuthParts {
            state: store,
            sealer: Arc::<TestSealer>::clone(&self.sealer),
            limiter: Arc::new(LocalLimiter::new(Arc::new(self.clock.clone()), 10_000)),
            emitter: Emitter::new(
                Arc::<RecordingSink>::clone(&self.sink),
                Arc::new(self.clock.clone()),
                Arc::new(SeededEntropy::new(seed)),
            ),
            observer: Arc::new(NoObserver),
            tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [9; 32]))),
            verifier: self.issuer.verifier(),
            roles: RoleBook::new(),
        };
        EmbeddedAuth::open(parts, config).unwrap()
    }

    pub(crate) fn scope(&self, tenant: u128) -> TenantScope {
        self.scope_of(tenant, Actors::Clinician, None)
    }

    pub(crate) fn scope_of(
        &self,
        tenant: u128,
        actors: Actors,
        client: Option<&str>,
    ) -> TenantScope {
        let mut cx = context(tenant, actors, &self.clock, &SeededEntropy::new(5));
        if let Some(client) = client {
            cx = cx.with_client(client.parse::<IpAddr>().unwrap());
        }
        let scope = scope_with(cx);
        self.sealer.provision_now((&scope).into());
        scope
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The code that the authenticator of `enrolment` shows now.
    pub(crate) fn code(&self, enrolment: &TotpEnrolment) -> SecretText {
        enrolment.code_at(self.clock.wall()).unwrap()
    }

    pub(crate) fn token(&self) -> SecretText {
        self.issuer.issue(&self.new_token()).unwrap()
    }

    pub(crate) fn new_token(&self) -> NewToken {
        let tenant = self.scope(1).tenant();
        NewToken::new(ActorId::new("dr.grey").unwrap(), tenant).with_roles(&["clinician"])
    }
}

/// A store that lets something else happen just before its next commit.
pub(crate) struct Interposed {
    inner: Arc<dyn KeyValue>,
    before: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Interposed {
    pub(crate) fn new(inner: Arc<dyn KeyValue>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            before: Mutex::new(None),
        })
    }

    pub(crate) fn before_next_commit(&self, deed: BoxFuture<'static, ()>) {
        *self.before.lock().unwrap() = Some(deed);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.before.lock().unwrap().is_none()
    }
}

impl std::fmt::Debug for Interposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interposed")
    }
}

#[async_trait]
impl Component for Interposed {
    fn name(&self) -> &'static str {
        "interposed"
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) {}
}

#[async_trait]
impl KeyValue for Interposed {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
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
        let deed = self.before.lock().unwrap().take();
        if let Some(deed) = deed {
            deed.await;
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
