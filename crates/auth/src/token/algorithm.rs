//! Signature algorithms, and keys that are good for exactly one of them.
//!
//! A key knows its algorithm from its own material, never from a token, so a public key can not be
//! used as an HMAC secret. RFC 7518 section 3, RFC 8037, RFC 9864; all on ring.

use std::fmt;

use ring::{hmac, signature};

use crate::error::ConfigError;

/// A signature algorithm this crate verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256; the signature is `r || s`, 64 bytes.
    Es256,
    /// Ed25519, named `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
    EdDsa,
    /// HMAC with SHA-256: only through [`VerifierBuilder::symmetric`](super::VerifierBuilder).
    Hs256,
}

impl Algorithm {
    /// The algorithm of that JOSE name; names are case-sensitive.
    #[must_use]
    pub fn from_jose(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "HS256" => Some(Self::Hs256),
            _ => None,
        }
    }

    /// The JOSE name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

/// The signature does not verify under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// A secret shared with the issuer, for HS256 alone.
#[derive(Clone)]
pub struct SharedSecret(hmac::Key);

impl SharedSecret {
    /// Copies `secret`: at least 32 bytes, as RFC 7518 section 3.2 demands.
    ///
    /// # Errors
    /// [`ConfigError`] if it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        if secret.len() < 32 {
            return Err(ConfigError("shared secret of at least 32 bytes"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    pub(crate) fn verify_key(self) -> VerifyKey {
        VerifyKey {
            kid: None,
            material: Material::Hmac(self.0),
        }
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

/// A key that verifies signatures of one algorithm.
#[derive(Clone)]
pub struct VerifyKey {
    kid: Option<Box<str>>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    P256([u8; 65]),
    Ed25519([u8; 32]),
    Hmac(hmac::Key),
}

impl VerifyKey {
    /// An RSA key; `None` unless the modulus has 2048 to 8192 bits, is odd and has no leading
    /// zeros, and the exponent is odd, at least 3 and of at most 33 bits.
    #[must_use]
    pub fn rsa(kid: Option<&str>, n: &[u8], e: &[u8]) -> Option<Self> {
        let top = n.first()?;
        let bits = (n.len() * 8).checked_sub(usize::try_from(top.leading_zeros()).ok()?)?;
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        let exponent = e
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let fits = *top != 0
            && (2048..=8192).contains(&bits)
            && odd(n)
            && odd(e)
            && e.len() <= 5
            && e.first() != Some(&0)
            && (3..1 << 33).contains(&exponent);
        fits.then(|| Self {
            kid: kid.map(Into::into),
            material: Material::Rsa {
                n: n.into(),
                e: e.into(),
            },
        })
    }

    /// A P-256 key of its two coordinates, 32 bytes each.
    #[must_use]
    pub fn p256(kid: Option<&str>, x: &[u8], y: &[u8]) -> Option<Self> {
        let mut point = [4; 65];
        let (to_x, to_y) = point.get_mut(1..)?.split_at_mut_checked(32)?;
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        to_x.copy_from_slice(x);
        to_y.copy_from_slice(y);
        Some(Self {
            kid: kid.map(Into::into),
            material: Material::P256(point),
        })
    }

    /// An Ed25519 key of its 32 bytes.
    #[must_use]
    pub fn ed25519(kid: Option<&str>, x: &[u8]) -> Option<Self> {
        Some(Self {
            kid: kid.map(Into::into),
            material: Material::Ed25519(x.try_into().ok()?),
        })
    }

    /// The key's name in its set.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm it is good for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::Hmac(_) => Algorithm::Hs256,
        }
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`BadSignature`], whatever is wrong with it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let verdict = match &self.material {
            Material::Rsa { n, e } => signature::RsaPublicKeyComponents { n, e }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Material::P256(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
            }
            Material::Ed25519(key) => signature::UnparsedPublicKey::new(&signature::ED25519, key)
                .verify(message, signature),
            Material::Hmac(key) => hmac::verify(key, message, signature),
        };
        verdict.map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .field("alg", &self.algorithm())
            .finish_non_exhaustive()
    }
}
