//! Why authentication or authorization refused, or could not tell.
//!
//! A refusal is `Unauthenticated` or `PermissionDenied`; our own outage is `Unavailable` and never
//! looks like a refusal, for clients would then sign their users out.

use std::time::Duration;

use eonpro_core::error::Source;
use eonpro_core::event::EmitError;
use eonpro_core::port::{KvError, LimitError, SealError};
use eonpro_core::{Classify, ErrorKind};

use crate::session::EndReason;
use crate::token::{KeysUnavailable, Reject};

/// A setting breaks the rule that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("setting must be: {0}")]
pub struct ConfigError(pub &'static str);

impl Classify for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

/// Why an operation of auth failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token was refused; the reason is for operators alone.
    #[error("token was refused")]
    InvalidToken(#[source] Reject),
    /// The keys that would verify the token are out of reach.
    #[error("token cannot be verified now")]
    Keys(#[from] KeysUnavailable),
    /// Unknown actor, wrong password, wrong or used code, no factor, locked: on purpose one answer.
    #[error("sign-in was refused")]
    SignInRefused,
    /// A second factor is needed.
    #[error("second factor is required")]
    SecondFactorRequired,
    /// Too many attempts from this address.
    #[error("too many attempts from this address")]
    Throttled {
        /// When the next attempt is allowed.
        retry_after: Duration,
    },
    /// The context has no actor of its own.
    #[error("request has no authenticated actor")]
    NoActor,
    /// No such session, or the secret is wrong, or it is another actor's.
    #[error("session is unknown")]
    SessionUnknown,
    /// The session is over.
    #[error("session has ended: {0}")]
    SessionEnded(EndReason),
    /// The session was not opened in this tenant.
    #[error("session was not opened in this tenant")]
    TenantMismatch,
    /// The actor has as many sessions as allowed.
    #[error("actor has too many sessions")]
    TooManySessions,
    /// A confirmed factor exists already; remove it first.
    #[error("factor is enrolled already")]
    FactorExists,
    /// There is no factor to confirm or remove.
    #[error("factor is not enrolled")]
    FactorUnknown,
    /// The actor may not do this.
    #[error("actor lacks the permission")]
    NotPermitted,
    /// The password is too short, too long or unchanged.
    #[error("password is not acceptable: {0}")]
    WeakPassword(&'static str),
    /// Others kept changing the same record.
    #[error("record is contended")]
    Contended,
    /// A stored record cannot be read.
    #[error("stored record is malformed or of an unknown version")]
    Record,
    /// The store failed.
    #[error("state store failed")]
    State(#[source] KvError),
    /// Sealing failed.
    #[error("sealing failed")]
    Sealing(#[from] SealError),
    /// The rate limiter is out of reach.
    #[error("rate limiter failed")]
    Limiter(#[from] LimitError),
    /// The event was not recorded, and nothing was done.
    #[error("event was not recorded")]
    Audit(#[source] EmitError),
    /// It was done, but the event was not recorded.
    #[error("effect was not recorded")]
    Unaudited(#[source] EmitError),
    /// The operation ended without a result; whether it took effect is unknown.
    #[error("operation ended without a result")]
    Lost,
    /// The service was closed.
    #[error("auth is closed")]
    Closed,
    /// A setting is wrong.
    #[error("configuration is wrong")]
    Config(#[from] ConfigError),
    /// A primitive failed that should not.
    #[error("cryptographic primitive failed")]
    Primitive(#[source] Source),
}

impl AuthError {
    /// The OAuth error code that may be shown (RFC 6750 section 3.1, RFC 9470 section 3), if it is
    /// the caller's token that must change.
    #[must_use]
    pub fn oauth_code(&self) -> Option<&'static str> {
        match self {
            Self::InvalidToken(_) | Self::SessionUnknown | Self::SessionEnded(_) => {
                Some("invalid_token")
            }
            Self::SecondFactorRequired => Some("insufficient_user_authentication"),
            Self::NotPermitted => Some("insufficient_scope"),
            _ => None,
        }
    }
}

impl From<KvError> for AuthError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Conflict => Self::Contended,
            other => Self::State(other),
        }
    }
}

impl Classify for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidToken(_)
            | Self::SignInRefused
            | Self::SecondFactorRequired
            | Self::NoActor
            | Self::SessionUnknown
            | Self::SessionEnded(_) => ErrorKind::Unauthenticated,
            Self::NotPermitted => ErrorKind::PermissionDenied,
            Self::TenantMismatch => ErrorKind::TenantMismatch,
            Self::Throttled { .. } => ErrorKind::RateLimited,
            Self::TooManySessions | Self::FactorExists | Self::Contended => ErrorKind::Conflict,
            Self::FactorUnknown => ErrorKind::NotFound,
            Self::WeakPassword(_) => ErrorKind::InvalidInput,
            Self::Record => ErrorKind::Integrity,
            Self::Sealing(error) => match error.kind() {
                // Outside, keys that are gone mean that we cannot tell, not that nothing is there.
                ErrorKind::NotFound | ErrorKind::PermissionDenied => ErrorKind::Unavailable,
                other => other,
            },
            Self::State(error) => error.kind(),
            Self::Keys(_)
            | Self::Limiter(_)
            | Self::Audit(_)
            | Self::Unaudited(_)
            | Self::Lost
            | Self::Closed => ErrorKind::Unavailable,
            Self::Config(_) => ErrorKind::Config,
            Self::Primitive(_) => ErrorKind::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_outage_never_looks_like_a_refusal() {
        let down = || -> Source { "down".into() };
        for error in [
            AuthError::Keys(KeysUnavailable(down())),
            AuthError::State(KvError::Backend(down())),
            AuthError::Limiter(LimitError(down())),
            AuthError::Audit(EmitError::NotAttached),
            AuthError::Sealing(SealError::Shredded),
            AuthError::Closed,
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert_eq!(error.oauth_code(), None);
        }
    }

    #[test]
    fn the_reason_of_a_refusal_stays_inside() {
        for reject in Reject::ALL {
            let error = AuthError::InvalidToken(*reject);
            assert_eq!(error.to_string(), "token was refused");
            assert_eq!(error.public_message(), "not signed in");
            assert_eq!(error.oauth_code(), Some("invalid_token"));
        }
    }
}
