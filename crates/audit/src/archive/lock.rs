//! Whether the bucket keeps what it was given: S3 Object Lock, seen from outside.
//!
//! `object_store` can neither set nor ask for a lock. Where the bucket has a default retention every PUT is
//! locked; that it has one, and a long enough one, must be asked by other means.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::error::Source;
use eonpro_core::time::Timestamp;

/// How firm a lock is.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Who has the permission `s3:BypassGovernanceRetention` may shorten or lift it.
    Governance,
    /// Nobody may shorten or lift it, the account's owner included.
    Compliance,
}

/// What a bucket does with every new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultLock {
    /// How firmly it is locked.
    pub mode: LockMode,
    /// For how long.
    pub retention: Duration,
}

/// The lock of one version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// How firm it is.
    pub mode: LockMode,
    /// When it ends.
    pub until: Timestamp,
}

/// Asks the store about its locks.
#[async_trait]
pub trait LockProbe: fmt::Debug + Send + Sync {
    /// What the bucket does with new objects; `None` if it has no Object Lock, no default retention, or no
    /// versioning. Cancel-safe.
    ///
    /// # Errors
    /// If the store could not be asked.
    async fn default_lock(&self) -> Result<Option<DefaultLock>, Source>;

    /// The lock of `version` of the object `key`, the name below the archive's prefix; `None` if it has none.
    /// Cancel-safe.
    ///
    /// # Errors
    /// If the store could not be asked.
    async fn object_lock(&self, key: &str, version: &str) -> Result<Option<ObjectLock>, Source>;
}
