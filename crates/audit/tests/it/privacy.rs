//! Who may read a log, and what a stolen disk tells.

use eonpro_audit::{AuditError, AuditLog as _, LogId};
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::catalogue::{audit, disclosure, key, phi};
use eonpro_core::event::{Code, ObjectRef};
use eonpro_core::id::{ActorId, PublicId as _, SubjectId};
use eonpro_core::phi::{Cell, Column, Phi, Row, Table};
use eonpro_core::port::{KeyPurpose, SealScope, Sealer as _};
use eonpro_core::scope::Standing;
use ring::digest;

use eonpro_testkit::{Actors, scope, standing_context, tenant_id};

use crate::house::{House, every_byte};

const NEEDLE: &str = "Lovelace, Ada, born 1815";

fn viewed(house: &House) -> std::sync::Arc<eonpro_core::event::Event> {
    house.event(audit::LogViewed {
        filter: Phi::from(NEEDLE),
        rows: 3,
        patients: 1,
    })
}

#[tokio::test]
async fn a_text_field_is_sealed_under_the_tenants_keys() {
    let house = House::new();
    let log = house.open().await;
    let event = viewed(&house);
    log.append(&house.cx(1), &event).await.unwrap();
    log.close().await;
    let disk = every_byte(house.dir.path());
    assert!(
        !disk
            .windows(8)
            .any(|window| window == &NEEDLE.as_bytes()[..8])
    );

    let log = house.open().await;
    let id = LogId::Tenant(tenant_id(1));
    let entry = log.read(&house.cx(1), &id, 0..1).await.unwrap().remove(0);
    let entry = entry.entry().unwrap();
    use base64::Engine as _;
    let sealed = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(&entry.sealed["filter"])
        .unwrap();
    let row = event.id().uuid();
    let cell = Cell::new(
        Table::new("audit"),
        Column::new("filter"),
        Row::named(row.as_bytes()).unwrap(),
    );
    let (ours, theirs) = (scope(1), scope(2));
    let open = |scope: SealScope| house.sealer.open(scope, KeyPurpose::AUDIT, &cell, &sealed);
    let opened = open((&ours).into()).await.unwrap();
    // Version, salt, value.
    assert_eq!((opened[0], &opened[33..]), (1, NEEDLE.as_bytes()));
    assert!(open((&theirs).into()).await.is_err());
    assert!(open(SealScope::System).await.is_err());
}

/// What nothing on disk may hold: the needles as they are, and what anybody can compute from them.
fn telling(id: SubjectId, value: &str) -> Vec<Vec<u8>> {
    let (hyphens, bare) = (id.uuid().hyphenated(), id.uuid().simple());
    let spelled = [hyphens.to_string(), bare.to_string(), value.to_owned()];
    let mut plain: Vec<Vec<u8>> = spelled
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    plain.extend(spelled.map(|text| text.to_uppercase().into_bytes()));
    plain.push(id.uuid().as_bytes().to_vec());
    let mut found = Vec::new();
    for needle in plain {
        let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        for hash in [&digest::SHA256, &digest::SHA512, sha1] {
            found.extend(encodings(digest::digest(hash, &needle).as_ref()));
        }
        found.extend(encodings(&needle));
    }
    found
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        bytes.to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        STANDARD_NO_PAD.encode(bytes).into_bytes(),
        URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
    ]
}

#[tokio::test]
async fn no_patient_and_no_text_can_be_read_or_recomputed_from_any_file() {
    let house = House::new();
    let log = house.open().await;
    let patient = SubjectId::random(&*house.entropy);
    let named = format!("tenant/x/subject/{patient}");
    let events = [
        house.disclosed(patient, NEEDLE),
        house.event(phi::RecordViewed {
            patient,
            resource: ObjectRef::new(Code::constant("patient"), patient),
            record_source: Code::new(patient.to_string().to_uppercase()).unwrap(),
        }),
        // It names its patient in a code only.
        house.event(key::Destroyed {
            key_id: Code::constant("k"),
            key_version: 1,
            approver: ActorId::anonymous(),
            second_approver: None,
            scope: Code::new(named).unwrap(),
        }),
        house.event(disclosure::RightsErasureDecided {
            patient,
            request: patient.uuid(),
            erased: false,
            retention_basis: None,
        }),
    ];
    // The patient acts, too.
    let cx = house.acting(1, &patient.to_string());
    log.append_batch(&cx, &events).await.unwrap();
    log.close().await;

    let mut disk = every_byte(house.dir.path());
    disk.extend(house.stored().await);
    for needle in telling(patient, NEEDLE) {
        let found = disk.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{:?}", String::from_utf8_lossy(&needle));
    }

    let log = house.open().await;
    let own = LogId::Tenant(tenant_id(1));
    let pseudonym = log.pseudonym_of(&cx, &own, patient).await.unwrap();
    let pseudonym = pseudonym.unwrap().to_string();
    let views = log.read(&house.cx(1), &own, 0..9).await.unwrap();
    let named = |at: usize| {
        let text = String::from_utf8(views[at].bytes.clone()).unwrap();
        text.matches(&pseudonym).count()
    };
    // The actor each time; `subject` and `patient`; `patient`, object and code; the code; `patient` and
    // `request`.
    assert_eq!([named(0), named(1), named(2), named(3)], [3, 4, 2, 3]);
}

#[tokio::test]
async fn an_event_that_cannot_be_sealed_is_not_written() {
    let house = House::new();
    let log = house.open().await;
    house.sealer.fail_next(1);
    let error = log.append(&house.cx(1), &viewed(&house)).await.unwrap_err();
    assert!(matches!(error, AuditError::Seal(_)));
    assert_eq!(log.stats().entries, 1);
}

#[tokio::test]
async fn a_tenant_reads_its_own_log_only_and_only_while_active() {
    let house = House::new();
    let log = house.open().await;
    log.append(&house.cx(1), &house.viewed()).await.unwrap();
    let own = LogId::Tenant(tenant_id(1));
    assert_eq!(log.read(&house.cx(1), &own, 0..9).await.unwrap().len(), 1);
    let views = log.read(&house.system(), &own, 0..9).await.unwrap();
    let codes: Vec<String> = views
        .iter()
        .map(|view| view.entry().unwrap().code)
        .collect();
    // The first reading is on record when the second begins.
    assert_eq!(codes, ["PHI-001", "AUD-003"]);

    let suspended = standing_context(
        1,
        Standing::Suspended,
        Actors::Admin,
        &*house.clock,
        &*house.entropy,
    );
    for (cx, id) in [
        (&house.cx(2), &own),
        (&suspended, &own),
        (&house.cx(1), &LogId::System),
        (&house.cx(1), &LogId::Directory),
    ] {
        let error = log.read(cx, id, 0..9).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
}

#[tokio::test]
async fn the_log_of_a_suspended_tenant_goes_on() {
    let house = House::new();
    let log = house.open().await;
    let suspended = standing_context(
        1,
        Standing::Suspended,
        Actors::Admin,
        &*house.clock,
        &*house.entropy,
    );
    let receipt = log.append(&suspended, &viewed(&house)).await.unwrap();
    assert_eq!(receipt.log, LogId::Tenant(tenant_id(1)));
}
