//! A patient who was erased is nobody, and the log stays as it was.

use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{
    AuditError, AuditLog as _, EmbeddedAudit, Entry, EntryValue, EntryView, Erasure, ErasureCheck,
    ErasureFacts, LogId, RetentionDuty, RevealedField, verify,
};
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, ErrorKind, Source};
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, RowId, SubjectId};
use eonpro_core::port::{KeyValue as _, kv};
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::tenant_id;
use uuid::Uuid;

use crate::house::{House, every_byte};

const FREE: RetentionDuty = RetentionDuty {
    keep: Duration::ZERO,
    basis: Code::constant("none"),
};

/// Somebody who holds everything, or cannot tell.
#[derive(Debug)]
struct Holds(Result<Option<Code>, &'static str>);

#[async_trait::async_trait]
impl ErasureCheck for Holds {
    async fn obstacle(&self, _facts: &ErasureFacts<'_>) -> Result<Option<Code>, Source> {
        self.0.clone().map_err(Into::into)
    }
}

fn own() -> LogId {
    LogId::Tenant(tenant_id(1))
}

fn request(house: &House) -> Uuid {
    RowId::random(&*house.entropy).uuid()
}

fn erasure(house: &House, subject: SubjectId) -> Erasure {
    Erasure {
        log: own(),
        subject,
        request: request(house),
        basis: Code::constant("gdpr-17-1"),
    }
}

async fn views(house: &House, log: &EmbeddedAudit) -> Vec<EntryView> {
    log.read(&house.cx(1), &own(), 0..999).await.unwrap()
}

async fn last(house: &House, log: &EmbeddedAudit) -> Entry {
    views(house, log).await.last().unwrap().entry().unwrap()
}

fn name(entry: &Entry) -> String {
    match &entry.fields["patient"] {
        EntryValue::Text(name) => name.clone(),
        other => panic!("{other:?}"),
    }
}

async fn disclosed(house: &House, log: &EmbeddedAudit, patient: SubjectId) -> EntryView {
    let event = house.disclosed(patient, "to Dr. Babbage");
    log.append(&house.cx(1), &event).await.unwrap();
    views(house, log).await.pop().unwrap()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[tokio::test]
async fn an_erased_patient_is_nobody_and_every_proof_holds() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let before = disclosed(&house, &log, ada).await;
    let old = log
        .pseudonym_of(&house.cx(1), &own(), ada)
        .await
        .unwrap()
        .unwrap();
    let records = house.entries().await;
    assert_eq!(records.len(), 2);

    let asked = erasure(&house, ada);
    let erased = log.shred(&house.cx(1), &asked, &[&FREE]).await.unwrap();
    assert_eq!(erased.pseudonym, Some(old));
    assert_eq!(erased.exposure, Duration::from_secs(60));
    let decision = last(&house, &log).await;
    assert_eq!((decision.code.as_str(), decision.outcome), ("DISC-008", 0));
    assert_eq!(decision.fields["erased"], EntryValue::Flag(true));
    assert_eq!(name(&decision), old.to_string());
    assert_eq!(erased.decision.index, 1);
    assert!(house.entries().await.is_empty());

    // Nobody resolves the pseudonym or opens a field.
    let asked_now = log.pseudonym_of(&house.cx(1), &own(), ada).await.unwrap();
    assert_eq!(asked_now, None);
    let revealed = log.reveal(&house.system(), &before).await.unwrap();
    assert!(revealed.subjects.is_empty());
    let is_gone = |field: &RevealedField| matches!(field, RevealedField::Erased);
    assert!(revealed.fields.len() == 3 && revealed.fields.values().all(is_gone));

    // The patient comes back as somebody else.
    let after = disclosed(&house, &log, ada).await;
    let fresh = log
        .pseudonym_of(&house.cx(1), &own(), ada)
        .await
        .unwrap()
        .unwrap();
    assert_ne!(fresh, old);
    assert!(!contains(&after.bytes, old.to_string().as_bytes()));

    log.verify(&house.system()).await.unwrap();
    log.close().await;
    verify(&house.log(), &[house.key()]).unwrap();

    // Store and log together do not link the two: what was kept of the first is gone, and its
    // pseudonym is in nothing that is left to open.
    let stored = house.stored().await;
    for (_, record) in records {
        match record.key.as_bytes().starts_with(b"subject/of/") {
            true => assert!(!contains(&stored, &record.versioned.value)),
            false => assert!(!contains(&stored, record.key.as_bytes())),
        }
    }
    let disk = every_byte(house.dir.path());
    assert!(contains(&disk, old.to_string().as_bytes()));
    for id in [ada.to_string(), ada.uuid().simple().to_string()] {
        assert!(!contains(&disk, id.as_bytes()) && !contains(&stored, id.as_bytes()));
    }
    let open = house.open().await;
    for (_, record) in house.entries().await {
        if let Some(opened) = house.opened(&record).await {
            assert!(!contains(&opened, &hex(&old.to_string())));
            assert!(contains(&opened, &hex(&fresh.to_string())));
        }
    }
    drop(open);
}

fn hex(text: &str) -> Vec<u8> {
    Uuid::try_parse(text).unwrap().as_bytes().to_vec()
}

#[tokio::test]
async fn an_erasure_is_refused_and_on_record_while_a_duty_stands() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let view = disclosed(&house, &log, ada).await;
    let held = Holds(Ok(Some(Code::constant("case-7"))));
    let duty = RetentionDuty::default();
    let cases: [(&[&dyn ErasureCheck], &str); 4] = [
        (&[], "not-checked"),
        (&[&duty], "45-CFR-164.316-b-2-i"),
        (&[&FREE, &held], "case-7"),
        (&[&held, &FREE], "case-7"),
    ];
    for (checks, basis) in cases {
        let refused = log.shred(&house.cx(1), &erasure(&house, ada), checks).await;
        let Err(AuditError::Kept(given)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(given.as_str(), basis);
        let entry = last(&house, &log).await;
        assert_eq!((entry.code.as_str(), entry.outcome), ("DISC-008", 4));
        assert_eq!(entry.fields["erased"], EntryValue::Flag(false));
        let written = EntryValue::Text(basis.to_owned());
        assert_eq!(entry.fields["retention_basis"], written);
        assert_eq!(house.entries().await.len(), 2);
    }
    let revealed = log.reveal(&house.cx(1), &view).await.unwrap();
    assert_eq!(revealed.subjects.values().collect::<Vec<_>>(), [&ada]);
}

#[tokio::test]
async fn nothing_is_erased_or_recorded_where_nobody_can_tell() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    disclosed(&house, &log, ada).await;
    let entries = log.stats().entries;
    let lost = Holds(Err("the register is down"));
    let asked = erasure(&house, ada);
    let error = log.shred(&house.cx(1), &asked, &[&FREE, &lost]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    let denied = log.shred(&house.cx(2), &asked, &[&FREE]).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        (log.stats().entries, house.entries().await.len()),
        (entries, 2)
    );
}

#[tokio::test]
async fn a_duty_ends_six_years_after_the_newest_entry_and_repeats_do_not_prolong_it() {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let mut house = House::new();
    house.clock = clock.clone();
    house.state = Arc::new(kv::MemoryKeyValue::new(clock.clone()));
    let log = house.open().await;
    let (ada, mary) = (
        SubjectId::random(&*house.entropy),
        SubjectId::random(&*house.entropy),
    );
    let day = Duration::from_secs(86_400);
    disclosed(&house, &log, ada).await;
    clock.advance(day * 100);
    disclosed(&house, &log, ada).await;
    clock.advance(day * 2_191);
    disclosed(&house, &log, mary).await;
    let duty = RetentionDuty::default();
    let refused = log
        .shred(&house.cx(1), &erasure(&house, ada), &[&duty])
        .await;
    assert!(matches!(refused, Err(AuditError::Kept(_))));
    clock.advance(day);
    log.shred(&house.cx(1), &erasure(&house, ada), &[&duty])
        .await
        .unwrap();
    let refused = log
        .shred(&house.cx(1), &erasure(&house, mary), &[&duty])
        .await;
    assert!(matches!(refused, Err(AuditError::Kept(_))));
}

#[tokio::test]
async fn the_decision_stands_before_the_record_goes_and_a_repeat_ends_what_failed() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    disclosed(&house, &log, ada).await;
    let asked = erasure(&house, ada);
    // With the patient at hand the decision needs no key; the deletion does.
    house.sealer.fail_after(3);
    let failed = log.shred(&house.cx(1), &asked, &[&FREE]).await;
    assert!(matches!(failed, Err(AuditError::Seal(_))));
    assert_eq!(last(&house, &log).await.code, "DISC-008");
    assert_eq!(house.entries().await.len(), 2);
    let erased = log.shred(&house.cx(1), &asked, &[&FREE]).await.unwrap();
    assert!(erased.pseudonym.is_some());
    assert!(house.entries().await.is_empty());
    // Of a patient whom the log does not know: recorded, and nothing stays.
    let again = log.shred(&house.cx(1), &asked, &[&FREE]).await.unwrap();
    assert_ne!(again.pseudonym, erased.pseudonym);
    assert!(house.entries().await.is_empty());
}

#[tokio::test]
async fn a_restored_store_is_cleansed_by_what_the_log_remembers() {
    let house = House::new();
    let log = house.open().await;
    let (ada, mary) = (
        SubjectId::random(&*house.entropy),
        SubjectId::random(&*house.entropy),
    );
    let view = disclosed(&house, &log, ada).await;
    disclosed(&house, &log, mary).await;
    let backup = house.entries().await;
    log.shred(&house.cx(1), &erasure(&house, ada), &[&FREE])
        .await
        .unwrap();
    let kept = log.shred(&house.cx(1), &erasure(&house, mary), &[]).await;
    assert!(kept.is_err());
    for (partition, entry) in backup {
        let put = kv::Transaction::new().put(entry.key, entry.versioned.value);
        house.state.commit(&partition, put).await.unwrap();
    }
    let back = log.reveal(&house.cx(1), &view).await.unwrap();
    assert_eq!(back.subjects.values().collect::<Vec<_>>(), [&ada]);

    let denied = log.finish_erasures(&house.cx(1), &own()).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        log.finish_erasures(&house.system(), &own()).await.unwrap(),
        1
    );
    let gone = log.reveal(&house.cx(1), &view).await.unwrap();
    assert!(gone.subjects.is_empty());
    assert_eq!(
        log.finish_erasures(&house.system(), &own()).await.unwrap(),
        0
    );
    let mary = log.pseudonym_of(&house.cx(1), &own(), mary).await.unwrap();
    assert!(mary.is_some());
}

#[tokio::test]
async fn a_sign_put_back_alone_leads_nowhere_and_never_to_the_fresh_record() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let view = disclosed(&house, &log, ada).await;
    let signs = house.entries().await.into_iter();
    let signs = signs.filter(|(_, entry)| entry.key.as_bytes().starts_with(b"subject/as/"));
    let signs: Vec<_> = signs.collect();
    log.shred(&house.cx(1), &erasure(&house, ada), &[&FREE])
        .await
        .unwrap();
    disclosed(&house, &log, ada).await;
    for (partition, entry) in signs {
        let put = kv::Transaction::new().put(entry.key, entry.versioned.value);
        house.state.commit(&partition, put).await.unwrap();
    }
    let revealed = log.reveal(&house.cx(1), &view).await.unwrap();
    assert!(revealed.subjects.is_empty());
    assert_eq!(
        log.finish_erasures(&house.system(), &own()).await.unwrap(),
        0
    );
    let fresh = log.pseudonym_of(&house.cx(1), &own(), ada).await.unwrap();
    assert!(fresh.is_some());
}

#[tokio::test]
async fn a_damaged_record_stops_the_patients_events_and_is_not_made_anew() {
    let house = House::new();
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    disclosed(&house, &log, ada).await;
    for (partition, entry) in house.entries().await {
        if entry.key.as_bytes().starts_with(b"subject/of/") {
            let put = kv::Transaction::new().put(entry.key, "damaged");
            house.state.commit(&partition, put).await.unwrap();
        }
    }
    log.close().await;
    let log = house.open().await;
    let event = house.disclosed(ada, "x");
    let refused = log.append(&house.cx(1), &event).await;
    assert!(matches!(refused, Err(AuditError::Seal(_))));
    let asked = erasure(&house, ada);
    let refused = log.shred(&house.cx(1), &asked, &[&FREE]).await;
    assert!(matches!(refused, Err(AuditError::Seal(_))));
    assert_eq!(house.entries().await.len(), 2);
}
