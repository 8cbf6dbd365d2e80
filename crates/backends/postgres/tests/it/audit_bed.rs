//! An audit log on a real server, with everything it needs.

use std::sync::Arc;

use eonpro_audit::{AuditConfig, AuditError, AuditParts, EntryView, KeyFileSigner, VerifyingKey};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SharedEntropy, SystemEntropy};
use eonpro_core::event::catalogue::{phi, tenant};
use eonpro_core::event::{Code, Event, EventData, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, Signer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_postgres::{PgAudit, PgConfig};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope};
use tempfile::TempDir;

pub(crate) struct AuditBed {
    dir: TempDir,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    sealer: Arc<TestSealer>,
    state: Arc<MemoryKeyValue>,
    pub(crate) alerts: Arc<RecordingAlerts>,
    pub(crate) audit: AuditConfig,
}

/// Whether an entry is the record of a reading.
pub(crate) fn is_reading(view: &EntryView) -> bool {
    view.entry().unwrap().code == "AUD-003"
}

impl AuditBed {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(SystemClock::new()))
    }

    pub(crate) fn with(clock: SharedClock) -> Self {
        let mut audit = AuditConfig::default();
        audit.checkpoint_every = 0;
        // A machine that does much else is no failure.
        audit.queue_wait = std::time::Duration::from_secs(120);
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            clock,
            entropy: Arc::new(SystemEntropy::new()),
            sealer: TestSealer::ready_for(&[&scope(1), &scope(2), &scope(3)]),
            alerts: RecordingAlerts::new(),
            audit,
        }
    }

    fn signer(&self) -> KeyFileSigner {
        KeyFileSigner::open_or_create(&self.dir.path().join("audit.key")).unwrap()
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(self.signer().public_key())
    }

    pub(crate) async fn try_open(&self, config: &PgConfig) -> Result<PgAudit, AuditError> {
        let parts = AuditParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            sealer: self.sealer.clone(),
            signer: Arc::new(self.signer()),
            state: self.state.clone(),
            alerts: self.alerts.clone(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        };
        PgAudit::open(config, parts, self.audit.clone()).await
    }

    pub(crate) async fn open(&self, config: &PgConfig) -> Arc<PgAudit> {
        Arc::new(self.try_open(config).await.unwrap())
    }

    pub(crate) fn cx(&self, number: u128) -> RequestContext {
        context(number, Actors::Clinician, &*self.clock, &*self.entropy)
    }

    pub(crate) fn system(&self) -> RequestContext {
        RequestContext::system("test", &*self.clock, &*self.entropy)
    }

    pub(crate) fn event(&self, data: impl EventData) -> Arc<Event> {
        Event::new(data, Outcome::Success, &*self.clock, &*self.entropy)
    }

    pub(crate) fn viewed(&self) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        self.event(phi::RecordViewed {
            patient: SubjectId::random(&*self.entropy),
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        })
    }

    /// An event that deserves an alert.
    pub(crate) fn crossed(&self) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        self.event(tenant::IsolationViolationBlocked {
            actor_tenant: eonpro_testkit::tenant_id(1),
            target_tenant: Some(eonpro_testkit::tenant_id(2)),
            object: ObjectRef::new(Code::constant("patient"), row),
            layer: Code::constant("id"),
        })
    }
}
