//! The log under measurement, with a vault of its own, and events of one kind.

use std::path::Path;
use std::sync::Arc;

use eonpro_audit::{
    AuditConfig, AuditLog as _, AuditParts, EmbeddedAudit, KeyFileSigner, VerifyingKey,
};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SeededEntropy, SharedEntropy};
use eonpro_core::event::catalogue::phi::RecordViewed;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{EncryptionConfig, Vault, VaultParts};
use eonpro_testkit::{Actors, RecordingAlerts, RecordingSink};
use tokio::runtime::Runtime;

pub(crate) const CALLERS: usize = 256;
pub(crate) const EACH: usize = 2;

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) struct House {
    pub(crate) audit: EmbeddedAudit,
    pub(crate) key: VerifyingKey,
    pub(crate) cx: RequestContext,
    clock: SharedClock,
    entropy: SharedEntropy,
    /// Few, as in a clinic's day, and so known to the log.
    patients: Vec<SubjectId>,
}

impl House {
    pub(crate) async fn open(folder: &Path) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(1));
        let state = Arc::new(MemoryKeyValue::new(Arc::clone(&clock)));
        let vault = Vault::open(VaultParts {
            root: Arc::new(EphemeralRoot::generate().unwrap()),
            state: Arc::clone(&state) as _,
            emitter: RecordingSink::new().emitter(Arc::clone(&clock)),
            observer: Arc::new(NoObserver),
            config: EncryptionConfig::default(),
        })
        .await
        .unwrap();
        vault.provision(SealScope::System).await.unwrap();
        let tenant = eonpro_testkit::scope(1);
        vault.provision((&tenant).into()).await.unwrap();
        let parts = AuditParts {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            sealer: Arc::new(vault),
            signer: Arc::new(KeyFileSigner::open_or_create(&folder.join("audit.key")).unwrap()),
            state,
            alerts: RecordingAlerts::new(),
            observer: Arc::new(NoObserver),
            authority: eonpro_testkit::authority(),
        };
        let log = folder.join("audit");
        Self {
            key: parts.verifying_key(),
            audit: EmbeddedAudit::open(&log, parts, AuditConfig::default())
                .await
                .unwrap(),
            cx: eonpro_testkit::context(1, Actors::Clinician, &*clock, &*entropy),
            patients: (0..1_000).map(|_| SubjectId::random(&*entropy)).collect(),
            clock,
            entropy,
        }
    }

    /// All callers append their entries, one after the other each, at the same time.
    pub(crate) fn append(self: &Arc<Self>, runtime: &Runtime) {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let house = Arc::clone(self);
                runtime.spawn(async move {
                    for number in 0..EACH {
                        let event = house.viewed(caller * EACH + number);
                        house.audit.append(&house.cx, &event).await.unwrap();
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for caller in callers {
                caller.await.unwrap();
            }
        });
    }

    pub(crate) fn viewed(&self, number: usize) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        let viewed = RecordViewed {
            patient: self.patients[number % self.patients.len()],
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        };
        Event::new(viewed, Outcome::Success, &*self.clock, &*self.entropy)
    }

    /// The bytes that an entry takes on disk, in the mean.
    pub(crate) fn entry_bytes(&self) -> usize {
        let stats = self.audit.stats();
        usize::try_from(stats.bytes / stats.entries).unwrap()
    }
}
