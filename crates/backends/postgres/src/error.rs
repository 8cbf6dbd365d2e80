//! Why PostgreSQL could not be used. Nothing here carries what the server said: its texts quote
//! values, and its details quote keys.

use std::io;

use deadpool_postgres::{PoolError, TimeoutType};
use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::port::KvError;
use tokio_postgres::error::SqlState;

/// Why PostgreSQL could not be used.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PgError {
    /// The configuration is wrong; the text names the setting.
    #[error("postgres configuration is wrong: {0}")]
    Config(&'static str),
    /// The server is older than what this version works with.
    #[error("postgres server is too old: {0}, 150000 is the least")]
    TooOld(i32),
    /// The connection was not made, or was lost; with the kind of failure if the system told one.
    /// The outcome of what was under way is unknown.
    #[error("no connection to postgres{}", .0.map(|kind| format!(": {kind}")).unwrap_or_default())]
    Connection(Option<io::ErrorKind>),
    /// No connection of the pool became free in time.
    #[error("all connections to postgres stayed in use")]
    Busy,
    /// The server did not answer in time, or waited too long for a lock. The outcome is unknown.
    #[error("postgres did not answer in time")]
    Timeout,
    /// The server refused, with this SQLSTATE.
    #[error("postgres refused: SQLSTATE {0}")]
    Refused(String),
    /// The schema has not been migrated, or only in part. Call [`migrate`](crate::migrate).
    #[error("postgres schema has version {found}, this version needs {needed}: migrate it")]
    Unmigrated {
        /// The version that was found; 0 for none.
        found: i32,
        /// The version that is needed.
        needed: i32,
    },
    /// The schema was migrated by a later version, or by something else.
    #[error("postgres schema has a version that this version does not know: {0}")]
    UnknownSchema(i32),
    /// The answer was not what was asked for.
    #[error("postgres answered something else")]
    Malformed,
}

impl PgError {
    /// Whether the connection itself failed, and not what was asked of it.
    pub(crate) fn is_connection(&self) -> bool {
        matches!(self, Self::Connection(_))
    }
}

impl Classify for PgError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Unmigrated { .. } | Self::UnknownSchema(_) => ErrorKind::Config,
            Self::TooOld(_) => ErrorKind::Unsupported,
            Self::Timeout => ErrorKind::Timeout,
            Self::Connection(_) | Self::Busy | Self::Refused(_) => ErrorKind::Unavailable,
            Self::Malformed => ErrorKind::Integrity,
        }
    }
}

impl From<PgError> for KvError {
    fn from(error: PgError) -> Self {
        Self::Backend(error.into())
    }
}

impl From<tokio_postgres::Error> for PgError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) => Self::from(code),
            None => Self::Connection(io_kind(&error)),
        }
    }
}

impl From<&SqlState> for PgError {
    fn from(code: &SqlState) -> Self {
        // A server that goes down, comes up or became a standby.
        let gone = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ];
        let late = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE];
        if gone.contains(code) {
            Self::Connection(None)
        } else if late.contains(code) {
            Self::Timeout
        } else {
            Self::Refused(code.code().to_owned())
        }
    }
}

impl From<PoolError> for PgError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            PoolError::Timeout(_) => Self::Connection(Some(io::ErrorKind::TimedOut)),
            PoolError::Backend(error) => error.into(),
            _ => Self::Connection(None),
        }
    }
}

/// The kind of the I/O error at the root of `error`.
fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    let first = std::error::Error::source(error);
    let mut causes = std::iter::successors(first, |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind))
}
