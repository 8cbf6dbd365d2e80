//! Who may shred what and when: approvals, deadlines, holds, entries and receipts.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::event::{Code, Outcome};
use eonpro_core::identity::ActorKind;
use eonpro_core::port::kv::{Key, Partition, Transaction};
use eonpro_core::port::{SealError, SealScope, Sealer as _, Signer as _};
use eonpro_encryption::{
    Approvers, BackupExposure, CryptoError, Encryption as _, EncryptionConfig, ShredApproval,
    ShredReceipt, ShredRefusal, ShredState, ShredTarget, Shredding as _, Subjects as _,
    TenantRoots, Vault, VaultOptions,
};
use eonpro_testkit::scope;

use crate::support::{CountingRoot, RECORDS};
use crate::wards::{REASON, TestSigner, Ward, decider, patient, person, target};

const CASE: Code = Code::constant("case-7");

fn refusal<T: std::fmt::Debug>(result: Result<T, CryptoError>) -> ShredRefusal {
    match result {
        Err(CryptoError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

async fn hold(ward: &Ward, target: ShredTarget) {
    let (cx, scope) = (person("counsel"), ward.scope());
    ward.vault
        .set_hold(&cx, scope, target, CASE, "the court".into())
        .await
        .unwrap();
}

async fn lift(ward: &Ward, target: ShredTarget) {
    let (cx, scope) = (person("counsel"), ward.scope());
    ward.vault
        .lift_hold(&cx, scope, target, CASE, "the court".into())
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_is_shredded_before_two_persons_approved_it() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let (vault, scope, at) = (&ward.vault, ward.scope(), target(1));
    let request = vault
        .request_shred(&person("asks"), scope, at, REASON)
        .await
        .unwrap();
    let approve = |cx| async move { vault.approve_shred(&cx, scope, at, request.id).await };
    let missing = ShredRefusal::TooFewApprovals;
    assert_eq!(refusal(ward.carry_out(&request).await), missing);
    assert_eq!(
        refusal(approve(person("asks")).await),
        ShredRefusal::OwnRequest
    );
    approve(person("one")).await.unwrap();
    assert_eq!(
        refusal(approve(person("one")).await),
        ShredRefusal::SameApprover
    );
    for kind in [ActorKind::Service, ActorKind::System, ActorKind::Device] {
        let refused = approve(decider("robot", kind)).await;
        assert_eq!(refusal(refused), ShredRefusal::NotAPerson);
    }
    assert_eq!(refusal(ward.carry_out(&request).await), missing);
    assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");
    approve(person("two")).await.unwrap();
    ward.carry_out(&request).await.unwrap();
    assert!(ward.open(1, &sealed).await.is_err());
}

#[tokio::test]
async fn an_approval_is_good_for_its_own_request_only() {
    let ward = Ward::build().await;
    let (vault, scope, at) = (&ward.vault, ward.scope(), target(1));
    let first = ward.approved(at).await;
    let again = vault
        .request_shred(&person("asks"), scope, at, REASON)
        .await;
    assert_eq!(refusal(again), ShredRefusal::AlreadyRequested);
    vault
        .cancel_shred(&person("asks"), scope, at, first.id)
        .await
        .unwrap();
    assert_eq!(refusal(ward.carry_out(&first).await), ShredRefusal::Closed);
    let second = vault
        .request_shred(&person("asks"), scope, at, REASON)
        .await
        .unwrap();
    let late = vault
        .approve_shred(&person("three"), scope, at, first.id)
        .await;
    assert_eq!(refusal(late), ShredRefusal::NotRequested);
    let missing = ShredRefusal::TooFewApprovals;
    assert_eq!(refusal(ward.carry_out(&second).await), missing);
}

#[tokio::test]
async fn a_tenant_waits_out_its_deadline_and_can_be_cancelled_until_then() {
    let ward = Ward::build().await;
    let day = Duration::from_secs(24 * 3600);
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(day - Duration::from_secs(1));
    assert_eq!(
        refusal(ward.carry_out(&request).await),
        ShredRefusal::NotDue
    );
    ward.clock.advance(Duration::from_secs(1));
    let receipt = ward.carry_out(&request).await.unwrap();
    // The key-encryption key and eight data keys.
    assert_eq!(receipt.facts.keys.len(), 9);
    assert_eq!(receipt.facts.backups, BackupExposure::WhileBackupsExist);
    let refused = ward.vault.warm(&ward.tenant).await.unwrap_err();
    assert!(matches!(refused, CryptoError::Seal(SealError::Shredded)));
}

#[tokio::test]
async fn a_hold_refuses_every_way_to_shred_what_it_covers() {
    for held in [target(1), ShredTarget::Tenant] {
        let ward = Ward::build().await;
        let sealed = ward.seal(1, b"x").await;
        let request = ward.approved(target(1)).await;
        hold(&ward, held).await;
        ward.sink.clear();
        assert_eq!(refusal(ward.carry_out(&request).await), ShredRefusal::Held);
        let approval = ShredApproval {
            approver: person("one").actor().id.clone(),
            second_approver: None,
        };
        let scope = ward.scope();
        let direct = ward.vault.shred(&person("clerk"), scope, approval).await;
        assert_eq!(refusal(direct), ShredRefusal::Held);
        assert!(ward.vault.destroy_scope(scope).await.is_err());
        assert!(ward.sink.codes().is_empty(), "told before it is refused");
        assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");

        // The request is over; lifted, it takes a new one with new approvals.
        lift(&ward, held).await;
        assert_eq!(
            refusal(ward.carry_out(&request).await),
            ShredRefusal::Closed
        );
        ward.shred(1).await;
        assert!(ward.open(1, &sealed).await.is_err());
    }
}

#[tokio::test]
async fn a_hold_keeps_single_keys_too() {
    for held in [target(1), ShredTarget::Tenant] {
        let ward = Ward::build().await;
        let (cx, scope) = (person("clerk"), ward.scope());
        let turned = ward.vault.turn_epoch(&cx, scope, RECORDS.into()).await;
        let old = turned.unwrap().old;
        ward.mark_drained(old).await;
        hold(&ward, held).await;
        ward.sink.clear();
        let approval = ShredApproval {
            approver: person("one").actor().id.clone(),
            second_approver: None,
        };
        let refused = ward.vault.destroy_key(&cx, scope, old, approval.clone());
        assert_eq!(refusal(refused.await), ShredRefusal::Held);
        assert!(ward.sink.codes().is_empty(), "told before it is refused");
        lift(&ward, held).await;
        ward.vault
            .destroy_key(&cx, scope, old, approval)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_tenants_receipt_names_the_custody_in_which_its_keys_lay() {
    let ward = Ward::build().await;
    let (roots, tenant) = (Arc::new(TenantRoots::new()), scope(2));
    roots.set(tenant.tenant(), Some(CountingRoot::new()));
    let (parts, shredding) = ward.parts();
    let options = VaultOptions {
        roots: Arc::<TenantRoots>::clone(&roots),
        shredding: Some(shredding),
        ..VaultOptions::default()
    };
    let vault = Vault::open_with(parts, options).await.unwrap();
    let (theirs, at) = (SealScope::from(&tenant), ShredTarget::Tenant);
    vault.provision(theirs).await.unwrap();
    // Back to the root of all: what is wrapped lies under their own until the next rewrap.
    roots.set(tenant.tenant(), None);
    let request = vault
        .request_shred(&person("asks"), theirs, at, REASON)
        .await
        .unwrap();
    for name in ["one", "two"] {
        vault
            .approve_shred(&person(name), theirs, at, request.id)
            .await
            .unwrap();
    }
    ward.clock.advance(Duration::from_secs(24 * 3600));
    let receipt = vault
        .carry_out_shred(&person("clerk"), theirs, at, request.id)
        .await
        .unwrap();
    assert_eq!(&*receipt.facts.custody, "counting");
    receipt.verify(&ward.signer.public_key()).unwrap();
}

#[tokio::test]
async fn a_hold_on_one_patient_does_not_keep_another() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    ward.seal(2, b"y").await;
    hold(&ward, target(2)).await;
    ward.shred(1).await;
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(refusal(ward.carry_out(&request).await), ShredRefusal::Held);
}

/// The holds of a tenant as another process would write them.
fn foreign_hold(ward: &Ward) -> (Partition, Transaction) {
    let partition = Partition::tenant(ward.tenant.tenant(), "encryption");
    let key = Key::new(b"holds".as_slice()).unwrap();
    let record = br#"{"v":1,"holds":[{"case":"case-7","by":"counsel","at":0}]}"#;
    (partition, Transaction::new().put(key, record.as_slice()))
}

#[tokio::test]
async fn a_hold_set_between_the_entry_and_the_tombstone_wins() {
    // The only commit of carrying out a subject's request, after the first look for holds, and the
    // one of a tenant's.
    for at in [target(1), ShredTarget::Tenant] {
        let ward = Ward::build().await;
        let sealed = ward.seal(1, b"x").await;
        // So that the tenant is looked after already, and the tombstone is the next commit.
        ward.seal(2, b"y").await;
        ward.shred(2).await;
        let request = ward.approved(at).await;
        ward.clock.advance(Duration::from_secs(24 * 3600));
        ward.sink.clear();
        let (partition, tx) = foreign_hold(&ward);
        ward.table.meddle(partition, tx, 0);
        assert_eq!(refusal(ward.carry_out(&request).await), ShredRefusal::Held);
        let fresh = ward.another_process().await;
        let opened = crate::wards::open_in(&fresh, &ward.tenant, 1, &sealed).await;
        assert_eq!(opened.unwrap(), b"x", "{at:?}");
        // The log does not go on saying that it happened.
        let events = ward.sink.events();
        let last = events.last().unwrap();
        assert_eq!(last.event.outcome(), Outcome::Minor);
        let request = ward.vault.shred_request(ward.scope(), at).await.unwrap();
        assert!(matches!(request.unwrap().state, ShredState::Refused { .. }));
    }
}

#[tokio::test]
async fn a_cancellation_between_the_entry_and_the_tombstone_wins() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    ward.seal(2, b"y").await;
    ward.shred(2).await;
    let request = ward.approved(target(1)).await;
    let key = format!("request/subject/{}", patient(1));
    let stored = ward.table.text(&ward.tenant, &key).await.unwrap();
    let state = "\"state\":\"approved\"";
    let (before, _) = stored.split_once("\"due\"").unwrap();
    let cancelled = before.replace(state, "\"state\":\"cancelled\"");
    let cancelled = format!("{cancelled}\"cancelled\":{{\"by\":\"asks\",\"at\":1}}}}");
    let partition = Partition::tenant(ward.tenant.tenant(), "encryption");
    let key = Key::new(key.into_bytes()).unwrap();
    let tx = Transaction::new().put(key, cancelled.into_bytes());
    ward.table.meddle(partition, tx, 0);
    assert_eq!(
        refusal(ward.carry_out(&request).await),
        ShredRefusal::Closed
    );
    assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");
}

#[tokio::test]
async fn without_its_entries_nothing_is_destroyed() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let request = ward.approved(target(1)).await;
    ward.sink.clear();
    ward.sink.set_down(true);
    let refused = ward.carry_out(&request).await;
    assert!(matches!(refused, Err(CryptoError::Unrecorded(_))));
    assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");
    ward.sink.set_down(false);
    ward.carry_out(&request).await.unwrap();
    ward.carry_out(&request).await.unwrap();
    assert_eq!(ward.sink.codes(), ["KEY-003", "KEY-004"]);
}

#[tokio::test]
async fn a_receipt_says_what_was_done_and_no_word_of_it_can_be_changed() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let receipt = ward.shred(1).await;
    let epoch = ward.vault.shred_epoch(ward.scope()).await.unwrap().unwrap();
    assert_eq!(receipt.facts.epoch.as_ref(), Some(&epoch.id));
    assert_eq!(receipt.facts.backups, BackupExposure::Until(epoch.ends));
    assert_eq!(&*receipt.facts.custody, "ephemeral-epochs");
    let names = receipt.approvals.iter().map(|one| one.by.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);

    let key = ward.signer.public_key();
    let text = receipt.to_json().unwrap();
    let read = ShredReceipt::from_json(&text).unwrap();
    assert_eq!(read, receipt);
    read.verify(&key).unwrap();
    assert!(read.verify(&TestSigner::new(8).public_key()).is_err());
    for (from, to) in [
        ("\"one\"", "\"eve\""),
        ("erasure-request", "other-reason-x"),
        ("1970-01-12", "1970-01-13"),
        ("ephemeral-epochs", "ephemeral-epoch"),
        ("000000000001\",\"tenant", "000000000002\",\"tenant"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        let changed = ShredReceipt::from_json(&changed).unwrap();
        assert!(changed.verify(&key).is_err(), "{from}");
    }
    let newer = text.replace("\"v\":1", "\"v\":3");
    assert!(matches!(
        ShredReceipt::from_json(&newer),
        Err(CryptoError::Version(3))
    ));
    for bad in [
        "",
        "{}",
        "null",
        &text.replace("\"v\":1", "\"v\":1,\"w\":1"),
        &text.replace("\"v\":1", "\"v\":2"),
    ] {
        assert!(ShredReceipt::from_json(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_receipt_shreds_again_what_a_restored_backup_brought_back() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let backup = ward.table.backup().await;
    let receipt = ward.shred(1).await;
    ward.table.restore(&backup).await;

    let other = ward.another_process().await;
    let (clerk, scope) = (person("clerk"), ward.scope());
    let forged = ShredReceipt {
        target: target(2),
        ..receipt.clone()
    };
    let refused = other.honour_receipt(&clerk, scope, &forged).await;
    assert!(matches!(refused, Err(CryptoError::Receipt(_))));
    let elsewhere = SealScope::from(&eonpro_testkit::scope(2));
    let refused = other.honour_receipt(&clerk, elsewhere, &receipt).await;
    assert!(matches!(refused, Err(CryptoError::Receipt(_))));
    other.honour_receipt(&clerk, scope, &receipt).await.unwrap();
    let opened = crate::wards::open_in(&other, &ward.tenant, 1, &sealed).await;
    assert!(opened.is_err());
    // And the epoch ends because of it.
    let epoch = other.shred_epoch(scope).await.unwrap().unwrap();
    assert_eq!(epoch.shredded, 1);
}

#[tokio::test]
async fn a_hold_refuses_a_receipt_before_anything_is_told() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let backup = ward.table.backup().await;
    let receipt = ward.shred(1).await;
    ward.table.restore(&backup).await;
    let (other, cx) = (ward.another_process().await, person("clerk"));
    hold(&ward, target(1)).await;
    ward.sink.clear();
    let refused = other.honour_receipt(&cx, ward.scope(), &receipt).await;
    assert_eq!(refusal(refused), ShredRefusal::Held);
    assert!(ward.sink.codes().is_empty());
    let opened = crate::wards::open_in(&other, &ward.tenant, 1, &sealed).await;
    assert_eq!(opened.unwrap(), b"x");
}

#[tokio::test]
async fn a_direct_shred_names_two_persons_where_the_configuration_says_so() {
    let mut config = EncryptionConfig::default();
    config.shred.direct_approvers = Approvers::Two;
    let ward = Ward::with(config).await;
    let name = |name: &str| person(name).actor().id.clone();
    let shred = |second| {
        let approval = ShredApproval {
            approver: name("one"),
            second_approver: second,
        };
        let (vault, scope) = (&ward.vault, ward.scope());
        async move { vault.shred(&person("clerk"), scope, approval).await }
    };
    let missing = ShredRefusal::TooFewApprovals;
    assert_eq!(refusal(shred(None).await), missing);
    let same = shred(Some(name("one"))).await;
    assert_eq!(refusal(same), ShredRefusal::SameApprover);
    shred(Some(name("two"))).await.unwrap();
}

#[tokio::test]
async fn a_single_key_is_destroyed_by_as_many_persons_as_a_tenants() {
    for approvers in [Approvers::One, Approvers::Two] {
        let mut config = EncryptionConfig::default();
        config.shred.direct_approvers = approvers;
        let ward = Ward::with(config).await;
        let (cx, scope) = (person("clerk"), ward.scope());
        let turned = ward.vault.turn_epoch(&cx, scope, RECORDS.into()).await;
        let old = turned.unwrap().old;
        ward.mark_drained(old).await;
        ward.sink.clear();
        let name = |name: &str| person(name).actor().id.clone();
        let destroy = |second| {
            let approval = ShredApproval {
                approver: name("one"),
                second_approver: second,
            };
            ward.vault.destroy_key(&cx, scope, old, approval)
        };
        if approvers == Approvers::Two {
            let missing = ShredRefusal::TooFewApprovals;
            assert_eq!(refusal(destroy(None).await), missing);
            let same = destroy(Some(name("one"))).await;
            assert_eq!(refusal(same), ShredRefusal::SameApprover);
            assert!(ward.sink.codes().is_empty());
            destroy(Some(name("two"))).await.unwrap();
        } else {
            destroy(None).await.unwrap();
        }
        assert_eq!(ward.sink.codes(), ["KEY-003"]);
    }
}

#[tokio::test]
async fn a_patient_who_never_had_a_key_gets_none_after_a_shred() {
    let ward = Ward::build().await;
    let receipt = ward.shred(1).await;
    assert!(receipt.facts.keys.is_empty());
    assert_eq!(receipt.facts.backups, BackupExposure::Ended);
    let refused = ward.vault.provision_subject(&ward.tenant, patient(1)).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, CryptoError::Seal(SealError::Shredded)));
}

#[tokio::test]
async fn a_hold_is_told_and_lifting_it_is_told_first() {
    let ward = Ward::build().await;
    ward.sink.clear();
    hold(&ward, target(1)).await;
    assert_eq!(ward.sink.codes(), ["AUD-010"]);
    ward.sink.set_down(true);
    let (cx, scope) = (person("counsel"), ward.scope());
    let lifted = ward
        .vault
        .lift_hold(&cx, scope, target(1), CASE, "x".into())
        .await;
    assert!(matches!(lifted, Err(CryptoError::Unrecorded(_))));
    assert_eq!(ward.vault.holds(scope).await.unwrap().len(), 1);
    ward.sink.set_down(false);
    lift(&ward, target(1)).await;
    lift(&ward, target(1)).await;
    assert!(ward.vault.holds(scope).await.unwrap().is_empty());
    assert_eq!(ward.sink.codes(), ["AUD-010", "AUD-010"]);
}
