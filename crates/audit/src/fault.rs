//! What can be wrong with a log on disk, and where.

use std::fmt;

use eonpro_core::error::{Classify, ErrorKind};

use crate::log_id::LogId;

/// A place in a log directory.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An entry, printed as `log#index`.
    Entry {
        /// Its log.
        log: LogId,
        /// Its index.
        index: u64,
    },
    /// A file, by its name inside the directory, and the offset where reading stopped.
    File {
        /// Such as `wal/0000000001.wal`.
        name: String,
        /// Bytes from its start.
        offset: u64,
    },
}

impl Place {
    pub(crate) fn entry(log: LogId, index: u64) -> Self {
        Self::Entry { log, index }
    }

    pub(crate) fn file(name: &str, offset: usize) -> Self {
        Self::File {
            name: name.to_owned(),
            offset: offset as u64,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { log, index } => write!(f, "{log}#{index}"),
            Self::File { name, offset } => write!(f, "{name}@{offset}"),
        }
    }
}

/// What is wrong there.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A segment header is malformed, or not the one that follows.
    #[error("segment header does not fit")]
    Header,
    /// A segment is missing, or its name does not fit.
    #[error("segment is missing or misnamed")]
    Segment,
    /// A frame's checksum or shape is wrong.
    #[error("frame is damaged")]
    Frame,
    /// A batch's count is wrong, or it does not continue the chain of hashes over all batches.
    #[error("batch does not continue the chain")]
    Batch,
    /// Behind the last batch of a segment that another one follows there is something, and that one does
    /// not say that it was given up after a failed write.
    #[error("something stands behind the end of the segment")]
    Tail,
    /// A log is declared twice, or an entry names no declared log.
    #[error("log is not declared as it must be")]
    Declaration,
    /// An index does not follow its predecessor.
    #[error("index does not follow its predecessor")]
    Gap,
    /// The entry is not a well-formed leaf.
    #[error("entry is malformed")]
    Leaf,
    /// The next entry does not name this one's hash as its predecessor.
    #[error("entry does not match the hash chain")]
    Previous,
    /// The recording time does not lie after the predecessor's.
    #[error("recording time goes back")]
    Recorded,
    /// The entry's tenant is not its log's.
    #[error("entry belongs to another tenant")]
    Tenant,
    /// The Merkle root is not the signed one.
    #[error("entries up to here do not match the signed root")]
    Root,
    /// A signed entry, or the signed head, is missing.
    #[error("what was signed is missing")]
    Missing,
    /// A checkpoint is malformed, or out of place.
    #[error("checkpoint is malformed or out of place")]
    Checkpoint,
    /// A checkpoint carries no valid signature by a given key.
    #[error("checkpoint is not signed by a given key")]
    Signature,
    /// The file of keys is missing or malformed, or names a key that was not given.
    #[error("log names other keys than those given")]
    Keys,
    /// The log is another one than the anchor, which was kept elsewhere, says.
    #[error("log does not agree with the anchor")]
    Anchor,
    /// A file does not belong here.
    #[error("file does not belong here")]
    Stray,
    /// An entry is marked as pruned that may not be, or that no signed record (AUD-009) accounts for; or
    /// the file of what is being pruned is damaged.
    #[error("entry was pruned without a record of it, or where none may be")]
    Pruned,
    /// A sealed log, or its statement, is not what was sealed.
    #[error("sealed log is not what was sealed")]
    Sealed,
    /// The log is being sealed: `EmbeddedAudit::seal_and_continue` did not come to its end. Repeat it.
    #[error("sealing was begun and did not come to its end")]
    Sealing,
    /// A spooled entry is damaged, or belongs to another log than it says.
    #[error("spooled entry is damaged or misplaced")]
    Spool,
}

/// A log on disk did not verify.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something was changed, removed or added.
    #[error("{place}: {fault}")]
    Tampered {
        /// The first bad place.
        place: Place,
        /// What is wrong there.
        fault: Fault,
    },
    /// The log ends in an unfinished write, as a crash leaves it, and nothing signed is missing.
    /// Opening the log recovers it.
    #[error("{place}: log ends in an unfinished write")]
    Unfinished {
        /// Where the unfinished write begins.
        place: Place,
    },
    /// There is no log in that directory.
    #[error("there is no audit log in this directory")]
    NoLog,
    /// A file could not be read.
    #[error("audit file could not be read")]
    Unreadable(#[from] std::io::Error),
}

impl VerifyError {
    pub(crate) fn tampered(place: Place, fault: Fault) -> Self {
        Self::Tampered { place, fault }
    }

    /// The first bad place, where one is known.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Tampered { place, .. } | Self::Unfinished { place } => Some(place),
            Self::NoLog | Self::Unreadable(_) => None,
        }
    }
}

impl Classify for VerifyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tampered { .. } | Self::Unfinished { .. } => ErrorKind::Integrity,
            Self::NoLog => ErrorKind::NotFound,
            Self::Unreadable(_) => ErrorKind::Unavailable,
        }
    }
}
