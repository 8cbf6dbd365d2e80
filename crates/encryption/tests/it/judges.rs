//! Strangers judge: a Python program that was written from the format's page, on libraries of others.
//!
//! It opens every vector, opens what is sealed here under fresh keys, and seals for us to open.
//! Where its interpreter is missing, the tests end early and say so, unless they are required.

use std::path::{Path, PathBuf};
use std::process::Command;

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_encryption::{
    Binding, Cell, Column, Encryption as _, EncryptionExt as _, FieldSealing, KeyExport, KeyState,
    KeyType, Phi, PhiRecord, RecordHead, Row, Sealed, Suite, Table, TenantCipher,
};
use eonpro_testkit::{scope, tenant_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{House, RECORDS, chore};

const TENANT: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0001;
const ROW: [u8; 16] = [0x77; 16];
const TABLE: Table = Table::new("patients");
const COLUMN: Column = Column::new("ssn");

#[expect(
    clippy::disallowed_methods,
    reason = "how a test run is configured, not a part under test"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The interpreter of the test tools. If it is missing, prints that and answers `None`, or fails if
/// the run requires it.
fn python() -> Option<PathBuf> {
    let own = std::env::current_exe().unwrap();
    // <target>/<profile>/deps/<test>
    let target = own.ancestors().nth(3).unwrap();
    let tools = variable("EONPRO_TEST_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| target.join("test-tools"));
    let python = tools.join("python/bin/python");
    if python.is_file() {
        return Some(python);
    }
    let required = variable("EONPRO_TEST_REQUIRE").unwrap_or_default();
    let mut names = required.split(',').map(str::trim);
    assert!(
        !names.any(|name| ["all", "python", "cryptography", "tink"].contains(&name)),
        "python is required, and {} is missing",
        python.display()
    );
    eprintln!(
        "{} is missing; it needs cryptography 50 and tink 1.16.1; this test ends here",
        python.display()
    );
    None
}

fn judge(python: &Path, arguments: &[&Path]) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges");
    // Isolated, and writing nothing beside the program.
    let ran = Command::new(python)
        .args(["-I", "-B"])
        .arg(tests.join("judge.py"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{complaint}");
    said
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let pairs = text.as_str().unwrap().as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn python_agrees_with_every_vector() {
    let Some(python) = python() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/vectors");
    let said = judge(&python, &[Path::new("vectors"), &folder]);
    for expected in [
        "cobblestone.json: 7 came out, 17 refused",
        "compact.json: 6 came out, 16 refused",
        "deterministic.json: 5 came out, 16 refused",
        "padded.json: 9 came out, 58 refused",
        "parts.json: 2 came out, 35 refused",
        "record.json: 4 came out, 21 refused",
        "data-key.json: 4 came out, 12 refused",
        "key-encryption-key.json: 2 came out, 9 refused",
        "keyring.json: 2 came out, 8 refused",
        "mac-key.json: 5 came out, 0 refused",
    ] {
        assert!(
            said.lines().any(|line| line == expected),
            "{expected}\n{said}"
        );
    }
}

/// A value for Python to open, and to seal again for the same place.
struct Ours {
    sealing: FieldSealing,
    row: &'static [u8],
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Ours {
    fn cell(&self) -> Cell<'_> {
        let row = match self.row {
            [] => Row::ANY,
            row => Row::named(row).unwrap(),
        };
        Cell::new(TABLE, COLUMN, row)
    }

    fn told(&self) -> Value {
        json!({
            "suite": self.sealing.suite.as_str(),
            "kind": if self.sealing.pad == 0 { "value" } else { "padded" },
            "pad": self.sealing.pad,
            "purpose": RECORDS.as_str(),
            "table": TABLE.as_str(),
            "column": COLUMN.as_str(),
            "row": hex(self.row),
            "plaintext": hex(&self.plain),
            "sealed": hex(&self.sealed),
        })
    }
}

fn seal(cipher: &TenantCipher, length: usize) -> Vec<Ours> {
    let mut values = Vec::new();
    for suite in Suite::ALL {
        for (bind, row) in [(Binding::Row, &ROW[..]), (Binding::Column, &[])] {
            if suite == Suite::Deterministic && bind == Binding::Row {
                continue;
            }
            for pad in [0, 32] {
                let sealing = FieldSealing {
                    suite,
                    bind,
                    pad,
                    cardinality: FieldSealing::MIN_CARDINALITY,
                };
                let mut ours = Ours {
                    sealing,
                    row,
                    plain: vec![0x80; length],
                    sealed: Vec::new(),
                };
                let mut sealed = Vec::new();
                let cell = ours.cell();
                cipher
                    .seal_into(RECORDS, sealing, &cell, &ours.plain, &mut sealed)
                    .unwrap();
                ours.sealed = sealed;
                values.push(ours);
            }
        }
    }
    values
}

#[derive(Debug, PhiRecord)]
#[phi(table = "charts", mode = "whole")]
struct Chart {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    name: Phi<String>,
    #[phi(seal, pad = 32)]
    status: Phi<String>,
    #[phi(seal)]
    born: Phi<i64>,
}

fn chart() -> Chart {
    Chart {
        id: RowId::random(&SeededEntropy::new(7)),
        name: "Lovelace".into(),
        status: "ok".into(),
        born: Phi::new(-7),
    }
}

fn told(chart: &SealedChart) -> Value {
    let row = Uuid::parse_str(&chart.id.to_string()).unwrap();
    let field = |column: &str, pad: u16, plain: &[u8], sealed: &[u8]| json!({"column": column, "pad": pad, "plaintext": hex(plain), "sealed": hex(sealed)});
    json!({
        "table": "charts",
        "row": hex(row.as_bytes()),
        "head": hex(chart.phi_head.as_bytes()),
        "fields": [
            field("name", 0, b"Lovelace", chart.name.as_bytes()),
            field("status", 32, b"ok", chart.status.as_bytes()),
            field("born", 0, &(-7_i64).to_be_bytes(), chart.born.as_bytes()),
        ],
    })
}

#[tokio::test]
async fn python_opens_what_is_sealed_under_fresh_keys_and_seals_what_opens_here() {
    let Some(python) = python() else { return };
    let ours = scope(TENANT);
    let house = House::with_tenants(&[&ours]).await;
    let types = Suite::ALL.map(|suite| KeyType {
        purpose: RECORDS,
        suite,
    });
    let cipher = house.vault.warm_for(&ours, &types).await.unwrap();
    let mut values = seal(&cipher, 0);
    values.extend(seal(&cipher, 20_000));
    // The keys of two epochs.
    for of in [types[0], types[1]] {
        let (vault, cx) = (&house.vault, chore());
        vault.turn_epoch(&cx, (&ours).into(), of).await.unwrap();
    }
    let cipher = house.vault.warm(&ours).await.unwrap();
    values.extend(seal(&cipher, 31));
    let sealed = house.vault.seal_record(&ours, chart()).await.unwrap();

    let mut keysets = serde_json::Map::new();
    for of in types {
        let access = KeyExport::insecurely_expose_key_bytes();
        let keyset = house
            .vault
            .export_tink_keyset(&chore(), (&ours).into(), of, access)
            .await
            .unwrap();
        keysets.insert(of.suite.as_str().to_owned(), keyset.expose().into());
    }
    let given = json!({
        "tenant": tenant_id(TENANT).to_string(),
        "keysets": keysets,
        "values": values.iter().map(Ours::told).collect::<Vec<_>>(),
        "records": [told(&sealed)],
    });
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (
        dir.path().join("given.json"),
        dir.path().join("answer.json"),
    );
    std::fs::write(&from, given.to_string()).unwrap();
    let said = judge(&python, &[Path::new("fresh"), &from, &to]);
    assert_eq!(said, "fresh: 30 values and 1 records both ways\n");

    let answer: Value = serde_json::from_slice(&std::fs::read(&to).unwrap()).unwrap();
    let again = answer["values"].as_array().unwrap();
    assert_eq!(again.len(), values.len());
    for (value, again) in values.iter().zip(again) {
        let opened = cipher.open_field(RECORDS, value.sealing, &value.cell(), &unhex(again));
        assert_eq!(
            opened.unwrap().as_slice(),
            value.plain,
            "{:?}",
            value.sealing
        );
    }
    let record = &answer["records"][0];
    let field = |at: usize| unhex(&record["fields"][at]);
    let theirs = SealedChart {
        id: sealed.id,
        phi_head: RecordHead::from_bytes(unhex(&record["head"])),
        name: Sealed::from_bytes(field(0)),
        status: Sealed::from_bytes(field(1)),
        born: Sealed::from_bytes(field(2)),
    };
    assert_ne!(theirs.phi_head.as_bytes(), sealed.phi_head.as_bytes());
    let opened: Chart = house.vault.open_record(&ours, theirs).await.unwrap();
    assert_eq!(opened.name.expose(), "Lovelace");
    assert_eq!(opened.status.expose(), "ok");
    assert_eq!(*opened.born.expose(), -7);
}

/// What Tink itself makes: a keyset of its own seals in Python, is imported, and opens here.
#[tokio::test]
async fn keysets_that_tink_made_are_taken_in_and_open_what_tink_sealed() {
    let Some(python) = python() else { return };
    let ours = scope(TENANT);
    let house = House::with_tenants(&[&ours]).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("made.json");
    judge(&python, &[Path::new("make"), &to]);
    let made: Value = serde_json::from_slice(&std::fs::read(&to).unwrap()).unwrap();
    for suite in [Suite::Compact, Suite::Deterministic] {
        let made = &made[suite.as_str()];
        let of = KeyType {
            purpose: RECORDS,
            suite,
        };
        let keyset = eonpro_core::secret::SecretText::new(made["keyset"].as_str().unwrap().into());
        let taken = house
            .vault
            .import_tink_keyset(&chore(), (&ours).into(), of, &keyset)
            .await
            .unwrap();
        assert_eq!(taken.len(), 3, "one seals, one opens, one is destroyed");
        let keys = house.vault.keys((&ours).into()).await.unwrap();
        let states: Vec<KeyState> = keys
            .iter()
            .filter(|key| taken.contains(&key.id))
            .map(|key| key.state)
            .collect();
        let expected = [
            KeyState::DecryptOnly,
            KeyState::Destroyed,
            KeyState::Primary,
        ];
        assert_eq!(states, expected, "the primary is the newest");
        let cipher = house.vault.warm(&ours).await.unwrap();
        let sealing = FieldSealing {
            suite,
            bind: Binding::Column,
            ..FieldSealing::STANDARD
        };
        let cell = Cell::new(TABLE, COLUMN, Row::ANY);
        for sealed in made["sealed"].as_array().unwrap() {
            let opened = cipher.open_field(RECORDS, sealing, &cell, &unhex(sealed));
            assert_eq!(opened.unwrap().as_slice(), b"by tink");
        }
    }
}
