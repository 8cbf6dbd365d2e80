//! Judged by others: C2SP's vectors, and an independent implementation.

use eonpro_core::secret::{KeyBytes, SecretBytes};
use eonpro_encryption::Primitives;
use eonpro_encryption::cobblestone::{HEADER_LEN, InputKey, StreamOpener};
use proptest::prelude::*;
use serde_json::Value;

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn ciphertext(test: &Value) -> Vec<u8> {
    let mut bytes = vec![0; test["length"].as_u64().unwrap() as usize];
    for segment in test["segments"].as_array().unwrap() {
        let (at, segment) = (
            segment[0].as_u64().unwrap() as usize,
            hex(segment[1].as_str().unwrap()),
        );
        bytes[at..at + segment.len()].copy_from_slice(&segment);
    }
    bytes
}

fn sha512(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA512, bytes)
        .as_ref()
        .to_vec()
}

/// All that the stream released, and whether the message was whole.
fn stream(key: &InputKey, context: &[u8], message: &[u8]) -> (SecretBytes, bool) {
    let mut out = SecretBytes::default();
    let Some(header) = message.first_chunk::<HEADER_LEN>() else {
        return (out, false);
    };
    let Ok(mut opener) = StreamOpener::begin(key, &[context], header) else {
        return (out, false);
    };
    for piece in message[HEADER_LEN..].chunks(5000) {
        if opener.update(piece, &mut out).is_err() {
            return (out, false);
        }
    }
    let whole = opener.finish(&mut out).is_ok();
    (out, whole)
}

#[test]
fn wycheproofs_vectors_all_come_out_as_they_say() {
    let data: Value = serde_json::from_str(include_str!("../data/cobblestone-256.json")).unwrap();
    let tests = data["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 35);
    let both = Primitives::ALL
        .iter()
        .flat_map(|primitives| tests.iter().map(|test| (*primitives, test)));
    for (primitives, test) in both {
        let about = format!("{primitives:?} {}: {}", test["id"], test["comment"]);
        let valid = test["valid"].as_bool().unwrap();
        let Some(key) = KeyBytes::copy_from(&hex(test["key"].as_str().unwrap())) else {
            assert!(!valid, "{about}");
            continue;
        };
        let key = InputKey::with(primitives, &key);
        let context = hex(test["context"].as_str().unwrap());
        let message = ciphertext(test);
        let digest = test["plain_sha512"].as_str().map(hex);
        let length = test["plain_length"].as_u64().unwrap_or(0) as usize;

        let opened = key.open(&[&context], &message);
        assert_eq!(opened.is_ok(), valid, "{about}");
        if let Ok(plain) = opened {
            assert_eq!(
                (plain.len(), Some(sha512(&plain))),
                (length, digest.clone()),
                "{about}"
            );
        }
        let (released, whole) = stream(&key, &context, &message);
        assert_eq!(whole, valid, "{about}");
        assert_eq!(released.len(), length, "{about}");
        if digest.is_some() {
            assert_eq!(Some(sha512(&released)), digest, "{about}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_independent_implementation_agrees_in_both_directions(
        bytes in any::<[u8; 32]>(),
        context in prop::collection::vec(any::<u8>(), 0..64),
        length in prop_oneof![0_usize..300, 16_380_usize..16_390, 32_766_usize..32_770],
    ) {
        let plain = vec![0xa5; length];
        let theirs = cobblestone::Key256::from(bytes);
        let ours = InputKey::new(&KeyBytes::copy_from(&bytes).unwrap());

        let sealed = ours.seal(&[&context], &plain).unwrap();
        prop_assert_eq!(&cobblestone::decrypt(&theirs, &context, &sealed).unwrap()[..], &plain[..]);
        let sealed = cobblestone::encrypt(&theirs, &context, &plain).unwrap();
        prop_assert_eq!(&ours.open(&[&context], &sealed).unwrap()[..], &plain[..]);
    }
}
