//! Keysets that Tink wrote, keysets of ours, and hostile ones.

use eonpro_core::phi::Suite;
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretText;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::CryptoError;

/// Written by Tink 1.16.1 for Python.
const BY_TINK: &str = r#"{"primaryKeyId": 1221526594, "key": [{"keyData": {
    "typeUrl": "type.googleapis.com/google.crypto.tink.XAesGcmKey",
    "value": "EgIIDBog9VL2I8y3qCJE6iUyqC1kBbFb/fAfhcyG4ddWFPlR46I=",
    "keyMaterialType": "SYMMETRIC"}, "status": "ENABLED", "keyId": 1221526594,
    "outputPrefixType": "TINK"}]}"#;

fn key(suite: Suite, id: u8, state: KeyState) -> TinkKey {
    let bytes = vec![id; KeyMaterial::length(suite)];
    let material = (state != KeyState::Destroyed).then(|| {
        let material = KeyMaterial::copy_from(suite, &bytes);
        material.unwrap()
    });
    TinkKey {
        id: KeyId::from_be_bytes([0xff, 0, 0, id]),
        state,
        material,
    }
}

fn keys(suite: Suite) -> Vec<TinkKey> {
    vec![
        key(suite, 1, KeyState::Destroyed),
        key(suite, 2, KeyState::DecryptOnly),
        key(suite, 4, KeyState::Suspended),
        key(suite, 3, KeyState::Primary),
    ]
}

fn parse(suite: Suite, keyset: &Value) -> Result<Vec<TinkKey>, CryptoError> {
    read(suite, &SecretText::new(keyset.to_string()))
}

fn refusal(suite: Suite, keyset: &Value) -> String {
    parse(suite, keyset).unwrap_err().to_string()
}

#[test]
fn a_keyset_survives_its_json_in_every_suite() {
    for suite in Suite::ALL {
        let text = write(suite, &keys(suite)).unwrap();
        assert!(text.expose().len() < MAX_TINK_KEYSET / 1024 * 3);
        assert_eq!(read(suite, &text).unwrap(), keys(suite));
        assert_eq!(
            format!("{:?}", read(suite, &text))
                .matches("[SECRET]")
                .count(),
            3
        );
    }
}

#[test]
fn a_key_that_not_everybody_may_open_with_is_disabled() {
    let suite = Suite::Compact;
    for (state, status, read_as) in [
        (KeyState::Drained, "ENABLED", KeyState::DecryptOnly),
        (KeyState::Suspended, "DISABLED", KeyState::Suspended),
        (KeyState::Compromised, "DISABLED", KeyState::Suspended),
    ] {
        let keys = [key(suite, 1, KeyState::Primary), key(suite, 2, state)];
        let text = write(suite, &keys).unwrap();
        let json: Value = serde_json::from_str(text.expose()).unwrap();
        assert_eq!(json["key"][1]["status"], status, "{state:?}");
        assert_eq!(read(suite, &text).unwrap()[1].state, read_as, "{state:?}");
    }
}

#[test]
fn what_tink_wrote_is_read_and_written_as_tink_writes_it() {
    let read = read(Suite::Compact, &SecretText::new(BY_TINK.to_owned())).unwrap();
    let [key] = read.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(key.id.to_be_bytes(), 1_221_526_594_u32.to_be_bytes());
    assert_eq!(key.state, KeyState::Primary);
    let written = write(Suite::Compact, &read).unwrap();
    let written: Value = serde_json::from_str(written.expose()).unwrap();
    let theirs: Value = serde_json::from_str(BY_TINK).unwrap();
    assert_eq!(written, theirs);
}

#[test]
fn the_fullest_keyset_is_within_the_bound_that_is_read() {
    let suite = Suite::Deterministic;
    let full: Vec<TinkKey> = (0..1024_u32)
        .map(|number| TinkKey {
            id: KeyId::from_be_bytes((u32::MAX - number).to_be_bytes()),
            state: if number == 0 {
                KeyState::Primary
            } else {
                KeyState::DecryptOnly
            },
            material: key(suite, 1, KeyState::Primary).material,
        })
        .collect();
    let text = write(suite, &full).unwrap();
    assert_eq!(read(suite, &text).unwrap().len(), 1024);
}

#[test]
fn contradictions_and_foreign_keys_are_refused_by_name() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 15] = [
        ("lacks its bytes", |set| {
            set["key"][1]["keyData"] = json!(null)
        }),
        ("HmacKey", |set| {
            set["key"][1]["keyData"]["typeUrl"] =
                json!("type.googleapis.com/google.crypto.tink.HmacKey");
        }),
        ("unknown type", |set| {
            set["key"][1]["keyData"]["typeUrl"] = json!("a/\u{1b}[2J")
        }),
        ("not symmetric", |set| {
            set["key"][1]["keyData"]["keyMaterialType"] = json!("REMOTE");
        }),
        ("prefix is not TINK", |set| {
            set["key"][1]["outputPrefixType"] = json!("RAW")
        }),
        ("id is zero", |set| set["key"][1]["keyId"] = json!(0)),
        ("id twice", |set| {
            set["key"][1]["keyId"] = set["key"][0]["keyId"].clone()
        }),
        ("no primary", |set| set["primaryKeyId"] = json!(7)),
        ("no primary", |set| set["key"] = json!([])),
        ("primary key is not enabled", |set| {
            set["primaryKeyId"] = set["key"][0]["keyId"].clone();
        }),
        ("unknown status", |set| {
            set["key"][1]["status"] = json!("enabled")
        }),
        ("has its bytes", |set| {
            set["key"][0]["keyData"] = set["key"][1]["keyData"].clone();
        }),
        ("not base64", |set| {
            set["key"][1]["keyData"]["value"] = json!("_-_-")
        }),
        ("no keyset", |set| set["key"][1]["more"] = json!(1)),
        ("no keyset", |set| {
            set["key"][1]["keyId"] = json!(1_u64 << 32)
        }),
    ];
    let suite = Suite::Compact;
    let text = write(suite, &keys(suite)).unwrap();
    for (expected, change) in changes {
        let mut set: Value = serde_json::from_str(text.expose()).unwrap();
        assert!(parse(suite, &set).is_ok());
        change(&mut set);
        let refused = refusal(suite, &set);
        assert!(refused.contains(expected), "{refused}, not {expected}");
    }
}

/// Protocol buffers in hexadecimal digits: tag bytes are `(field number << 3) | wire type`.
#[test]
fn a_key_that_is_not_exactly_its_message_is_refused() {
    let twenty = "20".to_owned() + &"07".repeat(32);
    let xaes = |text: String| (Suite::Compact, text);
    let siv = |text: String| (Suite::Deterministic, text);
    let cases = [
        ("192 bits", xaes(format!("1a{twenty}"))),
        ("192 bits", xaes(format!("12020808 1a{twenty}"))),
        ("unknown version", xaes(format!("0801 1202080c 1a{twenty}"))),
        ("unknown parts", xaes(format!("0800 1202080c 1a{twenty}"))),
        ("unknown parts", xaes(format!("1202080c 1a{twenty} 2001"))),
        (
            "unknown parts",
            xaes(format!("1202080c 1a{twenty} 1a{twenty}")),
        ),
        ("unknown parts", xaes(format!("1a{twenty} 1202080c"))),
        ("another length", xaes("1202080c 1a0107".to_owned())),
        ("no message", xaes(format!("1202080c 1aff{twenty}"))),
        ("no message", xaes("1a ffffffffffffffffff01".to_owned())),
        ("another length", siv(format!("12{twenty}"))),
        ("another length", siv(String::new())),
        ("too long", siv(format!("12{twenty}").repeat(4))),
    ];
    for (expected, (suite, text)) in cases {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
        let message: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let refused = proto::decode(suite, &message).unwrap_err().to_string();
        assert!(
            refused.contains(expected),
            "{refused}, not {expected}: {text}"
        );
    }
}

#[test]
fn a_keyset_beyond_the_bounds_is_not_even_parsed() {
    let long = SecretText::new(" ".repeat(MAX_TINK_KEYSET + 1));
    let refused = read(Suite::Compact, &long).unwrap_err();
    assert!(matches!(
        refused,
        CryptoError::Seal(SealError::LimitExceeded)
    ));
}

proptest! {
    #[test]
    fn no_input_makes_reading_panic(
        text in prop_oneof![any::<String>(), Just(BY_TINK.to_owned())],
        at in any::<prop::sample::Index>(),
        put in any::<char>(),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        if !chars.is_empty() {
            let at = at.index(chars.len());
            chars[at] = put;
        }
        let text = SecretText::new(chars.into_iter().collect());
        let _may_fail = read(Suite::Compact, &text);
    }

    #[test]
    fn no_message_makes_decoding_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        for suite in Suite::ALL {
            let _may_fail = proto::decode(suite, &message);
        }
    }
}
