//! Why the cache refused.

use std::sync::Arc;

use eonpro_core::error::Source;
use eonpro_core::event::EmitError;
use eonpro_core::{Classify, ErrorKind};

/// Why a cache operation failed. No variant tells a key or a value.
#[non_exhaustive]
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// The key belongs to another tenant than the scope. Recorded as TEN-004.
    #[error("cache key belongs to another tenant")]
    TenantMismatch,
    /// The key belongs to another tenant, and that could not be recorded. Nothing was served.
    #[error("cache access across tenants was refused but not recorded")]
    Unaudited(#[source] Arc<EmitError>),
    /// The key is empty or too long.
    #[error("cache key of 1 to 1024 bytes expected")]
    BadKey,
    /// The work failed. All who waited get the same error.
    #[error("computation for the cache failed")]
    Work(#[source] WorkError),
    /// The work panicked, or the runtime is shutting down.
    #[error("computation for the cache ended without a result")]
    WorkLost,
    /// Too many computations are running.
    #[error("too many computations for the cache are running")]
    Overloaded,
    /// The context's deadline passed.
    #[error("deadline passed while waiting for a computation")]
    Timeout,
    /// The context was cancelled.
    #[error("request was cancelled while waiting for a computation")]
    Cancelled,
    /// The durable tier could not remove an entry.
    #[error("durable cache tier did not remove the entry")]
    NotInvalidated(#[source] Arc<TierError>),
    /// A number in the configuration is out of range; the text names it.
    #[error("cache configuration is out of range: {0}")]
    Config(&'static str),
    /// The cache was closed.
    #[error("cache is closed")]
    Closed,
}

impl Classify for CacheError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TenantMismatch => ErrorKind::TenantMismatch,
            Self::BadKey => ErrorKind::InvalidInput,
            Self::Work(error) => error.kind(),
            Self::WorkLost => ErrorKind::Internal,
            Self::Timeout | Self::Cancelled => ErrorKind::Timeout,
            Self::Config(_) => ErrorKind::Config,
            Self::Unaudited(_) | Self::Overloaded | Self::NotInvalidated(_) | Self::Closed => {
                ErrorKind::Unavailable
            }
        }
    }
}

/// The error of a computation, shared by all who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("work failed: {}", kind.as_str())]
pub struct WorkError {
    kind: ErrorKind,
    #[source]
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl WorkError {
    /// An error of any kind and type.
    #[must_use]
    pub fn new(kind: ErrorKind, source: impl Into<Source>) -> Self {
        let source: Source = source.into();
        Self {
            kind,
            source: source.into(),
        }
    }

    /// A classified error, with its classification.
    #[must_use]
    pub fn of<E: Classify + Send + Sync + 'static>(error: E) -> Self {
        Self {
            kind: error.kind(),
            source: Arc::new(error),
        }
    }
}

impl Classify for WorkError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// The durable tier failed. It holds a cache: all but a failed removal is a miss.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// The tier was closed.
    #[error("durable cache tier is closed")]
    Closed,
    /// The tier cannot take more writes now.
    #[error("durable cache tier is overloaded")]
    Overloaded,
    /// The disk or the store failed.
    #[error("durable cache tier failed")]
    Backend(#[source] Source),
}

impl Classify for TierError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}
