//! The foundation: all eight services, ready to use.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eonpro_audit::{AuditLog, EmbeddedAudit, VerifyingKey};
use eonpro_auth::{Auth, DevIssuer};
use eonpro_cache::Cache;
use eonpro_core::component::Posture;
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::Emitter;
use eonpro_core::event::catalogue::system;
use eonpro_core::phi::PhiSchema;
use eonpro_core::time::SharedClock;
use eonpro_core::{RequestContext, task};
use eonpro_encryption::{CryptoProfile, Encryption, Vault, data_map_page};
use eonpro_logger::{JsonLayer, Logger};
use eonpro_metrics::Metrics;
use eonpro_storage::DocumentStore;
use eonpro_tenant::{SqliteTenants, Tenants};
use eonpro_tower::Door;
use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::builder::{Builder, Missing, Settings};
use crate::config::FoundationConfig;
use crate::health::{self, HealthReport};
use crate::hub::EventHub;
use crate::profile::Profile;
use crate::shutdown::{Parts, ShutdownReport, Stage};

/// The services of a foundation.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) embedded_audit: Option<Arc<EmbeddedAudit>>,
    pub(crate) auth: Arc<dyn Auth>,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) databases: Arc<SqliteTenants>,
    pub(crate) documents: Arc<dyn DocumentStore>,
    pub(crate) door: Arc<Door>,
    pub(crate) emitter: Emitter,
    pub(crate) encryption: Arc<dyn Encryption>,
    pub(crate) hub: Arc<EventHub>,
    pub(crate) logger: Arc<dyn Logger>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) tenants: Arc<dyn Tenants>,
    pub(crate) vault: Vault,
}

/// All services of one system. Cheap to clone; all clones are one foundation.
///
/// End it with [`shutdown`](Self::shutdown). Dropped without, it keeps what was acknowledged and
/// frees its files some time after its last clone, but says nothing of its end and signs no last
/// checkpoint.
#[derive(Debug, Clone)]
pub struct Foundation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    services: Services,
    parts: Parts,
    posture: Posture,
    layer: JsonLayer,
    audit_key: VerifyingKey,
    receipt_key: Option<[u8; 32]>,
    issuer: Option<Arc<DevIssuer>>,
    ending: AtomicBool,
    ended: watch::Sender<Option<ShutdownReport>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Audit, vault and hub hold each other.
        self.services.hub.release();
    }
}

impl Foundation {
    /// Begins a foundation for `profile`: give it an audit log and backends, then build it.
    pub fn builder(profile: Profile) -> Builder<Missing, Missing> {
        Builder::new(profile)
    }

    /// Begins a foundation with everything in `dir`, for development and small installations.
    #[cfg(feature = "embedded")]
    pub fn embedded(dir: impl Into<std::path::PathBuf>) -> crate::builder::CompleteBuilder {
        let dir = crate::embedded::EmbeddedDirectory::at(dir);
        let audit = dir.audit();
        Self::builder(Profile::Embedded).backends(dir).audit(audit)
    }

    pub(crate) fn new(
        settings: Settings,
        services: Services,
        parts: Parts,
        (posture, layer): (Posture, JsonLayer),
        (audit_key, receipt_key): (VerifyingKey, Option<[u8; 32]>),
        issuer: Option<Arc<DevIssuer>>,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            services,
            parts,
            posture,
            layer,
            audit_key,
            receipt_key,
            issuer,
            ending: AtomicBool::new(false),
            ended: watch::Sender::new(None),
        }))
    }

    /// What it is run for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.0.settings.profile
    }

    /// How strong it is: as strong as its weakest part.
    #[must_use]
    pub fn posture(&self) -> Posture {
        self.0.posture
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &FoundationConfig {
        &self.0.settings.config
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.0.settings.clock
    }

    /// Its source of ids.
    #[must_use]
    pub fn entropy(&self) -> &SharedEntropy {
        &self.0.settings.entropy
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Arc<dyn AuditLog> {
        &self.0.services.audit
    }

    /// The audit log with what only the embedded one can do: revealing, disclosing and erasing patients,
    /// legal holds and pruning, the change of its key, its archive. `None` where another log was given.
    #[must_use]
    pub fn embedded_audit(&self) -> Option<&Arc<EmbeddedAudit>> {
        self.0.services.embedded_audit.as_ref()
    }

    /// What the audit log's checkpoints verify with. Keep it outside of the machine.
    #[must_use]
    pub fn audit_key(&self) -> VerifyingKey {
        self.0.audit_key
    }

    /// Authentication, sessions and authorization.
    #[must_use]
    pub fn auth(&self) -> &Arc<dyn Auth> {
        &self.0.services.auth
    }

    /// The development issuer, where there is one.
    #[must_use]
    pub fn issuer(&self) -> Option<&Arc<DevIssuer>> {
        self.0.issuer.as_ref()
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<dyn Cache> {
        &self.0.services.cache
    }

    /// The tenants' databases.
    #[must_use]
    pub fn databases(&self) -> &Arc<SqliteTenants> {
        &self.0.services.databases
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> &Arc<dyn DocumentStore> {
        &self.0.services.documents
    }

    /// The way in: from a token to a request context.
    #[must_use]
    pub fn door(&self) -> &Arc<Door> {
        &self.0.services.door
    }

    /// Announces the application's own events, such as `phi.record.viewed`.
    #[must_use]
    pub fn emitter(&self) -> &Emitter {
        &self.0.services.emitter
    }

    /// Encryption.
    #[must_use]
    pub fn encryption(&self) -> &Arc<dyn Encryption> {
        &self.0.services.encryption
    }

    /// The vault behind [`Self::encryption`], for chores: a `Rotator`, Tink keysets, recovery. For epochs
    /// that are due there is [`maintain_keys`](Self::maintain_keys).
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.services.vault
    }

    /// Which library does the cryptography of sealing, and whether a certificate covers it.
    #[must_use]
    pub fn crypto_profile(&self) -> CryptoProfile {
        self.encryption().profile()
    }

    /// What receipts of shreds verify with, if this foundation signs any. Keep it outside of the machine.
    #[must_use]
    pub fn receipt_key(&self) -> Option<[u8; 32]> {
        self.0.receipt_key
    }

    /// The event hub.
    #[must_use]
    pub fn hub(&self) -> &Arc<EventHub> {
        &self.0.services.hub
    }

    /// The logger's counters, and its flush.
    #[must_use]
    pub fn logger(&self) -> &Arc<dyn Logger> {
        &self.0.services.logger
    }

    /// The logging layer, for the application to install:
    /// `tracing_subscriber::registry().with(foundation.log_layer().filtered())`. One per process.
    #[must_use]
    pub fn log_layer(&self) -> JsonLayer {
        self.0.layer.clone()
    }

    /// Metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<dyn Metrics> {
        &self.0.services.metrics
    }

    /// The directory of tenants.
    #[must_use]
    pub fn tenants(&self) -> &Arc<dyn Tenants> {
        &self.0.services.tenants
    }

    /// The PHI records that the application taught.
    #[must_use]
    pub fn schemas(&self) -> &[&'static PhiSchema] {
        &self.0.settings.schemas
    }

    /// The PHI data map of those records, in Markdown, for `application`.
    #[must_use]
    pub fn data_map(&self, application: &str) -> String {
        data_map_page(application, self.schemas())
    }

    /// The context of a chore that the application runs by itself, such as `nightly-export`.
    #[must_use]
    pub fn chore(&self, name: &'static str) -> RequestContext {
        RequestContext::system(name, &**self.clock(), &**self.entropy())
    }

    /// How every part is doing. Cancel-safe; takes no longer than the health budget.
    pub async fn health(&self) -> HealthReport {
        let inner = &*self.0;
        let parts = inner.parts.iter();
        let parts = parts.map(|opened| (opened.weight, Arc::clone(&opened.part)));
        let parts = health::ask(parts, &**self.clock(), self.config().health_budget).await;
        HealthReport {
            parts,
            crypto: self.crypto_profile(),
        }
    }

    /// Closes everything in order: the services, SYS-002 and the listeners, audit, encryption, the
    /// state, metrics, the logger. Each part has its own budget.
    ///
    /// Idempotent: a repeat returns the first report. It runs to its end even if the future is
    /// dropped. Stop taking requests before.
    pub async fn shutdown(&self) -> ShutdownReport {
        let lost = ShutdownReport {
            parts: Vec::new(),
            recorded: false,
        };
        if !self.0.ending.swap(true, Ordering::AcqRel) {
            let (this, lost) = (self.clone(), lost.clone());
            drop(task::start(async move {
                let own = this.clone();
                let closed = task::outlive(async move { own.close().await });
                this.0
                    .ended
                    .send_replace(Some(closed.await.unwrap_or(lost)));
            }));
        }
        let mut ended = self.0.ended.subscribe();
        // The sender lives in self, so the wait ends with a report.
        let report = ended.wait_for(Option::is_some).await;
        report
            .ok()
            .and_then(|report| report.clone())
            .unwrap_or(lost)
    }

    async fn close(&self) -> ShutdownReport {
        let (clock, budget) = (&**self.clock(), self.config().step_budget);
        let parts = &self.0.parts;
        let services = parts.close(Stage::Services, Stage::Services, clock, budget);
        let mut closed = services.await;
        let stopped = system::Stopped {
            node: self.config().node.clone(),
            clean: closed.iter().all(|part| part.ended),
            last_index: self.audit().stats().entries,
        };
        let recorded = self.record_end(stopped).await;
        let rest = parts.close(Stage::Listeners, Stage::Logger, clock, budget);
        closed.extend(rest.await);
        ShutdownReport {
            parts: closed,
            recorded,
        }
    }

    /// Records SYS-002 within the budget of a step; an audit log that does not answer holds up
    /// nobody's end.
    async fn record_end(&self, stopped: system::Stopped) -> bool {
        let until = self.clock().monotonic().plus(self.config().step_budget);
        let cx = self.chore("foundation").with_deadline(until);
        let emitter = self.emitter().clone();
        let recording = pin!(task::outlive(
            async move { emitter.emit(&cx, stopped).await }
        ));
        match select(recording, pin!(self.clock().sleep_until(until))).await {
            Either::Left((Ok(recorded), _)) => recorded.is_ok(),
            Either::Left((Err(_), _)) | Either::Right(_) => false,
        }
    }
}
