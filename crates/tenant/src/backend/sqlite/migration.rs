//! The schema of a tenant's database, step by step.

use eonpro_core::event::Digest;
use eonpro_core::pae;

use super::authorizer::Mode;
use super::database::own;
use super::error::{DbError, sqlite};
use super::file::Handle;

/// One step of the schema. Never changed once a database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// 1, 2, 3 and so on without gaps.
    pub version: u32,
    /// What it does, one statement each.
    pub statements: &'static [&'static str],
}

impl Migration {
    /// The step `version`.
    #[must_use]
    pub const fn new(version: u32, statements: &'static [&'static str]) -> Self {
        Self {
            version,
            statements,
        }
    }

    fn digest(&self) -> Digest {
        let parts: Vec<&[u8]> = self.statements.iter().map(|sql| sql.as_bytes()).collect();
        Digest::of(&pae::encode(&parts))
    }
}

/// Brings the database to the last of `migrations`, all steps or none; tells how many were new.
pub(super) fn migrate(handle: &mut Handle, migrations: &[Migration]) -> Result<usize, DbError> {
    if (1..).zip(migrations).any(|(n, step)| step.version != n) {
        return Err(DbError::MigrationOrder);
    }
    handle.enter(Mode::Schema);
    own(handle, "BEGIN IMMEDIATE")?;
    let done = apply(handle, migrations);
    handle.gate.set(Mode::Closed);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = if handle.connection.is_autocommit() {
        Err(DbError::Aborted)
    } else {
        own(handle, end)
    };
    let done = done?;
    ended.map(|()| done)
}

fn apply(handle: &Handle, migrations: &[Migration]) -> Result<usize, DbError> {
    let applied = applied(handle)?;
    if applied.len() > migrations.len() {
        return Err(DbError::SchemaTooNew);
    }
    for (step, known) in migrations.iter().zip(&applied) {
        if step.digest().as_bytes().as_slice() != known.as_slice() {
            return Err(DbError::MigrationChanged(step.version));
        }
    }
    let new = migrations.get(applied.len()..).unwrap_or_default();
    for step in new {
        handle.gate.set(Mode::Schema);
        for sql in step.statements {
            handle.gate.begin();
            handle
                .connection
                .prepare(sql)
                .and_then(|mut statement| statement.raw_execute())
                .map_err(|error| handle.gate.explain(&error))?;
        }
        handle.gate.set(Mode::Own);
        handle
            .connection
            .execute(
                "INSERT INTO eonpro_migrations (version, digest) VALUES (?1, ?2)",
                rusqlite::params![step.version, step.digest().as_bytes().as_slice()],
            )
            .map_err(|error| sqlite(&error))?;
    }
    Ok(new.len())
}

fn applied(handle: &Handle) -> Result<Vec<Vec<u8>>, DbError> {
    handle.gate.set(Mode::Own);
    let mut statement = handle
        .connection
        .prepare("SELECT digest FROM eonpro_migrations ORDER BY version")
        .map_err(|error| sqlite(&error))?;
    let rows = statement
        .query_map([], |row| row.get(0))
        .map_err(|error| sqlite(&error))?;
    rows.collect::<Result<_, _>>()
        .map_err(|error| sqlite(&error))
}
