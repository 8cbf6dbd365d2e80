//! Leaving: what it needs, what stops it, and that it ends whatever fails on the way.

use eonpro_core::event::{Code, Digest};
use eonpro_core::port::{SealScope, Sealer as _};
use eonpro_tenant::{
    Command, DbError, Hold, Migration, Refusal, Stage, State, TenantError, TenantRecord,
    Tenants as _,
};

use crate::house::{House, authority, idem, new_tenant};

const SCHEMA: [Migration; 1] = [Migration::new(1, &["CREATE TABLE t (a TEXT) STRICT"])];

fn export() -> Digest {
    Digest::of(b"manifest")
}

/// A tenant with one row, exported and approved by two.
async fn ready(house: &House) -> TenantRecord {
    let tenant = house.onboard("clinic").await;
    let scope = house.scope(tenant.id()).await;
    house.databases.migrate(&scope, &SCHEMA).await.unwrap();
    let insert = "INSERT INTO t VALUES ('row')";
    house
        .databases
        .run(&scope, |db| db.execute(insert, &[]))
        .await
        .unwrap();
    let (cx, id) = (house.cx(), tenant.id());
    house.tenants.begin_offboarding(&cx, id).await.unwrap();
    house
        .tenants
        .record_export(&cx, id, export())
        .await
        .unwrap();
    for name in ["admin-1", "admin-2"] {
        let person = house.person(name);
        house.tenants.approve(&person, id, export()).await.unwrap();
    }
    house.record(id).await
}

async fn has_keys(house: &House, tenant: &TenantRecord) -> bool {
    let keys = SealScope::of_tenant(&authority(), tenant.id());
    house.sealer.mac_key(keys, "x").await.is_ok()
}

async fn assert_gone(house: &House, tenant: &TenantRecord) {
    assert_eq!(house.record(tenant.id()).await.state(), State::Erased);
    assert!(!has_keys(house, tenant).await);
    assert_eq!(house.files(), 0);
    assert!(house.admit(tenant.id()).await.is_err());
}

#[tokio::test]
async fn a_shredded_tenant_leaves_a_tombstone_and_its_entry() {
    let house = House::new();
    let tenant = ready(&house).await;
    let erasure = house
        .tenants
        .shred(&house.cx(), tenant.id(), 42)
        .await
        .unwrap();
    assert!(erasure.keys > 0);
    assert_eq!(erasure.record.state(), State::Erased);
    assert_gone(&house, &tenant).await;
    assert_eq!(house.sink.count("TEN-003"), 1);
    let again = house.tenants.shred(&house.cx(), tenant.id(), 42).await;
    assert_eq!(again.unwrap().keys, 0);
    assert_eq!(house.sink.count("TEN-003"), 1);
    let reused = house
        .tenants
        .onboard(&house.cx(), new_tenant("clinic"), idem("again"))
        .await;
    assert!(matches!(reused, Err(TenantError::SlugTaken)));
}

#[tokio::test]
async fn shredding_is_refused_without_what_it_needs() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let (cx, id) = (house.cx(), tenant.id());
    let refusal = async || match house.tenants.shred(&cx, id, 0).await.unwrap_err() {
        TenantError::Lifecycle(refusal) => refusal,
        other => panic!("{other}"),
    };
    assert_eq!(refusal().await, Refusal::NotAllowed(State::Active));
    house.tenants.begin_offboarding(&cx, id).await.unwrap();
    assert_eq!(refusal().await, Refusal::NoExport);
    house
        .tenants
        .record_export(&cx, id, export())
        .await
        .unwrap();
    let one = house.person("admin-1");
    for _ in 0..2 {
        house.tenants.approve(&one, id, export()).await.unwrap();
    }
    assert_eq!(refusal().await, Refusal::ApprovalsMissing);
    let two = house.person("admin-2");
    let other = house.tenants.approve(&two, id, Digest::of(b"other")).await;
    let expected = TenantError::Lifecycle(Refusal::OtherExport).to_string();
    assert_eq!(other.unwrap_err().to_string(), expected);
    let approved = house.tenants.approve(&two, id, export()).await.unwrap();
    let hold = Command::PlaceHold(Hold(Code::constant("litigation:1")));
    house
        .tenants
        .apply(&cx, id, hold, approved.version(), idem("hold"))
        .await
        .unwrap();
    assert_eq!(refusal().await, Refusal::HoldStands);
    assert!(has_keys(&house, &tenant).await);
    assert_eq!(house.sink.count("TEN-003"), 0);
}

#[tokio::test]
async fn only_a_person_approves() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let (cx, id) = (house.cx(), tenant.id());
    house.tenants.begin_offboarding(&cx, id).await.unwrap();
    house
        .tenants
        .record_export(&cx, id, export())
        .await
        .unwrap();
    let refused = house.tenants.approve(&cx, id, export()).await;
    assert!(matches!(refused, Err(TenantError::NotAPerson)));
}

#[tokio::test]
async fn an_exporting_tenant_is_read_through_its_export_scope_only_and_never_written() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let before = house.scope(tenant.id()).await;
    house.databases.migrate(&before, &SCHEMA).await.unwrap();
    let (insert, count) = ("INSERT INTO t VALUES ('row')", "SELECT count(*) FROM t");
    house
        .databases
        .run(&before, |db| db.execute(insert, &[]))
        .await
        .unwrap();
    let (cx, id) = (house.cx(), tenant.id());
    let early = house.tenants.export_scope(cx.clone(), id).await;
    assert!(matches!(early, Err(TenantError::NotInService(_))));
    house.tenants.begin_offboarding(&cx, id).await.unwrap();
    let stale = house.databases.run(&before, |db| db.execute(insert, &[]));
    assert!(matches!(stale.await, Err(TenantError::StaleScope)));
    assert!(house.admit(id).await.is_err());
    let scope = house.tenants.export_scope(cx.clone(), id).await.unwrap();
    let read = house.databases.run(&scope, |db| {
        db.query_first(count, &[], |row| row.integer(0))
    });
    assert_eq!(read.await.unwrap(), Some(1));
    let write = house.databases.run(&scope, |db| db.execute(insert, &[]));
    assert!(matches!(
        write.await,
        Err(TenantError::Database(DbError::QueryRefused))
    ));
    house
        .tenants
        .record_export(&cx, id, export())
        .await
        .unwrap();
    let late = house.databases.run(&scope, |_| Ok(())).await;
    assert!(matches!(late, Err(TenantError::NotInService(_))));
}

#[tokio::test]
async fn shredding_goes_on_after_the_entry_could_not_be_written() {
    let house = House::new();
    let tenant = ready(&house).await;
    house.sink.set_down(true);
    let failed = house.tenants.shred(&house.cx(), tenant.id(), 1).await;
    assert!(matches!(failed, Err(TenantError::Unaudited(_))));
    assert!(
        has_keys(&house, &tenant).await,
        "destroyed without its entry"
    );
    let stage = house.record(tenant.id()).await.state();
    assert_eq!(stage, State::Offboarding(Stage::Shredding));
    house.sink.set_down(false);
    house
        .tenants
        .shred(&house.cx(), tenant.id(), 1)
        .await
        .unwrap();
    assert_gone(&house, &tenant).await;
}

#[tokio::test]
async fn shredding_goes_on_after_the_keys_could_not_be_destroyed() {
    let house = House::new();
    let tenant = ready(&house).await;
    house.sealer.fail_next(1);
    let failed = house.tenants.shred(&house.cx(), tenant.id(), 1).await;
    assert!(matches!(failed, Err(TenantError::Sealing(_))));
    assert!(house.files() > 0, "files went before the keys");
    let house = house.reopened().await;
    house
        .tenants
        .shred(&house.cx(), tenant.id(), 1)
        .await
        .unwrap();
    assert_gone(&house, &tenant).await;
    assert_eq!(house.sink.count("TEN-003"), 1);
}

#[tokio::test]
async fn shredding_goes_on_after_the_file_could_not_be_deleted() {
    let house = House::new();
    let tenant = ready(&house).await;
    let name = format!("{}.db-journal", tenant.storage().uuid().simple());
    let obstacle = house.dir.path().join("tenants").join(name);
    std::fs::create_dir(&obstacle).unwrap();
    let failed = house.tenants.shred(&house.cx(), tenant.id(), 1).await;
    assert!(matches!(failed, Err(TenantError::Database(_))));
    std::fs::remove_dir(&obstacle).unwrap();
    let done = house.tenants.shred(&house.cx(), tenant.id(), 1).await;
    assert_eq!(done.unwrap().keys, 0, "keys were destroyed before");
    assert_gone(&house, &tenant).await;
    assert_eq!(house.sink.count("TEN-003"), 1);
}

#[tokio::test]
async fn shredding_goes_on_wherever_the_store_failed() {
    for commits in 0.. {
        let house = House::new();
        let tenant = ready(&house).await;
        house.state.fail_after(commits);
        let first = house.tenants.shred(&house.cx(), tenant.id(), 1).await;
        if !house.state.failed() {
            assert!(commits >= 5, "nothing was ever made to fail");
            break;
        }
        assert!(first.is_err());
        let keys = has_keys(&house, &tenant).await;
        let announced = house.sink.count("TEN-003") > 0;
        assert!(keys || announced, "destroyed without its entry");
        house
            .tenants
            .shred(&house.cx(), tenant.id(), 1)
            .await
            .unwrap();
        assert_gone(&house, &tenant).await;
        // Only the mark after the entry can be lost, and then the entry comes twice.
        let entries = house.sink.count("TEN-003");
        assert_eq!(entries, if commits == 1 { 2 } else { 1 }, "{commits}");
    }
}

#[tokio::test]
async fn a_tenant_that_stays_works_as_before() {
    let house = House::new();
    let tenant = ready(&house).await;
    let (cx, id) = (house.cx(), tenant.id());
    let stay = Command::Reinstate;
    house
        .tenants
        .apply(&cx, id, stay, tenant.version(), idem("stay"))
        .await
        .unwrap();
    let scope = house.scope(id).await;
    let count = "SELECT count(*) FROM t";
    let read = house.databases.run(&scope, |db| {
        db.query_first(count, &[], |row| row.integer(0))
    });
    assert_eq!(read.await.unwrap(), Some(1));
}

#[tokio::test]
async fn what_waited_for_the_database_while_it_was_frozen_does_not_write() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let scope = house.scope(tenant.id()).await;
    house.databases.migrate(&scope, &SCHEMA).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let mut running = Box::pin(house.databases.run(&scope, move |_| {
        let _ = released.recv();
        Ok(())
    }));
    let insert = "INSERT INTO t VALUES ('late')";
    let mut waiting = Box::pin(house.databases.run(&scope, |db| db.execute(insert, &[])));
    // The first holds the turn once the freeze is through; the second queues up behind it.
    let frozen = async {
        house
            .tenants
            .begin_offboarding(&house.cx(), tenant.id())
            .await
    };
    tokio::select! {
        biased;
        _ = &mut running => panic!("nobody released it"),
        _ = &mut waiting => panic!("it had no turn"),
        frozen = frozen => drop(frozen.unwrap()),
    }
    release.send(()).unwrap();
    let (_, late) = tokio::join!(running, waiting);
    assert!(matches!(late, Err(TenantError::StaleScope)));
}
