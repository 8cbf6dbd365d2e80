//! Compact JWS framing: three parts, a header that is understood whole, a bounded length.
//!
//! RFC 7515 sections 3.1 and 5.2. Keys offered by the token itself (`jwk`, `jku`, `x5u`, `x5c`) are
//! ignored: a token does not choose who vouches for it.

use std::collections::BTreeMap;

use super::algorithm::Algorithm;
use super::json::Json;
use super::{Reject, base64url};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest `kid` that is looked up, in bytes.
pub const MAX_KID_BYTES: usize = 128;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How it claims to be signed.
    pub algorithm: Algorithm,
    /// Which key it claims to be signed by: attacker input until the signature is verified.
    pub kid: Option<Box<str>>,
    /// What it claims to be, in lower case and without `application/`.
    pub typ: Option<Box<str>>,
}

/// A token taken apart, not yet verified.
#[derive(Debug)]
pub struct CompactJws<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Takes `token` apart.
    ///
    /// # Errors
    /// [`Reject`] for anything but a well-formed compact JWS whose header holds nothing that would
    /// change its meaning.
    pub fn parse(token: &'a str) -> Result<Self, Reject> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reject::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Reject::Framing)?;
        let (header, payload) = signed.split_once('.').ok_or(Reject::Framing)?;
        if payload.contains('.') {
            return Err(Reject::Framing);
        }
        let header = base64url::decode(header).ok_or(Reject::Base64)?;
        let signature = base64url::decode(signature).ok_or(Reject::Base64)?;
        let header =
            Json::parse_object(&header, MAX_TOKEN_BYTES).map_err(|_| Reject::HeaderJson)?;
        Ok(Self {
            header: Header::read(&header)?,
            signed,
            payload,
            signature,
        })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn signed(&self) -> &'a [u8] {
        self.signed.as_bytes()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload as strict JSON. Call it after the signature was verified.
    ///
    /// # Errors
    /// [`Reject::Base64`], [`Reject::ClaimsJson`].
    pub fn claims(&self) -> Result<BTreeMap<String, Json>, Reject> {
        let payload = base64url::decode(self.payload).ok_or(Reject::Base64)?;
        Json::parse_object(&payload, MAX_TOKEN_BYTES).map_err(|_| Reject::ClaimsJson)
    }
}

impl Header {
    fn read(members: &BTreeMap<String, Json>) -> Result<Self, Reject> {
        let name = members
            .get("alg")
            .and_then(Json::as_text)
            .ok_or(Reject::AlgMissing)?;
        if name.eq_ignore_ascii_case("none") {
            return Err(Reject::AlgNone);
        }
        let algorithm = Algorithm::from_jose(name).ok_or(Reject::AlgNotAllowed)?;
        if members.contains_key("crit") {
            return Err(Reject::Critical);
        }
        if ["b64", "zip", "enc"]
            .iter()
            .any(|name| members.contains_key(*name))
        {
            return Err(Reject::ForeignHeader);
        }
        let kid = match members.get("kid") {
            None => None,
            Some(kid) => Some(
                kid.as_text()
                    .filter(|kid| fits_kid(kid))
                    .ok_or(Reject::KidMalformed)?,
            ),
        };
        let typ = match members.get("typ") {
            None => None,
            Some(typ) => Some(typ.as_text().ok_or(Reject::Typ)?.to_ascii_lowercase()),
        };
        Ok(Self {
            algorithm,
            kid: kid.map(Into::into),
            typ: typ.map(|typ| typ.strip_prefix("application/").unwrap_or(&typ).into()),
        })
    }
}

/// Whether `kid` is 1 to [`MAX_KID_BYTES`] of visible ASCII.
pub(crate) fn fits_kid(kid: &str) -> bool {
    (1..=MAX_KID_BYTES).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.AAAA", base64url::encode(header.as_bytes()))
    }

    #[test]
    fn a_header_that_changes_the_meaning_is_refused() {
        let long = "k".repeat(MAX_KID_BYTES + 1);
        for (header, reject) in [
            (r#"{}"#, Reject::AlgMissing),
            (r#"{"alg":7}"#, Reject::AlgMissing),
            (r#"{"alg":"none"}"#, Reject::AlgNone),
            (r#"{"alg":"nOnE"}"#, Reject::AlgNone),
            (r#"{"alg":"rs256"}"#, Reject::AlgNotAllowed),
            (r#"{"alg":"RS1"}"#, Reject::AlgNotAllowed),
            (r#"{"alg":"RS256","crit":[]}"#, Reject::Critical),
            (
                r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
                Reject::Critical,
            ),
            (r#"{"alg":"RS256","b64":false}"#, Reject::ForeignHeader),
            (r#"{"alg":"RS256","zip":"DEF"}"#, Reject::ForeignHeader),
            (r#"{"alg":"RS256","kid":7}"#, Reject::KidMalformed),
            (r#"{"alg":"RS256","kid":""}"#, Reject::KidMalformed),
            (r#"{"alg":"RS256","kid":"a\nb"}"#, Reject::KidMalformed),
            (
                &format!(r#"{{"alg":"RS256","kid":"{long}"}}"#),
                Reject::KidMalformed,
            ),
            (r#"{"alg":"RS256","typ":1}"#, Reject::Typ),
            (r#"{"alg":"RS256","alg":"RS256"}"#, Reject::HeaderJson),
            (r#"["RS256"]"#, Reject::HeaderJson),
        ] {
            let refused = CompactJws::parse(&token(header)).map(|_| ()).unwrap_err();
            assert_eq!(refused, reject, "{header}");
        }
    }

    #[test]
    fn a_token_has_exactly_three_parts_in_strict_base64url() {
        let good = token(r#"{"alg":"RS256"}"#);
        assert!(CompactJws::parse(&good).is_ok());
        for (bad, reject) in [
            (String::new(), Reject::Framing),
            ("a.b".to_owned(), Reject::Framing),
            (format!("{good}.AAAA"), Reject::Framing),
            (format!("{good}="), Reject::Base64),
            (format!("{good}B"), Reject::Base64),
            (format!(" {good}"), Reject::Base64),
            ("a".repeat(MAX_TOKEN_BYTES + 1), Reject::TooLong),
        ] {
            let refused = CompactJws::parse(&bad).map(|_| ()).unwrap_err();
            assert_eq!(refused, reject, "{bad:.40}");
        }
    }

    #[test]
    fn keys_that_the_token_offers_are_ignored() {
        let offered = token(
            r#"{"alg":"EdDSA","jwk":{"kty":"OKP"},"jku":"https://evil","x5u":"https://evil","typ":"application/AT+JWT"}"#,
        );
        let parsed = CompactJws::parse(&offered).unwrap();
        assert_eq!(
            parsed.header(),
            &Header {
                algorithm: Algorithm::EdDsa,
                kid: None,
                typ: Some("at+jwt".into()),
            }
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            let _ = CompactJws::parse(&text);
        }

        #[test]
        fn no_bytes_in_the_three_parts_make_the_parser_panic(
            header in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
            payload in proptest::collection::vec(proptest::num::u8::ANY, 0..120),
            signature in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        ) {
            let text = format!(
                "{}.{}.{}",
                base64url::encode(&header),
                base64url::encode(&payload),
                base64url::encode(&signature),
            );
            if let Ok(parsed) = CompactJws::parse(&text) {
                let _ = parsed.claims();
            }
            let _ = Json::parse_object(&payload, 1024);
        }
    }
}
