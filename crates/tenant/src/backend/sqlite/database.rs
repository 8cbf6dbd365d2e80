//! A transaction on one tenant's database, as the application's work sees it.

use rusqlite::{CachedStatement, Connection};

use super::authorizer::{Gate, Mode};
use super::error::{DbError, sqlite};
use super::file::Handle;
use super::value::{Bound, Row, SqlValue};

/// One transaction on one tenant's database. It commits when the work returns `Ok`, and leaves
/// nothing behind otherwise.
///
/// SQL is text of the program (`'static`), one statement a call, values as parameters `?1`, `?2`.
/// Statements stay prepared, so a loop of inserts costs no parsing.
///
/// ```
/// # use eonpro_tenant::{DbError, TenantDb};
/// fn count(db: &mut TenantDb<'_>) -> Result<Option<i64>, DbError> {
///     db.query_first("SELECT count(*) FROM patients", &[], |row| row.integer(0))
/// }
/// ```
///
/// SQL that is put together at run time does not compile:
///
/// ```compile_fail,E0521
/// # use eonpro_tenant::{DbError, TenantDb};
/// fn count(db: &mut TenantDb<'_>, table: &str) -> Result<Option<i64>, DbError> {
///     db.query_first(table, &[], |row| row.integer(0))
/// }
/// ```
pub struct TenantDb<'c> {
    connection: &'c Connection,
    gate: &'c Gate,
    mode: Mode,
    max_rows: usize,
}

impl std::fmt::Debug for TenantDb<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TenantDb")
    }
}

impl<'c> TenantDb<'c> {
    /// Runs a statement that returns no rows; tells how many rows it changed.
    ///
    /// # Errors
    /// [`DbError::Conflict`] for a key that exists; [`DbError::QueryRefused`];
    /// [`DbError::NotOneStatement`]; others as SQLite reports them.
    pub fn execute(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<usize, DbError> {
        self.execute_text(sql, params)
    }

    /// [`Self::execute`], with SQL that this crate made of a schema's names.
    pub(super) fn execute_text(
        &mut self,
        sql: &str,
        params: &[SqlValue],
    ) -> Result<usize, DbError> {
        let mut statement = self.bound(sql, params)?;
        statement
            .raw_execute()
            .map_err(|error| self.gate.explain(&error))
    }

    /// Runs a query and hands each row to `map`.
    ///
    /// # Errors
    /// As [`Self::execute`]; [`DbError::TooManyRows`]; what `map` returns.
    pub fn query<T>(
        &mut self,
        sql: &'static str,
        params: &[SqlValue],
        map: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        self.query_text(sql, params, map)
    }

    /// [`Self::query`], with SQL that this crate made of a schema's names.
    pub(super) fn query_text<T>(
        &mut self,
        sql: &str,
        params: &[SqlValue],
        mut map: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.gate.explain(&error))? {
            if found.len() == self.max_rows {
                return Err(DbError::TooManyRows);
            }
            found.push(map(&Row(row))?);
        }
        Ok(found)
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_first<T>(
        &mut self,
        sql: &'static str,
        params: &[SqlValue],
        map: impl FnOnce(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.raw_query();
        match rows.next().map_err(|error| self.gate.explain(&error))? {
            Some(row) => map(&Row(row)).map(Some),
            None => Ok(None),
        }
    }

    /// The most rows that a query returns.
    pub(super) fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Runs one of our own statements within the transaction, and tells how many rows it changed.
    pub(super) fn own_execute(
        &mut self,
        sql: &'static str,
        params: &[SqlValue],
    ) -> Result<usize, DbError> {
        self.as_ours(|connection| {
            let mut statement = connection.prepare(sql)?;
            statement.execute(rusqlite::params_from_iter(params.iter().map(Bound)))
        })
    }

    /// The first row of one of our own queries within the transaction.
    pub(super) fn own_query<T>(
        &mut self,
        sql: &'static str,
        params: &[SqlValue],
        map: impl FnOnce(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        let found = self.as_ours(|connection| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(params.iter().map(Bound)))?;
            Ok(rows.next()?.map(|row| map(&Row(row))))
        })?;
        found.transpose()
    }

    /// Our tables are out of the application's reach; while exporting nobody writes. Never through the
    /// cache, where the application could find the statement.
    fn as_ours<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DbError> {
        if self.connection.is_autocommit() {
            return Err(DbError::Aborted);
        }
        if self.mode == Mode::Read {
            return Err(DbError::QueryRefused);
        }
        self.gate.set(Mode::Own);
        let done = work(self.connection);
        self.gate.set(self.mode);
        done.map_err(|error| sqlite(&error))
    }

    fn bound(&self, sql: &str, params: &[SqlValue]) -> Result<CachedStatement<'c>, DbError> {
        // A conflict clause may have rolled the transaction back; what follows would then commit
        // on its own.
        if self.connection.is_autocommit() {
            return Err(DbError::Aborted);
        }
        self.gate.begin();
        let mut statement = self
            .connection
            .prepare_cached(sql)
            .map_err(|error| self.gate.explain(&error))?;
        if statement.parameter_count() != params.len() {
            return Err(DbError::Parameters);
        }
        for (index, value) in (1_usize..).zip(params) {
            statement
                .raw_bind_parameter(index, Bound(value))
                .map_err(|error| self.gate.explain(&error))?;
        }
        Ok(statement)
    }
}

/// Runs `work` in a transaction of `mode`.
pub(super) fn transact<R>(
    handle: &mut Handle,
    mode: Mode,
    max_rows: usize,
    work: impl FnOnce(&mut TenantDb<'_>) -> Result<R, DbError>,
) -> Result<R, DbError> {
    handle.enter(mode);
    // Reads need no lock; work that may write takes it at once, so that it never fails half-way
    // because another process was quicker.
    let begin = if mode == Mode::Read {
        "BEGIN"
    } else {
        "BEGIN IMMEDIATE"
    };
    own(handle, begin)?;
    handle.gate.set(mode);
    let result = work(&mut TenantDb {
        connection: &handle.connection,
        gate: &handle.gate,
        mode,
        max_rows,
    });
    handle.gate.set(Mode::Closed);
    let open = !handle.connection.is_autocommit();
    match result {
        Ok(done) if open => own(handle, "COMMIT").map(|()| done),
        Ok(_) => Err(DbError::Aborted),
        Err(error) if open => own(handle, "ROLLBACK").and(Err(error)),
        Err(error) => Err(error),
    }
}

/// Runs one of our own statements. Never through the cache, where the application could find it.
pub(super) fn own(handle: &Handle, sql: &str) -> Result<(), DbError> {
    handle.gate.set(Mode::Own);
    let done = handle.connection.execute_batch(sql);
    handle.gate.set(Mode::Closed);
    done.map_err(|error| sqlite(&error))
}
