//! The three suites, padding, binding, and records that are sealed as a whole.

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_encryption::{
    Binding, Cell, Column, CryptoError, Encryption as _, EncryptionExt as _, FieldSealing, KeyType,
    Phi, PhiRecord, Row, SealScope, Suite, Table, TenantCipher,
};
use eonpro_testkit::scope;
use proptest::prelude::*;

use crate::support::{House, RECORDS, cell, chore};

const COMPACT: FieldSealing = FieldSealing {
    suite: Suite::Compact,
    ..FieldSealing::STANDARD
};
const DETERMINISTIC: FieldSealing = FieldSealing {
    suite: Suite::Deterministic,
    bind: Binding::Column,
    cardinality: FieldSealing::MIN_CARDINALITY,
    ..FieldSealing::STANDARD
};

fn types() -> [KeyType; 3] {
    Suite::ALL.map(|suite| KeyType {
        purpose: RECORDS,
        suite,
    })
}

async fn warm(house: &House, tenant: &eonpro_core::TenantScope) -> TenantCipher {
    house.vault.warm_for(tenant, &types()).await.unwrap()
}

fn seal(cipher: &TenantCipher, how: FieldSealing, cell: &Cell<'_>, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cipher
        .seal_into(RECORDS, how, cell, plain, &mut out)
        .unwrap();
    out
}

#[derive(Debug, PhiRecord)]
#[phi(table = "patients")]
struct Mixed {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "compact")]
    note: Phi<String>,
    #[phi(
        seal,
        suite = "deterministic",
        bind = "column",
        cardinality = 10_000_000
    )]
    mrn: Phi<String>,
    #[phi(seal, pad = 16)]
    sex: Phi<String>,
    #[phi(seal, bind = "column")]
    ward: Option<Phi<String>>,
}

fn mixed(row: u64, sex: &str) -> Mixed {
    Mixed {
        id: RowId::random(&SeededEntropy::new(row)),
        note: "a note".into(),
        mrn: "MRN-7".into(),
        sex: sex.into(),
        ward: Some("seven".into()),
    }
}

#[tokio::test]
async fn a_record_of_all_suites_survives_its_twin_and_shows_what_it_said_it_shows() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let one = house.vault.seal_record(&ours, mixed(1, "F")).await.unwrap();
    let two = house
        .vault
        .seal_record(&ours, mixed(2, "unknown"))
        .await
        .unwrap();
    assert_eq!(one.note.as_bytes().len(), 6 + 45);
    assert_eq!(one.mrn.as_bytes().len(), 5 + 21);
    assert_eq!(one.sex.as_bytes().len(), 16 + 77);
    assert_eq!(one.sex.as_bytes().len(), two.sex.as_bytes().len());
    assert_eq!(one.mrn, two.mrn, "equal values of a deterministic column");
    assert_ne!(one.note, two.note);

    let mut exchanged = one.clone();
    exchanged.ward = two.ward.clone();
    let opened: Mixed = house.vault.open_record(&ours, exchanged).await.unwrap();
    assert_eq!(opened.note.expose(), "a note");
    assert_eq!(opened.mrn.expose(), "MRN-7");
    assert_eq!(opened.sex.expose(), "F");
    assert_eq!(opened.ward.unwrap().expose(), "seven");
    let mut forged = one;
    forged.note = two.note;
    let refused = house.vault.open_record::<Mixed>(&ours, forged).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Authentication))
    ));
}

#[tokio::test]
async fn the_key_decides_the_suite_and_no_ciphertext_opens_under_the_key_of_another() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = warm(&house, &ours).await;
    let by_suite = [FieldSealing::STANDARD, COMPACT, DETERMINISTIC].map(|how| {
        let cell = match how.bind {
            Binding::Row => cell(b"row"),
            Binding::Column => Cell::new(cell(b"row").table(), cell(b"row").column(), Row::ANY),
        };
        (how, cell, seal(&cipher, how, &cell, b"plain"))
    });
    for (at, (_, cell, sealed)) in by_suite.iter().enumerate() {
        // The suite asked for does not matter: the key that is named does.
        assert_eq!(&*cipher.open(RECORDS, cell, sealed).unwrap(), b"plain");
        for (other, (_, _, named)) in by_suite.iter().enumerate() {
            let mut forged = sealed.clone();
            forged[..5].copy_from_slice(&named[..5]);
            assert_eq!(
                cipher.open(RECORDS, cell, &forged).is_ok(),
                at == other,
                "{at} under the key of {other}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_of_any_suite_opens_elsewhere() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let (cipher, other) = (warm(&house, &ours).await, warm(&house, &theirs).await);
    let home = cell(b"row");
    let column = Cell::new(
        home.table(),
        Column::new("mrn"),
        Row::named(b"row").unwrap(),
    );
    let table = Cell::new(
        Table::new("visits"),
        home.column(),
        Row::named(b"row").unwrap(),
    );
    for how in [FieldSealing::STANDARD, COMPACT, DETERMINISTIC] {
        let sealed = seal(&cipher, how, &home, b"plain");
        assert!(cipher.open_field(RECORDS, how, &home, &sealed).is_ok());
        for elsewhere in [&column, &table] {
            assert!(cipher.open_field(RECORDS, how, elsewhere, &sealed).is_err());
        }
        assert!(
            cipher
                .open_field(KeyPurpose::CACHE, how, &home, &sealed)
                .is_err()
        );
        assert!(other.open_field(RECORDS, how, &home, &sealed).is_err());
        let row = cipher.open_field(RECORDS, how, &cell(b"another"), &sealed);
        assert_eq!(row.is_ok(), how.bind == Binding::Column);
        let padded = FieldSealing { pad: 8, ..how };
        assert!(
            cipher.open_field(RECORDS, padded, &home, &sealed).is_err(),
            "what was not padded is not opened as if it were"
        );
        let sealed = seal(&cipher, padded, &home, b"plain");
        assert!(cipher.open_field(RECORDS, how, &home, &sealed).is_err());
        let wider = FieldSealing { pad: 64, ..how };
        let opened = cipher.open_field(RECORDS, wider, &home, &sealed).unwrap();
        assert_eq!(&*opened, b"plain", "the class may change");
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_of_every_suite_is_one_error() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = warm(&house, &ours).await;
    for how in [FieldSealing::STANDARD, COMPACT, DETERMINISTIC] {
        let sealed = seal(&cipher, how, &cell(b"row"), b"plain");
        let refused = |bytes: &[u8]| {
            let opened = cipher.open_field(RECORDS, how, &cell(b"row"), bytes);
            matches!(opened, Err(SealError::Authentication))
        };
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&changed), "{how:?} {bit}");
        }
        for length in 0..sealed.len() {
            assert!(refused(&sealed[..length]), "{how:?} {length}");
        }
        assert!(refused(&[sealed.as_slice(), b"x"].concat()));
    }
}

#[tokio::test]
async fn a_column_of_few_values_is_not_sealed_deterministically_until_that_is_on_record() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let few = FieldSealing {
        cardinality: FieldSealing::MIN_CARDINALITY - 1,
        ..DETERMINISTIC
    };
    let sex = Cell::new(
        Table::new("patients"),
        Column::new("sex"),
        Row::named(b"row").unwrap(),
    );
    let try_seal = |cipher: &TenantCipher, how, cell: &Cell<'_>| {
        cipher.seal_into(RECORDS, how, cell, b"F", &mut Vec::new())
    };
    let cipher = warm(&house, &ours).await;
    let refused = try_seal(&cipher, few, &sex);
    assert!(matches!(refused, Err(SealError::LowCardinality)));
    let by_row = FieldSealing {
        bind: Binding::Row,
        ..DETERMINISTIC
    };
    let refused = try_seal(&cipher, by_row, &sex);
    assert!(matches!(refused, Err(SealError::Unsupported)));

    house.sink.refuse_next(1);
    let allow = || {
        house.vault.allow_low_cardinality(
            ours.cx(),
            SealScope::from(&ours),
            sex.table(),
            sex.column(),
        )
    };
    assert!(matches!(allow().await, Err(CryptoError::Unrecorded(_))));
    assert!(try_seal(&cipher, few, &sex).is_err(), "nothing was changed");
    allow().await.unwrap();
    allow().await.unwrap();
    assert_eq!(house.sink.count("KEY-006"), 1);

    assert!(try_seal(&warm(&house, &ours).await, few, &sex).is_ok());
    assert!(try_seal(&warm(&house, &ours).await, few, &cell(b"row")).is_err());
    assert!(try_seal(&warm(&house, &theirs).await, few, &sex).is_err());
    // The key record kept it.
    let reopened = house.another_process().await;
    let cipher = reopened.warm_for(&ours, &types()).await.unwrap();
    assert!(try_seal(&cipher, few, &sex).is_ok());
}

#[tokio::test]
async fn a_deterministic_epoch_never_turns_and_a_compact_one_does() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = warm(&house, &ours).await;
    let [_, compact, deterministic] = types();
    let turn = |of| {
        house
            .vault
            .turn_epoch(ours.cx(), SealScope::from(&ours), of)
    };
    let refused = turn(deterministic).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Unsupported))
    ));
    let before = seal(&cipher, COMPACT, &cell(b"row"), b"plain");
    assert_eq!(turn(compact).await.unwrap().epoch, 2);
    let after = seal(&cipher, COMPACT, &cell(b"row"), b"plain");
    assert_ne!(before[..5], after[..5]);
    house
        .vault
        .rewrap_keys(&chore(), SealScope::from(&ours))
        .await
        .unwrap();
    let cipher = warm(&house, &ours).await;
    for sealed in [before, after] {
        assert_eq!(
            &*cipher.open(RECORDS, &cell(b"row"), &sealed).unwrap(),
            b"plain"
        );
    }
}

#[tokio::test]
async fn sealing_into_a_buffer_appends_and_an_error_leaves_it_as_it_was() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let home = cell(b"row");
    let mut out = b"before".to_vec();
    let unknown = cipher.seal_into(RECORDS, COMPACT, &home, b"plain", &mut out);
    assert!(matches!(unknown, Err(SealError::UnknownKey)));
    let endless = FieldSealing {
        pad: FieldSealing::MAX_PAD + 1,
        ..FieldSealing::STANDARD
    };
    let refused = cipher.seal_into(RECORDS, endless, &home, b"plain", &mut out);
    assert!(matches!(refused, Err(SealError::Unsupported)));
    assert_eq!(out, b"before");

    let length = TenantCipher::sealed_len(FieldSealing::STANDARD, 5).unwrap();
    cipher
        .seal_into(RECORDS, FieldSealing::STANDARD, &home, b"plain", &mut out)
        .unwrap();
    let sealed = out.strip_prefix(b"before").unwrap();
    assert_eq!(sealed.len(), length);
    assert_eq!(&*cipher.open(RECORDS, &home, sealed).unwrap(), b"plain");
}

#[derive(Debug, PhiRecord)]
#[phi(table = "charts", mode = "whole")]
struct Chart {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "folded"))]
    name: Phi<String>,
    #[phi(seal, pad = 32)]
    status: Phi<String>,
    #[phi(seal)]
    photo: Option<Phi<Vec<u8>>>,
    #[phi(seal)]
    born: Phi<i64>,
}

fn chart(row: u64) -> Chart {
    Chart {
        id: RowId::random(&SeededEntropy::new(row)),
        name: "Lovelace".into(),
        status: "ok".into(),
        photo: None,
        born: Phi::new(-7),
    }
}

#[tokio::test]
async fn a_whole_record_survives_its_twin_with_one_head_for_all_fields() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house.vault.seal_record(&ours, chart(1)).await.unwrap();
    assert_eq!(sealed.phi_head.as_bytes().len(), 61);
    assert_eq!(sealed.name.as_bytes().len(), 8 + 17);
    assert_eq!(sealed.status.as_bytes().len(), 32 + 17);
    let opened: Chart = house.vault.open_record(&ours, sealed).await.unwrap();
    assert_eq!(opened.name.expose(), "Lovelace");
    assert_eq!(opened.status.expose(), "ok");
    assert!(opened.photo.is_none());
    assert_eq!(*opened.born.expose(), -7);
}

#[tokio::test]
async fn a_whole_record_does_not_open_with_parts_of_another_or_in_another_place() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let seal = |row| house.vault.seal_record(&ours, chart(row));
    let (one, again, two) = (
        seal(1).await.unwrap(),
        seal(1).await.unwrap(),
        seal(2).await.unwrap(),
    );
    let refused = async |forged| {
        let opened = house.vault.open_record::<Chart>(&ours, forged).await;
        matches!(opened, Err(CryptoError::Seal(SealError::Authentication)))
    };
    let with = |change: &dyn Fn(&mut SealedChart)| {
        let mut forged = one.clone();
        change(&mut forged);
        forged
    };
    for forged in [
        with(&|forged| forged.name = again.name.clone()),
        with(&|forged| forged.phi_head = again.phi_head.clone()),
        with(&|forged| forged.id = two.id),
        with(&|forged| {
            forged.photo = Some(eonpro_encryption::Sealed::from_bytes(
                forged.name.as_bytes().to_vec(),
            ))
        }),
        with(&|forged| {
            forged.born = eonpro_encryption::Sealed::from_bytes(forged.status.as_bytes().to_vec())
        }),
    ] {
        assert!(refused(forged).await);
    }
    let bits = one.phi_head.as_bytes().len() * 8;
    for bit in 0..bits {
        let mut head = one.phi_head.as_bytes().to_vec();
        head[bit / 8] ^= 1 << (bit % 8);
        let head = eonpro_encryption::RecordHead::from_bytes(head);
        assert!(
            refused(with(&|forged| forged.phi_head = head.clone())).await,
            "{bit}"
        );
    }
    let bits = one.name.as_bytes().len() * 8;
    for bit in 0..bits {
        let mut name = one.name.as_bytes().to_vec();
        name[bit / 8] ^= 1 << (bit % 8);
        let name = eonpro_encryption::Sealed::from_bytes(name);
        assert!(
            refused(with(&|forged| forged.name = name.clone())).await,
            "{bit}"
        );
    }
    let theirs = house.vault.open_record::<Chart>(&theirs, one.clone()).await;
    assert!(theirs.is_err());
    let opened = house.vault.open_record::<Chart>(&ours, one).await;
    assert_eq!(opened.unwrap().name.expose(), "Lovelace");
}

#[tokio::test]
async fn a_record_has_two_hundred_and_fifty_five_fields_at_most() {
    use eonpro_core::phi::FieldSealer as _;
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let mut cipher = house.vault.warm(&ours).await.unwrap();
    let row = Row::named(b"row").unwrap();
    let mut record = cipher.record(Table::new("charts"), &row).unwrap();
    let mut seal = || record.seal(FieldSealing::STANDARD, Column::new("name"), b"x");
    for number in 1..=255_u8 {
        assert_eq!(seal().unwrap()[0], number);
    }
    for _ in 0..3 {
        assert!(matches!(seal(), Err(SealError::LimitExceeded)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_is_sealed_opens_again(
        plain in prop::collection::vec(any::<u8>(), 0..200),
        pad in prop_oneof![Just(0_u16), 1_u16..100],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ours = scope(1);
            let house = House::with_tenants(&[&ours]).await;
            let cipher = warm(&house, &ours).await;
            for how in [FieldSealing::STANDARD, COMPACT, DETERMINISTIC] {
                let how = FieldSealing { pad, ..how };
                let sealed = seal(&cipher, how, &cell(b"row"), &plain);
                prop_assert_eq!(Some(sealed.len()), TenantCipher::sealed_len(how, plain.len()));
                let opened = cipher.open_field(RECORDS, how, &cell(b"row"), &sealed).unwrap();
                prop_assert_eq!(&**opened, &plain[..]);
            }
            Ok(())
        })?;
    }
}
