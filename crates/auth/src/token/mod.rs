//! Signed tokens: compact JWS framing, strict JSON, keys and claim rules.
//!
//! Everything in here is pure: bytes, a key set and an instant go in, a verdict comes out. The
//! signature primitives are ring's; nothing of the cryptography is ours. RFC 7515, 7517, 7518,
//! 7519, 8037, 9068, with the advice of RFC 8725.

mod algorithm;
mod base64url;
mod claims;
mod json;
mod jwks;
mod jws;
mod keys;
mod reject;
mod verifier;

pub use algorithm::{Algorithm, BadSignature, SharedSecret, VerifyKey};
pub use base64url::encode as encode_base64url;
pub use claims::{Audience, Claims, Issuer, MAX_LEEWAY};
pub use json::{Json, JsonError};
pub use jwks::{Jwks, JwksError, MAX_JWKS_BYTES, MAX_KEYS};
pub use jws::{CompactJws, Header, MAX_KID_BYTES, MAX_TOKEN_BYTES};
pub use keys::{KeySet, KeySource, KeysUnavailable, StaticKeys};
pub use reject::Reject;
pub use verifier::{Missing, TypRule, Verified, Verifier, VerifierBuilder};

pub(crate) use base64url::decode as decode_base64url;
