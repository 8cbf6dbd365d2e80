//! What goes into a tenant's database and comes out: four types, none of them rusqlite's.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::error::DbError;

/// One value of a statement or of a row.
#[derive(Clone, PartialEq, Eq)]
pub enum SqlValue {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

// Values may be sealed PHI or clear ids; a debug line needs neither.
impl std::fmt::Debug for SqlValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Integer(_) => "Integer",
            Self::Text(_) => "Text",
            Self::Blob(_) => "Blob",
        })
    }
}

impl From<i64> for SqlValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<String> for SqlValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for SqlValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Vec<u8>> for SqlValue {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<&[u8]> for SqlValue {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Lends a value to SQLite without a copy.
pub(super) struct Bound<'a>(pub(super) &'a SqlValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Integer(value) => ValueRef::Integer(*value),
            SqlValue::Text(value) => ValueRef::Text(value.as_bytes()),
            SqlValue::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// One row of a result. Columns count from 0.
pub struct Row<'a>(pub(super) &'a rusqlite::Row<'a>);

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row")
    }
}

impl Row<'_> {
    /// A whole number.
    ///
    /// # Errors
    /// [`DbError::Type`] for anything else, also for null.
    pub fn integer(&self, column: usize) -> Result<i64, DbError> {
        match self.at(column)? {
            ValueRef::Integer(value) => Ok(value),
            _ => Err(DbError::Type),
        }
    }

    /// Text, lent from the row.
    ///
    /// # Errors
    /// [`DbError::Type`] for anything else, also for null.
    pub fn text(&self, column: usize) -> Result<&str, DbError> {
        match self.at(column)? {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| DbError::Type),
            _ => Err(DbError::Type),
        }
    }

    /// Bytes, lent from the row.
    ///
    /// # Errors
    /// [`DbError::Type`] for anything else, also for null.
    pub fn blob(&self, column: usize) -> Result<&[u8], DbError> {
        match self.at(column)? {
            ValueRef::Blob(bytes) => Ok(bytes),
            _ => Err(DbError::Type),
        }
    }

    /// Whether the column is null.
    ///
    /// # Errors
    /// [`DbError::Type`] if there is no such column.
    pub fn is_null(&self, column: usize) -> Result<bool, DbError> {
        Ok(matches!(self.at(column)?, ValueRef::Null))
    }

    /// Whatever the column holds, copied.
    ///
    /// # Errors
    /// [`DbError::Type`] if there is no such column, or for a floating-point number.
    pub fn value(&self, column: usize) -> Result<SqlValue, DbError> {
        match self.at(column)? {
            ValueRef::Null => Ok(SqlValue::Null),
            ValueRef::Integer(value) => Ok(SqlValue::Integer(value)),
            ValueRef::Text(_) => self.text(column).map(SqlValue::from),
            ValueRef::Blob(bytes) => Ok(SqlValue::Blob(bytes.to_vec())),
            ValueRef::Real(_) => Err(DbError::Type),
        }
    }

    fn at(&self, column: usize) -> Result<ValueRef<'_>, DbError> {
        self.0.get_ref(column).map_err(|_| DbError::Type)
    }
}
