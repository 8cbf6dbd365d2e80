//! What is used of the libraries, judged by Wycheproof's vectors and those of RFC 5297.
//!
//! Each test counts what it ran: vectors that silently fall out would judge nothing.

use ::wycheproof::{TestResult, aead, hkdf, mac};
use aes_siv::KeyInit as _;
use aes_siv::siv::{Aes128Siv, Aes256Siv};
use proptest::prelude::*;
use serde_json::Value;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{Aead as _, Payload};

use crate::primitives::Primitives;
use crate::schedule::{AesSchedule, MacSchedule, PrkSchedule, TAG_LEN};
use crate::siv::SivKey;
use crate::xaes::XaesKey;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn aes_256_gcm_does_what_wycheproof_says() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for &primitives in Primitives::ALL {
        let (mut ran, mut refused, mut skipped) = (0, 0, 0);
        for group in &set.test_groups {
            for test in &group.tests {
                // No other key or nonce fits the types.
                let key: Result<[u8; 32], _> = test.key.as_slice().try_into();
                let nonce: Result<[u8; 12], _> = test.nonce.as_slice().try_into();
                let (Ok(key), Ok(nonce)) = (key, nonce) else {
                    skipped += 1;
                    continue;
                };
                assert_eq!(group.tag_size, 8 * TAG_LEN);
                let about = format!("{primitives:?} {}: {}", test.tc_id, test.comment);
                let valid = test.result == TestResult::Valid;
                let aes = AesSchedule::new(primitives, &key).unwrap();

                let mut place = test.pt.to_vec();
                let tag = aes.seal(nonce, &test.aad, &mut place).unwrap();
                let same = place == test.ct.as_slice() && tag == test.tag.as_slice();
                assert_eq!(same, valid, "{about}");

                let mut place = [test.ct.as_slice(), test.tag.as_slice()].concat();
                let opened = aes.open(nonce, &test.aad, &mut place);
                assert_eq!(opened.is_some(), valid, "{about}");
                if let Some(length) = opened {
                    assert_eq!(place.get(..length), Some(test.pt.as_slice()), "{about}");
                }
                ran += 1;
                refused += usize::from(!valid);
            }
        }
        assert_eq!((ran, refused, skipped), (66, 27, 250), "{primitives:?}");
    }
}

/// Extract, which the crate itself never does: its keys are uniform.
fn extract(primitives: Primitives, salt: &[u8], input: &[u8]) -> Vec<u8> {
    match primitives {
        Primitives::Ring => {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA512, salt);
            ring::hmac::sign(&key, input).as_ref().to_vec()
        }
        #[cfg(feature = "aws-lc")]
        Primitives::AwsLc => {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, salt);
            aws_lc_rs::hmac::sign(&key, input).as_ref().to_vec()
        }
    }
}

#[test]
fn hkdf_sha_512_does_what_wycheproof_says() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).unwrap();
    for &primitives in Primitives::ALL {
        let (mut ran, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let about = format!("{primitives:?} {}: {}", test.tc_id, test.comment);
            let valid = test.result == TestResult::Valid;
            let prk = PrkSchedule::new(primitives, &extract(primitives, &test.salt, &test.ikm));
            let mut out = vec![0; test.size];
            // In two pieces, as contexts come.
            let (head, tail) = test.info.split_at(test.info.len() / 2);
            assert_eq!(prk.expand(&[head, tail], &mut out), valid, "{about}");
            assert_eq!(out == test.okm.as_slice(), valid, "{about}");
            ran += 1;
            refused += usize::from(!valid);
        }
        assert_eq!((ran, refused), (83, 3), "{primitives:?}");
    }
}

#[test]
fn hmac_sha_256_does_what_wycheproof_says() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for &primitives in Primitives::ALL {
        let (mut ran, mut refused, mut truncated) = (0, 0, 0);
        for group in &set.test_groups {
            for test in &group.tests {
                let about = format!("{primitives:?} {}: {}", test.tc_id, test.comment);
                let valid = test.result == TestResult::Valid;
                let key = MacSchedule::new(primitives, &test.key);
                let tag = key.sign(|update| test.msg.chunks(7).for_each(update));
                let same = tag.get(..group.tag_size / 8) == Some(test.tag.as_slice());
                assert_eq!(same, valid, "{about}");
                ran += 1;
                refused += usize::from(!valid);
                truncated += usize::from(group.tag_size < 256);
            }
        }
        assert_eq!((ran, refused, truncated), (174, 108, 87), "{primitives:?}");
    }
}

#[test]
fn aes_siv_does_what_wycheproof_says() {
    let data = include_str!("../tests/data/aes-siv-512.json");
    let data: Value = serde_json::from_str(data).unwrap();
    let (mut ran, mut refused) = (0, 0);
    for test in data["tests"].as_array().unwrap() {
        let about = format!("{}: {}", test["id"], test["comment"]);
        let bytes = |name: &str| unhex(test[name].as_str().unwrap());
        let (aad, plain, sealed) = (bytes("aad"), bytes("msg"), bytes("ct"));
        let valid = test["valid"].as_bool().unwrap();
        let key = SivKey::new(bytes("key").as_slice().try_into().unwrap());

        let mut out = Vec::new();
        key.seal(&aad, &plain, &mut out).unwrap();
        assert_eq!(out == sealed, valid, "{about}");
        let opened = key.open(&aad, &sealed);
        assert_eq!(opened.is_ok(), valid, "{about}");
        if let Ok(opened) = opened {
            assert_eq!(&**opened, &plain[..], "{about}");
        }
        ran += 1;
        refused += usize::from(!valid);
    }
    assert_eq!((ran, refused), (147, 108));
}

/// RFC 5297, appendix A: one string of associated data, and two with a nonce. Its keys are those of
/// AES-128, so this judges the library and not our use of it.
#[test]
fn the_library_of_aes_siv_does_what_rfc_5297_says() {
    let ad = "101112131415161718191a1b1c1d1e1f2021222324252627";
    let ads = [
        "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
        "102030405060708090a0",
        "09f911029d74e35bd84156c5635688c0",
    ];
    let cases: [(&str, Vec<&str>, &str, &str); 2] = [
        (
            "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            vec![ad],
            "112233445566778899aabbccddee",
            "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
        ),
        (
            "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
            ads.to_vec(),
            "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
            "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d",
        ),
    ];
    for (key, ads, plain, sealed) in cases {
        let key: [u8; 32] = unhex(key).try_into().unwrap();
        let ads: Vec<Vec<u8>> = ads.into_iter().map(unhex).collect();
        let mut siv = Aes128Siv::new(&key.into());
        assert_eq!(siv.encrypt(&ads, &unhex(plain)).unwrap(), unhex(sealed));
        let mut siv = Aes128Siv::new(&key.into());
        assert_eq!(siv.decrypt(&ads, &unhex(sealed)).unwrap(), unhex(plain));
    }
}

proptest! {
    #[test]
    fn an_independent_xaes_256_gcm_agrees_in_both_directions(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 24]>(),
        aad in prop::collection::vec(any::<u8>(), 0..64),
        msg in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let theirs = Xaes256Gcm::new(&key.into());
        let payload = Payload { msg: &msg, aad: &aad };
        let sealed = theirs.encrypt(&nonce.into(), payload).unwrap();
        for &primitives in Primitives::ALL {
            let ours = XaesKey::new(primitives, &key);
            let mut out = Vec::new();
            ours.seal(&nonce, &aad, &msg, &mut out).unwrap();
            prop_assert_eq!(out.get(..24), Some(&nonce[..]));
            prop_assert_eq!(out.get(24..), Some(&sealed[..]));
            let by_them = [&nonce[..], &sealed].concat();
            prop_assert_eq!(&**ours.open(&aad, &by_them).unwrap(), &msg[..]);
            let payload = Payload { msg: &out[24..], aad: &aad };
            prop_assert_eq!(&theirs.decrypt(&nonce.into(), payload).unwrap(), &msg);
        }
    }

    /// The library's other interface takes one string too: it must be the same function.
    #[test]
    fn one_string_of_associated_data_is_one_string(
        key in prop::collection::vec(any::<u8>(), 64),
        aad in prop::collection::vec(any::<u8>(), 0..64),
        msg in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let key: [u8; 64] = key.try_into().unwrap();
        let mut out = Vec::new();
        SivKey::new(&key).seal(&aad, &msg, &mut out).unwrap();
        let theirs = Aes256Siv::new(&key.into()).encrypt([&aad], &msg).unwrap();
        prop_assert_eq!(out, theirs);
    }
}
