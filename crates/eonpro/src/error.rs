//! Why a foundation could not be built, or refused a call. Identifiers only: no path, no secret.

use std::time::Duration;

use eonpro_audit::{AuditError, KeyFileError};
use eonpro_auth::{AuthError, ConfigError};
use eonpro_cache::{CacheError, TierError};
use eonpro_core::event::EmitError;
use eonpro_core::port::{KvError, SealError};
use eonpro_core::task::TaskLost;
use eonpro_core::{Classify, ErrorKind, Status};
use eonpro_encryption::CryptoError;
use eonpro_logger::LogError;
use eonpro_metrics::MetricsError;
use eonpro_storage::StorageError;
use eonpro_tenant::TenantError;

use crate::posture::PostureRefused;

/// Why a foundation could not be built.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FoundationError {
    /// The profile refuses parts; the source names them.
    #[error("foundation is not fit for its profile")]
    Posture(#[from] PostureRefused),
    /// A setting is out of its limits; the text names it.
    #[error("configuration is out of limits: {0}")]
    Config(&'static str),
    /// The data directory cannot be made or used.
    #[error("data directory cannot be used")]
    Directory(#[source] std::io::Error),
    /// An audit log is attached already.
    #[error("an audit log is attached already")]
    AuditAttached,
    /// The key-value store failed.
    #[error("state store failed")]
    State(#[from] KvError),
    /// Encryption failed.
    #[error("encryption could not start")]
    Encryption(#[from] CryptoError),
    /// The system's own keys could not be made or used.
    #[error("system keys cannot be used")]
    Sealing(#[from] SealError),
    /// The audit log failed.
    #[error("audit log could not start")]
    Audit(#[from] AuditError),
    /// The key that signs the audit log cannot be used.
    #[error("audit signing key cannot be used")]
    AuditKey(#[from] KeyFileError),
    /// The tenant service failed.
    #[error("tenant service could not start")]
    Tenant(#[from] TenantError),
    /// Auth failed.
    #[error("auth could not start")]
    Auth(#[from] AuthError),
    /// Storage failed.
    #[error("storage could not start")]
    Storage(#[from] StorageError),
    /// The cache failed.
    #[error("cache could not start")]
    Cache(#[from] CacheError),
    /// The cache's durable tier failed.
    #[error("durable cache tier could not start")]
    Tier(#[from] TierError),
    /// Metrics failed.
    #[error("metrics could not start")]
    Metrics(#[from] MetricsError),
    /// The logger failed.
    #[error("logger could not start")]
    Logger(#[from] LogError),
    /// The start could not be recorded.
    #[error("start was not recorded")]
    Unrecorded(#[from] EmitError),
    /// A task ended without a result.
    #[error("task ended early")]
    Lost(#[from] TaskLost),
}

impl From<ConfigError> for FoundationError {
    fn from(error: ConfigError) -> Self {
        Self::Auth(AuthError::Config(error))
    }
}

impl FoundationError {
    /// The error of the part that failed, if that is where the classification is known.
    fn part(&self) -> Option<&dyn Classify> {
        Some(match self {
            Self::Posture(error) => error,
            Self::State(error) => error,
            Self::Encryption(error) => error,
            Self::Sealing(error) => error,
            Self::Audit(error) => error,
            Self::AuditKey(error) => error,
            Self::Tenant(error) => error,
            Self::Auth(error) => error,
            Self::Storage(error) => error,
            Self::Cache(error) => error,
            Self::Tier(error) => error,
            Self::Metrics(error) => error,
            Self::Logger(error) => error,
            Self::Unrecorded(error) => error,
            Self::Config(_) | Self::Directory(_) | Self::AuditAttached | Self::Lost(_) => {
                return None;
            }
        })
    }
}

impl Classify for FoundationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Directory(_) => ErrorKind::Config,
            Self::AuditAttached => ErrorKind::Misuse,
            Self::Lost(_) => ErrorKind::Internal,
            other => other.part().map_or(ErrorKind::Internal, Classify::kind),
        }
    }

    fn status(&self) -> Status {
        self.part().map_or(Status::Permanent, Classify::status)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.part().and_then(Classify::retry_after)
    }
}
