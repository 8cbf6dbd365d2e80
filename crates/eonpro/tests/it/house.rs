//! What the tests of the foundation share.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eonpro::audit::AuditLog;
use eonpro::core::component::Component;
use eonpro::core::event::{Code, EmitError, Event, EventSink, Outcome};
use eonpro::core::id::{ActorId, RowId};
use eonpro::core::phi::Phi;
use eonpro::core::purpose::PurposeOfUse;
use eonpro::core::{RequestContext, TenantScope};
use eonpro::encryption::PhiRecord;
use eonpro::tenant::{IdempotencyKey, NewTenant, TenantSlug};
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

/// Onboards a clinic and admits somebody to it.
pub(crate) async fn admitted(foundation: &Foundation) -> TenantScope {
    let new = NewTenant::new(
        TenantSlug::new("clinic-7").unwrap(),
        Code::constant("eu-central"),
        Code::constant("baa-7"),
    );
    let once = IdempotencyKey::new("clinic-7").unwrap();
    let cx = foundation.chore("test");
    let tenant = foundation.tenants().onboard(&cx, new, once).await.unwrap();
    let who = eonpro::auth::NewToken::new(ActorId::new("dr.grey").unwrap(), tenant.id());
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

/// The audit log of a directory, whose sink refuses everything.
#[derive(Debug)]
pub(crate) struct Refusing(pub(crate) eonpro::AuditDirectory);

#[async_trait]
impl AuditSource for Refusing {
    async fn open(self: Box<Self>, ports: AuditPorts) -> Result<OpenAudit, FoundationError> {
        let open = Box::new(self.0).open(ports).await?;
        Ok(OpenAudit {
            sink: Arc::new(Broken),
            ..open
        })
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
    let log = eonpro::audit::LogId::System;
    let entries = audit.read(cx, &log, 0..u64::MAX).await.unwrap();
    entries
        .iter()
        .map(|view| view.entry().unwrap().code)
        .collect()
}

/// Whether the part refuses to work, as every closed part does.
pub(crate) async fn is_closed(part: &dyn Component) -> bool {
    matches!(
        part.health().await,
        eonpro::core::component::Health::Unhealthy(_)
    )
}
