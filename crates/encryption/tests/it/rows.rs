//! Rows in memory that a rotation goes through, with a hand in the middle of each write.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::id::TenantId;
use eonpro_core::phi::{Column, FieldSealing, Table};
use eonpro_core::port::{
    Checkpoint, Counted, Cursor, Fence, JobName, KeyPurpose, MAX_ROTATION_BATCH, Replaced,
    Replacement, RotationCell, RotationError, RotationRow, RotationSource,
};

pub(crate) type Columns = BTreeMap<&'static str, Option<Vec<u8>>>;
type Rows = BTreeMap<(TenantId, Vec<u8>), Columns>;
/// The highest fence, and the progress.
type Claim = (Fence, Option<Vec<u8>>);
type Hand = Box<dyn FnOnce(&mut Rows) + Send>;

#[derive(Default)]
struct Store {
    rows: Rows,
    jobs: BTreeMap<(TenantId, JobName), Claim>,
}

pub(crate) struct MemoryRows {
    name: &'static str,
    table: Table,
    cells: Vec<Column>,
    slots: Vec<Column>,
    /// How columns are sealed that are not in the standard way.
    pub(crate) sealing: BTreeMap<Column, FieldSealing>,
    pub(crate) head: Option<Column>,
    pub(crate) purpose: KeyPurpose,
    store: Mutex<Store>,
    /// Runs just before the next batch is written.
    hand: Mutex<Option<Hand>>,
    /// How many writes succeed before one is done and reported as failed.
    pub(crate) good: AtomicI64,
    pub(crate) batches: AtomicUsize,
    /// Holds writers back until it is opened.
    pub(crate) gate: tokio::sync::RwLock<()>,
}

impl fmt::Debug for MemoryRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl MemoryRows {
    pub(crate) fn new(name: &'static str, cells: &[Column], slots: &[Column]) -> Self {
        Self {
            name,
            table: Table::new("patients"),
            cells: cells.to_vec(),
            slots: slots.to_vec(),
            sealing: BTreeMap::new(),
            head: None,
            purpose: KeyPurpose::RECORDS,
            store: Mutex::default(),
            hand: Mutex::default(),
            good: AtomicI64::new(i64::MAX),
            batches: AtomicUsize::new(0),
            gate: tokio::sync::RwLock::new(()),
        }
    }

    pub(crate) fn put(&self, scope: &TenantScope, row: &[u8], column: &'static str, bytes: &[u8]) {
        let mut store = self.store.lock().unwrap();
        let row = store
            .rows
            .entry((scope.tenant(), row.to_vec()))
            .or_default();
        row.insert(column, Some(bytes.to_vec()));
    }

    pub(crate) fn get(
        &self,
        scope: &TenantScope,
        row: &[u8],
        column: &'static str,
    ) -> Option<Vec<u8>> {
        let store = self.store.lock().unwrap();
        store.rows[&(scope.tenant(), row.to_vec())]
            .get(column)?
            .clone()
    }

    pub(crate) fn all(&self, scope: &TenantScope) -> Vec<(Vec<u8>, Columns)> {
        let store = self.store.lock().unwrap();
        let ours = store
            .rows
            .iter()
            .filter(|((tenant, _), _)| *tenant == scope.tenant());
        ours.map(|((_, row), columns)| (row.clone(), columns.clone()))
            .collect()
    }

    pub(crate) fn meddle(&self, hand: impl FnOnce(&mut Rows) + Send + 'static) {
        *self.hand.lock().unwrap() = Some(Box::new(hand));
    }
}

#[async_trait]
impl RotationSource for MemoryRows {
    fn name(&self) -> &str {
        self.name
    }

    fn table(&self) -> Table {
        self.table
    }

    fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    fn sealing(&self, column: Column) -> FieldSealing {
        self.sealing.get(&column).copied().unwrap_or_default()
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
        tokio::task::yield_now().await;
        let mut store = self.store.lock().unwrap();
        let of_job = store
            .jobs
            .entry((scope.tenant(), job.clone()))
            .or_insert((fence, None));
        if fence < of_job.0 {
            return Err(RotationError::Fenced);
        }
        of_job.0 = fence;
        Ok(of_job.1.clone())
    }

    async fn batch(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError> {
        tokio::task::yield_now().await;
        self.batches.fetch_add(1, Ordering::SeqCst);
        let after = after.map_or(&[][..], Cursor::as_bytes);
        let store = self.store.lock().unwrap();
        let ours = store
            .rows
            .iter()
            .filter(|((tenant, row), _)| *tenant == scope.tenant() && **row > *after);
        let rows = ours
            .take(limit.min(MAX_ROTATION_BATCH))
            .map(|((_, row), columns)| {
                let cell = |column: &Column| RotationCell {
                    column: *column,
                    bytes: columns.get(column.as_str()).cloned().flatten(),
                };
                RotationRow {
                    row: row.clone(),
                    at: Cursor::new(row.clone()).unwrap(),
                    cells: self.cells.iter().map(cell).collect(),
                    slots: self.slots.iter().map(cell).collect(),
                }
            });
        Ok(rows.collect())
    }

    async fn replace(
        &self,
        scope: &TenantScope,
        changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError> {
        tokio::task::yield_now().await;
        let _open = self.gate.read().await;
        let mut store = self.store.lock().unwrap();
        if let Some(hand) = self.hand.lock().unwrap().take() {
            hand(&mut store.rows);
        }
        if let Some(one) = checkpoint {
            match store.jobs.get_mut(&(scope.tenant(), one.job)) {
                Some((fence, progress)) if *fence == one.fence => *progress = Some(one.progress),
                _ => return Err(RotationError::Fenced),
            }
        }
        let mut done = Replaced::default();
        for change in changes {
            let there = store.rows.get_mut(&(scope.tenant(), change.row));
            let there = there.filter(|columns| {
                change
                    .expect
                    .iter()
                    .all(|cell| columns.get(cell.column.as_str()).cloned().flatten() == cell.bytes)
            });
            match there {
                Some(columns) => {
                    for cell in change.set {
                        columns.insert(cell.column.as_str(), cell.bytes);
                    }
                    done.updated += 1;
                }
                None => done.lost += 1,
            }
        }
        if self.good.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(RotationError::Backend("the test lets it fail".into()));
        }
        Ok(done)
    }

    async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError> {
        tokio::task::yield_now().await;
        let rows = self.all(scope);
        let holds = |columns: &Columns, name: Column| {
            columns.get(name.as_str()).is_some_and(Option::is_some)
        };
        let count = match what {
            Counted::Rows => rows.len(),
            Counted::Sealed(prefix) => {
                let values = rows.iter().flat_map(|(_, columns)| columns.iter());
                let values = values
                    .filter(|(name, _)| self.head.is_none_or(|head| head.as_str() == **name))
                    .filter_map(|(_, value)| value.as_ref());
                values.filter(|sealed| sealed.starts_with(&prefix)).count()
            }
            Counted::Lacking { has, lacks } => rows
                .iter()
                .filter(|(_, columns)| holds(columns, has) && !holds(columns, lacks))
                .count(),
            Counted::Holding { slot } => rows
                .iter()
                .filter(|(_, columns)| holds(columns, slot))
                .count(),
            _ => return Err(RotationError::Unsupported),
        };
        Ok(count as u64)
    }
}
