//! What can go wrong with a document, for callers, operators and end users.

use std::time::Duration;

use eonpro_core::error::{Classify, ErrorKind, Source, Status};
use eonpro_core::event::EmitError;
use eonpro_core::id::{DocumentId, IdError, VersionId};
use eonpro_core::port::SealError;
use eonpro_core::task::TaskLost;
use eonpro_core::time::Timestamp;

use crate::guard::Rejection;
use crate::history::VersionState;
use crate::scan::ScanError;

/// A version that was stored but not released: where its sealed bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The document.
    pub document: DocumentId,
    /// The version.
    pub version: VersionId,
}

/// Why an operation on a document failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such document or version, or it was deleted.
    #[error("document not found")]
    NotFound,
    /// The id was not minted for this tenant.
    #[error("document belongs to another tenant")]
    TenantMismatch,
    /// The text is no document id.
    #[error("document id is malformed")]
    MalformedId,
    /// The document changed meanwhile; its newest record, where it is known.
    #[error("document was changed by somebody else")]
    Conflict {
        /// The sequence number of the newest record.
        head: Option<u64>,
    },
    /// Category or subject differ from those of the document's earlier versions.
    #[error("version does not belong to this document")]
    Mismatched,
    /// The file name is empty, too long or holds control characters or separators.
    #[error("file name does not fit")]
    InvalidName,
    /// The declared media type is none.
    #[error("media type is malformed")]
    InvalidMediaType,
    /// The guard refused the content; nothing was stored.
    #[error("content was refused")]
    Rejected(#[from] Rejection),
    /// More bytes than the category allows; nothing was stored.
    #[error("content is larger than its category allows")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The scanner found malware. The bytes are kept as evidence, sealed and unreadable.
    #[error("content is infected and was blocked")]
    Infected(Held),
    /// The scanner refused to judge (encrypted, beyond its limits). The bytes stay in quarantine.
    #[error("content cannot be scanned and stays in quarantine")]
    Unscannable(Held),
    /// The scanner failed. The bytes stay in quarantine: nothing is released without a verdict.
    #[error("scanner failed and content stays in quarantine")]
    Unscanned {
        /// Where the bytes are.
        held: Held,
        /// What the scanner said.
        #[source]
        source: ScanError,
    },
    /// The version exists but is not readable.
    #[error("version is not released")]
    Unreadable {
        /// Its state.
        state: VersionState,
    },
    /// The retention floor has not passed.
    #[error("retention period is active")]
    RetentionActive {
        /// When it ends.
        until: Timestamp,
    },
    /// A hold forbids it.
    #[error("document is on hold")]
    OnHold,
    /// The range does not lie within the document.
    #[error("range is not satisfiable")]
    RangeNotSatisfiable {
        /// The document's length in bytes.
        len: u64,
    },
    /// The document is larger than the caller wants to hold in memory.
    #[error("document is larger than the read limit")]
    ReadLimit,
    /// A signed URL that is malformed, expired, forged, used up or for another method: on purpose
    /// one error.
    #[error("signed url was refused")]
    UrlRefused,
    /// A signed URL was asked for longer than the category allows.
    #[error("signed url lives longer than its category allows")]
    UrlLifetime {
        /// The limit.
        limit: Duration,
    },
    /// Stored bytes are missing, moved, changed or cut off.
    #[error("stored document is damaged")]
    Corrupt,
    /// The document's records end before the head that the caller knows.
    #[error("document history is truncated")]
    Truncated,
    /// A record of a format version that this build does not know.
    #[error("record format is unknown")]
    UnknownFormat,
    /// A count limit of this crate was reached.
    #[error("document limit is reached")]
    LimitExceeded,
    /// The keys of this tenant were destroyed.
    #[error("keys of this document were destroyed")]
    Shredded,
    /// Sealing or opening failed for another reason than changed bytes.
    #[error("keys are not available")]
    Keys(#[source] SealError),
    /// The deed is done, but its audit entry is not acknowledged.
    #[error("document was changed but the change is unaudited")]
    Unaudited(#[source] EmitError),
    /// The audit entry that must come first was not acknowledged; nothing was done.
    #[error("audit log did not accept the entry")]
    Audit(#[source] EmitError),
    /// The body that the caller hands over failed.
    #[error("upload body failed")]
    Body(#[source] Source),
    /// The caller's deadline passed, or it cancelled.
    #[error("deadline passed or request was cancelled")]
    Deadline,
    /// The object store failed.
    #[error("object store failed")]
    Backend(#[source] Source),
    /// The object store does not do what it must.
    #[error("object store is unfit: {probe}")]
    Unfit {
        /// The probe that it failed.
        probe: &'static str,
    },
    /// The configuration is wrong.
    #[error("storage configuration is wrong: {0}")]
    Config(&'static str),
    /// The store was closed.
    #[error("storage is closed")]
    Closed,
}

impl Classify for StorageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound | Self::Shredded => ErrorKind::NotFound,
            Self::TenantMismatch => ErrorKind::TenantMismatch,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::MalformedId
            | Self::Mismatched
            | Self::InvalidName
            | Self::InvalidMediaType
            | Self::Rejected(_)
            | Self::TooLarge { .. }
            | Self::Infected(_)
            | Self::Unscannable(_)
            | Self::RangeNotSatisfiable { .. }
            | Self::ReadLimit
            | Self::UrlLifetime { .. }
            | Self::LimitExceeded
            | Self::Body(_) => ErrorKind::InvalidInput,
            Self::Unreadable { .. }
            | Self::RetentionActive { .. }
            | Self::OnHold
            | Self::UrlRefused => ErrorKind::PermissionDenied,
            Self::Corrupt | Self::Truncated | Self::UnknownFormat => ErrorKind::Integrity,
            Self::Keys(source) => source.kind(),
            Self::Unscanned { .. }
            | Self::Unaudited(_)
            | Self::Audit(_)
            | Self::Backend(_)
            | Self::Closed => ErrorKind::Unavailable,
            Self::Deadline => ErrorKind::Timeout,
            Self::Unfit { .. } | Self::Config(_) => ErrorKind::Config,
        }
    }

    fn status(&self) -> Status {
        match self {
            // The effect stands: the same request again would do it twice.
            Self::Unscanned { .. } | Self::Unaudited(_) | Self::Closed => Status::Permanent,
            other => match other.kind() {
                ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable => {
                    Status::Temporary
                }
                _ => Status::Permanent,
            },
        }
    }
}

impl From<SealError> for StorageError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Authentication | SealError::Malformed => Self::Corrupt,
            SealError::Shredded => Self::Shredded,
            other => Self::Keys(other),
        }
    }
}

impl From<IdError> for StorageError {
    fn from(error: IdError) -> Self {
        match error {
            IdError::TenantMismatch => Self::TenantMismatch,
            _ => Self::MalformedId,
        }
    }
}

impl From<TaskLost> for StorageError {
    fn from(error: TaskLost) -> Self {
        Self::Backend(Box::new(error))
    }
}

/// The object store's messages name object keys; they stay a source for the operator.
impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outsider_cannot_tell_a_foreign_document_from_a_missing_one() {
        assert_eq!(
            StorageError::TenantMismatch.public_message(),
            StorageError::NotFound.public_message()
        );
    }

    #[test]
    fn what_already_happened_is_not_offered_for_a_retry() {
        let refused = EmitError::NotAttached;
        assert_eq!(StorageError::Unaudited(refused).status(), Status::Permanent);
        assert_eq!(StorageError::Deadline.status(), Status::Temporary);
    }
}
