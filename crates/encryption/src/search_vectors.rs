//! The published vectors of blind index tokens, which another program made, hold.

use std::collections::BTreeSet;

use eonpro_core::id::TenantId;
use eonpro_core::phi::{Column, IndexDef, IndexPart, Normalizer, Table};
use eonpro_core::secret::KeyBytes;
use serde::Deserialize;

use crate::cobblestone::InputKey;
use crate::index_status::IndexStatus;
use crate::normalize::{Misfit, normalize};
use crate::search::LiveIndex;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/formats/vectors/blind-index.json"
);

#[derive(Deserialize)]
struct File {
    search_key: String,
    vectors: Vec<Vector>,
    refused: Vec<Text>,
    no_token: Vec<Text>,
}

#[derive(Deserialize)]
struct Vector {
    scope: String,
    table: String,
    name: String,
    version: u8,
    bits: u16,
    parts: Vec<Part>,
    token: String,
}

#[derive(Deserialize)]
struct Part {
    column: String,
    rule: String,
    rule_version: u8,
    text: String,
    normalized: String,
}

#[derive(Deserialize)]
struct Text {
    rule: String,
    text: String,
}

fn file() -> File {
    serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Names of an index are those of source code.
fn leaked(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn rule(id: &str) -> Normalizer {
    Normalizer::parse(id).unwrap()
}

fn index_of(vector: &Vector) -> IndexDef {
    let parts: Vec<IndexPart> = vector
        .parts
        .iter()
        .map(|part| IndexPart {
            column: Column::new(leaked(&part.column)),
            normalizer: rule(&part.rule),
        })
        .collect();
    IndexDef {
        table: Table::new(leaked(&vector.table)),
        name: leaked(&vector.name),
        bits: vector.bits,
        version: 1,
        parts: Box::leak(parts.into_boxed_slice()),
    }
}

#[test]
fn every_vector_gives_its_token() {
    let file = file();
    let mut key: [u8; 32] = bytes(&file.search_key).try_into().unwrap();
    let search = InputKey::new(&KeyBytes::take(&mut key));
    for vector in &file.vectors {
        let scope = match vector.scope.as_str() {
            "system" => None,
            tenant => Some(TenantId::parse(tenant).unwrap()),
        };
        for part in &vector.parts {
            assert_eq!(rule(&part.rule).version(), part.rule_version);
            let normalized = normalize(rule(&part.rule), &part.text).unwrap();
            assert_eq!(*normalized, part.normalized, "{}", part.rule);
        }
        let version = vector.version;
        let index = index_of(vector);
        let live = LiveIndex::derive(&search, &scope, &index, IndexStatus::Stable { version });
        let texts: Vec<&str> = vector.parts.iter().map(|part| part.text.as_str()).collect();
        let slots = live.unwrap().slots(&index, &texts).unwrap();
        let token = slots.version(version).unwrap();
        assert_eq!(token.as_bytes(), bytes(&vector.token), "{}", vector.name);
    }
}

#[test]
fn what_the_file_refuses_is_refused_and_what_it_calls_empty_is_empty() {
    let file = file();
    assert!(!file.refused.is_empty() && !file.no_token.is_empty());
    for Text { rule: id, text } in file.refused {
        assert_eq!(
            normalize(rule(&id), &text),
            Err(Misfit::Text),
            "{id} {text:?}"
        );
    }
    for Text { rule: id, text } in file.no_token {
        assert!(
            normalize(rule(&id), &text).unwrap().is_empty(),
            "{id} {text:?}"
        );
    }
}

#[test]
fn no_rule_and_no_kind_of_index_lacks_a_vector() {
    let file = file();
    let rules: BTreeSet<String> = file
        .vectors
        .iter()
        .flat_map(|vector| &vector.parts)
        .map(|part| part.rule.split(':').next().unwrap().to_owned())
        .collect();
    let all = [
        "alphanumeric",
        "bucket",
        "digits",
        "e164",
        "exact",
        "folded",
        "last",
        "month_day",
        "prefix",
        "year",
        "year_month",
    ];
    assert!(rules.iter().eq(all), "{rules:?}");
    assert!(file.vectors.iter().any(|vector| vector.parts.len() > 1));
}
