//! One pseudonym for each patient of a tenant, and what a reader who may know learns of an entry.

use std::sync::Arc;
use std::time::Duration;

use eonpro_audit::{
    AuditError, AuditLog as _, EmbeddedAudit, EntryValue, EntryView, LogId, RevealedField,
};
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Event};
use eonpro_core::id::{ActorId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::{KeyValue as _, kv};
use eonpro_testkit::tenant_id;
use futures_util::future::join_all;

use crate::apart::Apart;
use crate::house::House;
use crate::yielding::Yielding;

const OWN: fn() -> LogId = || LogId::Tenant(tenant_id(1));

fn patient(house: &House) -> SubjectId {
    SubjectId::random(&*house.entropy)
}

/// What the newest entry of tenant `number` calls its patient.
async fn last_name(house: &House, log: &EmbeddedAudit, number: u128) -> String {
    let id = LogId::Tenant(tenant_id(number));
    let views = log.read(&house.cx(number), &id, 0..999).await.unwrap();
    match &views.last().unwrap().entry().unwrap().fields["patient"] {
        EntryValue::Text(name) => name.clone(),
        other => panic!("{other:?}"),
    }
}

async fn appended(house: &House, log: &EmbeddedAudit, event: &Arc<Event>) -> EntryView {
    let receipt = log.append(&house.cx(1), event).await.unwrap();
    let range = receipt.index..receipt.index + 1;
    log.read(&house.cx(1), &OWN(), range)
        .await
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn a_patient_has_one_pseudonym_in_a_tenant_and_another_in_another() {
    let house = House::new();
    let log = house.open().await;
    let ada = patient(&house);
    let mut names = Vec::new();
    for number in [1, 1, 2] {
        let event = house.disclosed(ada, "x");
        log.append(&house.cx(number), &event).await.unwrap();
        names.push(last_name(&house, &log, number).await);
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
    let known = log.pseudonym_of(&house.cx(1), &OWN(), ada).await.unwrap();
    assert_eq!(known.unwrap().to_string(), names[0]);
    let stranger = patient(&house);
    let unknown = log.pseudonym_of(&house.cx(1), &OWN(), stranger).await;
    assert_eq!(unknown.unwrap(), None);
    // Asking makes no record: two patients of two keys each.
    assert_eq!(subject_records(&house).await, 4);
}

#[tokio::test]
async fn two_processes_find_one_pseudonym() {
    let mut here = House::new();
    here.store = |state| Arc::new(Yielding(state));
    let mut there = House::beside(&here);
    there.store = |state| Arc::new(Apart::over(Arc::new(Yielding(state))));
    let (one, two) = (here.open().await, there.open().await);
    for _ in 0..50 {
        let ada = patient(&here);
        let (mine, theirs) = (here.disclosed(ada, "x"), there.disclosed(ada, "x"));
        let (cx_here, cx_there) = (here.cx(1), there.cx(1));
        let both = tokio::join!(one.append(&cx_here, &mine), two.append(&cx_there, &theirs));
        both.0.unwrap();
        both.1.unwrap();
        let name = last_name(&here, &one, 1).await;
        assert_eq!(name, last_name(&there, &two, 1).await);
    }
}

#[tokio::test]
async fn a_crowd_of_first_events_makes_one_record_once() {
    let mut house = House::new();
    house.store = |state| Arc::new(Yielding(state));
    let log = house.open().await;
    let ada = patient(&house);
    let events: Vec<_> = (0..32).map(|_| house.disclosed(ada, "x")).collect();
    let cx = house.cx(1);
    let before = house.sealer.calls();
    let done = join_all(events.iter().map(|event| log.append(&cx, event))).await;
    assert!(done.iter().all(Result::is_ok));
    // The token's key, the data key and the record: no call for fields, which the patient's key seals.
    assert_eq!(house.sealer.calls() - before, 3);
    assert_eq!(subject_records(&house).await, 2);
}

#[tokio::test]
async fn an_event_is_refused_while_its_patient_is_out_of_reach() {
    let house = House::new();
    let log = house.open().await;
    house.sealer.fail_next(1);
    let event = house.viewed();
    let error = log.append(&house.cx(1), &event).await.unwrap_err();
    assert!(matches!(error, AuditError::Seal(_)));
    log.append(&house.cx(1), &event).await.unwrap();
}

#[tokio::test]
async fn a_reader_who_may_sees_the_patient_and_the_text_and_that_is_on_record() {
    let house = House::new();
    let log = house.open().await;
    let ada = patient(&house);
    let view = appended(&house, &log, &house.disclosed(ada, "to Dr. Babbage")).await;
    assert!(view.entry().unwrap().subject.is_some());
    for cx in [house.cx(1), house.system()] {
        let revealed = log.reveal(&cx, &view).await.unwrap();
        assert_eq!(revealed.subjects.values().collect::<Vec<_>>(), [&ada]);
        assert_eq!(revealed.fields.len(), 3);
        for field in revealed.fields.values() {
            let RevealedField::Open(text) = field else {
                panic!("{field:?}");
            };
            assert_eq!(text.expose(), "to Dr. Babbage");
        }
    }
    let views = log.read(&house.cx(1), &OWN(), 0..9).await.unwrap();
    let entries = views.iter().map(|view| view.entry().unwrap());
    let seen: Vec<_> = entries
        .map(|entry| {
            (
                entry.code,
                entry.actor.id,
                entry.fields.get("patients").cloned(),
            )
        })
        .collect();
    let looked = |who: &str| {
        let count = Some(EntryValue::Count(1));
        ("AUD-003".to_owned(), who.to_owned(), count)
    };
    assert_eq!(
        seen[1..],
        [looked("clinician-1"), looked("clinician-1"), looked("test")]
    );

    let denied = log.reveal(&house.cx(2), &view).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    let denied = log.pseudonym_of(&house.cx(2), &OWN(), ada).await;
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn nothing_is_revealed_that_cannot_be_recorded() {
    let house = House::new();
    let log = house.open().await;
    let view = appended(&house, &log, &house.disclosed(patient(&house), "x")).await;
    let before = log.stats().entries;
    // A system without keys of the reader's tenant: the last call, which seals AUD-003, fails.
    let calls = house.sealer.calls();
    log.reveal(&house.cx(1), &view).await.unwrap();
    let needed = house.sealer.calls() - calls;
    house.sealer.fail_after(needed - 1);
    assert!(log.reveal(&house.cx(1), &view).await.is_err());
    assert_eq!(log.stats().entries, before + 1);
}

#[tokio::test]
async fn what_does_not_fit_its_commitment_is_an_error_and_no_value() {
    let house = House::new();
    let log = house.open().await;
    let ada = patient(&house);
    let view = appended(&house, &log, &house.disclosed(ada, "one")).await;
    let other = appended(&house, &log, &house.disclosed(ada, "two")).await;
    let (ours, theirs) = (view.entry().unwrap(), other.entry().unwrap());
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(view.bytes.clone()).unwrap();
        assert_eq!(text.matches(from).count(), 1);
        EntryView {
            bytes: text.replace(from, to).into_bytes(),
            ..view.clone()
        }
    };
    let (ours_at, theirs_at) = (&ours.commit["description"], &theirs.commit["description"]);
    let error = log.reveal(&house.cx(1), &changed(ours_at, theirs_at)).await;
    assert!(matches!(error, Err(AuditError::Commitment)));
    // The same text in a field of the same entry has another commitment.
    let error = log
        .reveal(
            &house.cx(1),
            &changed(ours_at, &ours.commit["recipient_name"]),
        )
        .await;
    assert!(matches!(error, Err(AuditError::Commitment)));
    let without = format!("\"description\":\"{ours_at}\",");
    let error = log.reveal(&house.cx(1), &changed(&without, "")).await;
    assert!(matches!(error, Err(AuditError::Commitment)));
    // Sealed for another event.
    let moved = changed(&ours.sealed["description"], &theirs.sealed["description"]);
    let error = log.reveal(&house.cx(1), &moved).await;
    assert!(matches!(error, Err(AuditError::Seal(_))));
    log.reveal(&house.cx(1), &view).await.unwrap();
}

#[tokio::test]
async fn what_concerns_several_patients_or_none_is_sealed_for_the_log() {
    let house = House::new();
    let log = house.open().await;
    let (ada, mary) = (patient(&house), patient(&house));
    let merged = house.event(phi::IdentityMerged {
        surviving_patient: ada,
        retired_patient: mary,
        by: ActorId::anonymous(),
        reversible: true,
    });
    let view = appended(&house, &log, &merged).await;
    let revealed = log.reveal(&house.cx(1), &view).await.unwrap();
    assert_eq!(revealed.subjects.len(), 2);

    let searched = |patient| {
        house.event(phi::RecordSearched {
            query: Phi::from("name=Lovelace"),
            patient,
            count: 1,
        })
    };
    let whole = appended(&house, &log, &searched(None)).await;
    let of_ada = appended(&house, &log, &searched(Some(ada))).await;
    assert_eq!(whole.entry().unwrap().subject, None);
    assert!(of_ada.entry().unwrap().subject.is_some());
    for view in [whole, of_ada] {
        let revealed = log.reveal(&house.cx(1), &view).await.unwrap();
        assert!(matches!(&revealed.fields["query"], RevealedField::Open(_)));
    }
}

#[tokio::test]
async fn a_record_that_was_swapped_in_the_store_is_refused() {
    let house = House::new();
    let log = house.open().await;
    let (ada, mary) = (patient(&house), patient(&house));
    let view = appended(&house, &log, &house.disclosed(ada, "x")).await;
    appended(&house, &log, &house.disclosed(mary, "x")).await;
    let entries = house.entries().await;
    let of = |key: &kv::Key| key.as_bytes().starts_with(b"subject/of/");
    let records: Vec<_> = entries.iter().filter(|(_, entry)| of(&entry.key)).collect();
    let [(partition, one), (_, two)] = records.as_slice() else {
        panic!("{records:?}");
    };
    let swap = kv::Transaction::new()
        .put(one.key.clone(), two.versioned.value.clone())
        .put(two.key.clone(), one.versioned.value.clone());
    house.state.commit(partition, swap).await.unwrap();
    assert!(log.reveal(&house.cx(1), &view).await.is_err());
    let asked = log.pseudonym_of(&house.cx(1), &OWN(), ada).await;
    assert!(asked.is_err());
}

#[tokio::test]
async fn what_is_at_hand_is_read_again_after_its_time() {
    let here = House::new();
    let mut there = House::beside(&here);
    there.config.subject_ttl = Duration::ZERO;
    let (one, two) = (here.open().await, there.open().await);
    let ada = patient(&here);
    one.append(&here.cx(1), &here.disclosed(ada, "x"))
        .await
        .unwrap();
    two.append(&there.cx(1), &there.disclosed(ada, "x"))
        .await
        .unwrap();
    let old = last_name(&here, &one, 1).await;
    // As if a third process had erased the patient.
    for (partition, entry) in here.entries().await {
        let delete = kv::Transaction::new().delete(entry.key);
        here.state.commit(&partition, delete).await.unwrap();
    }
    one.append(&here.cx(1), &here.disclosed(ada, "x"))
        .await
        .unwrap();
    two.append(&there.cx(1), &there.disclosed(ada, "x"))
        .await
        .unwrap();
    assert_eq!(last_name(&here, &one, 1).await, old);
    assert_ne!(last_name(&there, &two, 1).await, old);
}

#[tokio::test]
async fn a_code_is_no_place_to_hide_a_patient() {
    let house = House::new();
    let log = house.open().await;
    let ada = patient(&house);
    let event = house.event(phi::RecordViewed {
        patient: ada,
        resource: eonpro_core::event::ObjectRef::new(Code::constant("patient"), ada),
        record_source: Code::new(format!("hie:{ada}")).unwrap(),
    });
    let view = appended(&house, &log, &event).await;
    let name = log.pseudonym_of(&house.cx(1), &OWN(), ada).await.unwrap();
    let name = name.unwrap().to_string();
    let fields = view.entry().unwrap().fields;
    assert_eq!(
        fields["record_source"],
        EntryValue::Text(format!("hie:{name}"))
    );
    let EntryValue::Object(object) = &fields["resource"] else {
        panic!("{fields:?}");
    };
    assert_eq!(object["id"], name);
}

/// How many keys the store has about patients.
async fn subject_records(house: &House) -> usize {
    let entries = house.entries().await.into_iter();
    entries
        .filter(|(_, entry)| entry.key.as_bytes().starts_with(b"subject/"))
        .count()
}
