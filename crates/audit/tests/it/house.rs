//! A log in a directory of its own, with everything it needs.

use std::path::Path;
use std::sync::Arc;

use eonpro_audit::{
    AuditConfig, AuditError, AuditParts, EmbeddedAudit, KeyFileSigner, VerifyingKey,
};
use eonpro_core::RequestContext;
use eonpro_core::entropy::{SeededEntropy, SharedEntropy};
use eonpro_core::event::catalogue::{disclosure, phi, system, tenant};
use eonpro_core::event::{Code, Event, EventData, ObjectRef, Outcome};
use eonpro_core::id::{ActorId, RowId, SubjectId};
use eonpro_core::identity::{Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::phi::{Cell, Column, Phi, Row, Table};
use eonpro_core::port::kv::{self, MemoryKeyValue, Partition};
use eonpro_core::port::{KeyPurpose, KeyValue, NoObserver, SealScope, Sealer as _, Signer as _};
use eonpro_core::time::{SharedClock, SystemClock, Timestamp};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope, tenant_id};
use tempfile::TempDir;

use crate::apart::Apart;

pub(crate) struct House {
    pub(crate) dir: TempDir,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) alerts: Arc<RecordingAlerts>,
    pub(crate) state: Arc<MemoryKeyValue>,
    pub(crate) config: AuditConfig,
    /// How the log sees the state.
    pub(crate) store: fn(Arc<MemoryKeyValue>) -> Arc<dyn KeyValue>,
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
            store: |state| state,
        }
    }

    /// Another process, with a log of its own, the same keys and the same store.
    pub(crate) fn beside(other: &Self) -> Self {
        Self {
            sealer: Arc::clone(&other.sealer),
            state: Arc::clone(&other.state),
            store: |state| Arc::new(Apart::over(state)),
            ..Self::new()
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
            state: (self.store)(self.state.clone()),
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

    /// The user `name` of tenant `number`.
    pub(crate) fn acting(&self, number: u128, name: &str) -> RequestContext {
        let identity = authority().vouch(IdentityClaims {
            actor: Actor {
                kind: ActorKind::User,
                id: ActorId::new(name).unwrap(),
                roles: Arc::from([]),
                session: None,
            },
            issuer: Arc::from("https://issuer.test"),
            tenant: None,
            assurance: Assurance::default(),
            expires: Timestamp::from_nanos(i64::MAX),
        });
        authority().identify(self.cx(number), &identity)
    }

    /// Every key and value of the store, of the system and of the first three tenants.
    pub(crate) async fn stored(&self) -> Vec<u8> {
        let entries = self.entries().await;
        let flat = entries.into_iter().flat_map(|(_, entry)| {
            [
                entry.key.as_bytes().to_vec(),
                entry.versioned.value.to_vec(),
            ]
            .concat()
        });
        flat.collect()
    }

    /// What a patient's record of tenant 1 says, for somebody with all keys.
    pub(crate) async fn opened(&self, entry: &kv::Entry) -> Option<Vec<u8>> {
        let token = entry.key.as_bytes().strip_prefix(b"subject/of/")?;
        let token = token
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let token: Vec<u8> = token.collect();
        let (table, column) = (Table::new("audit-subjects"), Column::new("record"));
        let cell = Cell::new(table, column, Row::named(&token).unwrap());
        let scope = SealScope::from(&scope(1));
        let sealed = &entry.versioned.value;
        let opened = self.sealer.open(scope, KeyPurpose::AUDIT, &cell, sealed);
        Some(opened.await.unwrap().to_vec())
    }

    /// The entries of the store, of the system and of the first three tenants.
    pub(crate) async fn entries(&self) -> Vec<(Partition, kv::Entry)> {
        let tenants = (1..=3).map(|number| Partition::tenant(tenant_id(number), "audit"));
        let mut found = Vec::new();
        for partition in tenants.chain([Partition::system("audit")]) {
            let page = self
                .state
                .scan(&partition, b"", None, kv::MAX_SCAN)
                .await
                .unwrap();
            assert!(page.len() < kv::MAX_SCAN);
            let kept = page.into_iter();
            let kept = kept.filter(|entry| !entry.key.as_bytes().starts_with(b"head/"));
            found.extend(kept.map(|entry| (partition, entry)));
        }
        found
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

    /// A disclosure of `patient`'s data, with `value` in each sealed field.
    pub(crate) fn disclosed(&self, patient: SubjectId, value: &str) -> Arc<Event> {
        self.event(disclosure::Made {
            patient,
            recipient_name: Phi::from(value),
            recipient_address: None,
            description: Phi::from(value),
            purpose_statement: Phi::from(value),
            legal_basis: Code::constant("art-9"),
            third_country_basis: None,
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
            actor_tenant: tenant_id(1),
            target_tenant: Some(tenant_id(2)),
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
