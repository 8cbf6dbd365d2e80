//! Why an archive, a reader of one, or a replica refused.

use eonpro_core::error::{Classify, ErrorKind, Source, Status};
use eonpro_core::event::Digest;
use eonpro_core::port::kv::KvError;

use super::evidence::Evidence;
use crate::checkpoint::CheckpointError;
use crate::error::AuditError;
use crate::fault::VerifyError;
use crate::log_id::LogId;
use crate::tlog::{TileError, TrustError};

/// An operation on an archive or a replica failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log refused.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Entries do not verify.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// The object store failed. What it was asked to do may have been done.
    #[error("object store failed")]
    Store(#[source] Source),
    /// The archive's own state could not be read or written.
    #[error("state of the archive failed")]
    State(#[from] KvError),
    /// The archive's own state is not what it wrote.
    #[error("state of the archive is malformed")]
    Cursor,
    /// Another object has the name of one that never changes. It was left as it is.
    #[error("object {key} is another one")]
    Conflict {
        /// Its name below the prefix.
        key: String,
        /// What it should have been.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The log is not a later state of the one that was archived: it was rewritten or put back.
    #[error("log is not the one that was archived")]
    OtherLog,
    /// An object is not there.
    #[error("object {0} is missing")]
    Missing(String),
    /// An object is not what the signed entries make it.
    #[error("object {0} was changed")]
    Changed(String),
    /// An entry was pruned before it was archived. Archive first: [`Archive::archived`](super::Archive::archived).
    #[error("entry {index} of {log} was pruned before it was archived")]
    Pruned {
        /// Its log.
        log: LogId,
        /// Its index there.
        index: u64,
    },
    /// An entry is no longer where it was read: its segment was pruned meanwhile, or changed. The next run
    /// reads all of the log anew, and finds out which.
    #[error("entry {index} of {log} is not where it was")]
    Moved {
        /// Its log.
        log: LogId,
        /// Its index there.
        index: u64,
    },
    /// A signed head is malformed, or not signed by a given key.
    #[error("signed head: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The policy does not believe a signed head.
    #[error("signed head: {0}")]
    Trust(#[from] TrustError),
    /// Tiles or entries do not belong to the signed head.
    #[error(transparent)]
    Tiles(#[from] TileError),
    /// The source showed another history. The replica keeps what it has, and the evidence.
    #[error("replica has stopped: {}", .0.why)]
    Stopped(Box<Evidence>),
    /// The store does not do what an archive needs.
    #[error("object store is unfit: {0}")]
    Unfit(&'static str),
    /// The configuration is outside its limits.
    #[error("configuration of the archive is refused: {0}")]
    Config(&'static str),
}

impl ArchiveError {
    pub(super) fn store(error: object_store::Error) -> Self {
        Self::Store(error.into())
    }

    /// A background task ended too early.
    pub(super) fn lost() -> Self {
        Self::Audit(AuditError::WorkerLost)
    }
}

impl Classify for ArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Audit(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Checkpoint(error) => error.kind(),
            Self::Trust(error) => error.kind(),
            Self::Tiles(error) => error.kind(),
            Self::Store(_) => ErrorKind::Unavailable,
            Self::Unfit(_) | Self::Config(_) => ErrorKind::Config,
            Self::Cursor
            | Self::Conflict { .. }
            | Self::OtherLog
            | Self::Pruned { .. }
            | Self::Moved { .. }
            | Self::Missing(_)
            | Self::Changed(_)
            | Self::Stopped(_) => ErrorKind::Integrity,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Audit(error) => error.status(),
            Self::State(error) => error.status(),
            Self::Store(_) | Self::Moved { .. } => Status::Temporary,
            _ => Status::Permanent,
        }
    }
}
