//! What every [`RotationSource`] must do.
//!
//! ```
//! use eonpro_core::phi::Column;
//! use eonpro_testkit::MemoryRotation;
//! use eonpro_testkit::conformance::{self, rotation::Subject};
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() {
//! let cells = [Column::new("name"), Column::new("ssn")];
//! let report = conformance::rotation(async || {
//!     let source = MemoryRotation::new(&cells, &[]);
//!     Subject::volatile(source.clone(), source, &cells, &[])
//! })
//! .await;
//! report.assert_conforms();
//! # }
//! ```

mod changes;
mod jobs;
mod passes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::phi::Column;
use eonpro_core::port::{Cursor, RotationCell, RotationError, RotationRow, RotationSource};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::report::{Mismatch, Report};
use crate::scope;

/// Opens a source once more.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn RotationSource>> + Send + Sync>;

/// Writes behind the source's back, as an application does. What cannot be done ends the test.
#[async_trait]
pub trait Rows: Send + Sync {
    /// Inserts rows, or overwrites columns of those that are there. Ids have 16 bytes.
    async fn put(&self, scope: &TenantScope, rows: Vec<(Vec<u8>, Vec<RotationCell>)>);

    /// Deletes a row.
    async fn delete(&self, scope: &TenantScope, row: &[u8]);

    /// Makes the scope's table unreadable, such as by dropping it.
    async fn ruin(&self, scope: &TenantScope);
}

/// A source without rows, two tenants that have it, and how to write behind its back.
pub struct Subject {
    /// The source.
    pub source: Arc<dyn RotationSource>,
    /// The hand behind its back.
    pub rows: Arc<dyn Rows>,
    /// One tenant.
    pub ours: TenantScope,
    /// Another one.
    pub theirs: TenantScope,
    /// The sealed columns, in the source's order, at least one.
    pub cells: Vec<Column>,
    /// The columns of index tokens, which must not be unique.
    pub slots: Vec<Column>,
    /// Opens the same source again after a restart.
    pub reopen: Option<Opener>,
}

impl Subject {
    /// A source for the tenants 1 and 2 of testkit, which forgets.
    #[must_use]
    pub fn volatile(
        source: impl RotationSource,
        rows: impl Rows + 'static,
        cells: &[Column],
        slots: &[Column],
    ) -> Self {
        Self {
            source: Arc::new(source),
            rows: Arc::new(rows),
            ours: scope(1),
            theirs: scope(2),
            cells: cells.to_vec(),
            slots: slots.to_vec(),
            reopen: None,
        }
    }

    /// With a way to open the same source again.
    #[must_use]
    pub fn reopened_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn RotationSource>> + Send + Sync + 'static,
    ) -> Self {
        self.reopen = Some(Arc::new(open));
        self
    }

    /// The first sealed column.
    fn column(&self) -> Result<Column, Mismatch> {
        let first = self.cells.first().copied();
        first.ok_or_else(|| Mismatch("the subject has no sealed column".to_owned()))
    }

    /// Every column of a row whose cells name `key` and tell `number`; every third row has nulls in
    /// the last of several sealed columns, and every other row has tokens.
    fn cells_of(&self, number: u64, key: u8) -> Vec<RotationCell> {
        let last = self.cells.len().saturating_sub(1);
        let cells = self.cells.iter().enumerate().map(|(at, column)| {
            let is_null = at > 0 && at == last && number.is_multiple_of(3);
            let bytes = (!is_null).then(|| sealed(key, number.wrapping_add(at as u64)));
            (*column, bytes)
        });
        let slots = self.slots.iter().map(|column| {
            let bytes = (number.is_multiple_of(2)).then(|| number.to_be_bytes().to_vec());
            (*column, bytes)
        });
        cells
            .chain(slots)
            .map(|(column, bytes)| RotationCell { column, bytes })
            .collect()
    }

    async fn put(&self, scope: &TenantScope, numbers: impl Iterator<Item = u64>, key: u8) {
        let rows = numbers.map(|number| (id(number), self.cells_of(number, key)));
        self.rows.put(scope, rows.collect()).await;
    }

    /// One whole pass of pages of `limit`. More than `most` rows are an error.
    async fn pass(
        &self,
        scope: &TenantScope,
        limit: usize,
        most: usize,
    ) -> Result<Vec<RotationRow>, Mismatch> {
        let mut seen = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = self.source.batch(scope, after.as_ref(), limit).await?;
            let Some(last) = page.last() else {
                return Ok(seen);
            };
            // As a job keeps it.
            after = Cursor::new(last.at.as_bytes().to_vec());
            seen.extend(page);
            if seen.len() > most {
                return Err(Mismatch(format!("a pass shows more than {most} rows")));
            }
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

type Outcome = Result<(), Mismatch>;
type Check = fn(Subject) -> BoxFuture<'static, Outcome>;

/// Every check, by name.
const CHECKS: &[(&str, Check)] = checks![
    passes::pages_cover_every_row_once_with_all_it_holds,
    passes::rows_that_come_and_go_hide_no_other,
    passes::a_page_is_no_longer_than_asked_and_than_the_limit,
    passes::nobody_sees_or_changes_anothers_rows,
    passes::its_columns_are_as_it_says,
    changes::a_change_applies_only_while_what_it_expects_is_there,
    changes::every_column_that_is_expected_counts,
    changes::of_concurrent_changes_one_wins,
    changes::counts_are_of_what_is_there,
    changes::what_cannot_be_done_is_an_error,
    changes::without_its_table_every_call_fails,
    jobs::progress_comes_back_and_a_pass_goes_on_after_a_restart,
    jobs::an_earlier_worker_changes_nothing,
    jobs::jobs_and_tenants_have_progress_of_their_own,
    jobs::the_longest_progress_is_stored,
];

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs every check, each on a source that `make` has just made, with tenants that have no rows.
///
/// Needs a multi-threaded runtime, or concurrency is not tested, and its timers.
pub async fn suite<M>(make: M) -> Report
where
    M: AsyncFn() -> Subject,
{
    suite_with_patience(make, Duration::from_secs(120)).await
}

/// [`suite`], waiting no longer than `patience` for one check.
pub async fn suite_with_patience<M>(make: M, patience: Duration) -> Report
where
    M: AsyncFn() -> Subject,
{
    let mut report = Report::default();
    for (name, check) in CHECKS {
        report.judge(name, patience, check(make().await)).await;
    }
    report
}

/// The id of the row numbered so. In the order of ids the numbers are mixed.
fn id(number: u64) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [mixed.to_be_bytes(), number.to_be_bytes()].concat()
}

/// Five bytes that name a key, then some that tell `number`.
fn sealed(key: u8, number: u64) -> Vec<u8> {
    [prefix(key).as_slice(), &number.to_be_bytes()].concat()
}

fn prefix(key: u8) -> [u8; 5] {
    [1, 0, 0, 0, key]
}

/// The ids of `rows`, sorted.
fn ids(rows: &[RotationRow]) -> Vec<Vec<u8>> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.row.clone()).collect();
    ids.sort_unstable();
    ids
}

/// The ids of the rows numbered so, sorted.
fn numbered(numbers: impl Iterator<Item = u64>) -> Vec<Vec<u8>> {
    let mut ids: Vec<_> = numbers.map(id).collect();
    ids.sort_unstable();
    ids
}

/// Expects that a call failed.
fn expect_error<T>(done: Result<T, RotationError>, what: &str) -> Outcome {
    match done {
        Ok(_) => Err(Mismatch(format!("{what} is no error"))),
        Err(_) => Ok(()),
    }
}

/// Expects that a call was fenced off.
fn expect_fenced<T>(done: Result<T, RotationError>, what: &str) -> Outcome {
    match done {
        Err(RotationError::Fenced) => Ok(()),
        Err(other) => Err(Mismatch(format!("{what}: not fenced but {other}"))),
        Ok(_) => Err(Mismatch(format!("{what} is not fenced off"))),
    }
}
