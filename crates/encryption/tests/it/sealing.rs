//! Values, data keys, MAC keys and streams: what opens where, and what never does.

use std::time::Duration;

use eonpro_core::component::Component as _;
use eonpro_core::event::{Code, FieldValue};
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _, WrappedKey};
use eonpro_core::secret::SecretBytes;
use eonpro_encryption::{CryptoError, Encryption as _, HEAD_LEN};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell, chore};

#[tokio::test]
async fn a_value_opens_in_its_own_place_and_in_no_other() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    house.vault.provision(SealScope::System).await.unwrap();
    let (ours, theirs) = (SealScope::from(&ours), SealScope::from(&theirs));
    let home = cell(b"row-1");
    let sealed = house
        .vault
        .seal(ours, RECORDS, &home, b"999123456")
        .await
        .unwrap();
    let opened = house
        .vault
        .open(ours, RECORDS, &home, &sealed)
        .await
        .unwrap();
    assert_eq!(opened.as_slice(), b"999123456");

    let (patients, visits) = (Table::new("patients"), Table::new("visits"));
    let (ssn, mrn) = (Column::new("ssn"), Column::new("mrn"));
    let row = |name: &'static [u8]| Row::named(name).unwrap();
    let elsewhere = [
        ("another tenant", theirs, RECORDS, home),
        ("the system", SealScope::System, RECORDS, home),
        ("another purpose", ours, KeyPurpose::CACHE, home),
        (
            "a purpose without keys",
            ours,
            KeyPurpose::new("other"),
            home,
        ),
        (
            "another table",
            ours,
            RECORDS,
            Cell::new(visits, ssn, row(b"row-1")),
        ),
        (
            "another column",
            ours,
            RECORDS,
            Cell::new(patients, mrn, row(b"row-1")),
        ),
        ("another row", ours, RECORDS, cell(b"row-2")),
        ("a longer row", ours, RECORDS, cell(b"row-11")),
    ];
    for (place, scope, purpose, cell) in elsewhere {
        let refused = house.vault.open(scope, purpose, &cell, &sealed).await;
        assert!(
            matches!(refused, Err(SealError::Authentication)),
            "{place}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_value_with_any_bit_changed_or_byte_lost_is_refused_with_one_error() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let ours = SealScope::from(&ours);
    let sealed = house
        .vault
        .seal(ours, RECORDS, &cell(b"r"), b"secret")
        .await
        .unwrap();
    assert_eq!(sealed.len(), 5 + 72 + 6);
    for at in 0..sealed.len() {
        for bit in [0, 7] {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            let refused = house.vault.open(ours, RECORDS, &cell(b"r"), &changed).await;
            assert!(matches!(refused, Err(SealError::Authentication)), "{at}");
        }
        let refused = house
            .vault
            .open(ours, RECORDS, &cell(b"r"), &sealed[..at])
            .await;
        assert!(matches!(refused, Err(SealError::Authentication)), "{at}");
    }
}

#[tokio::test]
async fn a_scope_that_nobody_provisioned_has_no_keys() {
    let house = House::build().await;
    let ours = scope(1);
    let refused = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"x")
        .await;
    assert!(matches!(refused, Err(SealError::UnknownKey)));
    let refused = house.vault.mac_key((&ours).into(), "x").await;
    assert!(matches!(refused, Err(SealError::UnknownKey)));
    let refused = house.vault.warm(&ours).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::UnknownKey))
    ));
}

#[tokio::test]
async fn a_failure_to_open_is_told_to_the_audit_log_with_its_cause() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let there = cell(b"r");
    let seal = house.vault.seal((&ours).into(), RECORDS, &there, b"x");
    let sealed = seal.await.unwrap();
    let mut tampered = sealed.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let mut unknown = sealed.clone();
    unknown[4] ^= 1;

    let cases = [
        (&sealed, b"other", "aad"),
        (&tampered, b"r\0\0\0\0", "tag"),
        (&unknown, b"r\0\0\0\0", "key"),
    ];
    for (bytes, row, cause) in cases {
        let row = row.split(|byte| *byte == 0).next().unwrap();
        house.sink.clear();
        let _ = house
            .vault
            .open((&ours).into(), RECORDS, &cell(row), bytes)
            .await;
        let cipher = house.vault.warm(&ours).await.unwrap();
        let _ = cipher.open(RECORDS, &cell(row), bytes);
        // The synchronous call is told by a task: wait until it has been.
        while house.sink.events().len() < 2 {
            tokio::task::yield_now().await;
        }
        let events = house.sink.events();
        assert_eq!(house.sink.codes(), ["KEY-005", "KEY-005"]);
        // The request's own context is known to the cipher alone.
        assert_eq!(events[0].tenant, None);
        assert_eq!(events[1].tenant, Some(ours.tenant()));
        for event in events {
            let told = event
                .event
                .fields()
                .iter()
                .find(|(name, _)| *name == "cause");
            let expected = FieldValue::Code(Code::constant(cause));
            assert_eq!(told.map(|(_, value)| value), Some(&expected));
        }
    }
}

#[tokio::test]
async fn a_further_purpose_gets_its_key_when_it_first_seals() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let restricted = KeyPurpose::new("restricted");
    let sealed = house
        .vault
        .seal((&ours).into(), restricted, &cell(b"r"), b"x")
        .await
        .unwrap();
    assert_eq!(house.sink.codes(), ["KEY-001"]);
    let opened = house
        .vault
        .open((&ours).into(), restricted, &cell(b"r"), &sealed)
        .await;
    assert_eq!(opened.unwrap().as_slice(), b"x");
    house
        .vault
        .seal((&ours).into(), restricted, &cell(b"r"), b"y")
        .await
        .unwrap();
    assert_eq!(house.sink.codes(), ["KEY-001"]);
}

#[tokio::test]
async fn a_further_purpose_does_not_seal_before_the_audit_log_knows_its_key() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let restricted = KeyPurpose::new("restricted");
    house.sink.set_down(true);
    for _ in 0..2 {
        let refused = house
            .vault
            .seal((&ours).into(), restricted, &cell(b"r"), b"x")
            .await;
        assert!(matches!(refused, Err(SealError::Backend(_))));
    }
    house.sink.set_down(false);
    house
        .vault
        .seal((&ours).into(), restricted, &cell(b"r"), b"x")
        .await
        .unwrap();
    assert_eq!(house.sink.codes(), ["KEY-001"]);
}

#[tokio::test]
async fn a_data_key_is_rewrapped_for_another_purpose_and_still_opens_its_parts() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let (ours, theirs) = (SealScope::from(&ours), SealScope::from(&theirs));
    let (from, to) = (KeyPurpose::QUARANTINE, KeyPurpose::FILES);
    let document = cell(b"document");
    let (key, wrapped) = house.vault.data_key(ours, from, &document).await.unwrap();
    let part = key.seal(&cell(b"part-0"), b"bytes").unwrap();
    assert!(key.open(&cell(b"part-1"), &part).is_err());

    let moved = house
        .vault
        .rewrap(ours, from, to, &document, &wrapped)
        .await
        .unwrap();
    let key = house
        .vault
        .unwrap(ours, to, &document, &moved)
        .await
        .unwrap();
    assert_eq!(
        key.open(&cell(b"part-0"), &part).unwrap().as_slice(),
        b"bytes"
    );

    for (scope, purpose, cell, wrapped) in [
        (ours, from, document, &moved),
        (ours, to, cell(b"another"), &moved),
        (theirs, to, document, &moved),
        (ours, to, document, &wrapped),
    ] {
        let refused = house.vault.unwrap(scope, purpose, &cell, wrapped).await;
        assert!(matches!(refused, Err(SealError::Authentication)));
    }
}

#[tokio::test]
async fn values_wrapped_keys_and_parts_never_stand_for_each_other() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let ours = SealScope::from(&ours);
    let place = cell(b"r");
    let value = house
        .vault
        .seal(ours, RECORDS, &place, &[7; 32])
        .await
        .unwrap();
    let (key, wrapped) = house.vault.data_key(ours, RECORDS, &place).await.unwrap();
    let part = key.seal(&place, &[7; 32]).unwrap();

    assert!(
        house
            .vault
            .open(ours, RECORDS, &place, &wrapped.0)
            .await
            .is_err()
    );
    assert!(
        house
            .vault
            .open(ours, RECORDS, &place, &part)
            .await
            .is_err()
    );
    for other in [value.clone(), part] {
        assert!(
            house
                .vault
                .unwrap(ours, RECORDS, &place, &WrappedKey(other))
                .await
                .is_err()
        );
    }
    assert!(key.open(&place, &value).is_err());
    assert!(key.open(&place, &wrapped.0).is_err());
}

#[tokio::test]
async fn a_mac_key_is_stable_and_its_own_per_scope_and_label() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let (ours, theirs) = (SealScope::from(&ours), SealScope::from(&theirs));
    let key = house.vault.mac_key(ours, "ids").await.unwrap();
    assert_ne!(house.vault.mac_key(ours, "urls").await.unwrap(), key);
    assert_ne!(house.vault.mac_key(theirs, "ids").await.unwrap(), key);

    house
        .vault
        .turn_epoch(&chore(), ours, RECORDS.into())
        .await
        .unwrap();
    house.vault.rewrap_keys(&chore(), ours).await.unwrap();
    let later = house.another_process().await;
    assert_eq!(later.mac_key(ours, "ids").await.unwrap(), key);
}

#[tokio::test]
async fn a_stream_through_the_cipher_is_a_value_of_its_cell() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let plain = vec![3; 40_000];
    let mut sealed = Vec::new();
    let mut stream = cipher
        .seal_stream(KeyPurpose::FILES, &cell(b"f"), &mut sealed)
        .unwrap();
    stream.update(&plain, &mut sealed).unwrap();
    stream.finish(&mut sealed).unwrap();
    let opened = cipher
        .open(KeyPurpose::FILES, &cell(b"f"), &sealed)
        .unwrap();
    assert_eq!(*opened, plain);

    let head = sealed.first_chunk::<HEAD_LEN>().unwrap();
    let refused = cipher.open_stream(KeyPurpose::FILES, &cell(b"g"), head);
    assert!(matches!(refused, Err(SealError::Authentication)));
    let mut opened = SecretBytes::default();
    let mut stream = cipher
        .open_stream(KeyPurpose::FILES, &cell(b"f"), head)
        .unwrap();
    stream.update(&sealed[HEAD_LEN..], &mut opened).unwrap();
    stream.finish(&mut opened).unwrap();
    assert_eq!(*opened, plain);
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_refused_before_any_work() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let long = vec![0; 64 * 1024 * 1024 + 1];
    let refused = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), &long)
        .await;
    assert!(matches!(refused, Err(SealError::LimitExceeded)));
}

#[tokio::test]
async fn a_closed_vault_and_its_ciphers_seal_nothing() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    house.vault.close().await;
    house.vault.close().await;
    let refused = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(b"r"), b"x")
        .await;
    assert!(matches!(refused, Err(SealError::Backend(_))));
    let refused = cipher.seal(RECORDS, &cell(b"r"), b"x");
    assert!(matches!(refused, Err(SealError::Disabled)));
}

#[tokio::test]
async fn a_cipher_ends_with_its_lease() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    house.advance(Duration::from_secs(299));
    assert!(cipher.seal(RECORDS, &cell(b"r"), b"x").is_ok());
    house.advance(Duration::from_secs(1));
    let refused = cipher.seal(RECORDS, &cell(b"r"), b"x");
    assert!(matches!(refused, Err(SealError::Disabled)));
    let renewed = house.vault.warm(&ours).await.unwrap();
    assert!(renewed.seal(RECORDS, &cell(b"r"), b"x").is_ok());
}
