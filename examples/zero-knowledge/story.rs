//! What is shown: both directions, search, a moved value, a lost key, and a look through the server.

use eonpro::core::id::TenantId;
use eonpro::core::secret::KeyBytes;
use eonpro::encryption::{
    Cell, ClientCipher, ClientKey, Column, CryptoError, IndexDef, IndexPart, IndexToken, KeyId,
    KeyPurpose, Normalizer, RecoveryKey, Row, Table,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::node::Node;
use crate::server::{Server, StoredRow, WrappedKey};

type Told<T> = Result<T, String>;

const SSN: IndexDef = IndexDef {
    table: Table::new("patients"),
    name: "ssn",
    bits: 64,
    version: 1,
    parts: &[IndexPart {
        column: COLUMN,
        normalizer: Normalizer::Digits,
    }],
};
const COLUMN: Column = Column::new("ssn");
const RECORDS: KeyPurpose = KeyPurpose::RECORDS;
const ADA: [u8; 16] = [0xad; 16];
const BOB: [u8; 16] = [0xb0; 16];
const EVE: [u8; 16] = [0xe0; 16];
const LONG: [u8; 16] = [0x10; 16];

/// One organization, its clients and its server.
struct Site<'a> {
    node: &'a Node,
    tenant: TenantId,
    server: Server,
    /// What the client in Node keeps on its device. Only its pairing shows it to the client in Rust.
    keychain: Value,
    recovery: [u8; 32],
}

/// Runs all of it and tells what was seen.
///
/// # Errors
/// What was not as it should be.
pub fn run(node: &Node) -> Told<Vec<String>> {
    let mut site = Site::begin(node)?;
    let key = site.key("key")?;
    let search = site.key("searchKey")?;
    let mut facts = vec![site.rust_opens_what_node_sealed(&key)?];
    facts.push(site.node_opens_what_rust_sealed(&key, &search)?);
    facts.push(site.both_find_by_token(&search)?);
    facts.push(site.a_moved_value_opens_nowhere(&key)?);
    facts.push(site.a_lost_key_comes_back(&key)?);
    facts.push(site.the_server_knows_nothing(&[&key, &search])?);
    Ok(facts)
}

impl<'a> Site<'a> {
    /// The client in Node makes the keys and uploads what it sealed.
    fn begin(node: &'a Node) -> Told<Self> {
        let tenant = TenantId::from_uuid(Uuid::from_bytes([0x5e; 16])).ok_or("no tenant")?;
        let recovery = *ClientKey::generate().map_err(told)?.bytes().expose();
        let mut site = Self {
            node,
            tenant,
            server: Server::default(),
            keychain: Value::Null,
            recovery,
        };
        let mut rows = Vec::new();
        for (row, plaintext) in site.patients() {
            rows.push(json!({"place": site.place(&row), "plaintext": plaintext}));
        }
        let begun = node.ask(&json!({
            "do": "begin",
            "recoveryKey": hex(&site.recovery),
            "rows": rows,
            "index": site.index(),
        }))?;
        site.keychain = at(&begun, "keychain").clone();
        site.take_upload(at(&begun, "upload"))?;
        Ok(site)
    }

    fn take_upload(&mut self, upload: &Value) -> Told<()> {
        for row in list(at(upload, "rows"))? {
            let id = bytes(at(row, "row"))?.try_into().map_err(|_| "no row id")?;
            let (sealed, token) = (bytes(at(row, "sealed"))?, bytes(at(row, "token"))?);
            self.server.put(id, StoredRow { sealed, token });
        }
        for key in list(at(upload, "keys"))? {
            self.server.put_key(WrappedKey {
                purpose: at(key, "purpose").as_str().ok_or("no purpose")?.to_owned(),
                id: id_of(at(key, "id"))?,
                wrapped: bytes(at(key, "wrapped"))?,
            });
        }
        Ok(())
    }

    /// The rows that Node seals. One is as long as two whole chunks, so that the last chunk is empty.
    fn patients(&self) -> [([u8; 16], String); 3] {
        [
            (ADA, "999-12-3456".to_owned()),
            (BOB, "999-65-4321".to_owned()),
            (LONG, "7".repeat(2 * 16384)),
        ]
    }

    fn rust_opens_what_node_sealed(&self, key: &ClientKey) -> Told<String> {
        let cipher = ClientCipher::new(self.tenant, RECORDS, key);
        for (row, plaintext) in self.patients() {
            let stored = self.server.row(&row).ok_or("the server lost a row")?;
            let opened = cipher.open(&cell(&row)?, &stored.sealed).map_err(told)?;
            ensure(opened.as_slice() == plaintext.as_bytes(), "another text")?;
        }
        Ok("Rust opened the 3 values that Node sealed".to_owned())
    }

    fn node_opens_what_rust_sealed(&mut self, key: &ClientKey, search: &ClientKey) -> Told<String> {
        let cipher = ClientCipher::new(self.tenant, RECORDS, key);
        let search = ClientCipher::new(self.tenant, KeyPurpose::SEARCH, search);
        for plaintext in ["", "999-00-0001", &"8".repeat(16384), &"9".repeat(40_000)] {
            let sealed = cipher
                .seal(&cell(&EVE)?, plaintext.as_bytes())
                .map_err(told)?;
            let token = search.index(&SSN, &[plaintext]).map_err(told)?.odd;
            // What is empty has no token, and is not found by one.
            let token = token.map(IndexToken::into_bytes).unwrap_or_default();
            self.server.put(EVE, StoredRow { sealed, token });
            let stored = self.server.row(&EVE).ok_or("the server lost a row")?;
            let opened = self.node_opens(&EVE, &stored.sealed)?;
            ensure(opened.as_deref() == Some(plaintext), "Node read otherwise")?;
        }
        Ok("Node opened the 4 values that Rust sealed".to_owned())
    }

    fn both_find_by_token(&self, search: &ClientKey) -> Told<String> {
        let asked = self.node.ask(&json!({
            "do": "query",
            "keychain": self.keychain,
            "index": self.index(),
            "value": "999 12 3456",
        }))?;
        let from_node = bytes(at(&asked, "token"))?;
        let cipher = ClientCipher::new(self.tenant, KeyPurpose::SEARCH, search);
        let from_rust = cipher.index(&SSN, &["999123456"]).map_err(told)?.odd;
        let same = from_rust.is_some_and(|token| token.as_bytes() == from_node);
        ensure(same, "the tokens differ")?;
        ensure(
            self.server.find(&from_node) == [ADA],
            "another row was found",
        )?;
        Ok("the server found 1 of 4 rows by a token that either client computes".to_owned())
    }

    fn a_moved_value_opens_nowhere(&self, key: &ClientKey) -> Told<String> {
        let stored = self.server.row(&ADA).ok_or("the server lost a row")?;
        let cipher = ClientCipher::new(self.tenant, RECORDS, key);
        let in_rust = cipher.open(&cell(&BOB)?, &stored.sealed);
        ensure(in_rust.is_err(), "Rust opened a moved value")?;
        let in_node = self.node_opens(&BOB, &stored.sealed)?;
        ensure(in_node.is_none(), "Node opened a moved value")?;
        let last = stored.sealed.len().saturating_sub(1);
        // In the key id, the salt, the commitment and the tag.
        for at in [4, 5, 5 + 24, last] {
            let mut changed = stored.sealed.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            let in_node = self.node_opens(&ADA, &changed)?;
            ensure(in_node.is_none(), "Node opened a changed value")?;
        }
        Ok("a value that the server moved or changed opens in neither".to_owned())
    }

    /// What Node's client wrapped, Rust recovers, and the other way round.
    fn a_lost_key_comes_back(&self, key: &ClientKey) -> Told<String> {
        let lost = self.server.key("records").ok_or("no wrapped key")?;
        let recovery = RecoveryKey::new(&KeyBytes::take(&mut { self.recovery }));
        let id = KeyId::from_be_bytes(lost.id.to_be_bytes());
        let found = recovery.recover(self.tenant, RECORDS, id, &lost.wrapped);
        ensure(found.map_err(told)? == *key, "another key came back")?;

        let wrapped = recovery.wrap(self.tenant, RECORDS, key).map_err(told)?;
        let found = self.node.ask(&json!({
            "do": "recover",
            "recoveryKey": hex(&self.recovery),
            "tenant": hex(self.tenant.as_bytes()),
            "purpose": RECORDS.as_str(),
            "id": lost.id,
            "wrapped": hex(&wrapped),
        }))?;
        ensure(
            at(&found, "key") == at(&self.keychain, "key"),
            "another key came back",
        )?;
        Ok("the recovery key brought the lost key back in both".to_owned())
    }

    fn the_server_knows_nothing(&self, keys: &[&ClientKey]) -> Told<String> {
        for (_, plaintext) in self.patients() {
            ensure(
                !self.server.knows(plaintext.as_bytes()),
                "plaintext is stored",
            )?;
        }
        for key in keys {
            ensure(!self.server.knows(key.bytes().expose()), "a key is stored")?;
        }
        ensure(
            !self.server.knows(&self.recovery),
            "the recovery key is stored",
        )?;
        Ok("neither plaintext nor keys lie on the server".to_owned())
    }

    fn node_opens(&self, row: &[u8; 16], sealed: &[u8]) -> Told<Option<String>> {
        let said = self.node.ask(&json!({
            "do": "open",
            "keychain": self.keychain,
            "place": self.place(row),
            "sealed": hex(sealed),
        }))?;
        Ok(at(&said, "opened").as_str().map(str::to_owned))
    }

    fn place(&self, row: &[u8; 16]) -> Value {
        json!({
            "tenant": hex(self.tenant.as_bytes()),
            "purpose": RECORDS.as_str(),
            "table": SSN.table.as_str(),
            "column": COLUMN.as_str(),
            "row": hex(row),
        })
    }

    fn index(&self) -> Value {
        json!({
            "tenant": hex(self.tenant.as_bytes()),
            "table": SSN.table.as_str(),
            "column": COLUMN.as_str(),
            "name": SSN.name,
            "version": SSN.version,
            "bits": SSN.bits,
        })
    }

    /// A key of the keychain, as the client in Rust gets it when the two are paired.
    fn key(&self, name: &str) -> Told<ClientKey> {
        let key = at(&self.keychain, name);
        let id = KeyId::from_be_bytes(id_of(at(key, "id"))?.to_be_bytes());
        let bytes = KeyBytes::copy_from(&bytes(at(key, "bytes"))?).ok_or("no key")?;
        ClientKey::new(id, bytes).ok_or_else(|| "no key id".to_owned())
    }
}

fn cell(row: &[u8; 16]) -> Told<Cell<'_>> {
    let row = Row::named(row).ok_or("no row")?;
    Ok(Cell::new(SSN.table, COLUMN, row))
}

fn ensure(holds: bool, otherwise: &str) -> Told<()> {
    match holds {
        true => Ok(()),
        false => Err(otherwise.to_owned()),
    }
}

fn told(error: impl Into<CryptoError>) -> String {
    error.into().to_string()
}

/// A member of an object; null if it has none of that name.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    value.get(name).unwrap_or(&NULL)
}

fn list(value: &Value) -> Told<&Vec<Value>> {
    value.as_array().ok_or_else(|| "no list".to_owned())
}

fn id_of(value: &Value) -> Told<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| "no key id".to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(value: &Value) -> Told<Vec<u8>> {
    let text = value.as_str().ok_or("no text")?;
    let pairs = text.as_bytes().chunks(2);
    let parsed = pairs.map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    parsed
        .collect::<Option<_>>()
        .ok_or_else(|| "no hexadecimal text".to_owned())
}
