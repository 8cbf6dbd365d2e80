//! Why the log refused, and whether the entry may have been written all the same.

use std::time::Duration;

use eonpro_core::error::{Classify, ErrorKind, Source, Status};
use eonpro_core::port::{SealError, SignError};

use crate::fault::VerifyError;

/// Whether a failed append may have left its entry in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// It did not.
    No,
    /// Nobody knows; repeat it with the same event, and a first write is folded.
    Unknown,
}

/// What is wrong with a batch.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BatchFault {
    /// It has no events.
    #[error("it is empty")]
    Empty,
    /// It has more events, or more bytes, than the limits allow.
    #[error("it is too large")]
    TooLarge,
    /// Its events belong to several logs.
    #[error("its events belong to several logs")]
    SeveralLogs,
    /// Only a part of it is known from before, or one event occurs twice. The rest may have been
    /// written before and be forgotten (`AuditConfig::recent_ids`).
    #[error("it repeats a part of an earlier batch")]
    PartialRepeat,
    /// Its event stands in another log: it was announced with another tenant's context before.
    #[error("its event is in another log")]
    OtherLog,
}

/// An operation of the log failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The queue's budget stayed full until the deadline. Nothing was written.
    #[error("audit queue is full")]
    Overloaded {
        /// When room is likely.
        retry_after: Duration,
    },
    /// The log was closed. Nothing was written.
    #[error("audit log is closed")]
    Closed,
    /// A write or sync failed twice while this was in flight: the outcome is unknown.
    #[error("audit log failed while the entry was in flight")]
    Poisoned,
    /// A write or sync failed twice before: the log takes nothing until it is opened again.
    #[error("audit log is down after a failed write")]
    Down,
    /// No room could be made on disk before anything was written; the log goes on trying.
    #[error("audit log has no room on disk")]
    NoRoom(#[source] Source),
    /// The entry is longer than 65,535 bytes.
    #[error("audit entry is too large")]
    TooLarge,
    /// The batch is malformed.
    #[error("audit batch is refused: {0}")]
    Batch(BatchFault),
    /// There are as many logs as the configuration allows.
    #[error("audit log has reached its limit of logs")]
    TooManyLogs,
    /// The store behind the log refused or was out of reach. Nothing was written.
    #[error("audit backend failed")]
    Backend(#[source] Source),
    /// The store behind the log failed, or did not answer in time, while the entry was in flight: the
    /// outcome is unknown.
    #[error("audit backend failed while the entry was in flight")]
    InDoubt(#[source] Source),
    /// The context may not read this log.
    #[error("context may not read this audit log")]
    Denied,
    /// Another writer holds the directory.
    #[error("audit log is locked by another writer")]
    Locked,
    /// The configuration is outside its limits.
    #[error("audit configuration is refused: {0}")]
    Config(&'static str),
    /// The bytes on disk are not what was written and signed.
    #[error("audit log is corrupt: {0}")]
    Corrupt(#[from] VerifyError),
    /// A field could not be sealed. Nothing was written.
    #[error("audit field could not be sealed")]
    Seal(#[from] SealError),
    /// A field's name is no column name. Nothing was written.
    #[error("audit field has no valid column name")]
    FieldName,
    /// A checkpoint could not be signed.
    #[error("audit checkpoint could not be signed")]
    Sign(#[from] SignError),
    /// The spool is full or failed. Nothing was written.
    #[error("audit spool failed")]
    Spool(#[source] Source),
    /// The file system failed outside of an append.
    #[error("audit storage failed")]
    Io(#[from] std::io::Error),
    /// A thread or task of the log ended too early.
    #[error("audit worker ended early")]
    WorkerLost,
}

impl AuditError {
    /// Whether the entry may be in the log after all.
    #[must_use]
    pub fn written(&self) -> Written {
        match self {
            Self::Poisoned
            | Self::InDoubt(_)
            | Self::WorkerLost
            | Self::Batch(BatchFault::PartialRepeat) => Written::Unknown,
            _ => Written::No,
        }
    }

    /// Whether the log as a whole is out of service, so that the spool is the place to go.
    pub(crate) fn log_is_down(&self) -> bool {
        matches!(
            self,
            Self::Poisoned | Self::Down | Self::NoRoom(_) | Self::WorkerLost
        )
    }
}

impl Classify for AuditError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Overloaded { .. }
            | Self::Closed
            | Self::Poisoned
            | Self::Down
            | Self::NoRoom(_)
            | Self::Backend(_)
            | Self::InDoubt(_)
            | Self::Spool(_)
            | Self::Io(_)
            | Self::WorkerLost => ErrorKind::Unavailable,
            Self::TooLarge | Self::Batch(_) | Self::TooManyLogs => ErrorKind::InvalidInput,
            Self::Denied => ErrorKind::PermissionDenied,
            Self::Locked => ErrorKind::Conflict,
            Self::Config(_) => ErrorKind::Config,
            Self::Corrupt(_) => ErrorKind::Integrity,
            Self::FieldName => ErrorKind::Internal,
            Self::Seal(error) => error.kind(),
            Self::Sign(error) => error.kind(),
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Overloaded { .. } | Self::NoRoom(_) | Self::Sign(_) => Status::Temporary,
            Self::Backend(_) | Self::InDoubt(_) => Status::Temporary,
            Self::Closed | Self::Poisoned | Self::Down | Self::WorkerLost => Status::Persistent,
            Self::Spool(_) | Self::Io(_) => Status::Persistent,
            Self::Seal(error) => error.status(),
            _ => Status::Permanent,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}
