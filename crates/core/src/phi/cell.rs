//! Where a sealed value belongs: a cell of a table, an extent of a document, an entry of a cache.
//!
//! The parts have types of their own, so that a table cannot stand where a column belongs. Sealing
//! binds the ciphertext to its tenant and its cell: moved elsewhere, it does not open.

use std::hash::{Hash, Hasher};

use crate::id::PublicId;

macro_rules! cell_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(&'static str);

        impl $name {
            /// A name written in the source: 1 to 64 characters of `a-z 0-9 _ -`.
            ///
            /// # Panics
            /// While compiling, if used in a constant and the name does not fit; at run time
            /// otherwise.
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                assert!(fits(name.as_bytes()), "not a cell name");
                Self(name)
            }

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                self.0
            }
        }
    };
}

cell_name!(
    /// A table, or the kind of thing: `document`, a cache namespace.
    Table
);
cell_name!(
    /// A column, or the part of the thing: `extent`, `value`.
    Column
);

const fn fits(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        if !matches!(first, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        rest = tail;
    }
    !name.is_empty() && name.len() <= 64
}

/// The row, or the instance: an id, or any non-empty bytes that name one thing.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a>(Name<'a>);

#[derive(Debug, Clone, Copy)]
enum Name<'a> {
    Id([u8; 16]),
    Bytes(&'a [u8]),
}

impl<'a> Row<'a> {
    /// Every row: what stands here is bound to its column alone.
    pub const ANY: Self = Self(Name::Bytes(&[]));

    /// The row with that id.
    #[must_use]
    pub fn id(id: impl PublicId) -> Self {
        Self(Name::Id(*id.uuid().as_bytes()))
    }

    /// The row named by `bytes`; `None` if there are none.
    #[must_use]
    pub fn named(bytes: &'a [u8]) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(Name::Bytes(bytes)))
    }

    /// The bytes; none for [`Self::ANY`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Name::Id(bytes) => bytes,
            Name::Bytes(bytes) => bytes,
        }
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Row<'_> {}

impl Hash for Row<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// One place in one tenant's data. The tenant itself comes from the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell<'a> {
    table: Table,
    column: Column,
    row: Row<'a>,
}

impl<'a> Cell<'a> {
    /// The cell at `table`, `column`, `row`.
    #[must_use]
    pub fn new(table: Table, column: Column, row: Row<'a>) -> Self {
        Self { table, column, row }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table
    }

    /// The column.
    #[must_use]
    pub fn column(&self) -> Column {
        self.column
    }

    /// The row.
    #[must_use]
    pub fn row(&self) -> &Row<'a> {
        &self.row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_row_is_never_empty() {
        assert_eq!(Row::named(b""), None);
        assert_eq!(
            Row::named(b"x").map(|row| row.as_bytes().to_vec()),
            Some(b"x".to_vec())
        );
    }

    #[test]
    #[should_panic(expected = "not a cell name")]
    fn a_table_name_is_lower_case() {
        let _ = Table::new("Patients");
    }
}
