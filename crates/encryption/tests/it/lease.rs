//! Leases of keys: renewed in time, not for ever, and not at the whim of forged ciphertexts.

use std::time::Duration;

use eonpro_core::port::{SealError, SealScope, Sealer as _};
use eonpro_encryption::{Encryption as _, EncryptionConfig};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell};

/// Lets tasks run until nothing moves any more.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn near_its_end_a_lease_is_renewed_once_while_everybody_goes_on() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    house.vault.warm(&ours).await.unwrap();
    let before = house.root.unwraps();
    house.advance(Duration::from_secs(269));
    house.vault.warm(&ours).await.unwrap();
    settle().await;
    assert_eq!(house.root.unwraps(), before, "not yet");

    house.advance(Duration::from_secs(2));
    for _ in 0..50 {
        // Nobody waits: the keys at hand serve.
        assert!(house.vault.warmed(&ours).is_some());
    }
    settle().await;
    assert_eq!(house.root.unwraps() - before, 1);
    house.advance(Duration::from_secs(60));
    assert!(
        house.vault.warmed(&ours).is_some(),
        "the lease is a new one"
    );
    assert_eq!(house.root.unwraps() - before, 1);
}

#[tokio::test]
async fn a_renewal_that_fails_takes_nothing_away_before_the_end_of_the_lease() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    house.vault.warm(&ours).await.unwrap();
    house.advance(Duration::from_secs(271));
    house
        .root
        .lies
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(house.vault.warmed(&ours).is_some());
    settle().await;
    assert!(house.vault.warmed(&ours).is_some());
    house.advance(Duration::from_secs(30));
    assert!(house.vault.warmed(&ours).is_none());
    assert!(house.vault.warm(&ours).await.is_err());
    house
        .root
        .lies
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(house.vault.warm(&ours).await.is_ok());
}

#[tokio::test]
async fn a_renewal_sees_that_the_tenant_was_shredded_elsewhere() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let other = house.another_process().await;
    other.destroy_scope(SealScope::from(&ours)).await.unwrap();
    house.advance(Duration::from_secs(271));
    assert!(
        cipher.seal(RECORDS, &cell(b"r"), b"x").is_ok(),
        "until the lease ends"
    );
    assert!(house.vault.warmed(&ours).is_some());
    settle().await;
    assert!(house.vault.warmed(&ours).is_none());
    let refused = cipher.seal(RECORDS, &cell(b"r"), b"x");
    assert!(matches!(refused, Err(SealError::Shredded)));
}

#[tokio::test]
async fn forged_key_ids_cost_no_more_reads_of_the_key_store_than_the_rate_allows() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    let rate = usize::try_from(EncryptionConfig::default().unknown_key_rate).unwrap();
    let place = cell(b"r");
    let forge = |id: u32| {
        let mut value = sealed.clone();
        value[1..5].copy_from_slice(&id.to_be_bytes());
        value
    };
    // The first look finds that the keys were announced since, and fetches them once more.
    let first = forge(1000);
    let refused = house.vault.open((&ours).into(), RECORDS, &place, &first);
    assert!(refused.await.is_err());
    house.advance(Duration::from_secs(1));
    let before = house.store.reads();
    for forged in 1..1000_u32 {
        let value = forge(forged);
        let refused = house.vault.open((&ours).into(), RECORDS, &place, &value);
        assert!(matches!(refused.await, Err(SealError::Authentication)));
    }
    assert_eq!(house.store.reads() - before, rate);

    // A key that another process made is found again once there is a permit.
    let other = house.another_process().await;
    let turned = other.turn_epoch(ours.cx(), (&ours).into(), RECORDS.into());
    turned.await.unwrap();
    let fresh = other
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"y")
        .await
        .unwrap();
    house.advance(Duration::from_secs(1));
    let opened = house.vault.open((&ours).into(), RECORDS, &place, &fresh);
    assert_eq!(&**opened.await.unwrap(), b"y");
}

#[tokio::test]
async fn forged_key_ids_that_a_cipher_is_given_cost_no_more_reads_than_the_rate_allows_either() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let sealed = cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    let forge = |id: u32| {
        let mut value = sealed.clone();
        value[1..5].copy_from_slice(&id.to_be_bytes());
        let refused = cipher.open(RECORDS, &cell(b"r"), &value);
        assert!(matches!(refused, Err(SealError::Authentication)));
    };
    // Finds that the keys were announced since, and fetches them once more.
    forge(1000);
    house.vault.warm(&ours).await.unwrap();
    house.advance(Duration::from_secs(1));
    let before = house.store.reads();
    let rate = usize::try_from(EncryptionConfig::default().unknown_key_rate).unwrap();
    for forged in 1..1000_u32 {
        forge(forged);
        house.vault.warm(&ours).await.unwrap();
    }
    assert_eq!(house.store.reads() - before, rate);

    // What was looked for is believed to be unknown for a while, whoever asks.
    house.advance(Duration::from_secs(1));
    let before = house.store.reads();
    for _ in 0..10 {
        forge(7);
        house.vault.warm(&ours).await.unwrap();
    }
    assert_eq!(house.store.reads() - before, 0);
    house.advance(Duration::from_secs(5));
    forge(7);
    house.vault.warm(&ours).await.unwrap();
    assert_eq!(house.store.reads() - before, 1);

    // A key that another process made is found at the next look.
    let other = house.another_process().await;
    let turned = other.turn_epoch(ours.cx(), (&ours).into(), RECORDS.into());
    turned.await.unwrap();
    let theirs = other.warm(&ours).await.unwrap();
    let fresh = theirs.seal(RECORDS, &cell(b"r"), b"y").unwrap();
    assert!(cipher.open(RECORDS, &cell(b"r"), &fresh).is_err());
    house.vault.warm(&ours).await.unwrap();
    let opened = cipher.open(RECORDS, &cell(b"r"), &fresh);
    assert_eq!(&**opened.unwrap(), b"y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cold_callers_of_one_tenant_cost_one_unwrapping() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    house.advance(Duration::from_secs(301));
    let before = house.root.unwraps();
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let (vault, ours) = (house.vault.clone(), ours.clone());
            eonpro_core::task::start(async move { vault.warm(&ours).await.map(drop) })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(house.root.unwraps() - before, 1);
}
