//! Why a token was refused: for the audit trail and the metrics, never for the outside.
//!
//! Outside, every one of these is `invalid_token` (RFC 6750 section 3.1): the difference between
//! them would help nobody but an attacker.

use eonpro_core::{Classify, ErrorKind};

macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident = $code:literal),+ $(,)?) => {
        /// Why a token was refused.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Reject {
            $($(#[$doc])* #[error("token rejected: {}", $code)] $name),+
        }

        impl Reject {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// A stable code for events and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code),+
                }
            }
        }
    };
}

rejects! {
    /// Longer than [`MAX_TOKEN_BYTES`](super::MAX_TOKEN_BYTES).
    TooLong = "too_long",
    /// Not three parts.
    Framing = "framing",
    /// A part is not strict base64url.
    Base64 = "base64",
    /// The header is not a strict JSON object.
    HeaderJson = "header_json",
    /// The claims are not a strict JSON object.
    ClaimsJson = "claims_json",
    /// `alg` is absent or no string.
    AlgMissing = "alg_missing",
    /// `alg` is `none`, in whatever case.
    AlgNone = "alg_none",
    /// `alg` is none of the configured algorithms.
    AlgNotAllowed = "alg_not_allowed",
    /// The key is made for another algorithm.
    AlgMismatch = "alg_mismatch",
    /// `kid` is no string, too long, or not visible ASCII.
    KidMalformed = "kid_malformed",
    /// No key has that `kid`.
    KidUnknown = "kid_unknown",
    /// There is no `kid`, and not exactly one key fits.
    KidMissing = "kid_missing",
    /// `crit` names extensions; this verifier understands none (RFC 7515 section 4.1.11).
    Critical = "critical",
    /// `b64`, `zip` or `enc` in the header: another format.
    ForeignHeader = "foreign_header",
    /// `typ` is not the type that this verifier accepts.
    Typ = "typ",
    /// The signature does not verify.
    Signature = "signature",
    /// `iss` is absent or no string.
    IssuerMissing = "iss_missing",
    /// `iss` is another issuer.
    Issuer = "iss",
    /// `aud` is absent, or neither a string nor an array of strings.
    AudienceMissing = "aud_missing",
    /// `aud` does not name us.
    Audience = "aud",
    /// `exp` is absent or no instant.
    ExpiryMissing = "exp_missing",
    /// `exp` has passed.
    Expired = "expired",
    /// `nbf` is no instant.
    NotBeforeMalformed = "nbf_malformed",
    /// `nbf` has not come.
    NotYet = "not_yet",
    /// `iat` is no instant.
    IssuedAtMalformed = "iat_malformed",
    /// `iat` lies in the future.
    IssuedInFuture = "iat_future",
    /// `sub` is absent or no actor id.
    Subject = "sub",
    /// `tenant` is present and no tenant id.
    Tenant = "tenant",
    /// `roles` is present and no short array of role names.
    Roles = "roles",
    /// `amr` is present and no short array of method names.
    Amr = "amr",
    /// `auth_time` is present and no instant, or lies in the future.
    AuthTime = "auth_time",
}

impl Classify for Reject {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthenticated
    }
}
