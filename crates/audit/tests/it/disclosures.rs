//! One field of one entry, opened for an outsider who checks it alone.

use eonpro_audit::tlog::{OfflineProof, Policy};
use eonpro_audit::{
    AuditError, AuditLog as _, Disclosure, DisclosureError, DisclosureOrder, EmbeddedAudit,
    EntryValue, LogId, RevealedField, prove, publish, verify_disclosure,
};
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::{Code, Digest};
use eonpro_core::id::SubjectId;
use eonpro_core::phi::Phi;
use eonpro_testkit::tenant_id;

use crate::house::House;

const TEXT: &str = "to Dr. Babbage, 5 Devonshire Street";

fn own() -> LogId {
    LogId::Tenant(tenant_id(1))
}

fn order() -> DisclosureOrder {
    DisclosureOrder {
        recipient_name: Phi::from("the court"),
        recipient_address: None,
        purpose_statement: Phi::from("case 7"),
        legal_basis: Code::constant("45-CFR-164.512-e"),
    }
}

fn policy(house: &House) -> Policy {
    let file = format!("log {}\nquorum none\n", house.key().vkey(&own()));
    Policy::parse(file.as_bytes()).unwrap()
}

/// A log with an entry on a patient at index 1, and its proof.
async fn proven(house: &House) -> (EmbeddedAudit, OfflineProof, SubjectId) {
    let log = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let events = [house.viewed(), house.disclosed(ada, TEXT), house.viewed()];
    log.append_batch(&house.cx(1), &events).await.unwrap();
    log.close().await;
    let published = house.dir.path().join("published");
    publish(&house.log(), &[house.key()], &published).unwrap();
    let proof = prove(&published, &[house.key()], own(), 1).unwrap();
    (house.open().await, proof, ada)
}

#[tokio::test]
async fn a_field_is_proven_to_an_outsider_and_the_others_stay_sealed() {
    let house = House::new();
    let (log, proof, ada) = proven(&house).await;
    let proofs = Digest::of(proof.to_string().as_bytes());
    let cx = house.cx(1);
    let made = log.disclose(&cx, proof, "description", order());
    let file = made.await.unwrap().to_file();
    let disclosed = verify_disclosure(file.expose(), &policy(&house)).unwrap();
    assert_eq!(disclosed.value.expose(), TEXT);
    assert_eq!(
        (disclosed.index, disclosed.entry.code.as_str()),
        (1, "DISC-001")
    );
    assert_eq!(disclosed.origin, own().to_string());
    assert!(!format!("{disclosed:?}{disclosed}").contains("Babbage"));
    assert!(!file.expose().contains(&ada.to_string()));

    let views = log.read(&house.cx(1), &own(), 3..9).await.unwrap();
    let [exported, accounted] = views.as_slice() else {
        panic!("{views:?}");
    };
    let entry = exported.entry().unwrap();
    assert_eq!(entry.code, "AUD-004");
    let digest = Digest::of(file.expose().as_bytes());
    assert_eq!(entry.fields["digest"], EntryValue::Text(digest.to_string()));
    assert_eq!(
        entry.fields["proof_bundle"],
        EntryValue::Text(proofs.to_string())
    );
    assert_eq!(entry.fields["last_index"], EntryValue::Count(1));
    assert_eq!(accounted.entry().unwrap().code, "DISC-001");
    let revealed = log.reveal(&house.cx(1), accounted).await.unwrap();
    assert_eq!(revealed.subjects.values().collect::<Vec<_>>(), [&ada]);
    let RevealedField::Open(what) = &revealed.fields["description"] else {
        panic!("{revealed:?}");
    };
    assert_eq!(what.expose(), &format!("description of {}#1", own()));
}

#[tokio::test]
async fn a_file_with_anything_changed_proves_nothing() {
    let house = House::new();
    let (log, proof, _) = proven(&house).await;
    let cx = house.cx(1);
    let made = log.disclose(&cx, proof, "description", order());
    let file = made.await.unwrap().to_file();
    let file = file.expose().as_str();
    let line = |name: &str| {
        let line = file.lines().find(|line| line.starts_with(name));
        line.unwrap().to_owned()
    };
    let policy = policy(&house);
    let refused = |from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        verify_disclosure(&file.replacen(from, to, 1), &policy).unwrap_err()
    };
    let commitment = DisclosureError::Commitment;
    assert_eq!(
        refused("field description", "field recipient_name"),
        commitment
    );
    assert_eq!(refused("field description", "field nothing"), commitment);
    assert_eq!(refused(&line("value "), "value VmljdG9yaWE="), commitment);
    assert_eq!(refused(&line("value "), "value "), commitment);
    let salt = "salt AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(refused(&line("salt "), salt), commitment);
    for (from, to) in [
        ("disclosure@v1", "disclosure@v2"),
        ("field description", "field Description"),
        ("field description", "field "),
        ("\nvalue ", "\nvalue  "),
        (&line("salt "), "salt AAAA"),
        ("\n\nc2sp", "\nc2sp"),
    ] {
        assert_eq!(refused(from, to), DisclosureError::Malformed, "{from} {to}");
    }
    assert!(matches!(
        refused("index 1\n", "index 2\n"),
        DisclosureError::Proof(_)
    ));
    let other = format!("log {}\nquorum none\n", house.key().vkey(&LogId::System));
    let other = Policy::parse(other.as_bytes()).unwrap();
    assert!(matches!(
        verify_disclosure(file, &other),
        Err(DisclosureError::Proof(_))
    ));
    let whole = Disclosure::parse(file).unwrap().to_file();
    assert_eq!(whole.expose(), file);
}

#[tokio::test]
async fn only_entries_of_this_log_are_disclosed_to_whom_it_may() {
    let house = House::new();
    let (log, proof, ada) = proven(&house).await;
    let (cx, other) = (house.cx(1), house.cx(2));
    let denied = log.disclose(&other, proof.clone(), "description", order());
    assert_eq!(
        denied.await.unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    let missing = log.disclose(&cx, proof.clone(), "patient", order());
    assert!(matches!(missing.await, Err(AuditError::NoField)));
    let text = String::from_utf8(proof.extra().to_vec()).unwrap();
    let bytes = text.replace("\"outcome\":0", "\"outcome\":4").into_bytes();
    assert_ne!(bytes, proof.extra());
    let forged = proof.clone().with_extra(bytes).unwrap();
    let forged = log.disclose(&cx, forged, "description", order());
    assert!(matches!(forged.await, Err(AuditError::NotTheEntry)));
    assert_eq!(log.read(&house.cx(1), &own(), 0..9).await.unwrap().len(), 3);

    let erasure = eonpro_audit::Erasure {
        log: own(),
        subject: ada,
        request: uuid::Uuid::from_u128(7),
        basis: Code::constant("gdpr-17-1"),
    };
    let free = eonpro_audit::RetentionDuty {
        keep: std::time::Duration::ZERO,
        basis: Code::constant("none"),
    };
    log.shred(&house.cx(1), &erasure, &[&free]).await.unwrap();
    let gone = log.disclose(&cx, proof, "description", order());
    assert!(matches!(gone.await, Err(AuditError::NoField)));
}
