//! What attackers send: confused algorithms, other encodings, doubled claims, foreign keys.

use std::sync::Arc;

use eonpro_auth::token::{
    Algorithm, Audience, Issuer, Jwks, Reject, StaticKeys, TypRule, Verifier, VerifyKey,
    encode_base64url,
};
use eonpro_core::time::Timestamp;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};

const NOW: i64 = 1_790_000_000;

struct Idp {
    pkcs8: Vec<u8>,
    ed: Ed25519KeyPair,
    verifier: Verifier,
}

impl Idp {
    fn new() -> Self {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
        let mut idp = Self {
            pkcs8: pkcs8.as_ref().to_vec(),
            verifier: verifier(Vec::new(), TypRule::AccessToken),
            ed,
        };
        idp.verifier = verifier(idp.keys(), TypRule::AccessToken);
        idp
    }

    fn keys(&self) -> Vec<VerifyKey> {
        let point = self.point();
        vec![
            VerifyKey::p256(Some("ec"), &point[1..33], &point[33..]).unwrap(),
            VerifyKey::ed25519(Some("ed"), self.ed.public_key().as_ref()).unwrap(),
        ]
    }

    fn point(&self) -> Vec<u8> {
        let pair = self.pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
        pair.public_key().as_ref().to_vec()
    }

    fn pair(&self, signing: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(signing, &self.pkcs8, &SystemRandom::new()).unwrap()
    }

    fn es256(&self, header: &str, claims: &str, signing: &'static EcdsaSigningAlgorithm) -> String {
        let signed = signed_part(header, claims);
        let pair = self.pair(signing);
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode_base64url(signature.as_ref()))
    }

    fn eddsa(&self, header: &str, claims: &str) -> String {
        let signed = signed_part(header, claims);
        let signature = self.ed.sign(signed.as_bytes());
        format!("{signed}.{}", encode_base64url(signature.as_ref()))
    }

    fn verdict(&self, token: &str) -> Option<Reject> {
        let now = Timestamp::from_seconds(NOW);
        self.verifier.verify(token, now).err()
    }
}

fn verifier(keys: Vec<VerifyKey>, typ: TypRule) -> Verifier {
    Verifier::builder()
        .issuer(Issuer::new("https://idp").unwrap())
        .audience(Audience::new("us").unwrap())
        .algorithms(&[Algorithm::Es256, Algorithm::EdDsa])
        .keys(Arc::new(StaticKeys::new(Jwks::of(keys).unwrap())))
        .typ(typ)
        .build()
}

fn signed_part(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        encode_base64url(header.as_bytes()),
        encode_base64url(claims.as_bytes())
    )
}

fn claims() -> String {
    format!(
        r#"{{"iss":"https://idp","aud":"us","sub":"ada","exp":{}}}"#,
        NOW + 60
    )
}

const ES: &str = r#"{"alg":"ES256","typ":"at+jwt","kid":"ec"}"#;
const ED: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ed"}"#;

#[test]
fn an_honest_token_passes() {
    let idp = Idp::new();
    let es = idp.es256(ES, &claims(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    assert_eq!(idp.verdict(&es), None);
    assert_eq!(idp.verdict(&idp.eddsa(ED, &claims())), None);
}

#[test]
fn a_public_key_does_not_serve_as_an_hmac_secret() {
    let idp = Idp::new();
    let ed_public = idp.ed.public_key().as_ref().to_vec();
    for secret in [idp.point(), ed_public] {
        for kid in ["ec", "ed"] {
            let header = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#);
            let signed = signed_part(&header, &claims());
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = hmac::sign(&key, signed.as_bytes());
            let token = format!("{signed}.{}", encode_base64url(tag.as_ref()));
            assert_eq!(idp.verdict(&token), Some(Reject::AlgNotAllowed));
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused_however_none_is_spelt() {
    let idp = Idp::new();
    for none in ["none", "None", "NONE", "nOnE"] {
        let header = format!(r#"{{"alg":"{none}","typ":"at+jwt"}}"#);
        let token = format!("{}.", signed_part(&header, &claims()));
        assert_eq!(idp.verdict(&token), Some(Reject::AlgNone));
    }
    let stripped = format!("{}.", signed_part(ES, &claims()));
    assert_eq!(idp.verdict(&stripped), Some(Reject::Signature));
}

#[test]
fn an_ecdsa_signature_in_der_is_refused() {
    let idp = Idp::new();
    let der = idp.es256(ES, &claims(), &ECDSA_P256_SHA256_ASN1_SIGNING);
    assert_eq!(idp.verdict(&der), Some(Reject::Signature));
}

#[test]
fn a_key_serves_its_own_algorithm_only() {
    let idp = Idp::new();
    let crossed = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"ec"}"#;
    assert_eq!(
        idp.verdict(&idp.eddsa(crossed, &claims())),
        Some(Reject::AlgMismatch)
    );
    let unknown = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../etc/passwd"}"#;
    assert_eq!(
        idp.verdict(&idp.eddsa(unknown, &claims())),
        Some(Reject::KidUnknown)
    );
}

#[test]
fn a_token_without_a_key_id_passes_only_if_one_key_fits() {
    let idp = Idp::new();
    let unnamed = r#"{"alg":"EdDSA","typ":"at+jwt"}"#;
    let token = idp.eddsa(unnamed, &claims());
    assert_eq!(idp.verdict(&token), None);
    let public = idp.ed.public_key().as_ref();
    let mut keys = idp.keys();
    keys.push(VerifyKey::ed25519(Some("other"), public).unwrap());
    let two = verifier(keys, TypRule::AccessToken);
    let now = Timestamp::from_seconds(NOW);
    assert_eq!(two.verify(&token, now).err(), Some(Reject::KidMissing));
}

#[test]
fn a_token_of_another_type_is_refused() {
    let idp = Idp::new();
    let untyped = verifier(idp.keys(), TypRule::Untyped);
    let now = Timestamp::from_seconds(NOW);
    for (typ, strict, lax) in [
        (r#","typ":"at+jwt""#, None, None),
        (r#","typ":"application/at+jwt""#, None, None),
        (r#","typ":"JWT""#, Some(Reject::Typ), None),
        ("", Some(Reject::Typ), None),
        (
            r#","typ":"logout+jwt""#,
            Some(Reject::Typ),
            Some(Reject::Typ),
        ),
        (r#","typ":"dpop+jwt""#, Some(Reject::Typ), Some(Reject::Typ)),
    ] {
        let token = idp.eddsa(&format!(r#"{{"alg":"EdDSA","kid":"ed"{typ}}}"#), &claims());
        assert_eq!(idp.verdict(&token), strict, "{typ}");
        assert_eq!(untyped.verify(&token, now).err(), lax, "{typ}");
    }
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let idp = Idp::new();
    let twice = claims().replace(
        r#""sub""#,
        r#""tenant":"00000000-0000-0000-0000-000000000001","tenant":"00000000-0000-0000-0000-000000000002","sub""#,
    );
    assert_eq!(
        idp.verdict(&idp.eddsa(ED, &twice)),
        Some(Reject::ClaimsJson)
    );
    let positional = format!(r#"[{},0,"ada","https://idp","us"]"#, NOW + 60);
    assert_eq!(
        idp.verdict(&idp.eddsa(ED, &positional)),
        Some(Reject::ClaimsJson)
    );
}

#[test]
fn one_token_has_one_text() {
    let idp = Idp::new();
    let token = idp.eddsa(ED, &claims());
    // 64 bytes leave two unused bits in the last of 86 letters.
    let last = token.chars().last().unwrap();
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.find(last).unwrap();
    let sibling = letters.as_bytes()[at ^ 1] as char;
    let padded = format!("{token}=");
    let respelt = format!("{}{sibling}", &token[..token.len() - 1]);
    assert_eq!(idp.verdict(&token), None);
    assert_eq!(idp.verdict(&respelt), Some(Reject::Base64));
    assert_eq!(idp.verdict(&padded), Some(Reject::Base64));
}
