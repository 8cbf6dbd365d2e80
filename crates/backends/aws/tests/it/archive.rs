//! The audit log's archive in a real bucket: versions, Object Lock, and what may be put over an object.

use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::archive::{
    Archive, ArchiveConfig, ArchiveError, ArchiveParts, ArchiveSource, LockMode, ObjectFault,
    PublishedSource, Replica, ReplicaParts, RequiredLock, local, verify_archive,
};
use eonpro_audit::{
    AuditConfig, AuditLog as _, AuditParts, EmbeddedAudit, KeyFileSigner, LogId, VerifyingKey,
};
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, Signer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope, tenant_id};
use hyper::{Method, StatusCode};
use tempfile::TempDir;

use crate::bed::moto;
use crate::s3::{Bucket, S3Probe};

const DAYS: u32 = 2_190;

/// An open log with 300 entries of one tenant, and its archive.
struct Bed {
    dir: TempDir,
    clock: SharedClock,
    log: Arc<EmbeddedAudit>,
    archive: Archive,
    alerts: Arc<RecordingAlerts>,
    key: VerifyingKey,
    bucket: Bucket,
}

impl Bed {
    async fn on(bucket: Bucket, required: Option<RequiredLock>) -> Result<Self, ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let clock: SharedClock = Arc::new(SystemClock::new());
        let signer = KeyFileSigner::open_or_create(&dir.path().join("audit.key")).unwrap();
        let key = VerifyingKey::from_bytes(signer.public_key());
        let state = Arc::new(MemoryKeyValue::new(Arc::clone(&clock)));
        let alerts = RecordingAlerts::new();
        let parts = AuditParts {
            clock: Arc::clone(&clock),
            entropy: Arc::new(SystemEntropy::new()),
            sealer: TestSealer::ready_for(&[&scope(1)]),
            signer: Arc::new(signer),
            state: state.clone(),
            alerts: alerts.clone(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        };
        let mut small = AuditConfig::default();
        small.fill_bytes = 64 * 1024;
        let log = EmbeddedAudit::open(&dir.path().join("log"), parts, small).await;
        let log = Arc::new(log.unwrap());
        let parts = ArchiveParts {
            log: Arc::clone(&log),
            store: bucket.store(),
            state,
            clock: Arc::clone(&clock),
            observer: Arc::new(NoObserver),
            lock: Some(Arc::new(S3Probe(bucket.clone()))),
        };
        let mut config = ArchiveConfig::default();
        config.require_lock = required;
        let archive = Archive::open(parts, config).await?;
        let bed = Self {
            dir,
            clock,
            log,
            archive,
            alerts,
            key,
            bucket,
        };
        bed.append(300).await;
        Ok(bed)
    }

    async fn append(&self, entries: usize) {
        let entropy = SystemEntropy::new();
        let viewed = || {
            let viewed = phi::RecordViewed {
                patient: SubjectId::random(&entropy),
                resource: ObjectRef::new(Code::constant("patient"), RowId::random(&entropy)),
                record_source: Code::constant("local"),
            };
            Event::new(viewed, Outcome::Success, &*self.clock, &entropy)
        };
        let events: Vec<_> = (0..entries).map(|_| viewed()).collect();
        let cx = context(1, Actors::Clinician, &*self.clock, &entropy);
        self.log.append_batch(&cx, &events).await.unwrap();
    }

    fn bundle(&self) -> String {
        format!("{}/tile/entries/000", LogId::Tenant(tenant_id(1)))
    }

    /// The version of an object that is on top.
    async fn version(&self, key: &str) -> String {
        let answer = self
            .bucket
            .ask(Method::HEAD, &format!("/{key}"), &[], "")
            .await;
        let version = answer.headers().get("x-amz-version-id").unwrap();
        version.to_str().unwrap().to_owned()
    }

    async fn faults(&self) -> Vec<(String, ObjectFault)> {
        let checked = self.archive.check_sample(u64::MAX, 1).await.unwrap();
        let findings = checked.findings.into_iter();
        findings
            .map(|finding| (finding.key, finding.fault))
            .collect()
    }
}

fn required(days: u32) -> Option<RequiredLock> {
    Some(RequiredLock {
        mode: LockMode::Compliance,
        retention: Duration::from_secs(u64::from(days) * 86_400),
    })
}

#[tokio::test]
async fn an_archive_in_a_locked_bucket_holds_against_its_owner() {
    let Some(moto) = moto().await else { return };
    let bucket = Bucket::locked(moto, "archive-locked", DAYS).await;
    let bed = Bed::on(bucket.clone(), required(DAYS)).await.unwrap();
    let cut = bed.archive.run_with_tail().await.unwrap().cut;
    assert!(bed.faults().await.is_empty());

    // The version cannot be deleted; a marker can hide it, and the check sees that.
    let (key, version) = (bed.bundle(), bed.version(&bed.bundle()).await);
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let rest = format!("/{key}?versionId={version}");
    let refused = bucket.ask(Method::DELETE, &rest, &bypass, "").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{refused:?}");
    let hidden = bucket
        .ask(Method::DELETE, &format!("/{key}"), &[], "")
        .await;
    assert!(hidden.status().is_success(), "{hidden:?}");
    assert_eq!(bed.faults().await, [(key.clone(), ObjectFault::Hidden)]);

    // Another version can be put over it; the check sees that, and readers read what was archived.
    let checksum = [("x-amz-sdk-checksum-algorithm", "SHA256")];
    let rest = format!("/{key}");
    let planted = bucket.ask(Method::PUT, &rest, &checksum, "planted").await;
    assert!(planted.status().is_success(), "{planted:?}");
    assert_eq!(bed.faults().await, [(key.clone(), ObjectFault::Superseded)]);
    let report = verify_archive(bucket.store(), "", None, &[bed.key], &[])
        .await
        .unwrap();
    assert_eq!(report.directory.size, cut);

    // Without the manifest a reader meets the planted bytes, and refuses them.
    let published = PublishedSource::new(bucket.store(), "").unwrap();
    let fetched = eonpro_audit::archive::TileSource::fetch(
        &published,
        LogId::Tenant(tenant_id(1)),
        "tile/entries/000",
    );
    assert_eq!(fetched.await.unwrap().unwrap(), "planted");
    bed.log.close().await;
    assert_eq!(bed.alerts.codes(), ["AUD-006", "AUD-006"]);
}

#[tokio::test]
async fn a_pin_leads_past_whatever_was_put_over_the_manifest() {
    let Some(moto) = moto().await else { return };
    let bucket = Bucket::versioned(moto, "archive-pinned").await;
    let bed = Bed::on(bucket.clone(), None).await.unwrap();
    bed.archive.run_with_tail().await.unwrap();
    bed.append(300).await;
    let cut = bed.archive.run_with_tail().await.unwrap().cut;
    let pin = bed.archive.pin().await.unwrap().unwrap();
    assert!(pin.version.is_some());
    for page in 0..=pin.page {
        let key = format!("/manifest/{page:020}");
        bucket.ask(Method::PUT, &key, &[], "planted").await;
    }
    let bundle = format!("/{}", bed.bundle());
    bucket.ask(Method::DELETE, &bundle, &[], "").await;
    let head = format!("/{}/checkpoints/{cut:020}", LogId::Directory);
    bucket.ask(Method::DELETE, &head, &[], "").await;

    let blind = verify_archive(bucket.store(), "", None, &[bed.key], &[]).await;
    assert!(blind.is_err(), "{blind:?}");
    let report = verify_archive(bucket.store(), "", Some(pin.clone()), &[bed.key], &[]).await;
    assert_eq!(report.unwrap().directory.size, cut);

    // And so does a replica.
    let source = ArchiveSource::new(bucket.store(), "", Some(pin)).unwrap();
    let replica = Replica::new(ReplicaParts {
        source: Arc::new(source),
        store: local(&bed.dir.path().join("replica")).unwrap(),
        prefix: String::new(),
        keys: vec![bed.key],
        policy: None,
        clock: Arc::clone(&bed.clock),
        observer: Arc::new(NoObserver),
    });
    assert_eq!(replica.unwrap().pull().await.unwrap().size, cut);
    bed.log.close().await;
}

#[tokio::test]
async fn a_version_that_is_gone_is_missed() {
    let Some(moto) = moto().await else { return };
    let bucket = Bucket::versioned(moto, "archive-unlocked").await;
    let bed = Bed::on(bucket.clone(), None).await.unwrap();
    bed.archive.run_with_tail().await.unwrap();
    let (key, version) = (bed.bundle(), bed.version(&bed.bundle()).await);
    let rest = format!("/{key}?versionId={version}");
    let gone = bucket.ask(Method::DELETE, &rest, &[], "").await;
    assert!(gone.status().is_success(), "{gone:?}");
    let missing = (key.clone(), ObjectFault::Missing);
    assert!(bed.faults().await.contains(&missing));
    bed.log.close().await;
}

#[tokio::test]
async fn a_bucket_whose_default_is_too_short_is_unfit() {
    let Some(moto) = moto().await else { return };
    let short = Bucket::locked(moto, "archive-short", DAYS - 1).await;
    let none = Bucket::versioned(moto, "archive-none").await;
    for bucket in [short, none] {
        let opened = Bed::on(bucket, required(DAYS)).await;
        assert!(matches!(opened.err(), Some(ArchiveError::Unfit(_))));
    }
}

#[tokio::test]
async fn a_bucket_refuses_to_write_over_an_object() {
    let Some(moto) = moto().await else { return };
    let bucket = Bucket::versioned(moto, "archive-once").await;
    let bed = Bed::on(bucket.clone(), None).await.unwrap();
    // Somebody was faster.
    let key = bed.bundle();
    bucket
        .ask(Method::PUT, &format!("/{key}"), &[], "planted")
        .await;
    let version = bed.version(&key).await;
    let done = bed.archive.run().await;
    assert!(
        matches!(done, Err(ArchiveError::Conflict { .. })),
        "{done:?}"
    );
    assert_eq!(bed.version(&key).await, version);
    bed.log.close().await;
    assert_eq!(bed.alerts.codes(), ["AUD-006"]);
}
