//! The worked example of `docs/formats/encryption.md` opens: the page says what the code does.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::id::{PublicId as _, RowId, TenantId};
use eonpro_core::phi::{Column, Row, Table};
use eonpro_core::port::kv::{Key, KeyValue as _, MemoryKeyValue, Partition, Transaction};
use eonpro_core::port::{KeyPurpose, NoObserver, SealScope, Sealer as _};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_encryption::backend::{KeyFile, Keyring};
use eonpro_encryption::{
    Cell, Encryption as _, EncryptionExt as _, EpochId, EpochKeys as _, IndexDef, IndexPart,
    KdfCost, KeyId, Normalizer, Vault, VaultParts, WrapContext,
};
use eonpro_testkit::{RecordingSink, scope, tenant_id};
use serde_json::{Value, json};
use uuid::Uuid;

const TENANT: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0001;
const ROW: u128 = 0x0a0b_0c0d_0e0f_4011_9213_1415_1617_1819;
const SSN: &str = "999-12-3456";
const PASSPHRASE: &str = "correct horse battery staple";
const SSN_COLUMN: Column = Column::new("ssn");
const INDEX: IndexDef = IndexDef {
    table: Table::new("patients"),
    name: "ssn",
    bits: 64,
    version: 1,
    parts: &[IndexPart {
        column: SSN_COLUMN,
        normalizer: Normalizer::Digits,
    }],
};

fn page() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/formats/encryption.md"
    ))
}

/// The only block of JSON that begins with `begin` on the page.
fn block(page: &str, begin: &str) -> Value {
    let (_, rest) = page.split_once(&format!("```json\n{begin}")).unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    serde_json::from_str(&format!("{begin}{text}")).unwrap()
}

fn example() -> Value {
    block(&std::fs::read_to_string(page()).unwrap(), "{\n  \"about\"")
}

fn cell(row: &[u8]) -> Cell<'_> {
    Cell::new(INDEX.table, SSN_COLUMN, Row::named(row).unwrap())
}

fn state() -> (Arc<MemoryKeyValue>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let state = MemoryKeyValue::new(Arc::<ManualClock>::clone(&clock));
    (Arc::new(state), clock)
}

async fn vault(root: Arc<dyn eonpro_encryption::RootKey>, state: &Arc<MemoryKeyValue>) -> Vault {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let parts = VaultParts {
        root,
        state: Arc::<MemoryKeyValue>::clone(state),
        emitter: RecordingSink::new().emitter(clock),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    Vault::open(parts).await.unwrap()
}

fn private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn keyset() -> (Partition, Key) {
    let partition = Partition::tenant(tenant_id(TENANT), "encryption");
    (partition, Key::new(b"keyset".as_slice()).unwrap())
}

#[tokio::test]
async fn the_example_on_the_page_opens_from_its_key_file_and_its_key_record() {
    let example = example();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    private(&path, &example["key_file"].to_string());
    let root = Arc::new(KeyFile::open_or_generate(&path).await.unwrap());

    let (state, _) = state();
    let (partition, key) = keyset();
    assert_eq!(example["partition"], partition.to_string());
    let record = example["key_record"].to_string();
    let put = Transaction::new().put(key, record);
    state.commit(&partition, put).await.unwrap();

    let tenant = TenantId::parse(example["tenant"].as_str().unwrap()).unwrap();
    assert_eq!(tenant, tenant_id(TENANT));
    let row = Uuid::parse_str(example["row"].as_str().unwrap()).unwrap();
    let vault = vault(root, &state).await;
    let cipher = vault.warm(&scope(TENANT)).await.unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(example["sealed"].as_str().unwrap());
    let opened = cipher.open(KeyPurpose::RECORDS, &cell(row.as_bytes()), &sealed.unwrap());
    assert_eq!(opened.unwrap().as_slice(), SSN.as_bytes());
    assert_eq!(example["plaintext"], SSN);

    let slots = cipher.index(&INDEX, &[SSN]).unwrap();
    let text = URL_SAFE_NO_PAD.encode(slots.odd.unwrap().as_bytes());
    assert_eq!(example["index_token"], text);
}

#[tokio::test]
async fn the_keyring_on_the_page_opens_by_its_passphrase() {
    let page = std::fs::read_to_string(page()).unwrap();
    let keyring = block(&page, "{\n  \"format\": \"eonpro-keyring\"");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    private(&path, &keyring.to_string());
    let opened = Keyring::open(&path, &SecretText::new(PASSPHRASE.to_owned())).await;
    let opened = opened.unwrap();
    let id = eonpro_encryption::RootKey::id(&opened);
    assert_eq!(keyring["id"], id.as_str());
    assert!(page.contains(PASSPHRASE));
}

#[tokio::test]
async fn the_key_on_the_page_unwraps_under_its_epoch() {
    let page = std::fs::read_to_string(page()).unwrap();
    let example = block(&page, "{\n  \"epoch\"");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    private(&path, &example["keyring"].to_string());
    let opened = Keyring::open(&path, &SecretText::new(PASSPHRASE.to_owned())).await;
    let epoch = EpochId::new(example["epoch"].as_str().unwrap()).unwrap();
    let wrapped = URL_SAFE_NO_PAD.decode(example["wrapped"].as_str().unwrap());
    let key = opened
        .unwrap()
        .unwrap(&epoch, &wrapped.unwrap(), &epoch_context())
        .await;
    let key = URL_SAFE_NO_PAD.encode(key.unwrap().expose());
    assert_eq!(example["key"], key);
}

#[test]
fn every_block_of_the_page_opens_and_closes_on_a_line_of_its_own() {
    let page = std::fs::read_to_string(page()).unwrap();
    let mut open = false;
    for line in page.lines().filter(|line| line.contains("```")) {
        let language = line.strip_prefix("```");
        let opens = language.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()));
        assert!(opens && (!open || line == "```"), "{line}");
        open = !open;
    }
    assert!(!open);
    let defined = |name: &str| page.contains(&format!("\ndef {name}(keyring, passphrase"));
    assert!(defined("root_of") && defined("epoch_of"));
    // A function that was wrapped into a paragraph has lost its indentation.
    assert!(!page.contains("passphrase): "));
}

fn epoch_context() -> WrapContext {
    WrapContext {
        scope: SealScope::from(&scope(TENANT)),
        key: KeyId::from_be_bytes([0, 0, 0, 1]),
    }
}

/// Makes another example, to be pasted into the page.
#[tokio::test]
#[ignore = "prints a fresh example for docs/formats/encryption.md"]
async fn write_worked_example() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    let root = Arc::new(KeyFile::open_or_generate(&path).await.unwrap());
    let (state, _) = state();
    let vault = vault(root, &state).await;
    let ours = scope(TENANT);
    vault.provision((&ours).into()).await.unwrap();

    let row = RowId::from_uuid(Uuid::from_u128(ROW));
    let cell = Cell::new(INDEX.table, SSN_COLUMN, Row::id(row));
    let purpose = KeyPurpose::RECORDS;
    let sealed = vault.seal_value(&ours, purpose, &cell, &SSN.into()).await;
    let slots = vault.query_slots(&ours, &INDEX, &SSN.into()).await.unwrap();
    let token = slots.odd.unwrap();
    let (partition, key) = keyset();
    let record = state.get(&partition, &key).await.unwrap().unwrap();
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let example = json!({
        "about": "one field, from the root key down",
        "key_file": parsed(&std::fs::read(&path).unwrap()),
        "partition": partition.to_string(),
        "key_record": parsed(&record.value),
        "tenant": tenant_id(TENANT).to_string(),
        "purpose": purpose.as_str(),
        "table": INDEX.table.as_str(),
        "column": SSN_COLUMN.as_str(),
        "row": row.to_string(),
        "sealed": URL_SAFE_NO_PAD.encode(sealed.unwrap().as_bytes()),
        "plaintext": SSN,
        "index": INDEX.name,
        "index_version": INDEX.version,
        "index_bits": INDEX.bits,
        "normalizer": INDEX.parts[0].normalizer.id(),
        "normalizer_version": INDEX.parts[0].normalizer.version(),
        "index_token": URL_SAFE_NO_PAD.encode(token.as_bytes()),
    });
    println!("{}", serde_json::to_string_pretty(&example).unwrap());

    let path = dir.path().join("keyring.json");
    let passphrase = SecretText::new(PASSPHRASE.to_owned());
    Keyring::create(&path, &passphrase, KdfCost::FLOOR)
        .await
        .unwrap();
    println!("{}", std::fs::read_to_string(&path).unwrap());
    write_epoch_example().await;
}

async fn write_epoch_example() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let passphrase = SecretText::new(PASSPHRASE.to_owned());
    let keyring = Keyring::create(&path, &passphrase, KdfCost::FLOOR).await;
    let keyring = keyring.unwrap();
    let epoch = keyring.create().await.unwrap();
    let key = KeyBytes::take(&mut std::array::from_fn(|at| at.to_le_bytes()[0]));
    let wrapped = keyring.wrap(&epoch, &key, &epoch_context()).await.unwrap();
    let file = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap());
    let example = json!({
        "epoch": epoch.as_str(),
        "key": URL_SAFE_NO_PAD.encode(key.expose()),
        "keyring": file.unwrap(),
        "wrapped": URL_SAFE_NO_PAD.encode(wrapped),
    });
    println!("{}", serde_json::to_string_pretty(&example).unwrap());
}
