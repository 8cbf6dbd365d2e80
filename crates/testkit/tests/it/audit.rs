//! The suite of `AuditLog`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{AuditConfig, AuditLog, AuditParts, EmbeddedAudit, KeyFileSigner, VerifyingKey};
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, Signer as _};
use eonpro_core::time::SharedClock;
use eonpro_testkit::broken::{AuditDefect, BrokenAudit};
use eonpro_testkit::conformance::audit::{Subject, checks, suite, suite_of};
use eonpro_testkit::{RecordingAlerts, TestSealer, authority, scope};
use futures_util::FutureExt as _;
use tempfile::TempDir;

/// A directory with a log and its key.
struct House {
    dir: TempDir,
    clock: SharedClock,
    sealer: Arc<TestSealer>,
    state: Arc<MemoryKeyValue>,
}

impl House {
    fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            dir: tempfile::tempdir().unwrap(),
            sealer: TestSealer::ready_for(&[&scope(1), &scope(2), &scope(3)]),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            clock,
        })
    }

    fn signer(&self) -> KeyFileSigner {
        let path: PathBuf = self.dir.path().join("audit.key");
        KeyFileSigner::open_or_create(&path).unwrap()
    }

    async fn open(&self) -> Arc<dyn AuditLog> {
        let parts = AuditParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy::new()),
            sealer: self.sealer.clone(),
            signer: Arc::new(self.signer()),
            state: self.state.clone(),
            alerts: RecordingAlerts::new(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        };
        let mut config = AuditConfig::default();
        config.fill_bytes = 64 * 1024;
        config.checkpoint_every = 0;
        let dir = self.dir.path().join("audit");
        Arc::new(EmbeddedAudit::open(&dir, parts, config).await.unwrap())
    }

    fn keys(&self) -> Vec<VerifyingKey> {
        vec![VerifyingKey::from_bytes(self.signer().public_key())]
    }
}

async fn embedded(clock: SharedClock) -> Subject {
    let house = House::new(clock);
    let (audit, keys) = (house.open().await, house.keys());
    Subject::new(audit, keys, move || {
        let house = Arc::clone(&house);
        async move { house.open().await }.boxed()
    })
}

async fn broken(defect: AuditDefect, clock: SharedClock) -> Subject {
    let house = House::new(clock);
    let log = BrokenAudit::new(defect, house.open().await);
    let reopening = Arc::new(log.reopening());
    let keys = house.keys();
    Subject::new(Arc::new(log), keys, move || {
        let (house, reopening) = (Arc::clone(&house), Arc::clone(&reopening));
        async move { Arc::new(reopening(house.open().await)) as Arc<dyn AuditLog> }.boxed()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_log_conforms() {
    let report = suite(embedded).await;
    report.assert_conforms();
    assert_eq!(report.passed.len(), checks().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_broken_log_fails_the_check_that_is_there_to_catch_it() {
    for defect in AuditDefect::ALL {
        let make = async |clock: SharedClock| broken(defect, clock).await;
        let check = defect.caught_by();
        let report = suite_of(&[check], make, Duration::from_secs(60)).await;
        assert!(report.fails(check), "{defect:?} passes {check}:\n{report}");
        let found = &report.failed[0].found.0;
        // Caught by what is wrong, not by a test that falls over.
        assert!(!found.contains("panicked"), "{defect:?}: {found}");
        assert!(!found.contains("hangs"), "{defect:?}: {found}");
    }
}

#[test]
fn every_defect_is_caught_by_a_check_that_exists() {
    let names: BTreeSet<_> = checks().collect();
    for defect in AuditDefect::ALL {
        assert!(names.contains(defect.caught_by()), "{defect:?}");
    }
}
