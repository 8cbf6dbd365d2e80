//! Destroying a scope's keys: what closes, what stays open, and what the log hears first.

use std::time::Duration;

use eonpro_core::id::ActorId;
use eonpro_core::port::{SealError, SealScope, Sealer as _};
use eonpro_encryption::{CryptoError, Encryption as _, ShredApproval};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell, chore};

fn approval() -> ShredApproval {
    ShredApproval {
        approver: ActorId::new("officer-1").unwrap(),
        second_approver: ActorId::new("officer-2").ok(),
    }
}

#[tokio::test]
async fn a_shredded_tenant_is_closed_for_ever_and_the_others_stay_open() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let seal = |scope| house.vault.seal(scope, RECORDS, &PLACE, b"x");
    let (our_value, their_value) = (
        seal((&ours).into()).await.unwrap(),
        seal((&theirs).into()).await.unwrap(),
    );
    let cipher = house.vault.warm(&ours).await.unwrap();

    let destroyed = house
        .vault
        .shred(&chore(), (&ours).into(), approval())
        .await
        .unwrap();
    assert_eq!(destroyed.keys, 9);
    assert_eq!(destroyed.exposure, Duration::from_secs(300));

    let refused = [
        house
            .vault
            .open((&ours).into(), RECORDS, &cell(b"r"), &our_value)
            .await
            .err(),
        house
            .vault
            .seal((&ours).into(), RECORDS, &cell(b"r"), b"y")
            .await
            .err(),
        house.vault.mac_key((&ours).into(), "ids").await.err(),
        house.vault.provision((&ours).into()).await.err(),
        cipher.open(RECORDS, &cell(b"r"), &our_value).err(),
        cipher.seal(RECORDS, &cell(b"r"), b"y").err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(SealError::Shredded)), "{error:?}");
    }
    let theirs = house
        .vault
        .open((&theirs).into(), RECORDS, &cell(b"r"), &their_value)
        .await;
    assert_eq!(theirs.unwrap().as_slice(), b"x");
}

static PLACE: std::sync::LazyLock<eonpro_core::phi::Cell<'static>> =
    std::sync::LazyLock::new(|| cell(b"r"));

#[tokio::test]
async fn nothing_of_the_keys_is_left_in_the_record() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    house.vault.shred(&chore(), ours, approval()).await.unwrap();
    assert_eq!(
        house.record(ours).await,
        r#"{"v":1,"state":"shredded","at":0,"keys":9}"#
    );
    let reopened = house.another_process().await;
    let refused = reopened.keys(ours).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Shredded))
    ));
}

#[tokio::test]
async fn without_its_entry_nothing_is_destroyed() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let sealed = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"x")
        .await
        .unwrap();
    house.sink.set_down(true);
    let refused = house.vault.shred(&chore(), ours, approval()).await;
    assert!(matches!(refused, Err(CryptoError::Unrecorded(_))));
    assert!(
        house
            .vault
            .open(ours, RECORDS, &cell(b"r"), &sealed)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_repeated_shred_destroys_nothing_more_and_tells_nothing_more() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    house.vault.shred(&chore(), ours, approval()).await.unwrap();
    assert_eq!(
        house
            .vault
            .shred(&chore(), ours, approval())
            .await
            .unwrap()
            .keys,
        0
    );
    assert_eq!(house.vault.destroy_scope(ours).await.unwrap().keys, 0);
    assert_eq!(house.sink.codes(), ["KEY-003"]);
}

#[tokio::test]
async fn a_scope_destroyed_before_it_had_keys_can_get_none() {
    let ours = SealScope::from(&scope(1));
    let house = House::build().await;
    assert_eq!(house.vault.destroy_scope(ours).await.unwrap().keys, 0);
    assert!(matches!(
        house.vault.provision(ours).await,
        Err(SealError::Shredded)
    ));
}

#[tokio::test]
async fn another_process_is_closed_out_within_the_stated_exposure() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let other = house.another_process().await;
    let sealed = other.seal(ours, RECORDS, &cell(b"r"), b"x").await.unwrap();
    let destroyed = house.vault.shred(&chore(), ours, approval()).await.unwrap();
    house.advance(destroyed.exposure);
    let refused = other.open(ours, RECORDS, &cell(b"r"), &sealed).await;
    assert!(matches!(refused, Err(SealError::Shredded)));
}

#[tokio::test]
async fn a_data_key_that_is_still_held_neither_seals_nor_opens_any_more() {
    let ours = SealScope::from(&scope(1));
    let house = House::with_tenants(&[&scope(1)]).await;
    let place = cell(b"document");
    let (key, _) = house.vault.data_key(ours, RECORDS, &place).await.unwrap();
    let sealed = key.seal(&place, b"part").unwrap();
    assert_eq!(&**key.open(&place, &sealed).unwrap(), b"part");
    house.vault.shred(&chore(), ours, approval()).await.unwrap();
    assert!(matches!(key.seal(&place, b"x"), Err(SealError::Shredded)));
    assert!(matches!(
        key.open(&place, &sealed),
        Err(SealError::Shredded)
    ));
}
