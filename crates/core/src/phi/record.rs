//! A record and its sealed twin.

use zeroize::Zeroizing;

use super::cell::Cell;
use super::index::{IndexDef, IndexSlots};
use super::schema::PhiSchema;
use crate::id::RowId;
use crate::port::SealError;

/// Seals fields one by one, under keys that are already at hand. Implemented by encryption.
pub trait FieldSealer {
    /// Seals `plaintext` for `cell`.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::seal`].
    fn seal(&mut self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError>;

    /// The blind index tokens to store, one for each live version: of `texts`, one for each part of
    /// the index. Empty slots if a text normalizes to nothing.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::mac_key`]; [`SealError::Unindexable`] for a text that does not fit
    /// its rule, [`SealError::Unsupported`] for an impossible index or another number of texts.
    fn index(&mut self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError>;
}

/// Opens fields one by one. Implemented by encryption.
pub trait FieldOpener {
    /// Opens `sealed`, which must have been sealed for `cell`.
    ///
    /// # Errors
    /// As [`crate::port::Sealer::open`].
    fn open(&mut self, cell: &Cell<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;
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
