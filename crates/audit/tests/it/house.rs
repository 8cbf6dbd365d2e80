//! A log in a directory of its own, with everything it needs.

use std::path::Path;
use std::sync::Arc;

use eonpro_audit::{
    AuditConfig, AuditError, AuditParts, EmbeddedAudit, KeyFileSigner, VerifyingKey,
};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SeededEntropy, SharedEntropy};
use eonpro_core::event::catalogue::{phi, system, tenant};
use eonpro_core::event::{Code, Event, EventData, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, Signer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope};
use tempfile::TempDir;

pub(crate) struct House {
    pub(crate) dir: TempDir,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) alerts: Arc<RecordingAlerts>,
    pub(crate) state: Arc<MemoryKeyValue>,
    pub(crate) config: AuditConfig,
}

impl House {
    pub(crate) fn new() -> Self {
        let mut config = AuditConfig::default();
        config.fill_bytes = 64 * 1024;
        config.checkpoint_every = 0;
        let clock: SharedClock = Arc::new(SystemClock::new());
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            clock,
            entropy: Arc::new(SeededEntropy::new(0xa0d17)),
            sealer: TestSealer::ready_for(&[&scope(1), &scope(2), &scope(3)]),
            alerts: RecordingAlerts::new(),
            config,
        }
    }

    pub(crate) fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("audit")
    }

    pub(crate) fn signer(&self) -> KeyFileSigner {
        KeyFileSigner::open_or_create(&self.dir.path().join("audit.key")).unwrap()
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(self.signer().public_key())
    }

    pub(crate) fn parts(&self) -> AuditParts {
        AuditParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            sealer: self.sealer.clone(),
            signer: Arc::new(self.signer()),
            state: self.state.clone(),
            alerts: self.alerts.clone(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        }
    }

    pub(crate) async fn try_open(&self) -> Result<EmbeddedAudit, AuditError> {
        EmbeddedAudit::open(&self.log(), self.parts(), self.config.clone()).await
    }

    pub(crate) async fn open(&self) -> EmbeddedAudit {
        self.try_open().await.unwrap()
    }

    /// A clinician of tenant `number`.
    pub(crate) fn cx(&self, number: u128) -> RequestContext {
        context(number, Actors::Clinician, &*self.clock, &*self.entropy)
    }

    /// The system itself.
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

    pub(crate) fn stopped(&self) -> Arc<Event> {
        self.event(system::Stopped {
            node: Code::constant("n1"),
            clean: true,
            last_index: 1,
        })
    }

    /// A critical event: somebody of tenant 1 reached for tenant 2.
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

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// All bytes of all files below `dir`.
pub(crate) fn every_byte(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(every_byte(&path));
        } else {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}
