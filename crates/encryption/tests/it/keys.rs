//! How keys come, turn and are rewrapped.

use futures_util::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::Emitter;
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _};
use eonpro_core::time::ManualClock;
use eonpro_encryption::{CryptoError, Encryption as _, KeyRole, KeyState};
use eonpro_testkit::{RecordingSink, scope};

use crate::support::{House, LateSink, RECORDS, cell, chore, vault};

#[tokio::test]
async fn provisioning_twice_creates_and_announces_each_key_once() {
    let house = House::build().await;
    let ours = SealScope::from(&scope(1));
    house.vault.provision(ours).await.unwrap();
    house.vault.provision(ours).await.unwrap();
    house.another_process().await.provision(ours).await.unwrap();
    let keys = house.vault.keys(ours).await.unwrap();
    // One key-encryption key, seven standard purposes, the MAC key.
    assert_eq!(keys.len(), 9);
    assert!(
        keys.iter()
            .all(|key| key.state == KeyState::Primary && key.epoch == 1)
    );
    assert_eq!(house.sink.codes(), ["KEY-001"; 9]);
}

#[tokio::test]
async fn racing_provisions_agree_on_one_set_of_keys() {
    let house = House::build().await;
    let ours = SealScope::from(&scope(1));
    let other = house.another_process().await;
    let (one, two, three) = tokio::join!(
        house.vault.provision(ours),
        other.provision(ours),
        house.vault.provision(ours)
    );
    one.and(two).and(three).unwrap();
    assert_eq!(house.vault.keys(ours).await.unwrap().len(), 9);
    let sealed = other.seal(ours, RECORDS, &cell(b"r"), b"x").await.unwrap();
    assert!(
        house
            .vault
            .open(ours, RECORDS, &cell(b"r"), &sealed)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_tenant_is_not_onboarded_before_the_audit_log_knows_its_keys() {
    let house = House::build().await;
    let ours = SealScope::from(&scope(1));
    house.sink.set_down(true);
    let refused = house.vault.provision(ours).await;
    assert!(matches!(refused, Err(SealError::Backend(_))));
    house.sink.set_down(false);
    house.vault.provision(ours).await.unwrap();
    assert_eq!(house.sink.codes(), ["KEY-001"; 9]);
}

#[tokio::test]
async fn the_systems_keys_come_before_the_audit_log_and_are_announced_once_it_is_there() {
    let house = House::build().await;
    let late = Arc::new(LateSink {
        sink: RecordingSink::new(),
        attached: AtomicBool::new(false),
    });
    let clock = Arc::<ManualClock>::clone(&house.clock);
    let sink: Arc<dyn eonpro_core::event::EventSink> = Arc::<LateSink>::clone(&late);
    let emitter = Emitter::new(sink, clock, Arc::new(SeededEntropy::new(1)));
    let early = vault(&house.root, &house.store, emitter).await;

    early.provision(SealScope::System).await.unwrap();
    early
        .seal(SealScope::System, KeyPurpose::AUDIT, &cell(b"r"), b"x")
        .await
        .unwrap();
    assert!(early.provision(SealScope::from(&scope(1))).await.is_err());

    late.attached.store(true, Ordering::SeqCst);
    early.provision(SealScope::System).await.unwrap();
    assert_eq!(late.sink.codes(), ["KEY-001"; 9]);
    early.provision(SealScope::System).await.unwrap();
    assert_eq!(late.sink.codes().len(), 9);
}

#[tokio::test]
async fn many_cold_opens_of_one_tenant_unwrap_its_keys_once() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    house.advance(Duration::from_secs(301));
    let before = house.root.unwraps();

    let opens = (0..50).map(|_| {
        let (vault, sealed, scope) = (house.vault.clone(), sealed.clone(), SealScope::from(&ours));
        eonpro_core::task::start(async move {
            vault
                .open(scope, RECORDS, &cell(b"r"), &sealed)
                .await
                .map(|plain| plain.to_vec())
        })
    });
    for opened in opens.collect::<Vec<_>>() {
        assert_eq!(opened.await.unwrap().unwrap(), b"x");
    }
    assert_eq!(house.root.unwraps() - before, 1);
}

#[tokio::test]
async fn a_cold_open_that_goes_away_leaves_the_others_their_keys() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    house.advance(Duration::from_secs(301));
    let place = cell(b"r");
    let mut first = house.vault.open((&ours).into(), RECORDS, &place, &sealed);
    // Polled into the root's unwrap, then dropped there.
    assert!((&mut first).now_or_never().is_none());
    drop(first);
    let second = house
        .vault
        .open((&ours).into(), RECORDS, &place, &sealed)
        .await;
    assert_eq!(second.unwrap().as_slice(), b"x");
}

#[tokio::test]
async fn after_an_epoch_new_values_have_the_new_key_and_old_ones_still_open() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let scope = SealScope::from(&ours);
    let cipher = house.vault.warm(&ours).await.unwrap();
    let old = house
        .vault
        .seal(scope, RECORDS, &cell(b"r"), b"old")
        .await
        .unwrap();
    let turned = house
        .vault
        .turn_epoch(ours.cx(), scope, RECORDS.into())
        .await
        .unwrap();
    let new = house
        .vault
        .seal(scope, RECORDS, &cell(b"r"), b"new")
        .await
        .unwrap();

    assert_eq!(old[1..5], turned.old.to_be_bytes());
    assert_eq!(new[1..5], turned.new.to_be_bytes());
    assert_eq!(turned.epoch, 2);
    for (sealed, plain) in [(&old, b"old"), (&new, b"new")] {
        let opened = house
            .vault
            .open(scope, RECORDS, &cell(b"r"), sealed)
            .await
            .unwrap();
        assert_eq!(opened.as_slice(), plain);
        // A cipher from before the turn reads what was sealed after it.
        assert_eq!(
            cipher
                .open(RECORDS, &cell(b"r"), sealed)
                .unwrap()
                .as_slice(),
            plain
        );
    }
    let keys = house.vault.keys(scope).await.unwrap();
    let records = KeyRole::Data("records".into());
    let states: Vec<_> = keys
        .iter()
        .filter(|key| key.role == records)
        .map(|key| (key.epoch, key.state))
        .collect();
    assert_eq!(states, [(1, KeyState::DecryptOnly), (2, KeyState::Primary)]);
    assert_eq!(house.sink.codes(), ["KEY-002"]);
    assert_eq!(house.sink.events()[0].tenant, Some(ours.tenant()));
}

#[tokio::test]
async fn another_process_opens_what_a_later_epoch_sealed() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let other = house.another_process().await;
    let old = other
        .seal(ours, RECORDS, &cell(b"r"), b"old")
        .await
        .unwrap();
    house
        .vault
        .turn_epoch(&chore(), ours, RECORDS.into())
        .await
        .unwrap();
    let new = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"new")
        .await
        .unwrap();
    assert_eq!(
        other
            .open(ours, RECORDS, &cell(b"r"), &old)
            .await
            .unwrap()
            .as_slice(),
        b"old"
    );
    assert_eq!(
        other
            .open(ours, RECORDS, &cell(b"r"), &new)
            .await
            .unwrap()
            .as_slice(),
        b"new"
    );
}

#[tokio::test]
async fn racing_turns_leave_exactly_one_primary() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let other = house.another_process().await;
    let cx = chore();
    let (one, two, three) = tokio::join!(
        house.vault.turn_epoch(&cx, ours, RECORDS.into()),
        other.turn_epoch(&cx, ours, RECORDS.into()),
        house.vault.turn_epoch(&cx, ours, RECORDS.into()),
    );
    let mut epochs = [one.unwrap().epoch, two.unwrap().epoch, three.unwrap().epoch];
    epochs.sort_unstable();
    assert_eq!(epochs, [2, 3, 4]);
    let keys = house.vault.keys(ours).await.unwrap();
    let primaries = keys.iter().filter(|key| {
        key.role == KeyRole::Data("records".into()) && key.state == KeyState::Primary
    });
    assert_eq!(primaries.map(|key| key.epoch).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn keys_whose_results_are_compared_do_not_turn() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    for purpose in [KeyPurpose::SEARCH, KeyPurpose::new("mac")] {
        let refused = house.vault.turn_epoch(&chore(), ours, purpose.into()).await;
        assert!(matches!(
            refused,
            Err(CryptoError::Seal(SealError::Unsupported))
        ));
    }
    let refused = house
        .vault
        .turn_epoch(&chore(), ours, KeyPurpose::new("never").into())
        .await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::UnknownKey))
    ));
}

#[tokio::test]
async fn a_turn_that_cannot_be_recorded_stands_and_says_so() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    house.sink.set_down(true);
    let turned = house.vault.turn_epoch(&chore(), ours, RECORDS.into()).await;
    assert!(matches!(turned, Err(CryptoError::Unaudited(_))));
    let keys = house.vault.keys(ours).await.unwrap();
    assert_eq!(keys.iter().map(|key| key.epoch).max(), Some(2));
}

#[tokio::test]
async fn after_a_rewrap_everything_opens_and_the_old_wrapping_key_is_gone() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let sealed = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    house
        .vault
        .turn_epoch(&chore(), ours, RECORDS.into())
        .await
        .unwrap();
    let before = house.record(ours).await;
    let turned = house.vault.rewrap_keys(&chore(), ours).await.unwrap();

    for vault in [&house.vault, &house.another_process().await] {
        let opened = vault
            .open(ours, RECORDS, &cell(b"r"), &sealed)
            .await
            .unwrap();
        assert_eq!(opened.as_slice(), b"x");
    }
    let keys = house.vault.keys(ours).await.unwrap();
    let old = keys.iter().find(|key| key.id == turned.old).unwrap();
    assert_eq!(
        (&old.role, old.state),
        (&KeyRole::Wrapping, KeyState::Destroyed)
    );
    // No wrapping of before is left.
    let after = house.record(ours).await;
    for wrapped in before.split("\"wrapped\":\"").skip(1) {
        let wrapped = wrapped.split('"').next().unwrap();
        assert!(wrapped.len() > 90 && !after.contains(wrapped));
    }
    assert_eq!(house.sink.codes(), ["KEY-002", "KEY-002"]);
}

#[tokio::test]
async fn a_rewrap_keeps_what_a_rival_committed_in_between() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let rival = house.another_process().await;
    let before = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"before")
        .await
        .unwrap();
    house.store.let_rival_win_once(rival.clone(), ours);
    house.vault.rewrap_keys(&chore(), ours).await.unwrap();

    let keys = house.vault.keys(ours).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| key.epoch).max(),
        Some(2),
        "the rival's epoch is there"
    );
    let during = rival
        .seal(ours, RECORDS, &cell(b"r"), b"during")
        .await
        .unwrap();
    let fresh = house.another_process().await;
    for (sealed, plain) in [(&before, b"before"), (&during, b"during")] {
        let opened = fresh
            .open(ours, RECORDS, &cell(b"r"), sealed)
            .await
            .unwrap();
        assert_eq!(opened.as_slice(), plain);
    }
}

#[tokio::test]
async fn a_root_that_gives_back_another_key_changes_nothing() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let before = house.record(ours).await;
    house.root.lies.store(true, Ordering::SeqCst);
    let refused = house.vault.rewrap_keys(&chore(), ours).await;
    assert!(matches!(refused, Err(CryptoError::Unverified)));
    assert!(
        house
            .vault
            .provision(SealScope::from(&scope(2)))
            .await
            .is_err()
    );
    house.root.lies.store(false, Ordering::SeqCst);
    assert_eq!(house.record(ours).await, before);
    let refused = house.vault.keys(SealScope::from(&scope(2))).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::UnknownKey))
    ));
}

#[tokio::test]
async fn a_forged_key_id_costs_one_read_and_no_unwrapping() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let mut forged = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    forged[1] ^= 0x55;
    // The first look also notices that the keys were announced since they were fetched.
    let _ = house.vault.open(ours, RECORDS, &cell(b"r"), &forged).await;
    let (reads, unwraps) = (house.store.reads(), house.root.unwraps());
    for _ in 0..100 {
        assert!(
            house
                .vault
                .open(ours, RECORDS, &cell(b"r"), &forged)
                .await
                .is_err()
        );
    }
    assert_eq!(
        (house.store.reads(), house.root.unwraps()),
        (reads, unwraps)
    );
    forged[2] ^= 0x55;
    assert!(
        house
            .vault
            .open(ours, RECORDS, &cell(b"r"), &forged)
            .await
            .is_err()
    );
    assert_eq!(
        (house.store.reads(), house.root.unwraps()),
        (reads + 1, unwraps)
    );
}

#[tokio::test]
async fn the_stored_record_names_no_plain_key() {
    let house = House::with_tenants(&[&scope(1)]).await;
    let record = house.record(SealScope::from(&scope(1))).await;
    assert!(
        record.starts_with(r#"{"v":1,"state":"live","root":"ephemeral:"#),
        "{record}"
    );
    assert_eq!(record.matches("\"announced\":true").count(), 9);
}
