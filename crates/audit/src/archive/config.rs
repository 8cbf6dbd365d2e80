//! What an archive needs and how it behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::Observer;
use eonpro_core::port::kv::KeyValue;
use eonpro_core::time::SharedClock;
use object_store::ObjectStore;

use super::error::ArchiveError;
use super::lock::{LockMode, LockProbe};
use crate::backend::embedded::EmbeddedAudit;

/// What an archive needs of others.
pub struct ArchiveParts {
    /// The open log whose entries it copies, and which records what it did.
    pub log: Arc<EmbeddedAudit>,
    /// Where the copies go. A directory is made with [`local`](super::local), which syncs; a bucket should
    /// have versions, and Object Lock with a default retention.
    pub store: Arc<dyn ObjectStore>,
    /// Remembers how far it came: the log's own [`AuditParts::state`](crate::AuditParts::state).
    pub state: Arc<dyn KeyValue>,
    /// Tells when a cut is due.
    pub clock: SharedClock,
    /// Measures operations.
    pub observer: Arc<dyn Observer>,
    /// Asks the bucket about its locks, where something can.
    pub lock: Option<Arc<dyn LockProbe>>,
}

impl fmt::Debug for ArchiveParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveParts").finish_non_exhaustive()
    }
}

/// The lock that a bucket must put on every new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequiredLock {
    /// At least this firm.
    pub mode: LockMode,
    /// At least this long: the longest retention of all classes of events, since one bundle holds many.
    pub retention: Duration,
}

/// How an archive behaves.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Tells several archives of one log apart: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Where in the store, without slashes at its ends; may be empty.
    pub prefix: String,
    /// When entries that fill no bundle yet are copied too, after the last time: what a lost directory may
    /// cost. Each time leaves a few small objects for every log that grew.
    pub tail_after: Duration,
    /// How many objects are written or read side by side. At most 64.
    pub parallel: usize,
    /// Refuses to open without this lock.
    pub require_lock: Option<RequiredLock>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            prefix: String::new(),
            tail_after: Duration::from_secs(60 * 60),
            parallel: 8,
            require_lock: None,
        }
    }
}

impl ArchiveConfig {
    pub(super) fn check(&self) -> Result<(), ArchiveError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return Err(ArchiveError::Config("name is 1 to 64 of a-z, 0-9 and -"));
        }
        if !(1..=64).contains(&self.parallel) {
            return Err(ArchiveError::Config("parallel is 1 to 64"));
        }
        Ok(())
    }
}
