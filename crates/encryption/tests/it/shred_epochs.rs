//! The end of a shred epoch: survivors move, copies die, and no crash loses anybody.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eonpro_core::port::Sealer as _;
use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction};
use eonpro_encryption::{
    BackupExposure, CryptoError, Encryption as _, EncryptionConfig, EpochKeys as _, KeyPurpose,
    KeyState, ShredTarget, Shredding as _, Subjects as _,
};
use eonpro_testkit::scope;

use crate::wards::{Ward, open_in, patient, person, target};

#[tokio::test]
async fn after_its_end_no_backup_opens_the_shredded_and_before_it_one_does_as_the_receipt_says() {
    let ward = Ward::build().await;
    let (one, two) = (ward.seal(1, b"x").await, ward.seal(2, b"y").await);
    let backup = ward.table.backup().await;
    let receipt = ward.shred(1).await;
    let epoch = receipt.facts.epoch.clone().unwrap();
    let BackupExposure::Until(until) = receipt.facts.backups else {
        panic!("not said until when: {receipt:?}");
    };
    assert!(ward.clock_now() < until);

    let now = ward.table.backup().await;
    ward.table.restore(&backup).await;
    let restored = ward.another_process().await;
    let opened = open_in(&restored, &ward.tenant, 1, &one).await;
    assert_eq!(opened.unwrap(), b"x");
    ward.table.restore(&now).await;

    let ended = ward.end_epoch().await;
    assert_eq!(
        (ended.moved, ended.lost, ended.destroyed),
        (1, 0, vec![epoch.clone()])
    );
    assert!(ward.custody.keys.is_wiped(&epoch));
    let fresh = ward.another_process().await;
    let opened = open_in(&fresh, &ward.tenant, 2, &two).await;
    assert_eq!(opened.unwrap(), b"y");
    let request = ward
        .vault
        .shred_request(ward.scope(), target(1))
        .await
        .unwrap()
        .unwrap();
    let again = ward.carry_out(&request).await.unwrap();
    assert_eq!(again.facts.backups, BackupExposure::Ended);

    ward.table.restore(&backup).await;
    let restored = ward.another_process().await;
    for (number, sealed) in [(1, &one), (2, &two)] {
        let opened = open_in(&restored, &ward.tenant, number, sealed).await;
        assert!(matches!(opened, Err(CryptoError::EpochGone)));
    }
}

impl Ward {
    fn clock_now(&self) -> eonpro_core::time::Timestamp {
        use eonpro_core::time::Clock as _;
        self.clock.wall()
    }
}

#[tokio::test]
async fn an_epoch_is_due_when_it_is_over_and_somebody_was_shredded_under_it() {
    let ward = Ward::build().await;
    let week = Duration::from_secs(7 * 24 * 3600);
    let due = || async {
        let now = ward.clock_now();
        ward.vault.shred_epochs_due(now).await.unwrap().len()
    };
    ward.seal(1, b"x").await;
    ward.clock.advance(week * 2);
    assert_eq!(due().await, 0);
    ward.shred(1).await;
    assert_eq!(due().await, 1);
    ward.end_epoch().await;
    assert_eq!(due().await, 0);

    ward.seal(2, b"y").await;
    ward.shred(2).await;
    ward.clock.advance(week - Duration::from_secs(1));
    assert_eq!(due().await, 0);
    ward.clock.advance(Duration::from_secs(1));
    assert_eq!(due().await, 1);
}

#[tokio::test]
async fn a_tenant_whose_record_cannot_be_read_is_due_and_holds_up_no_other() {
    let ward = Ward::build().await;
    let week = Duration::from_secs(7 * 24 * 3600);
    ward.seal(1, b"x").await;
    ward.shred(1).await;
    let unreadable = scope(2);
    ward.vault.provision((&unreadable).into()).await.unwrap();
    let mark = Key::new(format!("shred-epoch/{}", unreadable.tenant()).into_bytes()).unwrap();
    let epoch = Key::new(b"epoch".as_slice()).unwrap();
    let theirs = Partition::tenant(unreadable.tenant(), "encryption");
    for (partition, key, value) in [
        (Partition::system("encryption"), mark, r#"{"v":1}"#),
        (theirs, epoch, "torn"),
    ] {
        let tx = Transaction::new().put(key, value.as_bytes().to_vec());
        ward.table.commit(&partition, tx).await.unwrap();
    }
    let due = || async {
        let now = ward.clock_now();
        let due = ward.vault.shred_epochs_due(now).await.unwrap();
        due.into_iter().collect::<BTreeSet<_>>()
    };
    assert_eq!(due().await, BTreeSet::from([unreadable.tenant()]));
    ward.clock.advance(week);
    let both = BTreeSet::from([ward.tenant.tenant(), unreadable.tenant()]);
    assert_eq!(due().await, both);
    assert_eq!(ward.end_epoch().await.destroyed.len(), 1);
    let cx = person("clerk");
    let failed = ward.vault.end_shred_epoch(&cx, (&unreadable).into()).await;
    assert!(matches!(failed, Err(CryptoError::Record(_))), "{failed:?}");
}

#[tokio::test]
async fn a_tenant_that_was_shredded_while_the_custody_failed_stays_due() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(Duration::from_secs(24 * 3600));
    // The tombstone is written, the epochs' entry is not.
    let mut calls = 1;
    loop {
        ward.fuse.set(calls);
        let done = ward.carry_out(&request).await;
        ward.fuse.mend();
        let fresh = ward.another_process().await;
        let shredded = fresh.warm(&ward.tenant).await.is_err();
        if shredded && done.is_err() {
            break;
        }
        assert!(done.is_err(), "no crash fell between the two");
        calls += 1;
    }
    let signed = ward.signer.signed.load(Ordering::SeqCst);
    assert_eq!(signed, 0, "a receipt before the epochs are gone");
    let now = ward.clock_now();
    assert_eq!(ward.vault.shred_epochs_due(now).await.unwrap().len(), 1);
    assert_eq!(ward.end_epoch().await.destroyed.len(), 1);
    assert_eq!(ward.vault.shred_epochs_due(now).await.unwrap().len(), 0);
    assert!(ward.custody.epochs().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_old_key_stays_for_as_long_as_it_is_told_to_settle() {
    let mut config = EncryptionConfig::default();
    config.shred.epoch_settle = Duration::from_secs(3600);
    let ward = Ward::with(config).await;
    ward.seal(1, b"x").await;
    let receipt = ward.shred(1).await;
    let ended = ward.end_epoch().await;
    assert_eq!((ended.destroyed.len(), ended.waiting), (0, 1));
    let now = ward.clock_now();
    assert_eq!(ward.vault.shred_epochs_due(now).await.unwrap().len(), 0);
    ward.clock.advance(Duration::from_secs(3600));
    let now = ward.clock_now();
    assert_eq!(ward.vault.shred_epochs_due(now).await.unwrap().len(), 1);
    let ended = ward.end_epoch().await;
    assert_eq!(ended.destroyed, [receipt.facts.epoch.unwrap()]);
    assert_eq!(ward.vault.shred_epochs_due(now).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_custody_that_unwraps_wrong_destroys_nothing() {
    let ward = Ward::build().await;
    let (one, two) = (ward.seal(1, b"x").await, ward.seal(2, b"y").await);
    ward.shred(1).await;
    // The first unwrap is the old key's, the next is the proof of the new one.
    for honest in 0..3 {
        ward.custody.lies_after.store(honest, Ordering::SeqCst);
        let cx = person("clerk");
        let refused = ward.vault.end_shred_epoch(&cx, ward.scope()).await;
        assert!(refused.is_err(), "{honest}");
        assert_eq!(ward.custody.destroys.load(Ordering::SeqCst), 0);
    }
    ward.custody.lies_after.store(i64::MAX, Ordering::SeqCst);
    ward.end_epoch().await;
    let fresh = ward.another_process().await;
    let opened = open_in(&fresh, &ward.tenant, 2, &two).await;
    assert_eq!(opened.unwrap(), b"y");
    assert!(open_in(&fresh, &ward.tenant, 1, &one).await.is_err());
}

#[tokio::test]
async fn wherever_the_end_crashes_survivors_open_and_a_repeat_finishes_it() {
    let mut calls = 1;
    loop {
        let ward = Ward::build().await;
        let one = ward.seal(1, b"x").await;
        let (two, three) = (ward.seal(2, b"y").await, ward.seal(3, b"z").await);
        let backup = ward.table.backup().await;
        let epoch = ward.shred(1).await.facts.epoch.unwrap();
        ward.fuse.set(calls);
        let cx = person("clerk");
        let crashed = ward.vault.end_shred_epoch(&cx, ward.scope()).await;
        ward.fuse.mend();
        let check = async || {
            let fresh = ward.another_process().await;
            for (number, sealed, text) in [(2, &two, b"y"), (3, &three, b"z")] {
                let opened = open_in(&fresh, &ward.tenant, number, sealed).await;
                assert_eq!(opened.unwrap(), text, "after {calls} calls");
            }
            assert!(open_in(&fresh, &ward.tenant, 1, &one).await.is_err());
        };
        check().await;
        ward.end_epoch().await;
        check().await;
        assert!(ward.custody.keys.is_wiped(&epoch), "after {calls} calls");
        let status = ward.vault.shred_epoch(ward.scope()).await.unwrap();
        assert_eq!(status.unwrap().pending, []);
        ward.table.restore(&backup).await;
        let restored = ward.another_process().await;
        assert!(open_in(&restored, &ward.tenant, 1, &one).await.is_err());
        if crashed.is_ok() {
            break;
        }
        calls += 1;
    }
    assert!(calls > 20, "the fuse burnt nothing: {calls}");
}

#[tokio::test]
async fn an_unrecorded_destruction_does_not_happen() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    ward.shred(1).await;
    ward.sink.set_down(true);
    let cx = person("clerk");
    let refused = ward.vault.end_shred_epoch(&cx, ward.scope()).await;
    assert!(refused.is_err());
    assert_eq!(ward.custody.destroys.load(Ordering::SeqCst), 0);
    ward.sink.set_down(false);
    ward.end_epoch().await;
    assert_eq!(ward.custody.destroys.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn survivors_move_to_the_tenants_newest_key_as_well() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let cx = person("clerk");
    let purpose = KeyPurpose::new("subject");
    let turned = ward
        .vault
        .turn_epoch(&cx, ward.scope(), purpose.into())
        .await;
    let turned = turned.unwrap();
    let key = format!("subject/{}", patient(1));
    let named = |id| format!("\"dek\":\"{id}\"");
    let record = ward.table.text(&ward.tenant, &key).await.unwrap();
    assert!(record.contains(&named(turned.old)));
    ward.end_epoch().await;
    let record = ward.table.text(&ward.tenant, &key).await.unwrap();
    assert!(record.contains(&named(turned.new)));
    assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");
}

#[tokio::test]
async fn new_patients_are_taken_in_after_a_restore_from_before_the_epochs_end() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let backup = ward.table.backup().await;
    ward.shred(1).await;
    ward.end_epoch().await;
    ward.table.restore(&backup).await;
    let restored = ward.another_process().await;
    restored
        .provision_subject(&ward.tenant, patient(3))
        .await
        .unwrap();
    restored
        .warm_subject(&ward.tenant, patient(3))
        .await
        .unwrap();
    let ended = restored
        .end_shred_epoch(&person("clerk"), ward.scope())
        .await
        .unwrap();
    assert_eq!(ended.lost, 1);
}

#[tokio::test]
async fn a_patient_taken_in_while_an_epoch_ends_lies_under_the_new_one() {
    use eonpro_core::port::kv::{Key, Partition, Transaction};
    let mut config = EncryptionConfig::default();
    // The old key must still be there, so that nothing but the commit can refuse it.
    config.shred.epoch_settle = Duration::from_secs(3600);
    let ward = Ward::with(config).await;
    ward.seal(1, b"x").await;
    let before = ward.table.backup().await;
    ward.end_epoch().await;
    let new = ward.vault.shred_epoch(ward.scope()).await.unwrap().unwrap();
    let text = ward.table.text(&ward.tenant, "epoch").await.unwrap();
    // The old epoch is the present one again; another process ends it just before our commit.
    ward.table.restore(&before).await;
    let partition = Partition::tenant(ward.tenant.tenant(), "encryption");
    let key = Key::new(b"epoch".as_slice()).unwrap();
    let ends = Transaction::new().put(key, text.into_bytes());
    ward.table.meddle(partition, ends, 0);
    ward.seal(2, b"y").await;
    let key = format!("subject/{}", patient(2));
    let record = ward.table.text(&ward.tenant, &key).await.unwrap();
    assert!(record.contains(new.id.as_str()));
}

#[tokio::test]
async fn an_epoch_whose_key_does_not_answer_is_not_destroyed_with_patients_under_it() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    ward.seal(2, b"y").await;
    ward.shred(2).await;
    // As a provider does whose administrator disabled the key for an hour.
    ward.custody.silent.store(true, Ordering::SeqCst);
    let ended = ward
        .vault
        .end_shred_epoch(&person("clerk"), ward.scope())
        .await
        .unwrap();
    assert_eq!((ended.lost, ended.waiting), (1, 1));
    assert_eq!(ward.custody.destroys.load(Ordering::SeqCst), 0);
    ward.custody.silent.store(false, Ordering::SeqCst);
    ward.end_epoch().await;
    assert_eq!(ward.custody.destroys.load(Ordering::SeqCst), 1);
    let other = ward.another_process().await;
    let cipher = other.warm_subject(&ward.tenant, patient(1)).await.unwrap();
    assert_eq!(
        &**cipher.open(&crate::support::cell(b"r"), &sealed).unwrap(),
        b"x"
    );
}

#[tokio::test]
async fn patients_move_off_a_compromised_key_and_only_then_it_may_go() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let (cx, subject) = (person("clerk"), KeyPurpose::new("subject"));
    let turned = ward
        .vault
        .turn_epoch(&cx, ward.scope(), subject.into())
        .await
        .unwrap();
    let set = |to| ward.vault.set_key_state(&cx, ward.scope(), turned.old, to);
    set(KeyState::Compromised).await.unwrap();
    ward.end_epoch().await;
    let other = ward.another_process().await;
    let cipher = other.warm_subject(&ward.tenant, patient(1)).await.unwrap();
    assert_eq!(
        &**cipher.open(&crate::support::cell(b"r"), &sealed).unwrap(),
        b"x"
    );
}

#[tokio::test]
async fn a_key_under_which_a_patients_key_lies_is_not_destroyed_even_if_it_counts_as_drained() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let (cx, subject) = (person("clerk"), KeyPurpose::new("subject"));
    let turned = ward.vault.turn_epoch(&cx, ward.scope(), subject.into());
    let old = turned.await.unwrap().old;
    ward.mark_drained(old).await;
    let other = ward.another_process().await;
    let approval = eonpro_encryption::ShredApproval {
        approver: eonpro_core::id::ActorId::new("dr-grey").unwrap(),
        second_approver: None,
    };
    let refused = other.destroy_key(&cx, ward.scope(), old, approval.clone());
    assert!(matches!(refused.await, Err(CryptoError::KeyInUse)));
    ward.end_epoch().await;
    let done = other.destroy_key(&cx, ward.scope(), old, approval).await;
    assert!(done.is_ok(), "{done:?}");
}

/// A transaction that writes the tenant's record of epochs.
pub(crate) fn put_epochs(ward: &Ward, record: &serde_json::Value) -> (Partition, Transaction) {
    let partition = Partition::tenant(ward.tenant.tenant(), "encryption");
    let key = Key::new(b"epoch".as_slice()).unwrap();
    let tx = Transaction::new().put(key, record.to_string().into_bytes());
    (partition, tx)
}

#[tokio::test]
async fn of_two_patients_shredded_at_once_both_count_for_their_epoch() {
    let ward = Ward::build().await;
    for number in [1, 2] {
        ward.seal(number, b"x").await;
    }
    ward.shred(2).await;
    let request = ward.approved(target(1)).await;
    let text = ward.table.text(&ward.tenant, "epoch").await.unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["current"]["shredded"] = 7.into();
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.meddle(partition, tx, 0);
    ward.carry_out(&request).await.unwrap();
    let epoch = ward.vault.shred_epoch(ward.scope()).await.unwrap().unwrap();
    assert_eq!(epoch.shredded, 8);
}

#[tokio::test]
async fn whoever_loses_the_race_for_an_epoch_leaves_no_key_behind() {
    let ward = Ward::build().await;
    let theirs = ward.custody.keys.create().await.unwrap();
    let record = serde_json::json!({
        "v": 1, "pending": [], "gone": [], "current": {
            "id": theirs.as_str(), "number": 1, "opened": 0, "ends": i64::MAX, "shredded": 0,
            "announced": true,
        },
    });
    // The tenant's key of patients' keys is there: the epoch is the next commit.
    let subject = KeyPurpose::new("subject");
    let cipher = ward.vault.warm_for(&ward.tenant, &[subject.into()]).await;
    drop(cipher.unwrap());
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.meddle(partition, tx, 0);
    ward.seal(1, b"x").await;
    assert_eq!(ward.custody.keys.epochs().await.unwrap(), [theirs]);
}

#[tokio::test]
async fn the_epochs_of_a_shredded_tenant_wait_for_nobody() {
    let mut config = EncryptionConfig::default();
    config.shred.epoch_settle = Duration::from_secs(3600);
    config.shred.tenant_delay = Duration::ZERO;
    let ward = Ward::with(config).await;
    ward.seal(1, b"x").await;
    // One epoch waits, another is the present one.
    assert_eq!(ward.end_epoch().await.waiting, 1);
    assert_eq!(ward.custody.keys.epochs().await.unwrap().len(), 2);
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.carry_out(&request).await.unwrap();
    assert!(ward.custody.keys.epochs().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_epoch_key_is_destroyed_only_after_its_entry() {
    let mut config = EncryptionConfig::default();
    config.shred.epoch_settle = Duration::from_secs(3600);
    let ward = Ward::with(config).await;
    ward.seal(1, b"x").await;
    let old = ward
        .vault
        .shred_epoch(ward.scope())
        .await
        .unwrap()
        .unwrap()
        .id;
    // The next epoch stands and is announced; the old one waits.
    assert_eq!(ward.end_epoch().await.waiting, 1);
    ward.clock.advance(Duration::from_secs(3600));
    ward.sink.set_down(true);
    let cx = person("clerk");
    let refused = ward.vault.end_shred_epoch(&cx, ward.scope()).await;
    assert!(
        matches!(refused, Err(CryptoError::Unrecorded(_))),
        "{refused:?}"
    );
    assert!(!ward.custody.keys.is_wiped(&old));
    ward.sink.set_down(false);
    assert_eq!(ward.end_epoch().await.destroyed, [old]);
}
