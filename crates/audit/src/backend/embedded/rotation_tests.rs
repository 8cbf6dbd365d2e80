//! Leaves of the directory log by which somebody without the right would become its signer.

use std::sync::Arc;

use eonpro_core::component::Component as _;
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, Signer};
use eonpro_core::time::SystemClock;
use eonpro_core::{RequestContext, port::SignError};
use eonpro_testkit::{RecordingAlerts, TestSealer, authority, scope};

use super::queue::NewLeaf;
use super::*;
use crate::backend::key_file::KeyFileSigner;
use crate::checkpoint::Checkpoint;
use crate::fault::{Fault, VerifyError};
use crate::trail::KeyChange;
use crate::verify::verify;

struct Bed {
    dir: tempfile::TempDir,
    clock: SharedClock,
}

impl Bed {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("audit")
    }

    fn signer(&self, name: &str) -> Arc<KeyFileSigner> {
        let path = self.dir.path().join(name);
        Arc::new(KeyFileSigner::open_or_create(&path).unwrap())
    }

    fn key(&self, name: &str) -> VerifyingKey {
        VerifyingKey::from_bytes(self.signer(name).public_key())
    }

    async fn open(&self) -> EmbeddedAudit {
        let parts = AuditParts {
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy::new()),
            sealer: TestSealer::ready_for(&[&scope(1)]),
            signer: self.signer("old"),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&self.clock))),
            alerts: RecordingAlerts::new(),
            observer: Arc::new(NoObserver),
            authority: authority(),
        };
        let config = AuditConfig {
            fill_bytes: 16 * 1024,
            checkpoint_every: 0,
            ..AuditConfig::default()
        };
        EmbeddedAudit::open(&self.log(), parts, config)
            .await
            .unwrap()
    }
}

/// The head of the directory log as the writer has it.
async fn head(audit: &EmbeddedAudit) -> Checkpoint {
    head_of(audit, LogId::Directory).await
}

async fn head_of(audit: &EmbeddedAudit, log: LogId) -> Checkpoint {
    let mark = audit.0.queue.mark().await.unwrap();
    let mut heads = mark.heads.into_iter();
    heads.find(|head| head.log == log).unwrap()
}

async fn plant(audit: &EmbeddedAudit, leaf: String) {
    let leaves = vec![NewLeaf::Checkpoint(leaf.into_bytes())];
    let planted = audit.0.queue.append(None, LogId::Directory, leaves).await;
    planted.unwrap();
}

/// The leaf that hands over from `old` to `new` at the present head.
async fn change(
    audit: &EmbeddedAudit,
    old: &KeyFileSigner,
    new: &KeyFileSigner,
) -> Result<String, SignError> {
    let change = KeyChange {
        at: head(audit).await,
        old: VerifyingKey::from_bytes(old.public_key()),
        new: VerifyingKey::from_bytes(new.public_key()),
    };
    change.sign(old, new).await
}

/// What a verifier says that knows `key`, of a log that nobody goes on with.
async fn judged(bed: &Bed, audit: EmbeddedAudit, key: &str) -> Option<(String, Fault)> {
    audit.barrier().await.unwrap();
    let log = bed.log();
    drop(audit);
    match verify(&log, &[bed.key(key)]) {
        Ok(_) => None,
        Err(VerifyError::Tampered { place, fault }) => Some((place.to_string(), fault)),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_endorsement_that_the_old_key_did_not_sign_makes_no_signer() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let (old, thief) = (bed.signer("old"), bed.signer("thief"));
    let at = head(&audit).await;
    let good = change(&audit, &old, &thief).await.unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let [origin, size, root, keys, "", by_old, by_thief] = lines[..] else {
        panic!("{good}");
    };
    assert_eq!(size, at.size.to_string());
    let body = format!("{origin}\n{size}\n{root}\n{keys}\n\n");
    let other = old.sign(b"something else").await.unwrap();
    let forged = bed.key("old").verifier_key(LogId::Directory).line(&other);
    let swapped = keys.split(' ').collect::<Vec<_>>();
    let swapped = format!("{} {} {}", swapped[0], swapped[2], swapped[1]);
    for leaf in [
        format!("{body}{forged}{by_thief}\n"),
        format!("{body}{by_thief}\n"),
        format!("{body}{by_old}\n"),
        good.replacen(size, &(at.size + 1).to_string(), 1),
        good.replacen(keys, &swapped, 1),
    ] {
        assert_eq!(KeyChange::open(&leaf), None, "{leaf}");
    }
    assert!(KeyChange::open(&good).is_some());
    plant(&audit, format!("{body}{forged}{by_thief}\n")).await;
    let found = judged(&bed, audit, "old").await.unwrap();
    assert_eq!(
        found,
        (
            format!("eonpro/audit/directory#{}", at.size),
            Fault::Signature
        )
    );
}

#[tokio::test]
async fn a_key_that_nobody_trusts_endorses_nobody() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let (thief, other) = (bed.signer("thief"), bed.signer("other"));
    let leaf = change(&audit, &thief, &other).await.unwrap();
    plant(&audit, leaf).await;
    let found = judged(&bed, audit, "old").await.unwrap();
    assert_eq!(found.1, Fault::Signature);
}

#[tokio::test]
async fn a_retired_key_endorses_nobody_and_signs_nothing() {
    for what in ["endorses", "signs"] {
        let bed = Bed::new();
        let audit = bed.open().await;
        let (old, new, thief) = (bed.signer("old"), bed.signer("new"), bed.signer("thief"));
        let cx = RequestContext::system("test", &*bed.clock, &SystemEntropy::new());
        audit.rotate_key(&cx, new).await.unwrap();
        let at = head(&audit).await.size;
        let leaf = if what == "endorses" {
            change(&audit, &old, &thief).await.unwrap()
        } else {
            let point = head_of(&audit, LogId::System).await;
            point.sign(&*old).await.unwrap()
        };
        plant(&audit, leaf).await;
        // Whoever trusts the heir, and with it the past of the old key, is not taken in either.
        for key in ["old", "new"] {
            let refused = match verify(&bed.log(), &[bed.key(key)]) {
                Err(VerifyError::Tampered { place, fault }) => (place.to_string(), fault),
                other => panic!("{other:?}"),
            };
            let place = format!("eonpro/audit/directory#{at}");
            assert_eq!(refused, (place, Fault::Signature), "{what} {key}");
        }
    }
}

#[tokio::test]
async fn a_head_that_a_retired_key_signed_over_its_successor_s_is_refused() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let (old, new) = (bed.signer("old"), bed.signer("new"));
    let cx = RequestContext::system("test", &*bed.clock, &SystemEntropy::new());
    audit.rotate_key(&cx, new).await.unwrap();
    let note = head(&audit).await.sign(&*old).await.unwrap();
    audit.close().await;
    verify(&bed.log(), &[bed.key("old")]).unwrap();
    std::fs::write(bed.log().join("checkpoint"), note).unwrap();
    assert!(matches!(
        verify(&bed.log(), &[bed.key("old")]),
        Err(VerifyError::Tampered {
            fault: Fault::Signature,
            ..
        })
    ));
}

#[tokio::test]
async fn a_change_of_keys_stands_where_it_says() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let (old, new) = (bed.signer("old"), bed.signer("new"));
    let leaf = change(&audit, &old, &new).await.unwrap();
    let system = head_of(&audit, LogId::System).await;
    plant(&audit, system.sign(&*old).await.unwrap()).await;
    plant(&audit, leaf).await;
    let found = judged(&bed, audit, "old").await.unwrap();
    assert_eq!(found.1, Fault::Checkpoint);
}
