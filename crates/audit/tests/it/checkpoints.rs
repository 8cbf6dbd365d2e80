//! Signed heads: what they cover, who can check them, and that a close leaves nothing unsigned.

use std::collections::HashSet;

use eonpro_audit::{AuditLog as _, Checkpoint, LogId, verify};
use eonpro_core::component::Component as _;
use eonpro_testkit::tenant_id;

use crate::house::House;

#[tokio::test]
async fn a_checkpoint_covers_every_log_and_is_the_same_until_something_grows() {
    let house = House::new();
    let audit = house.open().await;
    for number in [1, 2, 1] {
        audit
            .append(&house.cx(number), &house.viewed())
            .await
            .unwrap();
    }
    let head = audit.checkpoint().await.unwrap();
    // Two tenants and the system log, whose one entry says that recording began and was signed then.
    assert_eq!((head.logs, head.entries, head.size), (3, 4, 3));
    assert_eq!(audit.checkpoint().await.unwrap(), head);
    audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    let later = audit.checkpoint().await.unwrap();
    assert_eq!((later.size, later.entries), (4, 5));
    assert_ne!(later.root, head.root);
}

#[tokio::test]
async fn the_directory_log_holds_checkpoints_that_outsiders_can_check() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    let leaves = audit
        .read(&house.system(), &LogId::Directory, 0..9)
        .await
        .unwrap();
    let logs: HashSet<LogId> = leaves
        .iter()
        .map(|leaf| {
            let note = std::str::from_utf8(&leaf.bytes).unwrap();
            Checkpoint::open(note, &[house.key()]).unwrap().log
        })
        .collect();
    let expected = HashSet::from([LogId::System, LogId::Tenant(tenant_id(1))]);
    assert_eq!(logs, expected);
}

#[tokio::test]
async fn after_a_close_everything_is_signed_and_verifies_without_the_service() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    let report = verify(&house.log(), &[house.key()]).unwrap();
    assert_eq!((report.entries, report.unsigned, report.logs), (3, 0, 2));
    // The system log's from the start and the end, the tenant's, and the directory's own.
    assert_eq!((report.checkpoints, report.directory.size), (4, 3));
}

#[tokio::test]
async fn a_log_grows_over_several_segments_and_stays_whole() {
    let mut house = House::new();
    house.config.segment_bytes = 16 * 1024;
    house.config.fill_bytes = 4 * 1024;
    house.config.checkpoint_every = 25;
    for round in 0..3 {
        let audit = house.open().await;
        for _ in 0..60 {
            audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        }
        let report = audit.verify(&house.system()).await.unwrap();
        assert!(report.checkpoints > 3, "round {round}: {report:?}");
        audit.close().await;
    }
    let segments = std::fs::read_dir(house.log().join("wal")).unwrap().count();
    assert!(segments > 5, "{segments}");
    let report = verify(&house.log(), &[house.key()]).unwrap();
    let tenant = report
        .heads
        .iter()
        .find(|head| head.log != LogId::System)
        .unwrap();
    assert_eq!(tenant.size, 180);
}

#[tokio::test]
async fn verification_is_on_record_and_for_the_system_only() {
    let house = House::new();
    let audit = house.open().await;
    assert!(audit.verify(&house.cx(1)).await.is_err());
    audit.verify(&house.system()).await.unwrap();
    let views = audit
        .read(&house.system(), &LogId::System, 0..9)
        .await
        .unwrap();
    assert_eq!(views.last().unwrap().entry().unwrap().code, "AUD-005");
}

#[tokio::test]
async fn another_key_verifies_nothing_and_a_retired_key_still_does() {
    let mut house = House::new();
    house.open().await.close().await;
    let retired = house.key();
    std::fs::remove_file(house.dir.path().join("audit.key")).unwrap();
    assert!(house.try_open().await.is_err());
    house.config.previous_keys = vec![retired];
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    assert!(verify(&house.log(), &[house.key()]).is_err());
    assert!(verify(&house.log(), &[house.key(), retired]).is_ok());
}
