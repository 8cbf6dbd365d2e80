//! A house with a door: auth and tenants on one memory store.

use std::net::IpAddr;
use std::sync::Arc;

use eonpro_auth::token::{Audience, Issuer};
use eonpro_auth::{AuthConfig, AuthParts, DevIssuer, EmbeddedAuth, NewToken, RoleBook};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SeededEntropy, SharedEntropy};
use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, IdTagger, TenantId};
use eonpro_core::limit::LocalLimiter;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{KeyValue, NoObserver, RateLimiter};
use eonpro_core::purpose::PurposeOfUse;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use eonpro_tenant::{
    IdempotencyKey, KvTenants, NetworkRule, NewTenant, SqliteConfig, SqliteParts, SqliteTenants,
    TenantConfig, TenantParts, TenantSlug, Tenants,
};
use eonpro_testkit::{RecordingSink, TestSealer};
use eonpro_tower::{Door, DoorConfig, DoorError, DoorParts};

pub(crate) const PEER: &str = "192.0.2.7";

pub(crate) struct House {
    pub(crate) clock: ManualClock,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) auth: Arc<EmbeddedAuth>,
    pub(crate) issuer: DevIssuer,
    pub(crate) door: Door,
    tenants: Arc<KvTenants>,
    _dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(DoorConfig::default())
    }

    pub(crate) fn with(config: DoorConfig) -> Self {
        let clock = ManualClock::at(Timestamp::from_seconds(1_790_000_000));
        let time: SharedClock = Arc::new(clock.clone());
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(1));
        let state: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::clone(&time)));
        let (sink, sealer) = (RecordingSink::new(), TestSealer::new());
        let limiter: Arc<dyn RateLimiter> = Arc::new(LocalLimiter::new(Arc::clone(&time), 1_000));
        let tagger = Arc::new(IdTagger::new(&KeyBytes::take(&mut [7; 32])));
        let dir = tempfile::tempdir().unwrap();
        let databases = SqliteParts {
            state: Arc::clone(&state),
            clock: Arc::clone(&time),
            observer: Arc::new(NoObserver),
        };
        let databases = SqliteTenants::open(dir.path(), databases, SqliteConfig::default());
        let tenants = TenantParts {
            state: Arc::clone(&state),
            sealer: Arc::<TestSealer>::clone(&sealer),
            emitter: sink.emitter(Arc::clone(&time)),
            observer: Arc::new(NoObserver),
            databases: Arc::new(databases.unwrap()),
            tagger: Arc::clone(&tagger),
        };
        let tenants = Arc::new(KvTenants::open(tenants, TenantConfig::default()).unwrap());
        let issuer = DevIssuer::generate(
            Issuer::new("https://dev.invalid").unwrap(),
            Audience::new("https://api.invalid").unwrap(),
            Arc::clone(&time),
            Arc::clone(&entropy),
        )
        .unwrap();
        let auth = AuthParts {
            state,
            sealer,
            limiter: Arc::clone(&limiter),
            emitter: sink.emitter(Arc::clone(&time)),
            observer: Arc::new(NoObserver),
            tagger,
            verifier: issuer.verifier(),
            roles: RoleBook::new(),
        };
        let auth = Arc::new(EmbeddedAuth::open(auth, AuthConfig::default()).unwrap());
        let parts = DoorParts {
            auth: Arc::<EmbeddedAuth>::clone(&auth),
            tenants: Arc::<KvTenants>::clone(&tenants),
            limiter,
            clock: time,
            entropy,
            observer: Arc::new(NoObserver),
        };
        Self {
            clock,
            sink,
            auth,
            issuer,
            door: Door::new(parts, config),
            tenants,
            _dir: dir,
        }
    }

    pub(crate) async fn onboard(&self, slug: &str, network: NetworkRule) -> TenantId {
        let cx = RequestContext::system("test", &self.clock, &SeededEntropy::new(9));
        let mut new = NewTenant::new(
            TenantSlug::new(slug).unwrap(),
            Code::constant("eu-1"),
            Code::constant("baa:1"),
        );
        new.network = network;
        let idem = IdempotencyKey::new(slug).unwrap();
        let record = self.tenants.onboard(&cx, new, idem).await.unwrap();
        self.sink.clear();
        record.id()
    }

    pub(crate) fn token(&self, actor: &str, tenant: TenantId) -> SecretText {
        let new = NewToken::new(ActorId::new(actor).unwrap(), tenant).with_roles(&["clinician"]);
        self.issuer.issue(&new).unwrap()
    }

    pub(crate) async fn admit(
        &self,
        token: &SecretText,
        peer: &str,
    ) -> Result<RequestContext, DoorError> {
        let peer: IpAddr = peer.parse().unwrap();
        self.door
            .admit(token.expose(), peer, PurposeOfUse::Treatment)
            .await
    }
}
