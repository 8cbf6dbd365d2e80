//! One tenant's database file: made, opened hardened, deleted.
//!
//! The file is named by the random storage id and carries that id inside, so that a file moved to
//! another's name is refused before anything is read from it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::authorizer::{Gate, Mode};
use super::error::{DbError, sqlite};
use crate::config::SqliteConfig;
use crate::record::StorageId;

/// An open database.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) connection: Connection,
    pub(super) gate: Gate,
    /// In which mode the cached statements were compiled.
    cached: Mode,
}

impl Handle {
    /// Forgets statements that were compiled under another mode: they were judged by its rules.
    pub(super) fn enter(&mut self, mode: Mode) {
        if self.cached != mode {
            self.connection.flush_prepared_statement_cache();
            self.cached = mode;
        }
    }
}

/// The directory of the files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
    config: SqliteConfig,
}

impl Files {
    /// Makes the directory if need be, readable by its owner only.
    pub(super) fn at(dir: &Path, config: SqliteConfig) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(dir)?;
        // Files are opened without following links, so the way to them must have none.
        let dir = dir.canonicalize()?;
        Ok(Self { dir, config })
    }

    fn path(&self, storage: StorageId) -> PathBuf {
        self.dir.join(format!("{}.db", storage.uuid().simple()))
    }

    /// Makes the file, or completes one that was begun.
    pub(super) fn create(&self, storage: StorageId) -> Result<Handle, DbError> {
        let path = self.path(storage);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // SQLite gives its log and index files the mode of the database.
            options.mode(0o600);
        }
        options.open(&path).map_err(|error| disk(&error))?;
        let handle = self.connect(&path)?;
        let journal = value_of(&handle.connection, "PRAGMA journal_mode = WAL")?;
        if journal.as_deref() != Some("wal") {
            return Err(DbError::Failed(rusqlite::ffi::SQLITE_IOERR));
        }
        handle
            .connection
            .execute_batch(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS eonpro_file (
                   one INTEGER PRIMARY KEY CHECK (one = 1),
                   format INTEGER NOT NULL, storage BLOB NOT NULL) STRICT;
                 CREATE TABLE IF NOT EXISTS eonpro_migrations (
                   version INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT;",
            )
            .and_then(|()| {
                handle.connection.execute(
                    "INSERT OR IGNORE INTO eonpro_file (one, format, storage) VALUES (1, 1, ?1)",
                    [storage.uuid().as_bytes().as_slice()],
                )
            })
            .and_then(|_| handle.connection.execute_batch("COMMIT"))
            .map_err(|error| sqlite(&error))?;
        self.sync()?;
        check_owner(&handle.connection, storage)?;
        handle.gate.set(Mode::Closed);
        Ok(handle)
    }

    /// Opens the file, which must exist and be this tenant's.
    pub(super) fn open(&self, storage: StorageId) -> Result<Handle, DbError> {
        let handle = self.connect(&self.path(storage))?;
        check_owner(&handle.connection, storage)?;
        handle.gate.set(Mode::Closed);
        Ok(handle)
    }

    /// Deletes the file and what SQLite keeps beside it. Nothing to delete is no error.
    pub(super) fn delete(&self, storage: StorageId) -> Result<(), DbError> {
        let path = self.path(storage);
        for ending in ["db", "db-wal", "db-shm", "db-journal"] {
            match fs::remove_file(path.with_extension(ending)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk(&error)),
            }
        }
        self.sync()
    }

    /// Makes creation and deletion of files durable.
    fn sync(&self) -> Result<(), DbError> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| disk(&error))
    }

    fn connect(&self, path: &Path) -> Result<Handle, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| sqlite(&error))?;
        self.harden(connection).map_err(|error| sqlite(&error))
    }

    fn harden(&self, mut connection: Connection) -> rusqlite::Result<Handle> {
        connection.busy_timeout(self.config.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(self.config.statement_cache);
        for (switch, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        ] {
            connection.set_db_config(switch, on)?;
        }
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        ] {
            connection.set_limit(limit, most)?;
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;
             PRAGMA cell_size_check = ON; PRAGMA cache_size = -{};",
            self.config.page_cache_kib
        ))?;
        let gate = Gate::new(Mode::Own);
        let judge = gate.clone();
        connection.authorizer(Some(move |asked: rusqlite::hooks::AuthContext<'_>| {
            judge.judge(&asked)
        }))?;
        Ok(Handle {
            connection,
            gate,
            cached: Mode::Closed,
        })
    }
}

fn check_owner(connection: &Connection, storage: StorageId) -> Result<(), DbError> {
    let found = connection.query_row("SELECT format, storage FROM eonpro_file", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    match found {
        Ok((1, owner)) if owner == storage.uuid().as_bytes() => Ok(()),
        Ok(_) => Err(DbError::Foreign),
        // The table is missing: not a file that we finished.
        Err(error) => match sqlite(&error) {
            DbError::Statement => Err(DbError::Foreign),
            other => Err(other),
        },
    }
}

fn value_of(connection: &Connection, pragma: &str) -> Result<Option<String>, DbError> {
    connection
        .query_row(pragma, [], |row| row.get(0))
        .map(Some)
        .map_err(|error| sqlite(&error))
}

/// Keeps the operating system's error number and leaves the path out.
fn disk(error: &io::Error) -> DbError {
    match error.kind() {
        io::ErrorKind::StorageFull => DbError::Full,
        io::ErrorKind::NotFound => DbError::Missing,
        _ => DbError::Failed(rusqlite::ffi::SQLITE_IOERR),
    }
}
