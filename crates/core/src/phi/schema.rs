//! What a record declares about its fields.

use super::cell::{Column, Table};
use super::index::IndexDef;
use super::sealing::{FieldSealing, RecordMode};

/// One field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhiField {
    /// The field's name in the source, which is also its column.
    pub name: &'static str,
    /// The column.
    pub column: Column,
    /// How the field is sealed; otherwise it is stored as it is.
    pub sealing: Option<FieldSealing>,
    /// The blind indexes over it alone.
    pub indexes: &'static [IndexDef],
}

/// What one record type declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhiSchema {
    /// The record type's name in the source.
    pub name: &'static str,
    /// The table.
    pub table: Table,
    /// What is sealed at once.
    pub mode: RecordMode,
    /// Its fields in the order of the source.
    pub fields: &'static [PhiField],
    /// The blind indexes over several of its fields.
    pub compounds: &'static [IndexDef],
}

impl PhiSchema {
    /// The fields that are PHI.
    pub fn sealed_fields(&self) -> impl Iterator<Item = &PhiField> {
        self.fields.iter().filter(|field| field.sealing.is_some())
    }
    /// All its blind indexes: field by field, then the compounds.
    pub fn indexes(&self) -> impl Iterator<Item = &'static IndexDef> {
        let of_fields = self.fields.iter().flat_map(|field| field.indexes);
        of_fields.chain(self.compounds)
    }
}
