//! Who may read a log, and what a stolen disk tells.

use eonpro_audit::{AuditError, AuditLog as _, LogId};
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::catalogue::audit;
use eonpro_core::phi::{Cell, Column, Phi, Row, Table};
use eonpro_core::port::{KeyPurpose, SealScope, Sealer as _};
use eonpro_core::scope::Standing;
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
    assert_eq!(
        open((&ours).into()).await.unwrap().as_slice(),
        NEEDLE.as_bytes()
    );
    assert!(open((&theirs).into()).await.is_err());
    assert!(open(SealScope::System).await.is_err());
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
