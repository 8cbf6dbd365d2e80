//! Why a request was not let in, and which request it was.

use std::time::Duration;

use eonpro_auth::AuthError;
use eonpro_core::id::RequestId;
use eonpro_core::port::LimitError;
use eonpro_core::scope::ScopeError;
use eonpro_core::{Classify, ErrorKind, Status};
use eonpro_tenant::TenantError;

use crate::problem::Problem;

/// A request that was not let in.
#[derive(Debug, thiserror::Error)]
#[error("request was not let in")]
pub struct DoorError {
    request: RequestId,
    #[source]
    refusal: Refusal,
}

/// Why a request was not let in.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token or the session was refused, or could not be judged.
    #[error("not let in by authentication")]
    Auth(#[from] AuthError),
    /// The tenant was refused, or could not be judged.
    #[error("not let in by the tenant")]
    Tenant(#[from] TenantError),
    /// The tenant is not in service.
    #[error("tenant has no scope")]
    Scope(#[from] ScopeError),
    /// The session is another actor's.
    #[error("session and token are not one actor's")]
    SessionMismatch,
    /// Too many requests.
    #[error("too many requests")]
    Limited {
        /// When the next one is allowed.
        retry_after: Duration,
    },
    /// The rate limiter is out of reach, so nobody is let in.
    #[error("rate limiter failed")]
    Limiter(#[from] LimitError),
}

impl DoorError {
    pub(crate) fn new(request: RequestId, refusal: Refusal) -> Self {
        Self { request, refusal }
    }

    /// The request: the same id is in the log and in the audit trail.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request
    }

    /// Why, for operators and tests.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// How it is shown outside.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::of(self, self.request)
    }

    /// The value of `WWW-Authenticate` for an answer with status 401 or 403 (RFC 6750 section 3,
    /// RFC 9470 section 3). `None` if another token would not help.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        let code = match &self.refusal {
            Refusal::Auth(error) => error.oauth_code()?,
            Refusal::SessionMismatch => "invalid_token",
            _ => return None,
        };
        Some(match code {
            "insufficient_scope" => "Bearer error=\"insufficient_scope\"",
            "insufficient_user_authentication" => {
                "Bearer error=\"insufficient_user_authentication\""
            }
            _ => "Bearer error=\"invalid_token\"",
        })
    }
}

impl Classify for DoorError {
    fn kind(&self) -> ErrorKind {
        self.refusal.kind()
    }

    fn status(&self) -> Status {
        self.refusal.status()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.refusal.retry_after()
    }

    fn public_message(&self) -> &'static str {
        self.refusal.public_message()
    }
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Tenant(error) => error.kind(),
            Self::Scope(error) => error.kind(),
            Self::SessionMismatch => ErrorKind::Unauthenticated,
            Self::Limited { .. } => ErrorKind::RateLimited,
            Self::Limiter(error) => error.kind(),
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Auth(error) => error.status(),
            Self::Tenant(error) => error.status(),
            Self::Scope(error) => error.status(),
            Self::SessionMismatch => Status::Permanent,
            Self::Limited { .. } => Status::Temporary,
            Self::Limiter(error) => error.status(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Auth(error) => error.retry_after(),
            Self::Tenant(error) => error.retry_after(),
            Self::Limited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    fn public_message(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.public_message(),
            Self::Tenant(error) => error.public_message(),
            other => other.kind().public_message(),
        }
    }
}
