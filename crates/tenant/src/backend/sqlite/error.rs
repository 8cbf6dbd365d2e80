//! Why a tenant's database refused or failed. SQLite's own messages quote SQL, so none is kept:
//! an operator gets the result code (sqlite.org/rescode.html).

use eonpro_core::task::TaskLost;
use eonpro_core::{Classify, ErrorKind};
use rusqlite::ErrorCode;

/// Why a tenant's database refused or failed: no variant tells SQL, a value or a path.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// A row with that key exists already.
    #[error("row exists already")]
    Conflict,
    /// Another constraint of the schema does not hold.
    #[error("constraint does not hold")]
    Constraint,
    /// The statement reaches for what no statement may: other files, settings, system tables,
    /// transactions, or, while exporting, for a change.
    #[error("statement is refused")]
    QueryRefused,
    /// Not exactly one statement.
    #[error("not exactly one statement")]
    NotOneStatement,
    /// The statement is malformed, does not fit the schema, or returned rows to `execute`.
    #[error("statement is malformed or misused")]
    Statement,
    /// The number of parameters is wrong.
    #[error("wrong number of parameters")]
    Parameters,
    /// A column is missing or of another type than asked.
    #[error("column has another type")]
    Type,
    /// More rows than [`max_rows`](crate::SqliteConfig::max_rows).
    #[error("too many rows")]
    TooManyRows,
    /// The work itself gives up; its transaction is rolled back.
    #[error("work was given up")]
    Aborted,
    /// Too many calls wait for this tenant's database.
    #[error("too many calls wait for the database")]
    Overloaded,
    /// Another process holds the database.
    #[error("database is busy")]
    Busy,
    /// The file is not there.
    #[error("database is missing")]
    Missing,
    /// The file is another tenant's, or no database.
    #[error("database is not this tenant's")]
    Foreign,
    /// The file is damaged.
    #[error("database is damaged")]
    Damaged,
    /// The disk is full.
    #[error("disk is full")]
    Full,
    /// Migrations are not numbered 1, 2, 3 and so on.
    #[error("migrations are not numbered from 1 without gaps")]
    MigrationOrder,
    /// An applied migration differs from the one that is given now.
    #[error("migration {0} changed after it was applied")]
    MigrationChanged(u32),
    /// The file was migrated by a later version of the program.
    #[error("database has later migrations than the program")]
    SchemaTooNew,
    /// The databases were closed.
    #[error("databases are closed")]
    Closed,
    /// The work ended without a result: it panicked, or the runtime is shutting down.
    #[error("work ended without a result")]
    Lost,
    /// SQLite failed with that extended result code.
    #[error("database failed with code {0}")]
    Failed(i32),
}

impl Classify for DbError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict => ErrorKind::Conflict,
            Self::Constraint | Self::TooManyRows => ErrorKind::InvalidInput,
            Self::QueryRefused => ErrorKind::PermissionDenied,
            Self::NotOneStatement
            | Self::Statement
            | Self::Parameters
            | Self::Type
            | Self::MigrationOrder
            | Self::MigrationChanged(_)
            | Self::SchemaTooNew => ErrorKind::Misuse,
            Self::Aborted => ErrorKind::Conflict,
            Self::Overloaded
            | Self::Busy
            | Self::Full
            | Self::Missing
            | Self::Closed
            | Self::Lost
            | Self::Failed(_) => ErrorKind::Unavailable,
            Self::Foreign | Self::Damaged => ErrorKind::Integrity,
        }
    }
}

impl From<TaskLost> for DbError {
    fn from(_: TaskLost) -> Self {
        Self::Lost
    }
}

// Not `From`: that would put rusqlite's error into the public interface.
pub(super) fn sqlite(error: &rusqlite::Error) -> DbError {
    use rusqlite::Error;
    let failure = match error {
        Error::SqliteFailure(failure, _) => failure,
        Error::SqlInputError { error, .. } => error,
        Error::MultipleStatement => return DbError::NotOneStatement,
        Error::InvalidParameterCount(..) | Error::InvalidParameterName(_) => {
            return DbError::Parameters;
        }
        Error::InvalidColumnIndex(_)
        | Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..) => {
            return DbError::Type;
        }
        _ => return DbError::Statement,
    };
    match failure.code {
        ErrorCode::ConstraintViolation => match failure.extended_code {
            rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
            | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | rusqlite::ffi::SQLITE_CONSTRAINT_ROWID => DbError::Conflict,
            _ => DbError::Constraint,
        },
        ErrorCode::AuthorizationForStatementDenied => DbError::QueryRefused,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Busy,
        ErrorCode::DatabaseCorrupt => DbError::Damaged,
        ErrorCode::NotADatabase => DbError::Foreign,
        ErrorCode::CannotOpen => DbError::Missing,
        ErrorCode::DiskFull => DbError::Full,
        ErrorCode::Unknown | ErrorCode::ApiMisuse => DbError::Statement,
        _ => DbError::Failed(failure.extended_code),
    }
}
