//! Keys that the client holds: the vault's format, without a vault.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Column, IndexDef, IndexPart, Normalizer, Row, Table};
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::cobblestone::InputKey;
use eonpro_encryption::{ClientCipher, ClientKey, KeyId, RecoveryKey};
use eonpro_testkit::tenant_id;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{House, RECORDS, cell};

const SSN: IndexDef = IndexDef {
    table: Table::new("patients"),
    name: "ssn",
    bits: 64,
    parts: &[IndexPart {
        column: Column::new("ssn"),
        normalizer: Normalizer::Digits,
    }],
    version: 1,
};

fn refused<T: std::fmt::Debug>(outcome: Result<T, SealError>) {
    assert!(
        matches!(outcome, Err(SealError::Authentication)),
        "{outcome:?}"
    );
}

fn cipher(tenant: u128, purpose: KeyPurpose, key: &ClientKey) -> ClientCipher {
    ClientCipher::new(tenant_id(tenant), purpose, key)
}

fn decode(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn id_of(key: &Value) -> KeyId {
    let id = u32::from_str_radix(key["id"].as_str().unwrap(), 16).unwrap();
    KeyId::from_be_bytes(id.to_be_bytes())
}

/// The worked example of the page on the format.
fn example() -> Value {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/encryption.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```json\n{\n  \"about\"").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    serde_json::from_str(&format!("{{\n  \"about\"{text}")).unwrap()
}

/// The data key of that purpose, unwrapped from the example's root key down.
fn data_key(example: &Value, purpose: &str) -> ClientKey {
    let (root, record) = (&example["key_file"], &example["key_record"]);
    let tenant = TenantId::parse(example["tenant"].as_str().unwrap()).unwrap();
    let keys = record["keys"].as_array().unwrap();
    let kek = keys.iter().find(|key| key["role"] == "kek").unwrap();
    let dek = keys.iter().find(|key| key["purpose"] == purpose).unwrap();
    let unwrap = |key: &[u8], context: Vec<u8>, wrapped: &Value| {
        let key = InputKey::new(&KeyBytes::copy_from(key).unwrap());
        key.open(&[&context], &decode(wrapped)).unwrap()
    };
    let context = pae::encode(&[
        b"eonpro/kek/v1",
        root["id"].as_str().unwrap().as_bytes(),
        tenant.as_bytes(),
        &id_of(kek).to_be_bytes(),
    ]);
    let kek_bytes = unwrap(&decode(&root["key"]), context, &kek["wrapped"]);
    let context = pae::encode(&[
        b"eonpro/dek/v1",
        tenant.as_bytes(),
        purpose.as_bytes(),
        &dek["epoch"].as_u64().unwrap().to_be_bytes(),
        &id_of(dek).to_be_bytes(),
        &id_of(kek).to_be_bytes(),
    ]);
    let dek_bytes = unwrap(&kek_bytes, context, &dek["wrapped"]);
    ClientKey::new(id_of(dek), KeyBytes::copy_from(&dek_bytes).unwrap()).unwrap()
}

#[test]
fn a_client_that_holds_a_vaults_key_opens_and_finds_what_the_vault_sealed() {
    let example = example();
    let tenant = TenantId::parse(example["tenant"].as_str().unwrap()).unwrap();
    let records = data_key(&example, "records");
    let row = Uuid::parse_str(example["row"].as_str().unwrap()).unwrap();
    let cell = Cell::new(
        SSN.table,
        Column::new("ssn"),
        Row::named(row.as_bytes()).unwrap(),
    );
    let sealed = decode(&example["sealed"]);
    let client = ClientCipher::new(tenant, RECORDS, &records);
    assert_eq!(ClientCipher::names(&sealed), Some(records.id()));
    let opened = client.open(&cell, &sealed).unwrap();
    assert_eq!(example["plaintext"].as_str().unwrap().as_bytes(), &**opened);

    let search = data_key(&example, "search");
    let client = ClientCipher::new(tenant, KeyPurpose::SEARCH, &search);
    let token = client.index(&SSN, &["999 12 3456"]).unwrap();
    assert_eq!(
        decode(&example["index_token"]),
        token.odd.unwrap().as_bytes()
    );
}

#[test]
fn a_value_opens_under_its_key_for_its_tenant_purpose_and_cell_only() {
    let key = ClientKey::generate().unwrap();
    let ours = cipher(1, RECORDS, &key);
    let sealed = ours.seal(&cell(b"ada"), b"999-12-3456").unwrap();
    assert_eq!(
        &**ours.open(&cell(b"ada"), &sealed).unwrap(),
        b"999-12-3456"
    );
    assert_eq!(sealed.len(), 5 + 72 + 11);

    refused(ours.open(&cell(b"eve"), &sealed));
    refused(cipher(2, RECORDS, &key).open(&cell(b"ada"), &sealed));
    refused(cipher(1, KeyPurpose::FILES, &key).open(&cell(b"ada"), &sealed));
    let same_id = ClientKey::new(key.id(), KeyBytes::take(&mut [7; 32])).unwrap();
    refused(cipher(1, RECORDS, &same_id).open(&cell(b"ada"), &sealed));
    let [a, b, c, d] = key.id().to_be_bytes();
    let other_id = KeyId::from_be_bytes([a ^ 1, b, c, d]);
    let same_bytes = ClientKey::new(other_id, key.bytes().clone()).unwrap();
    refused(cipher(1, RECORDS, &same_bytes).open(&cell(b"ada"), &sealed));
    for length in 0..sealed.len() {
        refused(ours.open(&cell(b"ada"), &sealed[..length]));
    }
}

#[test]
fn a_key_never_has_the_id_that_names_none() {
    let bytes = KeyBytes::take(&mut [7; 32]);
    assert_eq!(ClientKey::new(KeyId::from_be_bytes([0; 4]), bytes), None);
}

#[tokio::test]
async fn the_vault_does_not_open_what_a_client_sealed() {
    use eonpro_core::port::Sealer as _;
    let ours = eonpro_testkit::scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let key = ClientKey::generate().unwrap();
    let sealed = cipher(1, RECORDS, &key).seal(&cell(b"ada"), b"x").unwrap();
    let cell = cell(b"ada");
    refused(
        house
            .vault
            .open((&ours).into(), RECORDS, &cell, &sealed)
            .await,
    );
}

#[test]
fn tokens_come_from_a_key_for_search_alone() {
    let key = ClientKey::generate().unwrap();
    let search = cipher(1, KeyPurpose::SEARCH, &key);
    let token = search.index(&SSN, &["999-12-3456"]).unwrap();
    assert_eq!(search.index(&SSN, &["999123456"]).unwrap(), token);
    let other = cipher(2, KeyPurpose::SEARCH, &key);
    assert_ne!(other.index(&SSN, &["999123456"]).unwrap(), token);
    assert!(matches!(
        cipher(1, RECORDS, &key).index(&SSN, &["999123456"]),
        Err(SealError::Unsupported)
    ));
}

#[test]
fn a_lost_key_comes_back_by_the_recovery_key_for_its_place_only() {
    let lost = ClientKey::generate().unwrap();
    let recovery = RecoveryKey::new(&KeyBytes::take(&mut [9; 32]));
    let wrapped = recovery.wrap(tenant_id(1), RECORDS, &lost).unwrap();
    assert_eq!(wrapped.len(), 104);
    let found = recovery.recover(tenant_id(1), RECORDS, lost.id(), &wrapped);
    assert_eq!(found.unwrap(), lost);

    refused(recovery.recover(tenant_id(2), RECORDS, lost.id(), &wrapped));
    refused(recovery.recover(tenant_id(1), KeyPurpose::SEARCH, lost.id(), &wrapped));
    let other = KeyId::from_be_bytes([0, 0, 0, 1]);
    refused(recovery.recover(tenant_id(1), RECORDS, other, &wrapped));
    let other = RecoveryKey::new(&KeyBytes::take(&mut [8; 32]));
    refused(other.recover(tenant_id(1), RECORDS, lost.id(), &wrapped));
    refused(recovery.recover(tenant_id(1), RECORDS, lost.id(), &wrapped[..103]));
}

#[test]
fn nothing_of_a_client_prints_its_key() {
    let key = ClientKey::new(KeyId::from_be_bytes([1; 4]), KeyBytes::take(&mut [7; 32])).unwrap();
    let printed = format!("{key:?} {:?}", cipher(1, RECORDS, &key));
    assert_eq!(
        printed,
        "ClientKey { id: 01010101, bytes: [SECRET] } ClientCipher { purpose: KeyPurpose(\"records\"), key: 01010101, .. }"
    );
}
