//! Rotation over one table of the tenants' databases.
//!
//! A job's progress lies in the tenant's own file, in a table of ours that the application's SQL cannot
//! reach, so that rows and progress share a transaction. The statements for the application's table are
//! made of its schema's names and judged as the application's own.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::phi::{Column, FieldSealing, PhiSchema, RecordMode, Table};
use eonpro_core::port::{
    Checkpoint, Counted, Cursor, Fence, JobName, KeyPurpose, MAX_ROTATION_BATCH,
    MAX_ROTATION_PROGRESS, Replaced, Replacement, RotationCell, RotationError, RotationRow,
    RotationSource,
};
use uuid::Uuid;

use super::SqliteTenants;
use super::database::TenantDb;
use super::error::DbError;
use super::value::{Row, SqlValue};
use crate::error::TenantError;

/// How a table names its rows.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowIds {
    /// As the bytes for which the cells were sealed: a `BLOB`.
    Bytes,
    /// As hyphenated lower-case UUID text, where the cells were sealed for the 16 bytes.
    Text,
}

/// One table with sealed columns, in every tenant's database.
///
/// A sealed column holds the sealed bytes as a `BLOB`, or null; anything else is handed out as it is and
/// will not open. The column of row ids must be unique, of one type and never null.
#[derive(Debug, Clone)]
pub struct SqliteRotation {
    store: Arc<SqliteTenants>,
    table: Table,
    purpose: KeyPurpose,
    row: Column,
    ids: RowIds,
    cells: Vec<Column>,
    sealing: Vec<(Column, FieldSealing)>,
    head: Option<Column>,
    slots: Vec<Column>,
}

/// The twin's field for the head of a record that is sealed as a whole.
const HEAD: Column = Column::new("phi_head");

impl SqliteRotation {
    /// The table of `schema`, whose sealed fields lie in the columns of their names and whose rows are
    /// named by the bytes in the column `row`. For [`KeyPurpose::RECORDS`]. The head of a record that is
    /// sealed as a whole lies in the column `phi_head`.
    #[must_use]
    pub fn new(store: Arc<SqliteTenants>, schema: &PhiSchema, row: Column) -> Self {
        let sealing: Vec<_> = schema
            .fields
            .iter()
            .filter_map(|field| Some((field.column, field.sealing?)))
            .collect();
        let head = (schema.mode == RecordMode::Whole).then_some(HEAD);
        let cells = head
            .into_iter()
            .chain(sealing.iter().map(|(column, _)| *column));
        Self {
            store,
            table: schema.table,
            purpose: KeyPurpose::RECORDS,
            row,
            ids: RowIds::Bytes,
            cells: cells.collect(),
            sealing,
            head,
            slots: Vec::new(),
        }
    }

    /// For columns that are sealed for another purpose.
    #[must_use]
    pub fn with_purpose(mut self, purpose: KeyPurpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// For rows that are named otherwise.
    #[must_use]
    pub fn with_ids(mut self, ids: RowIds) -> Self {
        self.ids = ids;
        self
    }

    /// With those columns of index tokens, so that indexes can be rotated.
    #[must_use]
    pub fn with_slots(mut self, slots: &[Column]) -> Self {
        self.slots = slots.to_vec();
        self
    }

    /// Runs `work` on the scope's database, in one transaction.
    async fn run<R, F>(&self, scope: &TenantScope, work: F) -> Result<R, RotationError>
    where
        R: Send + 'static,
        F: FnOnce(&Self, &mut TenantDb<'_>) -> Result<R, Refusal> + Send + 'static,
    {
        let this = self.clone();
        let done = self.store.run(scope, move |db| match work(&this, db) {
            Ok(done) => Ok(Ok(done)),
            // No row and no claim was written so far: there is nothing to roll back.
            Err(Refusal::Port(refused)) => Ok(Err(refused)),
            Err(Refusal::Db(failed)) => Err(failed),
        });
        done.await.map_err(failed)?
    }

    /// The value that names the row in SQL.
    fn id(&self, row: &[u8]) -> Result<SqlValue, RotationError> {
        match self.ids {
            RowIds::Bytes => Ok(row.into()),
            RowIds::Text => Uuid::from_slice(row)
                .map(|id| id.hyphenated().to_string().into())
                .map_err(|_| RotationError::Malformed("row id is no UUID")),
        }
    }

    /// What the cells of the row were sealed for.
    fn named(&self, id: &SqlValue) -> Result<Vec<u8>, RotationError> {
        let malformed = RotationError::Malformed("row id of another form");
        match (self.ids, id) {
            (RowIds::Bytes, SqlValue::Blob(bytes)) if !bytes.is_empty() => Ok(bytes.clone()),
            (RowIds::Text, SqlValue::Text(text)) => match Uuid::try_parse(text) {
                Ok(id) if id.hyphenated().to_string() == *text => Ok(id.as_bytes().to_vec()),
                _ => Err(malformed),
            },
            _ => Err(malformed),
        }
    }

    /// The place before the first row, or after that of a cursor, which is the row's own name.
    fn after(&self, cursor: Option<&Cursor>) -> Result<SqlValue, RotationError> {
        match (cursor, self.ids) {
            (Some(cursor), _) => self.id(cursor.as_bytes()),
            (None, RowIds::Bytes) => Ok(SqlValue::Blob(Vec::new())),
            (None, RowIds::Text) => Ok(SqlValue::Text(String::new())),
        }
    }

    fn read(
        &self,
        db: &mut TenantDb<'_>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, Refusal> {
        if cursor.is_none() {
            self.check_ids(db)?;
        }
        let after = self.after(cursor)?;
        let (table, row) = (self.table.as_str(), self.row.as_str());
        let mut sql = format!("SELECT \"{row}\"");
        for column in self.cells.iter().chain(&self.slots) {
            write!(sql, ", \"{}\"", column.as_str()).map_err(|_| DbError::Statement)?;
        }
        write!(
            sql,
            " FROM \"{table}\" WHERE \"{row}\" > ?1 ORDER BY \"{row}\" LIMIT ?2"
        )
        .map_err(|_| DbError::Statement)?;
        let limit = limit.min(MAX_ROTATION_BATCH).min(db.max_rows());
        let limit = i64::try_from(limit).map_err(|_| DbError::Statement)?;
        let found = db.query_text(&sql, &[after, limit.into()], |row| {
            let mut values = vec![row.value(0)?];
            for at in 0..self.cells.len().saturating_add(self.slots.len()) {
                values.push(row.value(at.saturating_add(1))?);
            }
            Ok(values)
        })?;
        found
            .into_iter()
            .map(|values| self.row_of(values))
            .collect()
    }

    /// A null or another type would be passed over by the order of the rows: nothing may be.
    fn check_ids(&self, db: &mut TenantDb<'_>) -> Result<(), Refusal> {
        let (table, row) = (self.table.as_str(), self.row.as_str());
        let kind = match self.ids {
            RowIds::Bytes => "blob",
            RowIds::Text => "text",
        };
        let sql = format!("SELECT 1 FROM \"{table}\" WHERE typeof(\"{row}\") <> '{kind}' LIMIT 1");
        let found = db.query_text(&sql, &[], |row| row.integer(0))?;
        match found.is_empty() {
            true => Ok(()),
            false => Err(RotationError::Malformed("row id of another type").into()),
        }
    }

    fn row_of(&self, values: Vec<SqlValue>) -> Result<RotationRow, Refusal> {
        let mut values = values.into_iter();
        let id = values.next().ok_or(DbError::Type)?;
        let row = self.named(&id)?;
        let malformed = RotationError::Malformed("row id beyond 1024 bytes");
        let at = Cursor::new(row.clone()).ok_or(malformed)?;
        let mut cell = |column: &Column| RotationCell {
            column: *column,
            bytes: match values.next() {
                Some(SqlValue::Blob(bytes)) => Some(bytes),
                Some(SqlValue::Text(text)) => Some(text.into_bytes()),
                Some(SqlValue::Integer(number)) => Some(number.to_string().into_bytes()),
                Some(SqlValue::Null) | None => None,
            },
        };
        Ok(RotationRow {
            row,
            at,
            cells: self.cells.iter().map(&mut cell).collect(),
            slots: self.slots.iter().map(&mut cell).collect(),
        })
    }

    /// One row: the new bytes, if what is expected is still there.
    fn write(&self, db: &mut TenantDb<'_>, change: Replacement) -> Result<usize, Refusal> {
        let known = |column: &Column| self.cells.contains(column) || self.slots.contains(column);
        let both = change.expect.iter().chain(&change.set);
        if change.expect.is_empty()
            || change.set.is_empty()
            || !both.clone().all(|one| known(&one.column))
        {
            return Err(
                RotationError::Malformed("replacement of a column that is not here").into(),
            );
        }
        let mut sql = format!("UPDATE \"{}\" SET ", self.table.as_str());
        let mut params = Vec::new();
        for (at, cell) in change.set.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            params.push(SqlValue::from(cell.bytes));
            let number = params.len();
            write!(sql, "{comma}\"{}\" = ?{number}", cell.column.as_str())
                .map_err(|_| DbError::Statement)?;
        }
        params.push(self.id(&change.row)?);
        write!(sql, " WHERE \"{}\" = ?{}", self.row.as_str(), params.len())
            .map_err(|_| DbError::Statement)?;
        for cell in change.expect {
            params.push(SqlValue::from(cell.bytes));
            let number = params.len();
            write!(sql, " AND \"{}\" IS ?{number}", cell.column.as_str())
                .map_err(|_| DbError::Statement)?;
        }
        Ok(db.execute_text(&sql, &params)?)
    }

    fn counted(&self, db: &mut TenantDb<'_>, what: Counted) -> Result<u64, Refusal> {
        let table = self.table.as_str();
        let from = format!("SELECT count(*) FROM \"{table}\"");
        let slot =
            |column: Column| match self.slots.contains(&column) || self.cells.contains(&column) {
                true => Ok(column.as_str()),
                false => Err(RotationError::Unsupported),
            };
        let one = |db: &mut TenantDb<'_>, sql: &str, params: &[SqlValue]| {
            let found = db.query_text(sql, params, |row: &Row<'_>| row.integer(0))?;
            let count = found.first().copied().unwrap_or(0);
            Ok::<u64, DbError>(u64::try_from(count).unwrap_or(0))
        };
        match what {
            Counted::Rows => Ok(one(db, &from, &[])?),
            Counted::Sealed(prefix) => {
                let mut sealed = 0_u64;
                let named = |column: &&Column| self.head.is_none_or(|head| head == **column);
                for column in self.cells.iter().filter(named) {
                    let sql = format!("{from} WHERE substr(\"{}\", 1, 5) = ?1", column.as_str());
                    let prefix = [SqlValue::Blob(prefix.to_vec())];
                    sealed = sealed.saturating_add(one(db, &sql, &prefix)?);
                }
                Ok(sealed)
            }
            Counted::Lacking { has, lacks } => {
                let (has, lacks) = (slot(has)?, slot(lacks)?);
                let sql = format!("{from} WHERE \"{has}\" IS NOT NULL AND \"{lacks}\" IS NULL");
                Ok(one(db, &sql, &[])?)
            }
            Counted::Holding { slot: held } => {
                let sql = format!("{from} WHERE \"{}\" IS NOT NULL", slot(held)?);
                Ok(one(db, &sql, &[])?)
            }
            _ => Err(RotationError::Unsupported.into()),
        }
    }
}

/// Why work in a transaction ends early.
enum Refusal {
    /// For the job to know. Only before anything was written.
    Port(RotationError),
    Db(DbError),
}

impl From<RotationError> for Refusal {
    fn from(error: RotationError) -> Self {
        Self::Port(error)
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

fn failed(error: TenantError) -> RotationError {
    RotationError::Backend(Box::new(error))
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS eonpro_rotations (
    job TEXT PRIMARY KEY, fence INTEGER NOT NULL, progress BLOB) STRICT";
const FIND: &str = "SELECT fence, progress FROM eonpro_rotations WHERE job = ?1";
const CLAIM: &str = "INSERT INTO eonpro_rotations (job, fence) VALUES (?1, ?2)
    ON CONFLICT (job) DO UPDATE SET fence = excluded.fence";
/// No row changes unless the fence is the one that claimed last.
const ADVANCE: &str = "UPDATE eonpro_rotations SET progress = ?3 WHERE job = ?1 AND fence = ?2";

/// The job and the source together: several sources share a file.
fn progress_key(source: &SqliteRotation, job: &JobName) -> SqlValue {
    format!("{} {}", job.as_str(), source.table.as_str()).into()
}

fn token(fence: Fence) -> Result<i64, RotationError> {
    i64::try_from(fence.0).map_err(|_| RotationError::Malformed("fence beyond 2^63"))
}

#[async_trait]
impl RotationSource for SqliteRotation {
    fn name(&self) -> &str {
        self.table.as_str()
    }

    fn table(&self) -> Table {
        self.table
    }

    fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    fn sealing(&self, column: Column) -> FieldSealing {
        let known = self.sealing.iter().find(|(known, _)| *known == column);
        known.map_or(FieldSealing::STANDARD, |(_, sealing)| *sealing)
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
        let (key, fence) = (progress_key(self, job), token(fence)?);
        self.run(scope, move |_, db| {
            db.own_execute(TABLE, &[])?;
            let found = db.own_query(FIND, std::slice::from_ref(&key), |row| {
                let progress = match row.value(1)? {
                    SqlValue::Blob(bytes) => Some(bytes),
                    _ => None,
                };
                Ok((row.integer(0)?, progress))
            })?;
            let progress = match found {
                Some((highest, _)) if highest > fence => return Err(RotationError::Fenced.into()),
                Some((_, progress)) => progress,
                None => None,
            };
            db.own_execute(CLAIM, &[key, fence.into()])?;
            Ok(progress)
        })
        .await
    }

    async fn batch(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError> {
        let after = after.cloned();
        self.run(scope, move |this, db| this.read(db, after.as_ref(), limit))
            .await
    }

    async fn replace(
        &self,
        scope: &TenantScope,
        changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError> {
        let checkpoint = match checkpoint {
            Some(one) if one.progress.len() > MAX_ROTATION_PROGRESS => {
                return Err(RotationError::Malformed("progress beyond 16 KiB"));
            }
            Some(one) => {
                let key = progress_key(self, &one.job);
                Some([key, token(one.fence)?.into(), one.progress.into()])
            }
            None => None,
        };
        self.run(scope, move |this, db| {
            // First, so that whoever was fenced off has changed nothing.
            if let Some(checkpoint) = &checkpoint {
                // A file in which nobody claimed yet has no table of claims.
                db.own_execute(TABLE, &[])?;
                if db.own_execute(ADVANCE, checkpoint)? == 0 {
                    return Err(RotationError::Fenced.into());
                }
            }
            let mut done = Replaced::default();
            for change in changes {
                match this.write(db, change) {
                    Ok(0) => done.lost = done.lost.saturating_add(1),
                    Ok(_) => done.updated = done.updated.saturating_add(1),
                    // The progress is written already: all of it must go.
                    Err(Refusal::Port(_)) => return Err(DbError::Aborted.into()),
                    Err(failed) => return Err(failed),
                }
            }
            Ok(done)
        })
        .await
    }

    async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError> {
        self.run(scope, move |this, db| this.counted(db, what))
            .await
    }
}
