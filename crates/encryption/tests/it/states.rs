//! What a key may still do, and how that changes.

use std::sync::atomic::Ordering;

use eonpro_core::TenantScope;
use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction};
use eonpro_core::port::{SealError, SealScope, Sealer as _};
use eonpro_encryption::{
    CryptoError, Encryption as _, KeyId, KeyRole, KeyState, MAX_KEYS, ShredApproval,
};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell, chore};

/// A tenant with a value under a records key that only opens any more.
async fn turned() -> (House, SealScope, Vec<u8>, KeyId) {
    let tenant = scope(1);
    let house = House::with_tenants(&[&tenant]).await;
    let ours = SealScope::from(&tenant);
    let sealed = house.vault.seal(ours, RECORDS, &cell(b"r"), b"x").await;
    let turned = house.vault.turn_epoch(&chore(), ours, RECORDS.into()).await;
    house.sink.clear();
    (house, ours, sealed.unwrap(), turned.unwrap().old)
}

fn approval() -> ShredApproval {
    ShredApproval {
        approver: eonpro_core::id::ActorId::new("officer").unwrap(),
        second_approver: None,
    }
}

#[tokio::test]
async fn a_suspended_key_opens_nothing_until_it_is_allowed_to_again() {
    let (house, ours, sealed, old) = turned().await;
    let (vault, cx, place) = (&house.vault, chore(), cell(b"r"));
    let set = async |to| vault.set_key_state(&cx, ours, old, to).await;
    let cipher = vault.warm(&scope(1)).await.unwrap();

    assert_eq!(
        set(KeyState::Suspended).await.unwrap(),
        KeyState::DecryptOnly
    );
    let refused = vault.open(ours, RECORDS, &place, &sealed).await;
    assert!(matches!(refused, Err(SealError::Disabled)));
    let refused = cipher.open(RECORDS, &place, &sealed);
    assert!(matches!(refused, Err(SealError::Disabled)));
    // Rewrapped all the same: the hold ends some day.
    vault.rewrap_keys(&cx, ours).await.unwrap();

    assert_eq!(
        set(KeyState::DecryptOnly).await.unwrap(),
        KeyState::Suspended
    );
    assert!(vault.open(ours, RECORDS, &place, &sealed).await.is_ok());
    assert_eq!(
        set(KeyState::DecryptOnly).await.unwrap(),
        KeyState::DecryptOnly
    );
    let told = house.sink.codes();
    // Two changes, and the repeat: the call before it may have died before its event.
    assert_eq!(told.iter().filter(|code| **code == "KEY-006").count(), 3);
}

#[tokio::test]
async fn a_compromised_key_opens_nothing_for_applications_and_never_again() {
    let (house, ours, sealed, old) = turned().await;
    let (vault, cx) = (&house.vault, chore());
    let other = house.another_process().await;
    vault
        .set_key_state(&cx, ours, old, KeyState::Compromised)
        .await
        .unwrap();
    for process in [vault, &other] {
        let refused = process.open(ours, RECORDS, &cell(b"r"), &sealed).await;
        assert!(matches!(refused, Err(SealError::Disabled)));
    }
    for to in [
        KeyState::DecryptOnly,
        KeyState::Suspended,
        KeyState::Drained,
    ] {
        let refused = vault.set_key_state(&cx, ours, old, to).await;
        assert!(
            matches!(refused, Err(CryptoError::KeyState { .. })),
            "{to:?}"
        );
    }
}

#[tokio::test]
async fn a_state_holds_and_is_told_while_the_root_key_cannot_be_had() {
    let (house, ours, sealed, old) = turned().await;
    let (vault, cx, place) = (&house.vault, chore(), cell(b"r"));
    let cipher = vault.warm(&scope(1)).await.unwrap();
    house.root.is_down.store(true, Ordering::SeqCst);
    for (to, opens) in [
        (KeyState::Suspended, false),
        (KeyState::DecryptOnly, true),
        (KeyState::Compromised, false),
    ] {
        house.sink.clear();
        vault.set_key_state(&cx, ours, old, to).await.unwrap();
        assert_eq!(house.sink.count("KEY-006"), 1, "{to:?}");
        let by_vault = vault.open(ours, RECORDS, &place, &sealed).await;
        let by_cipher = cipher.open(RECORDS, &place, &sealed);
        assert_eq!((by_vault.is_ok(), by_cipher.is_ok()), (opens, opens));
    }
    assert!(cipher.seal(RECORDS, &place, b"y").is_ok());
    // The notice to other processes names the tenant.
    let system = Partition::system("encryption");
    let notices = house.store.inner.scan(&system, b"notice/", None, 9).await;
    assert_eq!(notices.unwrap().len(), 1);
}

#[tokio::test]
async fn a_state_whose_event_was_not_recorded_is_told_by_the_repeat() {
    let (house, ours, _, old) = turned().await;
    let (vault, cx) = (&house.vault, chore());
    let set = || vault.set_key_state(&cx, ours, old, KeyState::Suspended);
    house.sink.set_down(true);
    assert!(matches!(set().await, Err(CryptoError::Unaudited(_))));
    house.sink.set_down(false);
    house.sink.clear();
    assert_eq!(set().await.unwrap(), KeyState::Suspended);
    assert_eq!(house.sink.codes(), ["KEY-006"]);
}

#[tokio::test]
async fn keys_that_are_committed_while_the_vault_closes_are_told() {
    for (code, of) in [("KEY-002", Some(RECORDS)), ("KEY-002", None)] {
        let (house, ours, ..) = turned().await;
        house.store.close_after_commit(house.vault.clone());
        let (vault, cx) = (&house.vault, chore());
        let done = match of {
            Some(of) => vault.turn_epoch(&cx, ours, of.into()).await,
            None => vault.rewrap_keys(&cx, ours).await,
        };
        assert!(vault.warmed(&scope(1)).is_none(), "it is closed");
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(house.sink.codes(), [code]);
    }
}

#[tokio::test]
async fn no_call_takes_the_primary_away_or_claims_what_needs_proof_or_approval() {
    let (house, ours, _, old) = turned().await;
    let (vault, cx) = (&house.vault, chore());
    let keys = vault.keys(ours).await.unwrap();
    let find = |role: KeyRole| {
        let found = keys
            .iter()
            .find(|key| key.role == role && key.state == KeyState::Primary);
        found.unwrap().id
    };
    let before = house.record(ours).await;
    for key in [
        find(KeyRole::Wrapping),
        find(KeyRole::Data("records".into())),
    ] {
        for to in KeyState::ALL {
            let done = vault.set_key_state(&cx, ours, key, to).await;
            let refused = matches!(done, Err(CryptoError::KeyState { .. }));
            assert!(refused || to == KeyState::Primary, "{to:?}");
        }
    }
    for to in [KeyState::Primary, KeyState::Drained, KeyState::Destroyed] {
        let refused = vault.set_key_state(&cx, ours, old, to).await;
        assert!(
            matches!(refused, Err(CryptoError::KeyState { .. })),
            "{to:?}"
        );
    }
    let nobody = KeyId::from_be_bytes([0, 0, 0, 9]);
    let refused = vault
        .set_key_state(&cx, ours, nobody, KeyState::Suspended)
        .await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::UnknownKey))
    ));
    assert_eq!(house.record(ours).await, before);
    assert_eq!(house.sink.codes(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_key_that_nobody_proved_drained_is_not_destroyed() {
    let (house, ours, sealed, old) = turned().await;
    let (vault, cx) = (&house.vault, chore());
    for to in [
        KeyState::DecryptOnly,
        KeyState::Suspended,
        KeyState::Compromised,
    ] {
        vault.set_key_state(&cx, ours, old, to).await.unwrap();
        let refused = vault.destroy_key(&cx, ours, old, approval()).await;
        assert!(
            matches!(refused, Err(CryptoError::KeyState { .. })),
            "{to:?}"
        );
    }
    assert!(!house.sink.codes().contains(&"KEY-003"));
    assert!(house.vault.is_stale(ours, &sealed));
}

#[tokio::test]
async fn a_change_that_another_writer_overtakes_is_made_on_top_of_it() {
    let (house, ours, _, old) = turned().await;
    house
        .store
        .let_rival_win_once(house.another_process().await, ours);
    house
        .vault
        .set_key_state(&chore(), ours, old, KeyState::Suspended)
        .await
        .unwrap();
    let keys = house.vault.keys(ours).await.unwrap();
    let records = keys.iter().filter(|key| key.role.name() == "records");
    let states: Vec<_> = records.map(|key| (key.epoch, key.state)).collect();
    assert_eq!(
        states,
        [
            (1, KeyState::Suspended),
            (2, KeyState::DecryptOnly),
            (3, KeyState::Primary)
        ]
    );
}

#[tokio::test]
async fn a_value_is_stale_once_its_epoch_is_over() {
    let (house, ours, old, _) = turned().await;
    let cipher = house.vault.warm(&scope(1)).await.unwrap();
    let new = cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    assert!(cipher.is_stale(&old) && house.vault.is_stale(ours, &old));
    assert!(!cipher.is_stale(&new) && !house.vault.is_stale(ours, &new));
    for nothing in [&b""[..], b"\x01", b"\x01\x00\x00\x00\x09rest"] {
        assert!(!cipher.is_stale(nothing) && !house.vault.is_stale(ours, nothing));
    }
    assert!(!house.vault.is_stale((&scope(2)).into(), &old));
}

/// Fills the scope's record up with destroyed keys, as years of turning would; the first has id 1.
async fn fill_with_destroyed(house: &House, tenant: &TenantScope) {
    let text = house.record(tenant.into()).await;
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = record["keys"].as_array_mut().unwrap();
    for id in 1..=MAX_KEYS - keys.len() {
        keys.push(serde_json::json!({
            "id": format!("{id:08x}"), "role": "dek", "purpose": "records", "epoch": 0,
            "state": "destroyed", "created": 0, "wrapped": "", "announced": true,
        }));
    }
    let partition = Partition::tenant(tenant.tenant(), "encryption");
    let key = Key::new(b"keyset".as_slice()).unwrap();
    let full = Transaction::new().put(key, record.to_string().into_bytes());
    house.store.inner.commit(&partition, full).await.unwrap();
}

#[tokio::test]
async fn a_pruned_key_is_as_destroyed_as_before() {
    let tenant = scope(1);
    let house = House::with_tenants(&[&tenant]).await;
    let (ours, cx, vault) = (SealScope::from(&tenant), chore(), &house.vault);
    let id = KeyId::from_be_bytes([0, 0, 0, 1]);
    let mut sealed = vault.seal(ours, RECORDS, &cell(b"r"), b"x").await.unwrap();
    let kept = sealed.clone();
    sealed[1..5].copy_from_slice(&id.to_be_bytes());
    fill_with_destroyed(&house, &tenant).await;
    let other = house.another_process().await;
    let seen = async || {
        let opened = other.open(ours, RECORDS, &cell(b"r"), &sealed).await;
        let states = other.keys(ours).await.unwrap();
        let destroyed = other.destroy_key(&cx, ours, id, approval()).await;
        let reopened = other
            .set_key_state(&cx, ours, id, KeyState::DecryptOnly)
            .await;
        let told = format!("{opened:?} {destroyed:?} {reopened:?}");
        (told, states.len())
    };
    let (before, full) = seen().await;
    assert_eq!(full, MAX_KEYS);
    assert!(before.contains("Authentication") && before.contains("from: Destroyed"));

    other.turn_epoch(&cx, ours, RECORDS.into()).await.unwrap();
    let (after, few) = seen().await;
    assert_eq!(after, before);
    // The key-encryption key, eight data keys and the new one.
    assert_eq!(few, 10);
    let record = house.record(ours).await;
    assert!(record.starts_with(r#"{"v":3,"#), "{record}");
    // And all goes on, a rewrap included.
    other.rewrap_keys(&cx, ours).await.unwrap();
    let opened = other.open(ours, RECORDS, &cell(b"r"), &kept).await;
    assert_eq!(opened.unwrap().as_slice(), b"x");
    assert_eq!(seen().await.0, before);
}
