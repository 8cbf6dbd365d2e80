//! The vectors in `docs/formats/vectors/`: made here from fixed inputs, and checked here.
//!
//! `cargo xtask codegen` writes them. A test compares, so no format changes unnoticed; what a stranger
//! makes of them is shown by `tests/judges/`.

mod keys;
mod records;
mod values;

use std::fs;
use std::path::PathBuf;

use eonpro_core::id::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keyset::KeyId;

const TENANT: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0001;
const OTHER: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0002;
const ROW: u128 = 0x0a0b_0c0d_0e0f_4011_9213_1415_1617_1819;

/// Bytes that a file shows as hexadecimal digits.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Hex(Vec<u8>);

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16));
        bytes.collect::<Result<_, _>>().map(Self)
    }
}

impl From<&[u8]> for Hex {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    about: String,
    tests: Vec<T>,
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/formats/vectors"
    ))
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = fs::read(folder().join(name)).unwrap();
    serde_json::from_slice::<File<T>>(&text).unwrap().tests
}

/// The file as text; one test after the other.
fn render<T: Serialize>(about: &str, tests: Vec<T>) -> String {
    let about = about.to_owned();
    let mut text = serde_json::to_string_pretty(&File { about, tests }).unwrap();
    text.push('\n');
    text
}

fn files() -> Vec<(&'static str, String)> {
    let mut files = values::files();
    files.extend(records::files());
    files.extend(keys::files());
    files
}

/// Distinct bytes that anybody can make: `seed`, `seed + 1`, ...
fn counted<const N: usize>(seed: u8) -> [u8; N] {
    let mut next = seed;
    std::array::from_fn(|_| {
        let byte = next;
        next = next.wrapping_add(1);
        byte
    })
}

fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(number)).unwrap()
}

/// The scope that a file names by its bytes.
fn scope_of(bytes: &Hex) -> Option<TenantId> {
    if bytes.0 == b"system" {
        return None;
    }
    TenantId::from_uuid(Uuid::from_slice(&bytes.0).unwrap())
}

fn key_id(bytes: &Hex) -> KeyId {
    KeyId::from_be_bytes(bytes.0.as_slice().try_into().unwrap())
}

/// The bytes with the lowest bit of the one at `at` flipped.
fn flipped(bytes: &Hex, at: usize) -> Hex {
    let mut bytes = bytes.clone();
    bytes.0[at] ^= 1;
    bytes
}

/// What was flipped, cut or appended, wherever that is refused: a comment and the bytes.
fn damaged(bytes: &Hex) -> Vec<(&'static str, Hex)> {
    let cut = |length: usize| Hex::from(&bytes.0[..length]);
    let mut longer = bytes.clone();
    longer.0.push(0);
    vec![
        (
            "a bit of the last byte is flipped",
            flipped(bytes, bytes.0.len() - 1),
        ),
        ("the last byte is missing", cut(bytes.0.len() - 1)),
        ("a byte follows", longer),
        ("nothing is left", cut(0)),
    ]
}

#[test]
fn the_vectors_are_what_the_code_makes() {
    for (name, text) in files() {
        let found = fs::read_to_string(folder().join(name)).unwrap_or_default();
        assert!(
            found == text,
            "docs/formats/vectors/{name} differs; if a format was meant to change, run cargo xtask codegen"
        );
    }
}

#[test]
#[ignore = "writes docs/formats/vectors; cargo xtask codegen runs it"]
fn write_vectors() {
    fs::create_dir_all(folder()).unwrap();
    for (name, text) in files() {
        fs::write(folder().join(name), text).unwrap();
    }
}
