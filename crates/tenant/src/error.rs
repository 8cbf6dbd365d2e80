//! Why a tenant operation failed. No message tells a tenant's data, a path, SQL or a value.

use eonpro_core::error::Source;
use eonpro_core::event::EmitError;
use eonpro_core::port::{KvError, SealError};
use eonpro_core::scope::Standing;
use eonpro_core::{Classify, ErrorKind, Status};

use crate::backend::sqlite::DbError;
use crate::lifecycle::Refusal;
use crate::network::NetworkError;
use crate::record::RecordVersion;
use crate::slug::NameError;

/// Why a tenant operation failed: no message tells a tenant's data, a path, SQL or a value.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// No such tenant.
    #[error("tenant does not exist")]
    Unknown,
    /// The slug belongs to a tenant, perhaps to one that is gone: slugs are never given twice.
    #[error("slug is taken")]
    SlugTaken,
    /// A slug or name breaks its rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A network rule breaks its rules.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The identity names no tenant, and hints alone never decide.
    #[error("identity names no tenant")]
    Unresolved,
    /// The identity and a hint name different tenants.
    #[error("sources of the tenant disagree")]
    ResolutionConflict,
    /// The tenant's standing forbids it.
    #[error("tenant is not in service")]
    NotInService(Standing),
    /// The scope was admitted before the tenant changed: the request must be resolved again.
    #[error("scope is older than the tenant's last change")]
    StaleScope,
    /// The tenant's network rule does not admit the client's address.
    #[error("client address is not admitted")]
    NetworkDenied,
    /// The thing belongs to another tenant. Outsiders read "not found".
    #[error("thing belongs to another tenant")]
    TenantMismatch,
    /// Not an id of the expected form.
    #[error("malformed id")]
    MalformedId,
    /// Not an idempotency key: 1 to 128 visible ASCII characters.
    #[error("malformed idempotency key")]
    MalformedIdempotencyKey,
    /// The idempotency key was used for another command.
    #[error("idempotency key was used for another command")]
    IdempotencyMismatch,
    /// Somebody else changed the tenant first; nothing was written.
    #[error("tenant changed meanwhile: expected version {expected}, found {found}")]
    VersionConflict {
        /// The version that the caller had read.
        expected: RecordVersion,
        /// The version that the directory holds.
        found: RecordVersion,
    },
    /// Others changed the tenant again and again; nothing was written.
    #[error("tenant is contended")]
    Contended,
    /// The lifecycle does not allow it; nothing was written.
    #[error(transparent)]
    Lifecycle(#[from] Refusal),
    /// Only a person who signed in may approve a destruction.
    #[error("approver is not a signed-in person")]
    NotAPerson,
    /// Provisioning failed; the tenant waits for a repeat or for being abandoned.
    #[error("provisioning failed")]
    Provisioning(#[source] Source),
    /// The tenant's keys could not be destroyed or used.
    #[error("sealing failed")]
    Sealing(#[from] SealError),
    /// The event could not be recorded. A repeat of the same command records it.
    #[error("audit entry could not be written")]
    Unaudited(#[from] EmitError),
    /// The tenant's database refused or failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The directory's store failed.
    #[error("tenant directory failed")]
    Directory(#[from] KvError),
    /// A stored record cannot be read.
    #[error("tenant record is damaged")]
    Damaged,
    /// A stored record is of a format that this version does not know.
    #[error("tenant record has an unknown format version")]
    UnknownFormat,
    /// A setting is out of its limits; the text names the limit.
    #[error("configuration is out of limits: {0}")]
    Config(&'static str),
    /// The operation ended without a result; repeat it.
    #[error("operation ended without a result")]
    Lost,
    /// The service was closed.
    #[error("tenant service is closed")]
    Closed,
}

impl Classify for TenantError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown => ErrorKind::NotFound,
            Self::SlugTaken
            | Self::IdempotencyMismatch
            | Self::VersionConflict { .. }
            | Self::Contended
            | Self::Lifecycle(_) => ErrorKind::Conflict,
            Self::Name(_)
            | Self::Network(_)
            | Self::MalformedId
            | Self::MalformedIdempotencyKey => ErrorKind::InvalidInput,
            Self::Unresolved
            | Self::ResolutionConflict
            | Self::NotInService(_)
            | Self::StaleScope
            | Self::NetworkDenied
            | Self::NotAPerson => ErrorKind::PermissionDenied,
            Self::TenantMismatch => ErrorKind::TenantMismatch,
            Self::Provisioning(_) | Self::Lost | Self::Closed => ErrorKind::Unavailable,
            Self::Sealing(inner) => inner.kind(),
            Self::Unaudited(inner) => inner.kind(),
            Self::Database(inner) => inner.kind(),
            Self::Directory(inner) => inner.kind(),
            Self::Damaged | Self::UnknownFormat => ErrorKind::Integrity,
            Self::Config(_) => ErrorKind::Config,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Contended | Self::Provisioning(_) => Status::Temporary,
            Self::Closed => Status::Permanent,
            Self::Unaudited(inner) => inner.status(),
            _ => match self.kind() {
                ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable => {
                    Status::Temporary
                }
                _ => Status::Permanent,
            },
        }
    }
}
