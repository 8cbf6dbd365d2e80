//! JSON Web Key Sets, read strictly (RFC 7517).
//!
//! A key that we cannot or may not use is skipped and counted; a set whose meaning is in doubt (a
//! `kid` twice, secrets among public keys) is refused whole. A secret in a key set never becomes
//! an HMAC key.

use std::collections::BTreeMap;

use super::algorithm::{Algorithm, VerifyKey};
use super::base64url;
use super::json::Json;
use super::jws::fits_kid;

/// The longest key set that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;
/// The most keys that a set may have.
pub const MAX_KEYS: usize = 100;

/// The usable keys of a set.
#[derive(Debug, Clone)]
pub struct Jwks {
    keys: Vec<VerifyKey>,
    skipped: usize,
}

/// A key set was refused whole.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Longer than [`MAX_JWKS_BYTES`].
    #[error("key set is too long")]
    TooLong,
    /// No strict JSON object with an array `keys` of objects.
    #[error("key set is malformed")]
    Malformed,
    /// More than [`MAX_KEYS`] keys.
    #[error("key set has too many keys")]
    TooMany,
    /// Two keys of one name.
    #[error("key set names two keys alike")]
    DuplicateKid,
    /// Secrets and public keys in one set.
    #[error("key set mixes secrets with public keys")]
    Mixed,
}

impl Jwks {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`JwksError`] if the set as a whole cannot be trusted.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let set = Json::parse_object(text, MAX_JWKS_BYTES).map_err(|_| JwksError::Malformed)?;
        let found = set
            .get("keys")
            .and_then(Json::as_array)
            .ok_or(JwksError::Malformed)?;
        if found.len() > MAX_KEYS {
            return Err(JwksError::TooMany);
        }
        let found: Vec<&BTreeMap<String, Json>> = found
            .iter()
            .map(|key| match key {
                Json::Object(members) => Some(members),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or(JwksError::Malformed)?;
        check_set(&found)?;
        let keys: Vec<VerifyKey> = found.iter().filter_map(|key| read_key(key)).collect();
        Ok(Self {
            skipped: found.len() - keys.len(),
            keys,
        })
    }

    /// A set of keys at hand.
    ///
    /// # Errors
    /// [`JwksError::TooMany`], [`JwksError::DuplicateKid`].
    pub fn of(keys: Vec<VerifyKey>) -> Result<Self, JwksError> {
        if keys.len() > MAX_KEYS {
            return Err(JwksError::TooMany);
        }
        let mut names: Vec<&str> = keys.iter().filter_map(VerifyKey::kid).collect();
        names.sort_unstable();
        if has_twins(&names) {
            return Err(JwksError::DuplicateKid);
        }
        Ok(Self { keys, skipped: 0 })
    }

    pub(crate) fn only(key: VerifyKey) -> Self {
        Self {
            keys: vec![key],
            skipped: 0,
        }
    }

    /// The usable keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifyKey] {
        &self.keys
    }

    /// How many keys were skipped: of another kind, for another use, weak or malformed.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    pub(crate) fn into_keys(self) -> Vec<VerifyKey> {
        self.keys
    }
}

fn check_set(keys: &[&BTreeMap<String, Json>]) -> Result<(), JwksError> {
    let secrets = keys
        .iter()
        .filter(|key| key.get("kty").and_then(Json::as_text) == Some("oct"))
        .count();
    if secrets > 0 && secrets < keys.len() {
        return Err(JwksError::Mixed);
    }
    let mut names: Vec<&str> = keys
        .iter()
        .filter_map(|key| key.get("kid").and_then(Json::as_text))
        .collect();
    names.sort_unstable();
    if has_twins(&names) {
        return Err(JwksError::DuplicateKid);
    }
    Ok(())
}

fn has_twins(sorted: &[&str]) -> bool {
    sorted
        .windows(2)
        .any(|pair| matches!(pair, [one, next] if one == next))
}

fn read_key(key: &BTreeMap<String, Json>) -> Option<VerifyKey> {
    let text = |name: &str| key.get(name).and_then(Json::as_text);
    let bytes = |name: &str| text(name).and_then(base64url::decode);
    // A private key in a published set is burnt: whoever read the set can sign with it.
    if key.contains_key("d") || !is_for_signatures(key) {
        return None;
    }
    let kid = match key.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_text().filter(|kid| fits_kid(kid))?),
    };
    let read = match (text("kty")?, text("crv")) {
        ("RSA", None) => VerifyKey::rsa(kid, &bytes("n")?, &bytes("e")?),
        ("EC", Some("P-256")) => VerifyKey::p256(kid, &bytes("x")?, &bytes("y")?),
        ("OKP", Some("Ed25519")) => VerifyKey::ed25519(kid, &bytes("x")?),
        _ => None,
    }?;
    let stated = match key.get("alg") {
        None => return Some(read),
        Some(alg) => Algorithm::from_jose(alg.as_text()?)?,
    };
    (stated == read.algorithm()).then_some(read)
}

// RFC 7517 sections 4.2 and 4.3.
fn is_for_signatures(key: &BTreeMap<String, Json>) -> bool {
    let used = key
        .get("use")
        .is_none_or(|used| used.as_text() == Some("sig"));
    let operations = key.get("key_ops").is_none_or(|operations| {
        operations.as_texts().is_some_and(|mut operations| {
            operations.sort_unstable();
            operations.contains(&"verify") && !has_twins(&operations)
        })
    });
    used && operations
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8037 appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(more: &str) -> String {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"{more}}}"#)
    }

    fn set(keys: &[&str]) -> Result<Jwks, JwksError> {
        Jwks::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn a_key_we_may_not_use_is_skipped_and_counted() {
        let good = ed(r#","kid":"good","use":"sig","key_ops":["verify"],"alg":"Ed25519""#);
        let weak = format!(
            r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#,
            base64url::encode(&[0xff; 128])
        );
        for bad in [
            ed(r#","use":"enc""#),
            ed(r#","use":1"#),
            ed(r#","key_ops":["sign"]"#),
            ed(r#","key_ops":["verify","verify"]"#),
            ed(r#","key_ops":"verify""#),
            ed(r#","alg":"ES256""#),
            ed(r#","alg":"none""#),
            ed(r#","d":"AAAA""#),
            ed(r#","kid":7"#),
            ed(r#","kid":"a b""#),
            r#"{"kty":"OKP","crv":"P-256","x":"AAAA"}"#.to_owned(),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-384","x":"AAAA","y":"AAAA"}"#.to_owned(),
            r#"{"kty":"new"}"#.to_owned(),
            r#"{}"#.to_owned(),
            weak,
        ] {
            let read = set(&[&bad, &good]).unwrap();
            assert_eq!((read.keys().len(), read.skipped()), (1, 1), "{bad}");
            assert_eq!(read.keys()[0].kid(), Some("good"));
        }
    }

    #[test]
    fn a_set_in_doubt_is_refused_whole() {
        let (one, two) = (ed(r#","kid":"a""#), ed(r#","kid":"a","use":"enc""#));
        assert_eq!(set(&[&one, &two]).unwrap_err(), JwksError::DuplicateKid);
        let secret = r#"{"kty":"oct","k":"AAAA","kid":"b"}"#;
        assert_eq!(set(&[&one, secret]).unwrap_err(), JwksError::Mixed);
        let many = vec![ed(""); MAX_KEYS + 1];
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(set(&many).unwrap_err(), JwksError::TooMany);
        assert_eq!(set(&["7"]).unwrap_err(), JwksError::Malformed);
        for text in ["{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(
                Jwks::parse(text.as_bytes()).unwrap_err(),
                JwksError::Malformed
            );
        }
        let long = vec![b' '; MAX_JWKS_BYTES + 1];
        assert_eq!(Jwks::parse(&long).unwrap_err(), JwksError::TooLong);
    }

    #[test]
    fn a_secret_in_a_key_set_never_becomes_a_key() {
        let secret = format!(
            r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#,
            base64url::encode(&[7; 64])
        );
        let read = set(&[&secret]).unwrap();
        assert_eq!((read.keys().len(), read.skipped()), (0, 1));
    }
}
