//! What the tests of the foundation share.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eonpro::audit::{
    AuditError, AuditLog, DirectoryHead, EntryView, LogId, Page, Query, Receipt, Report, Stats,
};
use eonpro::core::component::{Component, Health, Posture};
use eonpro::core::event::{Code, Digest, EmitError, Event, EventSink, Outcome};
use eonpro::core::id::{ActorId, RowId, TenantId};
use eonpro::core::phi::Phi;
use eonpro::core::purpose::PurposeOfUse;
use eonpro::core::{RequestContext, TenantScope};
use eonpro::encryption::PhiRecord;
use eonpro::tenant::{IdempotencyKey, NewTenant, TenantError, TenantRecord, TenantSlug};
use eonpro::{
    AuditPorts, AuditSource, Backends, Backing, EmbeddedDirectory, EventListener, Foundation,
    FoundationError, Ground, LogSinks, OpenAudit,
};

/// A record with one sealed field.
#[derive(PhiRecord)]
#[phi(table = "patients", crate = "eonpro::core")]
pub(crate) struct Patient {
    #[phi(row)]
    pub(crate) id: RowId,
    #[phi(seal, index(normalizer = "folded"))]
    pub(crate) nickname: Phi<String>,
}

pub(crate) async fn embedded(dir: &Path) -> Foundation {
    let builder = Foundation::embedded(dir).records::<(Patient,)>();
    builder.build().await.unwrap()
}

/// Onboards a clinic; once only, however often it is asked.
pub(crate) async fn onboarded(foundation: &Foundation, slug: &str) -> TenantRecord {
    try_onboarding(foundation, slug).await.unwrap()
}

/// Onboards a clinic, or goes on with an onboarding that failed.
pub(crate) async fn try_onboarding(
    foundation: &Foundation,
    slug: &str,
) -> Result<TenantRecord, TenantError> {
    let new = NewTenant::new(
        TenantSlug::new(slug).unwrap(),
        Code::constant("eu-central"),
        Code::constant("baa-7"),
    );
    let once = IdempotencyKey::new(slug).unwrap();
    let cx = foundation.chore("test");
    foundation.tenants().onboard(&cx, new, once).await
}

/// Onboards a clinic and admits somebody to it.
pub(crate) async fn admitted(foundation: &Foundation) -> TenantScope {
    let tenant = onboarded(foundation, "clinic-7").await;
    admitted_as(foundation, tenant.id(), "dr.grey").await
}

/// Admits somebody to a clinic.
pub(crate) async fn admitted_as(
    foundation: &Foundation,
    tenant: TenantId,
    name: &str,
) -> TenantScope {
    let who = eonpro::auth::NewToken::new(ActorId::new(name).unwrap(), tenant);
    let token = foundation.issuer().unwrap().issue(&who).unwrap();
    let peer = "192.0.2.7".parse().unwrap();
    let cx = foundation
        .door()
        .admit(token.expose(), peer, PurposeOfUse::Treatment)
        .await;
    cx.unwrap().tenant_scope().unwrap()
}

/// A listener that remembers codes and waits until it is let go on.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) heard: Mutex<Vec<&'static str>>,
    pub(crate) gate: tokio::sync::Semaphore,
}

impl Slow {
    pub(crate) fn stuck() -> Arc<Self> {
        Arc::new(Self {
            heard: Mutex::default(),
            gate: tokio::sync::Semaphore::new(0),
        })
    }
}

#[async_trait]
impl EventListener for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn hear(&self, _: &RequestContext, event: &Arc<Event>) {
        self.gate.acquire().await.unwrap().forget();
        self.heard.lock().unwrap().push(event.kind().code);
    }
}

/// An audit log that takes nothing.
#[derive(Debug)]
pub(crate) struct Broken;

#[async_trait]
impl EventSink for Broken {
    async fn emit(&self, _: &RequestContext, _: &Arc<Event>) -> Result<(), EmitError> {
        Err(EmitError::NotWritten("broken".into()))
    }
}

pub(crate) fn event(clock: &dyn eonpro::core::time::Clock) -> Arc<Event> {
    let stopped = eonpro::core::event::catalogue::system::Stopped {
        node: Code::constant("n1"),
        clean: true,
        last_index: 1,
    };
    let entropy = eonpro::core::entropy::SystemEntropy::new();
    Event::new(stopped, Outcome::Success, clock, &entropy)
}

/// How an audit log answers to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Refuse,
    /// As it should, until the node stops; then never.
    NeverAtTheEnd,
}

/// The audit log of a directory, which does not answer to events as it should.
#[derive(Debug)]
pub(crate) struct Deaf(pub(crate) eonpro::AuditDirectory, pub(crate) Answer);

#[derive(Debug)]
struct DeafLog(Arc<dyn AuditLog>, Answer);

#[async_trait]
impl Component for DeafLog {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn posture(&self) -> Posture {
        self.0.posture()
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl EventSink for DeafLog {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        match self.1 {
            Answer::Refuse => Err(EmitError::NotWritten("broken".into())),
            Answer::NeverAtTheEnd if event.kind().code == "SYS-002" => std::future::pending().await,
            Answer::NeverAtTheEnd => match self.0.append(cx, event).await {
                Ok(_) => Ok(()),
                Err(error) => Err(EmitError::NotWritten(error.into())),
            },
        }
    }
}

#[async_trait]
impl AuditLog for DeafLog {
    async fn append(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<Receipt, AuditError> {
        self.0.append(cx, event).await
    }

    async fn append_batch(
        &self,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        self.0.append_batch(cx, events).await
    }

    async fn barrier(&self) -> Result<(), AuditError> {
        self.0.barrier().await
    }

    async fn checkpoint(&self) -> Result<DirectoryHead, AuditError> {
        self.0.checkpoint().await
    }

    async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        self.0.read(cx, log, range).await
    }

    async fn query(&self, cx: &RequestContext, query: &Query) -> Result<Page, AuditError> {
        self.0.query(cx, query).await
    }

    async fn prove(
        &self,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        self.0.prove(cx, log, index, size).await
    }

    async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        self.0.prove_growth(cx, log, old, new).await
    }

    async fn signed_head(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError> {
        self.0.signed_head(cx, log).await
    }

    async fn verify(&self, cx: &RequestContext) -> Result<Report, AuditError> {
        self.0.verify(cx).await
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}

#[async_trait]
impl AuditSource for Deaf {
    async fn open(self: Box<Self>, ports: AuditPorts) -> Result<OpenAudit, FoundationError> {
        let open = Box::new(self.0).open(ports).await?;
        let log = DeafLog(Arc::clone(open.log()), self.1);
        Ok(OpenAudit::new(Arc::new(log), Arc::clone(open.signer())))
    }
}
/// The backends of a directory, changed before they are used.
pub(crate) struct Changed<F> {
    pub(crate) dir: EmbeddedDirectory,
    pub(crate) change: F,
}

impl<F> std::fmt::Debug for Changed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changed")
    }
}

#[async_trait]
impl<F: FnOnce(&mut Backends) + Send + 'static> Backing for Changed<F> {
    async fn open(
        self: Box<Self>,
        ground: Ground,
    ) -> Result<(Backends, LogSinks), FoundationError> {
        let (mut backends, sinks) = Box::new(self.dir).open(ground).await?;
        (self.change)(&mut backends);
        Ok((backends, sinks))
    }
}

/// The codes in the system's log.
pub(crate) async fn system_codes(audit: &dyn AuditLog, cx: &RequestContext) -> Vec<String> {
    let log = LogId::System;
    let entries = audit.read(cx, &log, 0..u64::MAX).await.unwrap();
    entries
        .iter()
        .map(|view| view.entry().unwrap().code)
        .collect()
}

/// Whether the part refuses to work, as every closed part does.
pub(crate) async fn is_closed(part: &dyn Component) -> bool {
    matches!(part.health().await, Health::Unhealthy(_))
}
