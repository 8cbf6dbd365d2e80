//! How errors of every crate are classified, for callers, operators and end users.
//!
//! The caller's code matches on [`ErrorKind`], a retry layer reads [`Status`], an operator reads
//! `Display` and the sources, and the end user sees [`Classify::public_message`]. None of them may
//! see PHI, secrets, SQL or paths.

use std::time::Duration;

/// What went wrong, in terms a caller can act on.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing does not exist, or belongs to another tenant.
    NotFound,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// The input is malformed or out of its limits.
    InvalidInput,
    /// The caller is not authenticated.
    Unauthenticated,
    /// The caller is authenticated but may not do this.
    PermissionDenied,
    /// The thing belongs to another tenant. Shown to outsiders as [`ErrorKind::NotFound`].
    TenantMismatch,
    /// Too many attempts; see [`Classify::retry_after`].
    RateLimited,
    /// The deadline passed.
    Timeout,
    /// A dependency is down or overloaded.
    Unavailable,
    /// Data failed authentication or a consistency check.
    Integrity,
    /// This backend cannot do it.
    Unsupported,
    /// The configuration is wrong.
    Config,
    /// The API was used against its contract.
    Misuse,
    /// A defect.
    Internal,
}

impl ErrorKind {
    /// A stable, PHI-free name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::InvalidInput => "invalid_input",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::TenantMismatch => "tenant_mismatch",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Integrity => "integrity",
            Self::Unsupported => "unsupported",
            Self::Config => "config",
            Self::Misuse => "misuse",
            Self::Internal => "internal",
        }
    }

    /// What an end user may be told when nothing more specific is safe.
    #[must_use]
    pub const fn public_message(self) -> &'static str {
        match self {
            Self::NotFound | Self::TenantMismatch => "not found",
            Self::Conflict => "changed by somebody else",
            Self::InvalidInput => "invalid input",
            Self::Unauthenticated => "not signed in",
            Self::PermissionDenied => "not permitted",
            Self::RateLimited => "too many attempts, try again later",
            Self::Timeout | Self::Unavailable => "temporarily unavailable",
            Self::Unsupported => "not supported",
            Self::Integrity | Self::Config | Self::Misuse | Self::Internal => "internal error",
        }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The same request will fail again.
    Permanent,
    /// The same request may succeed later.
    Temporary,
    /// It was temporary, and retries below this layer have given up: do not retry on retries.
    Persistent,
}

/// The classification that every error of the workspace offers.
pub trait Classify: std::error::Error {
    /// What went wrong.
    fn kind(&self) -> ErrorKind;

    /// Whether trying again can help.
    fn status(&self) -> Status {
        match self.kind() {
            ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable => {
                Status::Temporary
            }
            _ => Status::Permanent,
        }
    }

    /// How long to wait before trying again, where it is known.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// What an end user may be told.
    fn public_message(&self) -> &'static str {
        self.kind().public_message()
    }
}

/// A boxed source of an error.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("thing belongs to another tenant")]
    struct Foreign;

    impl Classify for Foreign {
        fn kind(&self) -> ErrorKind {
            ErrorKind::TenantMismatch
        }
    }

    #[test]
    fn an_outsider_cannot_tell_a_foreign_thing_from_a_missing_one() {
        assert_eq!(
            Foreign.public_message(),
            ErrorKind::NotFound.public_message()
        );
    }
}
