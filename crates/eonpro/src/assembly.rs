//! Puts the parts together, in the one order in which none waits for another.
//!
//! Logger and metrics, then the empty hub, then the vault, which announces into it; then audit,
//! which the vault seals for and the hub records in; then the services. A part that is refused or
//! fails closes all that were opened before it.

use std::sync::Arc;

use eonpro_auth::{Auth, AuthParts, EmbeddedAuth};
use eonpro_cache::{Cache, CacheParts, TieredCache};
use eonpro_core::component::Component;
use eonpro_core::event::catalogue::system;
use eonpro_core::event::{Code, Digest, Emitter, EventSink};
use eonpro_core::id::IdTagger;
use eonpro_core::port::{Observer, SealScope, Sealer};
use eonpro_core::scope::Authority;
use eonpro_core::{RequestContext, task};
use eonpro_encryption::{Vault, VaultParts};
use eonpro_logger::{JsonLayer, JsonLogger, Logger, LoggerParts};
use eonpro_metrics::{Metrics, OtelMetrics};
use eonpro_storage::{DocumentStore, ObjectDocuments, StorageParts};
use eonpro_tenant::{KvTenants, SqliteParts, SqliteTenants, TenantParts, Tenants};
use eonpro_tower::{Door, DoorParts};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::builder::Settings;
use crate::error::FoundationError;
use crate::foundation::{Foundation, Services};
use crate::health::Weight;
use crate::hub::{EventHub, EventListener};
use crate::listeners::{self, CacheClearing, EventLog, EventMetrics};
use crate::posture::{self, Part};
use crate::shutdown::{Parts, Stage};
use crate::source::{AuditPorts, AuditSource, Backends, Backing, Ground, LogSinks, OpenAudit};

const TAG_LABEL: &str = "eonpro/id-tags/v1";
const VERSION: Code = Code::constant(concat!("eonpro/", env!("CARGO_PKG_VERSION")));

/// Builds a foundation, or closes what it opened.
pub(crate) async fn assemble(
    mut settings: Settings,
    mut sinks: LogSinks,
    audit: Box<dyn AuditSource>,
    backing: Box<dyn Backing>,
) -> Result<Foundation, FoundationError> {
    settings.config.check()?;
    let ground = Ground {
        clock: Arc::clone(&settings.clock),
        entropy: Arc::clone(&settings.entropy),
        config: settings.config.clone(),
    };
    let (mut backends, own) = backing.open(ground).await?;
    let additions = std::mem::take(&mut settings.vault);
    additions.join(&mut backends.vault).await;
    sinks.extend(own);
    // Before anything is built on them.
    let mut leaves = backends.parts();
    leaves.extend(settings.parts());
    if let Err(refused) = posture::check(settings.profile, &leaves) {
        backends.abandon().await;
        return Err(refused.into());
    }
    let (clock, budget) = (Arc::clone(&settings.clock), settings.config.step_budget);
    let mut opened = Parts::default();
    let weight = match backends.vault.standbys.is_empty() {
        true => Weight::Critical,
        // They stand in for it; the vault tells whether one does.
        false => Weight::Degradable,
    };
    opened.add(Stage::State, weight, backends.root.clone());
    opened.add(Stage::State, Weight::Critical, backends.state.clone());
    for part in backends.keepers() {
        opened.add(Stage::State, Weight::Degradable, part);
    }
    let serving = [
        backends.scanner.clone() as Arc<dyn Component>,
        backends.verifier.keys().clone(),
    ];
    for part in serving {
        opened.add(Stage::Services, Weight::Degradable, part);
    }
    if let Some(tier) = &backends.cache_tier {
        // After the cache, which has values on their way to it.
        opened.add(Stage::Listeners, Weight::Degradable, tier.clone());
    }
    let hub = EventHub::new();
    let built = match start_logger(&settings, sinks, &mut opened) {
        Ok(logging) => {
            let base = (logging, Arc::clone(&hub));
            build(settings, base, audit, backends, leaves, &mut opened).await
        }
        Err(error) => Err(error),
    };
    if built.is_err() {
        opened
            .close(Stage::Services, Stage::Logger, &*clock, budget)
            .await;
        hub.release();
    }
    built
}

/// The layer for the application to install, and the logger behind it.
type Logging = (JsonLayer, Arc<dyn Logger>);

/// What every service is given.
struct Common {
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    sealer: Arc<dyn Sealer>,
    tagger: Arc<IdTagger>,
}

async fn build(
    mut settings: Settings,
    ((layer, logger), hub): (Logging, Arc<EventHub>),
    audit: Box<dyn AuditSource>,
    backends: Backends,
    mut leaves: Vec<Part>,
    opened: &mut Parts,
) -> Result<Foundation, FoundationError> {
    let metrics = start_metrics(&settings, opened)?;
    let observer: Arc<dyn Observer> = metrics.clone();
    let sink: Arc<dyn EventSink> = hub.clone();
    let emitter = Emitter::new(
        sink,
        Arc::clone(&settings.clock),
        Arc::clone(&settings.entropy),
    );
    let vault = start_vault(&settings, &backends, &emitter, &observer, opened).await?;
    let sealer: Arc<dyn Sealer> = Arc::new(vault.clone());
    let audit = start_audit(&settings, audit, &backends, &sealer, &observer, opened).await?;
    // The parts that stand for themselves; the services are as weak as these make them.
    leaves.extend([Part::of(&*audit.log), Part::of(&*audit.signer)]);
    posture::check(settings.profile, &leaves)?;
    hub.attach_audit(Arc::clone(&audit.sink))?;
    // Once more, so that the log hears of the system's own keys.
    sealer.provision(SealScope::System).await?;
    let key = sealer.mac_key(SealScope::System, TAG_LABEL).await?;
    let common = Common {
        emitter: emitter.clone(),
        observer,
        sealer,
        tagger: Arc::new(IdTagger::new(&key)),
    };
    let (tenants, databases) = start_tenants(&settings, &backends, &common, opened).await?;
    let auth = start_auth(&mut settings, &backends, &common, opened)?;
    let documents = start_storage(&settings, &backends, &common, opened).await?;
    let cache = start_cache(&settings, &backends, &common, opened)?;
    opened.add(Stage::Listeners, Weight::Degradable, hub.clone());
    listen(&settings, &hub, &metrics, &cache)?;
    let door = start_door(&settings, &backends, &common, &auth, &tenants);

    let parts: Vec<Part> = opened
        .iter()
        .map(|opened| Part::of(&*opened.part))
        .collect();
    let posture = posture::check(settings.profile, &parts)?;
    notice(&settings, &layer, &leaves);
    announce(&settings, &emitter).await?;
    let shredding = backends.vault.shredding.as_ref();
    let receipt_key = shredding.map(|parts| parts.signer.public_key());
    let keys = (audit.key(), receipt_key);
    let services = Services {
        audit: audit.log,
        embedded_audit: audit.embedded,
        auth,
        cache,
        databases,
        documents,
        door,
        emitter,
        encryption: Arc::new(vault.clone()),
        hub,
        logger,
        metrics,
        tenants,
        vault,
    };
    Ok(Foundation::new(
        settings,
        services,
        opened.clone(),
        (posture, layer),
        keys,
        backends.issuer,
    ))
}

fn start_logger(
    settings: &Settings,
    sinks: LogSinks,
    opened: &mut Parts,
) -> Result<Logging, FoundationError> {
    let parts = LoggerParts {
        clock: Arc::clone(&settings.clock),
        schemas: settings.schemas.clone(),
        sinks,
    };
    let (layer, logger) = JsonLogger::start(settings.config.logger.clone(), parts)?;
    let logger = Arc::new(logger);
    opened.add(Stage::Logger, Weight::Degradable, logger.clone());
    Ok((layer, logger))
}

fn start_metrics(
    settings: &Settings,
    opened: &mut Parts,
) -> Result<Arc<dyn Metrics>, FoundationError> {
    let metrics = OtelMetrics::new(Arc::clone(&settings.clock), settings.config.metrics)?;
    let metrics = Arc::new(metrics);
    opened.add(Stage::Metrics, Weight::Degradable, metrics.clone());
    Ok(metrics)
}

/// Opens the vault and makes the system's own keys, which the audit log needs before it opens.
async fn start_vault(
    settings: &Settings,
    backends: &Backends,
    emitter: &Emitter,
    observer: &Arc<dyn Observer>,
    opened: &mut Parts,
) -> Result<Vault, FoundationError> {
    let parts = VaultParts {
        root: Arc::clone(&backends.root),
        state: Arc::clone(&backends.state),
        emitter: emitter.clone(),
        observer: Arc::clone(observer),
        config: settings.config.encryption.clone(),
    };
    let vault = Vault::open_with(parts, backends.vault.clone()).await?;
    let part = Arc::new(vault.clone());
    opened.add(Stage::Encryption, Weight::Critical, part);
    vault.provision(SealScope::System).await?;
    Ok(vault)
}

async fn start_audit(
    settings: &Settings,
    source: Box<dyn AuditSource>,
    backends: &Backends,
    sealer: &Arc<dyn Sealer>,
    observer: &Arc<dyn Observer>,
    opened: &mut Parts,
) -> Result<OpenAudit, FoundationError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the audit log seals fields for tenants whatever their standing"
    )]
    let authority = Authority::assume("facade: the audit log records for every tenant");
    let ports = AuditPorts {
        clock: Arc::clone(&settings.clock),
        entropy: Arc::clone(&settings.entropy),
        sealer: Arc::clone(sealer),
        state: Arc::clone(&backends.state),
        alerts: settings.alert_sink(),
        observer: Arc::clone(observer),
        authority,
        config: settings.config.audit.clone(),
    };
    let audit = source.open(ports).await?;
    opened.add(Stage::Audit, Weight::Critical, audit.log.clone());
    opened.add(Stage::Audit, Weight::Critical, audit.signer.clone());
    Ok(audit)
}

async fn start_tenants(
    settings: &Settings,
    backends: &Backends,
    common: &Common,
    opened: &mut Parts,
) -> Result<(Arc<dyn Tenants>, Arc<SqliteTenants>), FoundationError> {
    let parts = SqliteParts {
        state: Arc::clone(&backends.state),
        clock: Arc::clone(&settings.clock),
        observer: Arc::clone(&common.observer),
    };
    let (dir, config) = (backends.databases.clone(), settings.config.databases);
    let databases = task::blocking(move || SqliteTenants::open(&dir, parts, config));
    let databases = Arc::new(databases.await??);
    let parts = TenantParts {
        state: Arc::clone(&backends.state),
        sealer: Arc::clone(&common.sealer),
        emitter: common.emitter.clone(),
        observer: Arc::clone(&common.observer),
        databases: Arc::clone(&databases),
        tagger: Arc::clone(&common.tagger),
    };
    let tenants = Arc::new(KvTenants::open(parts, settings.config.tenants)?);
    opened.add(Stage::Services, Weight::Critical, tenants.clone());
    Ok((tenants, databases))
}

fn start_auth(
    settings: &mut Settings,
    backends: &Backends,
    common: &Common,
    opened: &mut Parts,
) -> Result<Arc<dyn Auth>, FoundationError> {
    let parts = AuthParts {
        state: Arc::clone(&backends.state),
        sealer: Arc::clone(&common.sealer),
        limiter: Arc::clone(&backends.limiter),
        emitter: common.emitter.clone(),
        observer: Arc::clone(&common.observer),
        tagger: Arc::clone(&common.tagger),
        verifier: backends.verifier.clone(),
        roles: std::mem::take(&mut settings.roles),
    };
    let auth = Arc::new(EmbeddedAuth::open(parts, settings.config.auth.clone())?);
    opened.add(Stage::Services, Weight::Critical, auth.clone());
    Ok(auth)
}

async fn start_storage(
    settings: &Settings,
    backends: &Backends,
    common: &Common,
    opened: &mut Parts,
) -> Result<Arc<dyn DocumentStore>, FoundationError> {
    let parts = StorageParts {
        objects: backends.objects.clone(),
        sealer: Arc::clone(&common.sealer),
        scanner: Arc::clone(&backends.scanner),
        emitter: common.emitter.clone(),
        observer: Arc::clone(&common.observer),
        tagger: Arc::clone(&common.tagger),
    };
    let documents = ObjectDocuments::open(parts, settings.config.storage.clone()).await?;
    let documents = Arc::new(documents);
    opened.add(Stage::Services, Weight::Critical, documents.clone());
    Ok(documents)
}

fn start_cache(
    settings: &Settings,
    backends: &Backends,
    common: &Common,
    opened: &mut Parts,
) -> Result<Arc<dyn Cache>, FoundationError> {
    let parts = CacheParts {
        sealer: Arc::clone(&common.sealer),
        durable: backends.cache_tier.clone(),
        emitter: common.emitter.clone(),
        observer: Arc::clone(&common.observer),
    };
    let cache = Arc::new(TieredCache::open(parts, settings.config.cache)?);
    opened.add(Stage::Services, Weight::Degradable, cache.clone());
    Ok(cache)
}

fn start_door(
    settings: &Settings,
    backends: &Backends,
    common: &Common,
    auth: &Arc<dyn Auth>,
    tenants: &Arc<dyn Tenants>,
) -> Arc<Door> {
    let parts = DoorParts {
        auth: Arc::clone(auth),
        tenants: Arc::clone(tenants),
        limiter: Arc::clone(&backends.limiter),
        clock: Arc::clone(&settings.clock),
        entropy: Arc::clone(&settings.entropy),
        observer: Arc::clone(&common.observer),
    };
    Arc::new(Door::new(parts, settings.config.door))
}

fn listen(
    settings: &Settings,
    hub: &EventHub,
    metrics: &Arc<dyn Metrics>,
    cache: &Arc<dyn Cache>,
) -> Result<(), FoundationError> {
    let own: [Arc<dyn EventListener>; 3] = [
        Arc::new(EventMetrics::new(Arc::clone(metrics))),
        Arc::new(EventLog),
        Arc::new(CacheClearing::new(cache)),
    ];
    for listener in own.into_iter().chain(settings.listeners.iter().cloned()) {
        let counter = listeners::missed(&**metrics, listener.name())?;
        hub.listen(listener, settings.config.listener_queue, Some(counter));
    }
    Ok(())
}

/// Says loudly which parts are for development only. The layer is not installed yet, so the line
/// goes straight through it as well, into the foundation's own log.
fn notice(settings: &Settings, layer: &JsonLayer, parts: &[Part]) {
    let names = posture::conveniences(parts);
    if names.is_empty() {
        return;
    }
    let names = names.join(" ");
    let warn = || {
        tracing::warn!(
            profile = settings.profile.as_str(),
            parts = names,
            "NOT FIT FOR PRODUCTION: these parts are for development; with the files of the data \
             directory anybody can read everything"
        );
    };
    warn();
    let subscriber = tracing_subscriber::registry().with(layer.clone().filtered());
    tracing::subscriber::with_default(subscriber, warn);
}

/// SYS-001.
async fn announce(settings: &Settings, emitter: &Emitter) -> Result<(), FoundationError> {
    let cx = RequestContext::system("foundation", &*settings.clock, &*settings.entropy);
    let started = system::Started {
        node: settings.config.node.clone(),
        version: VERSION,
        config: Digest::of(format!("{:?}", settings.config).as_bytes()),
    };
    Ok(emitter.emit(&cx, started).await?)
}
