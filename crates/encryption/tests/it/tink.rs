//! Data keys in and out as Tink keysets.

use eonpro_core::TenantScope;
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _};
use eonpro_core::secret::SecretText;
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_encryption::{
    Binding, Cell, CryptoError, Encryption as _, FieldSealing, KeyExport, KeyRole, KeyState,
    KeyType, Suite, TenantCipher, Vault,
};
use eonpro_testkit::scope;
use serde_json::Value;

use crate::support::{House, RECORDS, cell, chore};

fn of(suite: Suite) -> KeyType {
    KeyType {
        purpose: RECORDS,
        suite,
    }
}

fn sealing(suite: Suite) -> FieldSealing {
    FieldSealing {
        suite,
        bind: match suite {
            Suite::Deterministic => Binding::Column,
            _ => Binding::Row,
        },
        cardinality: FieldSealing::MIN_CARDINALITY,
        ..FieldSealing::STANDARD
    }
}

async fn export(
    vault: &Vault,
    scope: &TenantScope,
    of: KeyType,
) -> Result<SecretText, CryptoError> {
    let access = KeyExport::insecurely_expose_key_bytes();
    vault
        .export_tink_keyset(&chore(), scope.into(), of, access)
        .await
}

async fn cipher(vault: &Vault, scope: &TenantScope, suite: Suite) -> TenantCipher {
    vault.warm_for(scope, &[of(suite)]).await.unwrap()
}

fn seal(cipher: &TenantCipher, suite: Suite, cell: &Cell<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let how = sealing(suite);
    cipher
        .seal_into(RECORDS, how, cell, b"plain", &mut out)
        .unwrap();
    out
}

/// The same tenant in another house, with other keys: its context is the same.
async fn elsewhere(ours: &TenantScope) -> House {
    House::with_tenants(&[ours]).await
}

#[tokio::test]
async fn an_exported_keyset_opens_its_values_in_another_house_and_seals_there() {
    let ours = scope(1);
    for suite in Suite::ALL {
        let (here, there) = (House::with_tenants(&[&ours]).await, elsewhere(&ours).await);
        let first = seal(
            &cipher(&here.vault, &ours, suite).await,
            suite,
            &cell(b"row"),
        );
        if suite != Suite::Deterministic {
            let (vault, cx) = (&here.vault, chore());
            vault
                .turn_epoch(&cx, (&ours).into(), of(suite))
                .await
                .unwrap();
        }
        let second = seal(
            &cipher(&here.vault, &ours, suite).await,
            suite,
            &cell(b"row"),
        );
        let keyset = export(&here.vault, &ours, of(suite)).await.unwrap();

        let taken = there
            .vault
            .import_tink_keyset(&chore(), (&ours).into(), of(suite), &keyset)
            .await
            .unwrap();
        let theirs = cipher(&there.vault, &ours, suite).await;
        for sealed in [&first, &second] {
            let opened = theirs.open_field(RECORDS, sealing(suite), &cell(b"row"), sealed);
            assert_eq!(opened.unwrap().as_slice(), b"plain");
        }
        let sealed = seal(&theirs, suite, &cell(b"row"));
        assert_eq!(sealed.get(..5), second.get(..5), "the primary seals");
        let primary = taken.last().unwrap();
        assert_eq!(sealed.get(1..5), Some(&primary.to_be_bytes()[..]));
        let opened = here.vault.warm(&ours).await.unwrap().open_field(
            RECORDS,
            sealing(suite),
            &cell(b"row"),
            &sealed,
        );
        assert_eq!(opened.unwrap().as_slice(), b"plain", "and opens at home");
        if suite == Suite::Deterministic {
            assert_eq!(sealed, first);
        }
    }
}

#[tokio::test]
async fn an_import_keeps_the_old_keys_and_tells_of_the_new_ones() {
    let ours = scope(1);
    let (here, there) = (House::with_tenants(&[&ours]).await, elsewhere(&ours).await);
    let own = seal(
        &cipher(&there.vault, &ours, Suite::Standard).await,
        Suite::Standard,
        &cell(b"row"),
    );
    let standard = of(Suite::Standard);
    here.vault
        .turn_epoch(&chore(), (&ours).into(), standard)
        .await
        .unwrap();
    let keyset = export(&here.vault, &ours, standard).await.unwrap();
    there.sink.clear();
    let cx = chore();
    let import = || {
        there
            .vault
            .import_tink_keyset(&cx, SealScope::from(&ours), standard, &keyset)
    };
    let taken = import().await.unwrap();
    assert_eq!(there.sink.codes(), ["KEY-001", "KEY-001"]);

    let keys = there.vault.keys((&ours).into()).await.unwrap();
    let role = KeyRole::Data("records".into());
    let records: Vec<_> = keys.iter().filter(|key| key.role == role).collect();
    let states: Vec<_> = records.iter().map(|key| (key.epoch, key.state)).collect();
    assert_eq!(
        states,
        [
            (1, KeyState::DecryptOnly),
            (2, KeyState::DecryptOnly),
            (3, KeyState::Primary)
        ]
    );
    assert_eq!([records[1].id, records[2].id], taken.as_slice());
    let opened = there
        .vault
        .open((&ours).into(), RECORDS, &cell(b"row"), &own)
        .await;
    assert_eq!(opened.unwrap().as_slice(), b"plain");

    let again = import().await.unwrap_err();
    assert!(matches!(again, CryptoError::KeyIdTaken(id) if id == taken[0]));
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(there.vault.keys((&ours).into()).await.unwrap(), keys);
    let stored = there.record((&ours).into()).await;
    assert!(!stored.contains("\"announced\":false"), "{stored}");
}

#[tokio::test]
async fn an_import_that_another_writer_overtakes_is_tried_again() {
    let ours = scope(1);
    let (here, there) = (House::with_tenants(&[&ours]).await, elsewhere(&ours).await);
    let standard = of(Suite::Standard);
    let keyset = export(&here.vault, &ours, standard).await.unwrap();
    let rival = there.another_process().await;
    there.store.let_rival_win_once(rival, (&ours).into());
    let taken = there
        .vault
        .import_tink_keyset(&chore(), (&ours).into(), standard, &keyset)
        .await
        .unwrap();
    let keys = there.vault.keys((&ours).into()).await.unwrap();
    let primary = keys
        .iter()
        .find(|key| key.role == KeyRole::Data("records".into()) && key.state == KeyState::Primary);
    assert_eq!(primary.map(|key| (key.id, key.epoch)), Some((taken[0], 3)));
}

#[tokio::test]
async fn keys_that_derive_and_keys_that_are_compared_do_not_move() {
    let ours = scope(1);
    let (here, there) = (House::with_tenants(&[&ours]).await, elsewhere(&ours).await);
    for purpose in [KeyPurpose::SEARCH, KeyPurpose::new("mac")] {
        let refused = export(&here.vault, &ours, purpose.into()).await;
        assert!(matches!(
            refused,
            Err(CryptoError::Seal(SealError::Unsupported))
        ));
        let keyset = export(&here.vault, &ours, RECORDS.into()).await.unwrap();
        let refused = there
            .vault
            .import_tink_keyset(&chore(), (&ours).into(), purpose.into(), &keyset)
            .await;
        assert!(matches!(
            refused,
            Err(CryptoError::Seal(SealError::Unsupported))
        ));
    }
    let deterministic = of(Suite::Deterministic);
    for house in [&here, &there] {
        cipher(&house.vault, &ours, Suite::Deterministic).await;
    }
    let keyset = export(&here.vault, &ours, deterministic).await.unwrap();
    let refused = there
        .vault
        .import_tink_keyset(&chore(), (&ours).into(), deterministic, &keyset)
        .await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Unsupported))
    ));
    let refused = export(&here.vault, &ours, of(Suite::Compact)).await;
    assert!(
        matches!(refused, Err(CryptoError::Seal(SealError::UnknownKey))),
        "there is none yet"
    );
}

#[tokio::test]
async fn a_keyset_of_another_suite_is_refused_by_its_types_name() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let keyset = export(&house.vault, &ours, RECORDS.into()).await.unwrap();
    let refused = house
        .vault
        .import_tink_keyset(&chore(), (&ours).into(), of(Suite::Compact), &keyset)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "tink keyset holds a key of another type: Cobblestone256Key"
    );
}

#[tokio::test]
async fn no_key_leaves_before_the_audit_log_has_the_entry() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let keyset = export(&house.vault, &ours, RECORDS.into()).await.unwrap();
    assert_eq!(house.sink.codes(), ["KEY-006"]);
    assert_eq!(format!("{keyset:?}").matches("value").count(), 0);

    house.sink.set_down(true);
    let refused = export(&house.vault, &ours, RECORDS.into()).await;
    assert!(matches!(refused, Err(CryptoError::Unrecorded(_))));
}

#[tokio::test]
async fn the_export_is_tinks_own_form() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    cipher(&house.vault, &ours, Suite::Compact).await;
    let keyset = export(&house.vault, &ours, of(Suite::Compact)).await;
    let keyset: Value = serde_json::from_str(keyset.unwrap().expose()).unwrap();
    let key = &keyset["key"][0];
    assert_eq!(keyset["primaryKeyId"], key["keyId"]);
    assert_eq!(
        key["keyData"]["typeUrl"],
        "type.googleapis.com/google.crypto.tink.XAesGcmKey"
    );
    assert_eq!(key["keyData"]["keyMaterialType"], "SYMMETRIC");
    assert_eq!(
        (&key["status"], &key["outputPrefixType"]),
        (&"ENABLED".into(), &"TINK".into())
    );
}
