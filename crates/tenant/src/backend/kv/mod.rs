//! The tenant service on a key-value store: every read goes to the store, so that a suspension
//! bites with the commit that wrote it.

mod commands;
mod offboarding;
mod onboarding;
mod resolving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::event::{Code, Digest, Emitter, ObjectRef};
use eonpro_core::id::{IdTagger, TenantId};
use eonpro_core::port::{KeyValue, Observer, Operation, SealScope, Sealer, Timer};
use eonpro_core::scope::Authority;
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope, VerifiedIdentity};

use crate::backend::sqlite::SqliteTenants;
use crate::config::{MAX_PAGE, TenantConfig};
use crate::directory::Directory;
use crate::error::TenantError;
use crate::events;
use crate::idempotency::IdempotencyKey;
use crate::record::{Command, NewTenant, RecordVersion, TenantRecord};
use crate::resolution::Hints;
use crate::service::{Erasure, Page, Tenants};
use crate::slug::TenantSlug;

/// How often a step without an expected version is tried again when others change the record.
const MAX_TRIES: usize = 8;

#[expect(
    clippy::disallowed_methods,
    reason = "this service is the one that resolves tenants and makes and destroys their keys"
)]
static AUTHORITY: Authority = Authority::assume("tenant: resolution, provisioning, erasure");

/// What the service is made from.
#[derive(Debug)]
pub struct TenantParts {
    /// Where the directory is kept.
    pub state: Arc<dyn KeyValue>,
    /// Makes and destroys the tenants' keys.
    pub sealer: Arc<dyn Sealer>,
    /// Announces TEN-001 to TEN-005.
    pub emitter: Emitter,
    /// Hears of each operation.
    pub observer: Arc<dyn Observer>,
    /// The tenants' databases, on the same `state`.
    pub databases: Arc<SqliteTenants>,
    /// Tags the ids that leave the system.
    pub tagger: Arc<IdTagger>,
}

/// Tenants in a [`KeyValue`]; each call reads the store anew.
#[derive(Debug)]
pub struct KvTenants {
    directory: Directory,
    sealer: Arc<dyn Sealer>,
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    databases: Arc<SqliteTenants>,
    tagger: Arc<IdTagger>,
    config: TenantConfig,
    closed: AtomicBool,
    // Two destructions at a time would announce twice what happens once.
    shredding: tokio::sync::Mutex<()>,
}

impl KvTenants {
    /// The service on `parts.state`; reads nothing yet.
    ///
    /// # Errors
    /// [`TenantError::Config`].
    pub fn open(parts: TenantParts, config: TenantConfig) -> Result<Self, TenantError> {
        config.check()?;
        Ok(Self {
            directory: Directory::new(parts.state),
            sealer: parts.sealer,
            emitter: parts.emitter,
            observer: parts.observer,
            databases: parts.databases,
            tagger: parts.tagger,
            config,
            closed: AtomicBool::new(false),
            shredding: tokio::sync::Mutex::default(),
        })
    }

    /// The tenants' databases.
    #[must_use]
    pub fn databases(&self) -> &Arc<SqliteTenants> {
        &self.databases
    }

    fn timer(&self, name: &'static str) -> Timer<'_> {
        let op = Operation::new("tenant", name);
        Timer::start(op, &**self.emitter.clock(), &*self.observer)
    }

    fn now(&self) -> Timestamp {
        self.emitter.clock().wall()
    }

    fn receipts_until(&self) -> Timestamp {
        self.now().plus(self.config.receipts_kept)
    }

    fn check_open(&self) -> Result<(), TenantError> {
        if self.closed.load(Ordering::Acquire) {
            Err(TenantError::Closed)
        } else {
            Ok(())
        }
    }
}

fn keys_of(tenant: TenantId) -> SealScope {
    SealScope::of_tenant(&AUTHORITY, tenant)
}

#[async_trait]
impl Component for KvTenants {
    fn name(&self) -> &'static str {
        "tenant"
    }

    fn posture(&self) -> Posture {
        let durable = self.directory.state().capabilities().durable;
        Posture {
            durability: if durable {
                Durability::Durable
            } else {
                Durability::Volatile
            },
            // The MAC of id tags.
            crypto: Validation::NotValidated,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        if self.check_open().is_err() {
            return Health::Unhealthy("closed");
        }
        match self.directory.state().health().await {
            Health::Healthy => self.databases.health().await,
            unwell => unwell,
        }
    }

    /// Closes the databases too. The store stays open: others use it.
    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.databases.close().await;
    }
}

#[async_trait]
impl Tenants for KvTenants {
    async fn onboard(
        &self,
        cx: &RequestContext,
        new: NewTenant,
        idem: IdempotencyKey,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("onboard");
        timer.end(self.onboard_once(cx, new, &idem).await)
    }

    async fn get(&self, _cx: &RequestContext, id: TenantId) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("get");
        timer.end(self.directory.load(id).await.map(|loaded| loaded.record))
    }

    async fn by_slug(
        &self,
        _cx: &RequestContext,
        slug: &TenantSlug,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("by_slug");
        let found = self.directory.by_slug(slug).await;
        timer.end(found.map(|loaded| loaded.record))
    }

    async fn list(
        &self,
        _cx: &RequestContext,
        page: Page,
    ) -> Result<Vec<TenantRecord>, TenantError> {
        self.check_open()?;
        let timer = self.timer("list");
        let limit = page.limit.min(MAX_PAGE);
        timer.end(self.directory.page(page.after, limit).await)
    }

    async fn apply(
        &self,
        cx: &RequestContext,
        id: TenantId,
        command: Command,
        expected: RecordVersion,
        idem: IdempotencyKey,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("apply");
        timer.end(self.apply_once(cx, id, command, expected, &idem).await)
    }

    async fn resolve(
        &self,
        cx: RequestContext,
        identity: &VerifiedIdentity,
        hints: &Hints,
    ) -> Result<RequestContext, TenantError> {
        self.check_open()?;
        let timer = self.timer("resolve");
        timer.end(self.resolved(cx, identity, hints).await)
    }

    async fn begin_offboarding(
        &self,
        _cx: &RequestContext,
        id: TenantId,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("begin_offboarding");
        timer.end(self.freeze(id).await)
    }

    async fn export_scope(
        &self,
        cx: RequestContext,
        id: TenantId,
    ) -> Result<TenantScope, TenantError> {
        self.check_open()?;
        let timer = self.timer("export_scope");
        timer.end(self.exporting(cx, id).await)
    }

    async fn record_export(
        &self,
        _cx: &RequestContext,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("record_export");
        timer.end(self.exported(id, export).await)
    }

    async fn approve(
        &self,
        cx: &RequestContext,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError> {
        self.check_open()?;
        let timer = self.timer("approve");
        timer.end(self.approved(cx, id, export).await)
    }

    async fn shred(
        &self,
        cx: &RequestContext,
        id: TenantId,
        log_size: u64,
    ) -> Result<Erasure, TenantError> {
        self.check_open()?;
        let timer = self.timer("shred");
        timer.end(self.erase(cx, id, log_size).await)
    }

    async fn violation(
        &self,
        scope: &TenantScope,
        object: ObjectRef,
        layer: Code,
    ) -> Result<(), TenantError> {
        let timer = self.timer("violation");
        // Also after closing: a refusal must not go unrecorded.
        let emitted = events::violation(&self.emitter, scope, object, layer).await;
        timer.end(emitted.map_err(TenantError::from))
    }

    fn tagger(&self) -> &IdTagger {
        &self.tagger
    }
}
