//! `#[derive(PhiRecord)]` at work: twins, schemas, indexes.

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_encryption::{
    CryptoError, EncryptionExt as _, Normalizer, Phi, PhiRecord, PhiRecords as _, SealScope,
    Sealer as _,
};
use eonpro_testkit::scope;

use crate::support::{House, cell};

#[derive(Debug, PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(
        seal,
        column = "family-name",
        index(name = "exact", bits = 32),
        index(name = "folded", normalizer = "folded", version = 3)
    )]
    family: Phi<String>,
    #[phi(
        seal,
        index(name = "ssn", bits = 64, normalizer = "digits", version = 1)
    )]
    ssn: Option<Phi<String>>,
    #[phi(seal)]
    born: Phi<i64>,
    #[phi(seal)]
    photo: Option<Phi<Vec<u8>>>,
    ward: u32,
}

/// Fields named like what generated code uses.
#[derive(PhiRecord)]
#[phi(table = "odd", crate = "eonpro_core")]
struct Odd {
    #[phi(row)]
    row: RowId,
    #[phi(seal, index)]
    sealer: Phi<String>,
    #[phi(seal)]
    value: Phi<String>,
    #[phi(seal)]
    bytes: Phi<bool>,
    plain: String,
    r#type: u8,
    opener: (),
    sealed: (),
}

fn patient(row: u64) -> Patient {
    Patient {
        id: RowId::random(&SeededEntropy::new(row)),
        family: "Lovelace".into(),
        ssn: Some("999-12-3456".into()),
        born: Phi::new(-4_860_000),
        photo: None,
        ward: 7,
    }
}

#[tokio::test]
async fn a_record_survives_its_twin() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let id = patient(1).id;
    let sealed = house.vault.seal_record(&ours, patient(1)).await.unwrap();
    assert_eq!((sealed.id, sealed.ward), (id, 7));
    assert_eq!(sealed.photo, None);
    assert!(!format!("{sealed:?}").contains("Lovelace"));

    let opened: Patient = house.vault.open_record(&ours, sealed).await.unwrap();
    assert_eq!(opened.family.expose(), "Lovelace");
    assert_eq!(opened.ssn.unwrap().expose(), "999-12-3456");
    assert_eq!(*opened.born.expose(), -4_860_000);
    assert!(opened.photo.is_none());
}

#[tokio::test]
async fn fields_named_like_generated_code_do_no_harm() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let odd = Odd {
        row: RowId::random(&SeededEntropy::new(1)),
        sealer: "s".into(),
        value: "v".into(),
        bytes: Phi::new(true),
        plain: "p".to_owned(),
        r#type: 1,
        opener: (),
        sealed: (),
    };
    let sealed = house.vault.seal_record(&ours, odd).await.unwrap();
    let opened: Odd = house.vault.open_record(&ours, sealed).await.unwrap();
    assert_eq!(opened.sealer.expose(), "s");
    assert!(*opened.bytes.expose());
    assert_eq!((opened.plain.as_str(), opened.r#type), ("p", 1));
}

#[tokio::test]
async fn a_field_moved_to_another_row_or_column_does_not_open() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let seal = |row| house.vault.seal_record(&ours, patient(row));
    let (one, two) = (seal(1).await.unwrap(), seal(2).await.unwrap());
    let mut swapped_row = one.clone();
    swapped_row.family = two.family.clone();
    let mut renamed = one.clone();
    renamed.id = two.id;
    let mut swapped_column = one.clone();
    swapped_column.ssn = Some(one.family.clone());
    for forged in [swapped_row, renamed, swapped_column] {
        let refused = house.vault.open_record::<Patient>(&ours, forged).await;
        assert!(matches!(
            refused,
            Err(CryptoError::Seal(SealError::Authentication))
        ));
    }
}

#[tokio::test]
async fn a_query_finds_by_normalized_value_within_its_tenant() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let sealed = house.vault.seal_record(&ours, patient(1)).await.unwrap();
    let query = |scope, index, text: &str| {
        let text = Phi::from(text);
        let vault = house.vault.clone();
        async move { vault.query_slots(scope, index, &text).await.unwrap() }
    };
    let folded = &Patient::FAMILY_FOLDED_INDEX;
    let exact = &Patient::FAMILY_EXACT_INDEX;
    assert_eq!(
        query(&ours, &Patient::SSN_INDEX, "999123456").await,
        sealed.ssn_index
    );
    assert_eq!(
        query(&ours, folded, " LOVELACE ").await,
        sealed.family_folded_index
    );
    assert_eq!(
        query(&ours, exact, "Lovelace").await,
        sealed.family_exact_index
    );
    assert_ne!(
        query(&ours, exact, "lovelace").await,
        sealed.family_exact_index
    );
    assert_ne!(
        query(&theirs, folded, "Lovelace").await,
        sealed.family_folded_index
    );
    let exact = sealed.family_exact_index.odd.as_ref().unwrap();
    assert_eq!(exact.as_bytes().len(), 1 + 4);
    assert_eq!(sealed.family_exact_index.even, None);
    let folded_token = sealed.family_folded_index.odd.as_ref().unwrap();
    assert_eq!(folded_token.version(), Some(3));

    // Tokens stay the same when record keys turn and all keys are rewrapped.
    use eonpro_encryption::Encryption as _;
    let scope = SealScope::from(&ours);
    house
        .vault
        .turn_epoch(ours.cx(), scope, KeyPurpose::RECORDS.into())
        .await
        .unwrap();
    house.vault.rewrap_keys(ours.cx(), scope).await.unwrap();
    assert_eq!(
        query(&ours, folded, "lovelace").await,
        sealed.family_folded_index
    );
}

#[test]
fn the_schema_tells_what_the_source_says() {
    let schema = <(Patient, Odd)>::schemas()[0];
    assert_eq!(
        (schema.name, schema.table.as_str()),
        ("Patient", "patients")
    );
    let fields: Vec<_> = schema
        .fields
        .iter()
        .map(|field| {
            (
                field.name,
                field.column.as_str(),
                field.sealing.is_some(),
                field.indexes.len(),
            )
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("id", "id", false, 0),
            ("family", "family-name", true, 2),
            ("ssn", "ssn", true, 1),
            ("born", "born", true, 0),
            ("photo", "photo", true, 0),
            ("ward", "ward", false, 0),
        ]
    );
    let index = Patient::FAMILY_FOLDED_INDEX;
    assert_eq!((index.bits, index.version, index.name), (64, 3, "folded"));
    assert_eq!(index.parts[0].normalizer, Normalizer::Folded);
    assert_eq!(index.column().unwrap().as_str(), "family-name");
    assert_eq!(Odd::SEALER_INDEX.name, "sealer");
    assert_eq!(<Odd as PhiRecord>::SCHEMA.fields[5].name, "type");
}

#[tokio::test]
async fn a_typed_value_opens_as_its_own_type_only() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let vault = &house.vault;
    let purpose = KeyPurpose::RECORDS;
    let sealed = vault
        .seal_value(&ours, purpose, &cell(b"r"), &Phi::new(7_i64))
        .await
        .unwrap();
    let opened = vault
        .open_value(&ours, purpose, &cell(b"r"), &sealed)
        .await
        .unwrap();
    assert_eq!(*opened.expose(), 7);
    let as_flag = eonpro_encryption::Sealed::<bool>::from_bytes(sealed.into_bytes());
    let refused = vault
        .open_value(&ours, purpose, &cell(b"r"), &as_flag)
        .await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Value(_)))
    ));
}

#[tokio::test]
async fn a_further_purpose_works_for_typed_values_too() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let restricted = KeyPurpose::new("restricted");
    let note = Phi::from("note");
    let sealed = house
        .vault
        .seal_value(&ours, restricted, &cell(b"r"), &note)
        .await
        .unwrap();
    let elsewhere = cell(b"r");
    let wrong = house.vault.open(
        (&ours).into(),
        KeyPurpose::RECORDS,
        &elsewhere,
        sealed.as_bytes(),
    );
    assert!(matches!(wrong.await, Err(SealError::Authentication)));
}
