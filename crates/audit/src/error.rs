//! Why the log refused, and whether the entry may have been written all the same.

use std::time::Duration;

use eonpro_core::error::{Classify, ErrorKind, Source, Status};
use eonpro_core::event::Code;
use eonpro_core::port::{KvError, SealError, SignError};

use crate::fault::VerifyError;
use crate::head::HeadConflict;
use crate::merkle::ProofError;
use crate::retention::{HoldError, PruneRefusal};

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
    /// A write or sync failed twice while this was in flight: the outcome is unknown. A disk that is full
    /// answers so as well where a batch itself finds no room, in spite of the zeros that were written ahead
    /// (a file system that copies on write, a quota, thin provisioning).
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
    /// The log verifies, or a plain opening recovers it: it is not sealed.
    #[error("audit log is sound and is not sealed")]
    Sound,
    /// The configuration is outside its limits.
    #[error("audit configuration is refused: {0}")]
    Config(&'static str),
    /// The bytes on disk are not what was written and signed.
    #[error("audit log is corrupt: {0}")]
    Corrupt(#[from] VerifyError),
    /// The directory is behind a head that was kept elsewhere: it was put back to an older state.
    /// Nothing was written.
    #[error("audit log was put back to an older state: {0}")]
    RolledBack(Box<HeadConflict>),
    /// Another log than this one was signed as ours. Nothing was written.
    #[error("another audit log was signed as this one: {0}")]
    Fork(Box<HeadConflict>),
    /// The store of the last signed head is out of reach. Nothing was signed.
    #[error("store of the last signed head is out of reach")]
    HeadStore(#[source] KvError),
    /// What is stored as the last signed head is none, or no known key signed it.
    #[error("stored head of the audit log is malformed or of an unknown key")]
    HeadMalformed,
    /// A field could not be sealed. Nothing was written.
    #[error("audit field could not be sealed")]
    Seal(#[from] SealError),
    /// A field's name is no column name. Nothing was written.
    #[error("audit field has no valid column name")]
    FieldName,
    /// A checkpoint could not be signed.
    #[error("audit checkpoint could not be signed")]
    Sign(#[from] SignError),
    /// The legal holds could not be read or changed. Nothing is pruned then.
    #[error("legal hold failed")]
    Hold(#[from] HoldError),
    /// Nothing was pruned.
    #[error("pruning was refused: {0}")]
    Refused(#[from] PruneRefusal),
    /// The spool is full or failed. Nothing was written.
    #[error("audit spool failed")]
    Spool(#[source] Source),
    /// The file system failed outside of an append.
    #[error("audit storage failed")]
    Io(#[from] std::io::Error),
    /// The index could not be used. Entries and proofs are not touched by that: it is built anew.
    #[error("audit index failed")]
    Index(#[source] Source),
    /// There is no such proof: the tree is empty, larger than the last signed one, or has no such leaf.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A thread or task of the log ended too early.
    #[error("audit worker ended early")]
    WorkerLost,
    /// The record of a patient could not be read or written. Nothing was written to the log.
    #[error("audit subject's record is out of reach")]
    Subject(#[from] KvError),
    /// The operating system gave no random bits. Nothing was written.
    #[error("no random bits for an audit entry")]
    NoRandomness,
    /// What a sealed field opened to is not what its entry commits to.
    #[error("audit field is not what its entry commits to")]
    Commitment,
    /// The entry is malformed, or is not the one that stands in this log.
    #[error("audit entry is not one of this log")]
    NotTheEntry,
    /// The entry has no such sealed field, or its patient was shredded.
    #[error("audit field is not there any more")]
    NoField,
    /// The patient's data must be kept, which the log has recorded (DISC-008).
    #[error("erasure is refused: {0} obliges to keep the data")]
    Kept(Code),
    /// Whether the data must be kept could not be found out. Nothing was erased.
    #[error("whether data must be kept could not be checked")]
    ErasureCheck(#[source] Source),
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
            | Self::Index(_)
            | Self::WorkerLost => ErrorKind::Unavailable,
            Self::Proof(_) => ErrorKind::NotFound,
            Self::TooLarge | Self::Batch(_) | Self::TooManyLogs => ErrorKind::InvalidInput,
            Self::Denied => ErrorKind::PermissionDenied,
            Self::Locked | Self::Sound => ErrorKind::Conflict,
            Self::Config(_) => ErrorKind::Config,
            Self::Corrupt(_) | Self::RolledBack(_) | Self::Fork(_) | Self::HeadMalformed => {
                ErrorKind::Integrity
            }
            Self::HeadStore(error) => error.kind(),
            Self::Hold(error) => error.kind(),
            Self::Refused(PruneRefusal::Approvals) => ErrorKind::PermissionDenied,
            Self::Refused(_) => ErrorKind::Conflict,
            Self::FieldName => ErrorKind::Internal,
            Self::Seal(error) => error.kind(),
            Self::Sign(error) => error.kind(),
            Self::Subject(error) => error.kind(),
            Self::NoRandomness | Self::ErasureCheck(_) => ErrorKind::Unavailable,
            Self::Commitment | Self::NotTheEntry => ErrorKind::Integrity,
            Self::NoField => ErrorKind::NotFound,
            Self::Kept(_) => ErrorKind::PermissionDenied,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Overloaded { .. }
            | Self::NoRoom(_)
            | Self::Backend(_)
            | Self::InDoubt(_)
            | Self::Index(_)
            | Self::Sign(_)
            | Self::HeadStore(_) => Status::Temporary,
            Self::Closed | Self::Poisoned | Self::Down | Self::WorkerLost => Status::Persistent,
            Self::Spool(_) | Self::Io(_) => Status::Persistent,
            Self::Seal(error) => error.status(),
            Self::Hold(error) => error.status(),
            Self::Subject(error) => error.status(),
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
