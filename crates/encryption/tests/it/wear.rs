//! Epochs that turn because they are old, or have sealed enough.

use std::sync::atomic::Ordering;
use std::time::Duration;

use eonpro_core::phi::FieldSealing;
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _};
use eonpro_encryption::{
    Encryption as _, EncryptionConfig, KeyState, KeyType, Suite, TenantCipher, Vault,
};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell, chore};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn house_of_few() -> (House, SealScope) {
    let mut config = EncryptionConfig::default();
    config.max_key_messages = 8;
    let house = House::configured(config).await;
    let ours = SealScope::from(&scope(1));
    house.vault.provision(ours).await.unwrap();
    house.sink.clear();
    (house, ours)
}

async fn epochs(vault: &Vault, ours: SealScope, purpose: &str) -> Vec<(u64, KeyState)> {
    let keys = vault.keys(ours).await.unwrap();
    let of_purpose = keys.iter().filter(|key| key.role.name() == purpose);
    of_purpose.map(|key| (key.epoch, key.state)).collect()
}

#[tokio::test]
async fn an_epoch_that_has_sealed_enough_gives_way_to_the_next_and_all_of_it_opens() {
    let (house, ours) = house_of_few().await;
    let mut sealed = Vec::new();
    for _ in 0..40 {
        let one = house.vault.seal(ours, RECORDS, &cell(b"r"), b"x").await;
        sealed.push(one.unwrap());
    }
    let epochs = epochs(&house.vault, ours, "records").await;
    assert!((5..=7).contains(&epochs.len()), "{epochs:?}");
    let primaries = epochs
        .iter()
        .filter(|(_, state)| *state == KeyState::Primary);
    assert_eq!(primaries.count(), 1);
    for one in &sealed {
        house
            .vault
            .open(ours, RECORDS, &cell(b"r"), one)
            .await
            .unwrap();
    }
    for epoch in sealed.chunk_by(|one, next| one.get(..5) == next.get(..5)) {
        assert!(epoch.len() <= 8, "{} messages in one epoch", epoch.len());
    }
    assert!(house.sink.codes().iter().all(|code| *code == "KEY-002"));
}

#[tokio::test]
async fn of_two_processes_whose_key_is_spent_one_turns_and_the_other_follows() {
    let (house, ours) = house_of_few().await;
    let other = house.another_process().await;
    let (one, two) = (
        house.vault.warm(&scope(1)).await.unwrap(),
        other.warm(&scope(1)).await.unwrap(),
    );
    // Synchronous, so that no task turns the epoch in between.
    for _ in 0..8 {
        one.seal(RECORDS, &cell(b"r"), b"x").unwrap();
        two.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    }
    let place = cell(b"r");
    let (first, second) = tokio::join!(
        house.vault.seal(ours, RECORDS, &place, b"x"),
        other.seal(ours, RECORDS, &place, b"x"),
    );
    assert_eq!(first.unwrap().get(..5), second.unwrap().get(..5));
    assert_eq!(
        epochs(&other, ours, "records").await,
        [(1, KeyState::DecryptOnly), (2, KeyState::Primary)]
    );
}

#[tokio::test]
async fn a_cipher_stops_at_the_bound_and_the_next_one_seals_in_a_new_epoch() {
    let (house, ours) = house_of_few().await;
    let cipher = house.vault.warm(&scope(1)).await.unwrap();
    for _ in 0..8 {
        cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    }
    let refused = cipher.seal(RECORDS, &cell(b"r"), b"x");
    assert!(matches!(refused, Err(SealError::LimitExceeded)));
    // A lease that is renewed does not begin to count anew.
    house.advance(Duration::from_secs(301));
    house.store.refuses.store(true, Ordering::SeqCst);
    let refused = house.vault.seal(ours, RECORDS, &cell(b"r"), b"x").await;
    assert!(matches!(refused, Err(SealError::LimitExceeded)));
    house.store.refuses.store(false, Ordering::SeqCst);

    let next = house.vault.warm(&scope(1)).await.unwrap();
    assert!(next.seal(RECORDS, &cell(b"r"), b"x").is_ok());
}

#[tokio::test]
async fn a_cipher_for_asked_types_comes_with_none_of_their_keys_spent() {
    let (house, _) = house_of_few().await;
    let tenant = scope(1);
    let types = [
        (KeyPurpose::FILES, Suite::Standard),
        (KeyPurpose::new("genomic"), Suite::Standard),
        (RECORDS, Suite::Compact),
    ]
    .map(|(purpose, suite)| KeyType { purpose, suite });
    let seal = |cipher: &TenantCipher, of: KeyType| {
        let sealing = FieldSealing {
            suite: of.suite,
            ..FieldSealing::STANDARD
        };
        let mut out = Vec::new();
        cipher.seal_into(of.purpose, sealing, &cell(b"r"), b"x", &mut out)
    };
    let cipher = house.vault.warm_for(&tenant, &types).await.unwrap();
    for of in types {
        for _ in 0..8 {
            seal(&cipher, of).unwrap();
        }
        let refused = seal(&cipher, of);
        assert!(matches!(refused, Err(SealError::LimitExceeded)), "{of:?}");
    }
    let next = house.vault.warm_for(&tenant, &types).await.unwrap();
    for of in types {
        assert!(seal(&next, of).is_ok(), "{of:?}");
    }
}

#[tokio::test]
async fn an_epoch_turns_while_the_audit_log_is_down_and_is_announced_later() {
    let (house, ours) = house_of_few().await;
    house.sink.set_down(true);
    for _ in 0..9 {
        let place = cell(b"r");
        let sealed = house.vault.seal(ours, KeyPurpose::AUDIT, &place, b"x");
        sealed.await.unwrap();
    }
    assert_eq!(epochs(&house.vault, ours, "audit").await.len(), 2);
    house.sink.set_down(false);
    house.vault.provision(ours).await.unwrap();
    assert_eq!(house.sink.codes(), ["KEY-001"]);
}

#[tokio::test]
async fn bytes_turn_an_epoch_too() {
    let mut config = EncryptionConfig::default();
    config.max_key_bytes = 1 << 20;
    let house = House::configured(config).await;
    let ours = SealScope::from(&scope(1));
    house.vault.provision(ours).await.unwrap();
    for _ in 0..2 {
        let place = cell(b"r");
        let sealed = house.vault.seal(ours, RECORDS, &place, &[7; 1 << 20]).await;
        sealed.unwrap();
    }
    assert_eq!(epochs(&house.vault, ours, "records").await.len(), 2);
}

#[tokio::test]
async fn what_is_ninety_days_old_turns_once_and_search_and_mac_keys_never() {
    let house = House::with_tenants(&[&scope(1)]).await;
    let ours = SealScope::from(&scope(1));
    let due = async |vault: &Vault| vault.turn_due(&chore(), ours).await.unwrap().len();
    house.advance(DAY * 90 - Duration::from_secs(1));
    assert_eq!(due(&house.vault).await, 0);
    house.advance(Duration::from_secs(1));
    let other = house.another_process().await;
    let (one, two) = tokio::join!(due(&house.vault), due(&other));
    assert_eq!(one + two, 6);
    assert_eq!(due(&house.vault).await, 0);
    assert_eq!(house.sink.codes(), ["KEY-002"; 6]);
    for stable in ["search", "mac"] {
        assert_eq!(epochs(&other, ours, stable).await, [(1, KeyState::Primary)]);
    }
}

#[tokio::test]
async fn a_scope_that_fails_does_not_keep_the_others_from_turning() {
    let house = House::with_tenants(&[&scope(1), &scope(3)]).await;
    house.advance(DAY * 90);
    let scopes = [1, 2, 3].map(|tenant| SealScope::from(&scope(tenant)));
    let all = futures_util::stream::iter(scopes);
    assert_eq!(house.vault.turn_due_all(&chore(), all).await, (12, 1));
}
