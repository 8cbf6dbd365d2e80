//! A rotation source in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::id::TenantId;
use eonpro_core::phi::{Column, FieldSealing, Table};
use eonpro_core::port::{
    Checkpoint, Counted, Cursor, Fence, JobName, KeyPurpose, MAX_ROTATION_BATCH, Replaced,
    Replacement, RotationCell, RotationError, RotationRow, RotationSource,
};

use crate::conformance::rotation::Rows;

/// One row's columns; one that is missing is null.
pub(crate) type Columns = BTreeMap<Column, Vec<u8>>;

/// The highest fence, and the progress.
pub(crate) type Claim = (Fence, Option<Vec<u8>>);

/// Rows in memory that a rotation goes through: a double for tests. A clone is a second handle on the
/// same rows.
#[derive(Debug, Clone)]
pub struct MemoryRotation {
    cells: Vec<Column>,
    slots: Vec<Column>,
    head: Option<Column>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) rows: BTreeMap<(TenantId, Vec<u8>), Columns>,
    pub(crate) jobs: BTreeMap<(TenantId, JobName), Claim>,
    /// Whether the table can be read no more.
    gone: bool,
}

impl MemoryRotation {
    /// No rows, with those sealed columns and those columns of index tokens.
    #[must_use]
    pub fn new(cells: &[Column], slots: &[Column]) -> Self {
        Self {
            cells: cells.to_vec(),
            slots: slots.to_vec(),
            head: None,
            state: Arc::default(),
        }
    }

    /// For records that are sealed as a whole, with their heads in that sealed column.
    #[must_use]
    pub fn with_head(mut self, head: Column) -> Self {
        self.head = Some(head);
        self
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> Result<MutexGuard<'_, State>, RotationError> {
        let state = self.state();
        match state.gone {
            true => Err(RotationError::Backend("the table is gone".into())),
            false => Ok(state),
        }
    }

    fn known(&self, column: Column) -> bool {
        self.cells.contains(&column) || self.slots.contains(&column)
    }
}

/// Whether every column holds what is expected of it.
pub(crate) fn holds(columns: &Columns, expect: &[RotationCell]) -> bool {
    let mut expect = expect.iter();
    expect.all(|cell| columns.get(&cell.column) == cell.bytes.as_ref())
}

/// Puts every column.
pub(crate) fn put(columns: &mut Columns, set: Vec<RotationCell>) {
    for cell in set {
        match cell.bytes {
            Some(bytes) => columns.insert(cell.column, bytes),
            None => columns.remove(&cell.column),
        };
    }
}

#[async_trait]
impl RotationSource for MemoryRotation {
    fn name(&self) -> &str {
        "memory"
    }

    fn table(&self) -> Table {
        Table::new("memory")
    }

    fn purpose(&self) -> KeyPurpose {
        KeyPurpose::RECORDS
    }

    fn sealing(&self, _: Column) -> FieldSealing {
        FieldSealing::STANDARD
    }

    fn head(&self) -> Option<Column> {
        self.head
    }

    async fn claim(
        &self,
        scope: &TenantScope,
        job: &JobName,
        fence: Fence,
    ) -> Result<Option<Vec<u8>>, RotationError> {
        let mut state = self.readable()?;
        let place = (scope.tenant(), job.clone());
        let (seen, progress) = state.jobs.entry(place).or_insert((fence, None));
        if fence < *seen {
            return Err(RotationError::Fenced);
        }
        *seen = fence;
        Ok(progress.clone())
    }

    async fn batch(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError> {
        let state = self.readable()?;
        let after = after.map_or(&[][..], Cursor::as_bytes);
        let ours = state
            .rows
            .iter()
            .filter(|((tenant, row), _)| *tenant == scope.tenant() && &**row > after);
        let page = ours.take(limit.min(MAX_ROTATION_BATCH));
        page.map(|((_, row), columns)| {
            let cell = |column: &Column| RotationCell {
                column: *column,
                bytes: columns.get(column).cloned(),
            };
            let malformed = RotationError::Malformed("row id");
            Ok(RotationRow {
                row: row.clone(),
                at: Cursor::new(row.clone()).ok_or(malformed)?,
                cells: self.cells.iter().map(cell).collect(),
                slots: self.slots.iter().map(cell).collect(),
            })
        })
        .collect()
    }

    async fn replace(
        &self,
        scope: &TenantScope,
        changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError> {
        let mut state = self.readable()?;
        for change in &changes {
            let mut all = change.expect.iter().chain(&change.set);
            let named = !change.expect.is_empty() && !change.set.is_empty();
            if !named || !all.all(|cell| self.known(cell.column)) {
                return Err(RotationError::Malformed("replacement"));
            }
        }
        if let Some(checkpoint) = checkpoint {
            match state.jobs.get_mut(&(scope.tenant(), checkpoint.job)) {
                Some((seen, progress)) if *seen == checkpoint.fence => {
                    *progress = Some(checkpoint.progress);
                }
                _ => return Err(RotationError::Fenced),
            }
        }
        let mut done = Replaced::default();
        for change in changes {
            match state.rows.get_mut(&(scope.tenant(), change.row)) {
                Some(columns) if holds(columns, &change.expect) => {
                    put(columns, change.set);
                    done.updated += 1;
                }
                _ => done.lost += 1,
            }
        }
        Ok(done)
    }

    async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError> {
        let state = self.readable()?;
        let ours = state
            .rows
            .iter()
            .filter(|((tenant, _), _)| *tenant == scope.tenant())
            .map(|(_, columns)| columns);
        let count = match what {
            Counted::Rows => ours.count(),
            Counted::Sealed(prefix) => {
                let named = |column: &&Column| self.head.is_none_or(|head| head == **column);
                let of = |columns: &Columns| {
                    let cells = self.cells.iter().filter(named);
                    let sealed = cells.filter_map(|column| columns.get(column));
                    sealed.filter(|bytes| bytes.starts_with(&prefix)).count()
                };
                ours.map(of).sum()
            }
            Counted::Lacking { has, lacks } if self.known(has) && self.known(lacks) => ours
                .filter(|columns| columns.contains_key(&has) && !columns.contains_key(&lacks))
                .count(),
            Counted::Holding { slot } if self.known(slot) => {
                ours.filter(|columns| columns.contains_key(&slot)).count()
            }
            _ => return Err(RotationError::Unsupported),
        };
        Ok(count as u64)
    }
}

#[async_trait]
impl Rows for MemoryRotation {
    async fn put(&self, scope: &TenantScope, rows: Vec<(Vec<u8>, Vec<RotationCell>)>) {
        let mut state = self.state();
        for (row, cells) in rows {
            let columns = state.rows.entry((scope.tenant(), row)).or_default();
            put(columns, cells);
        }
    }

    async fn delete(&self, scope: &TenantScope, row: &[u8]) {
        self.state().rows.remove(&(scope.tenant(), row.to_vec()));
    }

    async fn ruin(&self, _: &TenantScope) {
        self.state().gone = true;
    }
}
