//! The one seam for state: what a service must remember goes through [`KeyValue`].
//!
//! Sessions, tenants, keys, leases, job cursors and single-use codes all live in *partitions* of a
//! key-value store with transactions. A backend implements the trait once and every service runs
//! on it; one conformance suite (testkit) judges them all.

mod memory;
mod partition;
mod transaction;

pub use memory::MemoryKeyValue;
pub use partition::{Key, Partition};
pub use transaction::{Precondition, Transaction, Write};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::component::Component;
use crate::error::{Classify, ErrorKind, Source};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most preconditions and writes of one transaction.
pub const MAX_TRANSACTION_OPS: usize = 1024;
/// The most entries that one scan returns, whatever was asked.
pub const MAX_SCAN: usize = 1024;

/// A partition's commit counter. It only grows, also across delete and re-create of a key, and so
/// serves as a fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// A value and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The commit that wrote it.
    pub version: Version,
}

/// One entry of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value and version.
    pub versioned: Versioned,
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// That key was written or deleted: read it.
    Key(Key),
    /// Changes were missed: read everything again.
    Lagged,
}

/// What a backend can do.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCapabilities {
    /// An acknowledged commit survives a crash of the process and of the machine.
    pub durable: bool,
    /// Other processes see the same data.
    pub shared: bool,
}

impl KvCapabilities {
    /// As given.
    #[must_use]
    pub const fn new(durable: bool, shared: bool) -> Self {
        Self { durable, shared }
    }
}

/// A transactional key-value store in partitions. Reads and commits are linearizable within a
/// partition.
#[async_trait]
pub trait KeyValue: Component {
    /// What this backend can do.
    fn capabilities(&self) -> KvCapabilities;

    /// The value at `key`, unless absent or expired. Cancel-safe.
    ///
    /// # Errors
    /// [`KvError::Backend`], [`KvError::Closed`].
    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError>;

    /// The entries whose keys begin with `prefix` and come after `after`, in byte order of their
    /// keys, at most `limit` (and never more than [`MAX_SCAN`]); expired ones are left out. Fewer
    /// than asked means the end, or an internal page: go on after the last key until none comes.
    /// Each call is one snapshot. Cancel-safe.
    ///
    /// # Errors
    /// [`KvError::Backend`], [`KvError::Closed`].
    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError>;

    /// Commits `tx`, all or nothing: every precondition holds at the commit, or nothing is written.
    /// Returns the commit's version, which all its writes carry. A transaction without writes
    /// checks its preconditions and returns the present counter.
    ///
    /// Not idempotent: repeat only with preconditions. If the future is dropped the commit may
    /// happen or not, but never in part.
    ///
    /// # Errors
    /// [`KvError::Conflict`] if a precondition fails; [`KvError::Invalid`] beyond the limits;
    /// [`KvError::Backend`], after which the outcome is unknown.
    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError>;

    /// Hints about changes under `prefix` from now on. A hint may come twice, or for nothing; a
    /// missed one is announced as [`Change::Lagged`]. Expiry gives no hint. Dropping the stream
    /// ends the watch.
    ///
    /// # Errors
    /// [`KvError::Backend`], [`KvError::Closed`].
    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError>;
}

/// Why the store refused.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// A precondition did not hold; nothing was written.
    #[error("somebody else changed the key first")]
    Conflict,
    /// A key, value or transaction is beyond the limits; the text names the limit.
    #[error("beyond the limits of the store: {0}")]
    Invalid(&'static str),
    /// The store was closed.
    #[error("store is closed")]
    Closed,
    /// The backend failed.
    #[error("key-value backend failed")]
    Backend(#[source] Source),
}

impl Classify for KvError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict => ErrorKind::Conflict,
            Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::Closed | Self::Backend(_) => ErrorKind::Unavailable,
        }
    }
}
