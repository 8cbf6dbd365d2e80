//! Rotation: how a job reaches sealed rows without knowing the store that holds them.
//!
//! A source is one table of sealed columns in one kind of store. Every write is a compare-and-swap on
//! the bytes that the job read, so a concurrent writer always wins; and the job's own progress is
//! written in the same transaction as the rows, so a crash can neither repeat nor skip a batch.

use std::fmt;

use async_trait::async_trait;

use super::KeyPurpose;
use crate::error::{Classify, ErrorKind, Source, Status};
use crate::phi::{Column, FieldSealing, Table};
use crate::scope::TenantScope;

/// The most rows that one batch holds, whatever was asked.
pub const MAX_ROTATION_BATCH: usize = 1024;
/// The longest progress that a source must store, in bytes.
pub const MAX_ROTATION_PROGRESS: usize = 16 * 1024;

/// A place in the order of a source's rows: opaque, made by the source, valid for ever. Rows that come
/// or go do not move it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// From the source's own bytes: 1 to 1,024 of them; `None` otherwise.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=1024).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

// A cursor may hold a primary key.
impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} bytes)", self.0.len())
    }
}

/// Which worker's turn it is: a later worker has a higher fence. A [`Version`](super::kv::Version) of
/// the lease's partition serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// Names one job's progress within a scope and source: 1 to 128 characters of `a-z 0-9 _ - / .`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(Box<str>);

impl JobName {
    /// Checks and takes `text`; `None` outside of the limits above.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'/' | b'.'));
        (plain && (1..=128).contains(&text.len())).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One sealed value, or one index token, of a row.
#[derive(Clone, PartialEq, Eq)]
pub struct RotationCell {
    /// Its column.
    pub column: Column,
    /// What the store holds; `None` for null.
    pub bytes: Option<Vec<u8>>,
}

impl fmt::Debug for RotationCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RotationCell({})", self.column.as_str())
    }
}

/// One row as the source holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct RotationRow {
    /// The row as its cells were sealed for it: for a row with an id, its 16 bytes. Never empty.
    pub row: Vec<u8>,
    /// Where the row stands in the source's order.
    pub at: Cursor,
    /// The sealed columns, in the source's order, nulls included.
    pub cells: Vec<RotationCell>,
    /// The columns of index tokens, if the source has any.
    pub slots: Vec<RotationCell>,
}

impl fmt::Debug for RotationRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RotationRow({} cells)", self.cells.len())
    }
}

/// A change of one row: every column of `expect` must still hold those bytes, then every column of
/// `set` gets its new ones; otherwise the row stays as it is. An index token expects, beside its own
/// column, the sealed value that it was computed from.
#[derive(Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The row, as [`RotationRow::row`] gave it.
    pub row: Vec<u8>,
    /// What must still be there. Never empty.
    pub expect: Vec<RotationCell>,
    /// What to put there. Never empty.
    pub set: Vec<RotationCell>,
}

impl Replacement {
    /// One sealed value in place of another.
    #[must_use]
    pub fn of(row: Vec<u8>, column: Column, old: Vec<u8>, new: Vec<u8>) -> Self {
        let cell = |bytes| RotationCell {
            column,
            bytes: Some(bytes),
        };
        Self {
            row,
            expect: vec![cell(old)],
            set: vec![cell(new)],
        }
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replacement({} columns)", self.set.len())
    }
}

/// A job's progress, to be stored with what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose.
    pub job: JobName,
    /// The worker's fence.
    pub fence: Fence,
    /// The job's own bytes, at most [`MAX_ROTATION_PROGRESS`].
    pub progress: Vec<u8>,
}

/// What became of a list of replacements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replaced {
    /// How many were done.
    pub updated: u64,
    /// How many met other bytes than expected, or no row any more: somebody else was quicker.
    pub lost: u64,
}

/// What to count.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Rows.
    Rows,
    /// Sealed values, of all sealed columns, whose first five bytes are these: `0x01` and the id of the
    /// key, big endian.
    Sealed([u8; 5]),
    /// Rows in which `has` is not null while `lacks` is.
    Lacking {
        /// The column that must hold something.
        has: Column,
        /// The column that holds nothing.
        lacks: Column,
    },
    /// Rows whose `slot` is not null.
    Holding {
        /// The column of the token.
        slot: Column,
    },
}

/// One table of sealed columns, in whatever store. Asynchronous, because a store is a disk or a server;
/// the sealing between two calls is not.
///
/// A source answers for the rows of the scope it is given and never shows or changes another's. It keeps
/// one record for each scope and job: the highest fence it has seen, and the progress last written.
///
/// ```
/// # use std::{collections::BTreeMap, sync::Mutex};
/// # use async_trait::async_trait;
/// # use eonpro_core::{RequestContext, TenantScope, context::TenantBinding, entropy::SeededEntropy};
/// # use eonpro_core::{id::TenantId, phi::{Column, FieldSealing, Table}, port::*, scope::{Authority, Standing}};
/// # use eonpro_core::time::{ManualClock, Timestamp};
/// /// Rows in memory: the whole contract in one place. A real source uses a transaction for the lock.
/// #[derive(Debug, Default)]
/// struct Notes {
///     rows: Mutex<BTreeMap<(TenantId, Vec<u8>), Vec<u8>>>,
///     jobs: Mutex<BTreeMap<(TenantId, JobName), (Fence, Option<Vec<u8>>)>>,
/// }
///
/// const TEXT: Column = Column::new("text");
///
/// #[async_trait]
/// impl RotationSource for Notes {
///     fn name(&self) -> &str { "notes" }
///     fn table(&self) -> Table { Table::new("notes") }
///     fn purpose(&self) -> KeyPurpose { KeyPurpose::RECORDS }
///     fn sealing(&self, _column: Column) -> FieldSealing { FieldSealing::STANDARD }
///     fn head(&self) -> Option<Column> { None }
///
///     async fn claim(&self, scope: &TenantScope, job: &JobName, fence: Fence)
///         -> Result<Option<Vec<u8>>, RotationError>
///     {
///         let mut jobs = self.jobs.lock().unwrap();
///         let (seen, progress) = jobs.entry((scope.tenant(), job.clone())).or_insert((fence, None));
///         if fence < *seen { return Err(RotationError::Fenced); }
///         *seen = fence;
///         Ok(progress.clone())
///     }
///
///     async fn batch(&self, scope: &TenantScope, after: Option<&Cursor>, limit: usize)
///         -> Result<Vec<RotationRow>, RotationError>
///     {
///         let after = after.map_or(&[][..], Cursor::as_bytes);
///         let rows = self.rows.lock().unwrap();
///         let ours = rows.iter().filter(|((tenant, row), _)| *tenant == scope.tenant() && &**row > after);
///         Ok(ours.take(limit.min(MAX_ROTATION_BATCH)).map(|((_, row), sealed)| RotationRow {
///             row: row.clone(),
///             at: Cursor::new(row.clone()).unwrap(),
///             cells: vec![RotationCell { column: TEXT, bytes: Some(sealed.clone()) }],
///             slots: Vec::new(),
///         }).collect())
///     }
///
///     async fn replace(&self, scope: &TenantScope, changes: Vec<Replacement>, checkpoint: Option<Checkpoint>)
///         -> Result<Replaced, RotationError>
///     {
///         let (mut rows, mut jobs) = (self.rows.lock().unwrap(), self.jobs.lock().unwrap());
///         if let Some(Checkpoint { job, fence, progress }) = checkpoint {
///             match jobs.get_mut(&(scope.tenant(), job)) {
///                 Some((seen, stored)) if *seen == fence => *stored = Some(progress),
///                 _ => return Err(RotationError::Fenced), // before any row is touched
///             }
///         }
///         let mut done = Replaced::default();
///         for change in changes {
///             let (old, new) = (&change.expect[0].bytes, change.set[0].bytes.clone());
///             match (rows.get_mut(&(scope.tenant(), change.row)), new) {
///                 (Some(there), Some(new)) if Some(&*there) == old.as_ref() => {
///                     *there = new;
///                     done.updated += 1;
///                 }
///                 _ => done.lost += 1,
///             }
///         }
///         Ok(done)
///     }
///
///     async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError> {
///         let rows = self.rows.lock().unwrap();
///         let ours = rows.iter().filter(|((tenant, _), _)| *tenant == scope.tenant());
///         match what {
///             Counted::Rows => Ok(ours.count() as u64),
///             Counted::Sealed(prefix) => Ok(ours.filter(|(_, sealed)| sealed.starts_with(&prefix)).count() as u64),
///             _ => Err(RotationError::Unsupported),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cx = RequestContext::anonymous(&ManualClock::at(Timestamp::EPOCH), &SeededEntropy::new(1));
/// # let id = TenantId::from_uuid(uuid::Uuid::from_u128(1)).unwrap();
/// # let ours = TenantBinding { id, standing: Standing::Active, epoch: 1 };
/// # let scope = Authority::assume("example").bind(cx, ours).tenant_scope()?;
/// let notes = Notes::default();
/// notes.rows.lock().unwrap().insert((scope.tenant(), b"row".to_vec()), b"old".to_vec());
/// let replaced = |old: &[u8]| vec![Replacement::of(b"row".to_vec(), TEXT, old.to_vec(), b"new".to_vec())];
/// assert_eq!(notes.replace(&scope, replaced(b"old"), None).await?, Replaced { updated: 1, lost: 0 });
/// // A second job still believes in the old bytes: it loses, and the row stays.
/// assert_eq!(notes.replace(&scope, replaced(b"old"), None).await?, Replaced { updated: 0, lost: 1 });
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait RotationSource: fmt::Debug + Send + Sync + 'static {
    /// Names the source among those of one job, stable across releases: 1 to 64 characters of
    /// `a-z 0-9 _ -`.
    fn name(&self) -> &str;

    /// The table of the cells.
    fn table(&self) -> Table;

    /// For which purpose the columns are sealed.
    fn purpose(&self) -> KeyPurpose;

    /// How the cells of `column` are sealed, as the record's schema says.
    fn sealing(&self, column: Column) -> FieldSealing;

    /// The column of the records' heads, which is then one of the sealed columns, if rows are sealed as
    /// a whole ([`RecordMode::Whole`](crate::phi::RecordMode::Whole)). Then [`Counted::Sealed`] counts
    /// heads only: the other cells name no key.
    fn head(&self) -> Option<Column>;

    /// Makes `fence` the only one whose checkpoints are taken from now on, durably, and returns the
    /// progress that was last written. Idempotent for one fence. Cancel-safe.
    ///
    /// # Errors
    /// [`RotationError::Fenced`] if a higher fence was here before; errors of the store.
    async fn claim(
        &self,
        scope: &TenantScope,
        job: &JobName,
        fence: Fence,
    ) -> Result<Option<Vec<u8>>, RotationError>;

    /// The rows after `after` in the source's own fixed order, at most `limit` and never more than
    /// [`MAX_ROTATION_BATCH`]; none means the end. Fewer than asked means nothing. A row that is there
    /// during a whole pass is seen in it. Cancel-safe.
    ///
    /// # Errors
    /// [`RotationError::Malformed`] for a cursor of another source; errors of the store.
    async fn batch(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError>;

    /// Does the changes that still apply and stores the checkpoint, all in one transaction that is
    /// durable on return: the rows and the progress are there together or not at all.
    ///
    /// If the future is dropped the transaction may happen or not, but never in part. Repeat it only by
    /// way of [`Self::claim`], which tells what happened.
    ///
    /// # Errors
    /// [`RotationError::Fenced`] if the checkpoint's fence is not the one that claimed last: nothing was
    /// changed; errors of the store, after which the outcome is unknown.
    async fn replace(
        &self,
        scope: &TenantScope,
        changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError>;

    /// Counts, at one instant, over all rows of the scope. May read the whole table. Cancel-safe.
    ///
    /// # Errors
    /// [`RotationError::Unsupported`] for what this source does not have; errors of the store.
    async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError>;
}

/// Why a source refused or failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A later worker has taken over; nothing was changed.
    #[error("another worker has taken the rotation over")]
    Fenced,
    /// This source cannot do it.
    #[error("rotation source does not support this")]
    Unsupported,
    /// A cursor, a row or a stored progress is not one; the text says which.
    #[error("rotation source met malformed input: {0}")]
    Malformed(&'static str),
    /// The store failed.
    #[error("rotation source failed")]
    Backend(#[source] Source),
}

impl Classify for RotationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced => ErrorKind::Conflict,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::Malformed(_) => ErrorKind::Integrity,
            Self::Backend(_) => ErrorKind::Unavailable,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Backend(_) => Status::Temporary,
            _ => Status::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cursors_keep_their_limits() {
        assert!(JobName::new("reseal/records").is_some());
        for bad in ["", "Reseal", "a b", &"x".repeat(129)] {
            assert_eq!(JobName::new(bad), None, "{bad}");
        }
        assert!(Cursor::new(vec![7; 1024]).is_some());
        assert_eq!(Cursor::new(Vec::new()), None);
        assert_eq!(Cursor::new(vec![7; 1025]), None);
    }

    #[test]
    fn no_debug_line_shows_what_a_row_holds() {
        let secret = b"999-12-3456".to_vec();
        let cell = RotationCell {
            column: Column::new("ssn"),
            bytes: Some(secret.clone()),
        };
        let row = RotationRow {
            row: secret.clone(),
            at: Cursor::new(secret.clone()).unwrap(),
            cells: vec![cell],
            slots: Vec::new(),
        };
        let change = Replacement::of(secret.clone(), Column::new("ssn"), secret.clone(), secret);
        for line in [
            format!("{row:?}"),
            format!("{change:?}"),
            format!("{:?}", row.at),
        ] {
            assert!(!line.contains("57") && !line.contains("999"), "{line}");
        }
    }
}
