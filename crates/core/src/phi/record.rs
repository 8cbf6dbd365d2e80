//! A record and its sealed twin.

use super::cell::{Cell, Column, Row, Table};
use super::index::{IndexDef, IndexSlots};
use super::schema::PhiSchema;
use super::sealed::RecordHead;
use super::sealing::FieldSealing;
use crate::id::RowId;
use crate::port::SealError;
use crate::secret::SecretBytes;

/// Seals fields, under keys that are already at hand. Implemented by encryption.
pub trait FieldSealer {
    /// Seals `plaintext` for `cell`, in the way of the field.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::seal`]; [`SealError::LowCardinality`] for a deterministic field of
    /// too few distinct values.
    fn seal(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError>;

    /// Begins a record that is sealed as a whole ([`RecordMode::Whole`](super::RecordMode::Whole)).
    ///
    /// # Errors
    /// As [`crate::port::Sealer::seal`].
    fn record(&mut self, table: Table, row: &Row<'_>) -> Result<Box<dyn RecordSealer>, SealError>;

    /// The blind index tokens to store, one for each live version: of `texts`, one for each part of
    /// the index. Empty slots if a text normalizes to nothing.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::mac_key`]; [`SealError::Unindexable`] for a text that does not fit
    /// its rule, [`SealError::Unsupported`] for an impossible index or another number of texts.
    fn index(&mut self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError>;
}

/// Seals the fields of one record under one key that serves nothing else.
pub trait RecordSealer {
    /// The record's head, to be stored beside its fields.
    fn head(&self) -> RecordHead;

    /// Seals the next field. Each call uses up one of the record's 255 field numbers.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond 255 fields, or the suite's length.
    fn seal(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError>;
}

/// Opens fields. Implemented by encryption.
pub trait FieldOpener {
    /// Opens `sealed`, which must have been sealed for `cell` in the same way.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::open`].
    fn open(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError>;

    /// Begins to open a record that was sealed as a whole.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::open`].
    fn record<'a>(
        &'a mut self,
        table: Table,
        row: &'a Row<'a>,
        head: &'a RecordHead,
    ) -> Result<Box<dyn RecordOpener + 'a>, SealError>;
}

/// Opens the fields of one record, in any order.
pub trait RecordOpener {
    /// Opens one field.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::open`].
    fn open(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError>;
}

/// A record with PHI fields. Derive it: `#[derive(PhiRecord)]`.
pub trait PhiRecord: Sized + Send + 'static {
    /// The sealed twin: the same fields, each PHI field sealed, each index beside it.
    type Sealed: Send + Sync + 'static;

    /// What the record declares.
    const SCHEMA: &'static PhiSchema;

    /// The row it belongs to.
    fn row(&self) -> RowId;

    /// Seals every PHI field for its cell.
    ///
    /// # Errors
    /// The first error of `sealer`.
    fn seal_fields(self, sealer: &mut dyn FieldSealer) -> Result<Self::Sealed, SealError>;

    /// Opens every sealed field from its cell.
    ///
    /// # Errors
    /// The first error of `opener`.
    fn open_fields(sealed: Self::Sealed, opener: &mut dyn FieldOpener) -> Result<Self, SealError>;
}

/// Several record types, taught to the builder by value: `builder.records::<(Patient, Note)>()`.
pub trait PhiRecords {
    /// Their schemas.
    fn schemas() -> Vec<&'static PhiSchema>;
}

macro_rules! record_tuples {
    ($(($($name:ident),+))+) => {$(
        impl<$($name: PhiRecord),+> PhiRecords for ($($name,)+) {
            fn schemas() -> Vec<&'static PhiSchema> {
                vec![$($name::SCHEMA),+]
            }
        }
    )+};
}

record_tuples! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F)
    (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H)
}
