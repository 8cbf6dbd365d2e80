//! What a record declares about its fields.

use super::cell::{Column, Table};
use super::sealing::{FieldSealing, RecordMode};

/// How a value is normalized before it is indexed. Id and version are part of the MAC, so that a
/// changed rule can never silently lose hits.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normalizer {
    /// As it is.
    Exact,
    /// Unicode NFKC, lower case, inner white space folded to one space, trimmed.
    Folded,
    /// ASCII digits only; everything else is dropped.
    Digits,
    /// ASCII letters and digits only, upper case.
    Alphanumeric,
}

impl Normalizer {
    /// The stable id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Folded => "folded",
            Self::Digits => "digits",
            Self::Alphanumeric => "alphanumeric",
        }
    }

    /// The version of its rule.
    #[must_use]
    pub const fn version(self) -> u8 {
        1
    }
}

/// One blind index over one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexDef {
    /// The table.
    pub table: Table,
    /// The column.
    pub column: Column,
    /// The index's name, unique within its column.
    pub name: &'static str,
    /// How many bits of the MAC are kept: 8 to 256, a multiple of 8. Fewer bits leak less and
    /// give more false hits, which the caller filters by opening.
    pub bits: u16,
    /// How values are normalized.
    pub normalizer: Normalizer,
    /// The index's version: raise it to rotate the index key.
    pub version: u8,
}

/// One field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhiField {
    /// The field's name in the source, which is also its column.
    pub name: &'static str,
    /// The column.
    pub column: Column,
    /// How the field is sealed; otherwise it is stored as it is.
    pub sealing: Option<FieldSealing>,
    /// The blind indexes over it.
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
}

impl PhiSchema {
    /// The fields that are PHI.
    pub fn sealed_fields(&self) -> impl Iterator<Item = &PhiField> {
        self.fields.iter().filter(|field| field.sealing.is_some())
    }
}

/// A blind index token: one version byte and the kept bits of an HMAC-SHA-256.
///
/// Equal normalized values of one column of one tenant have equal tokens; nothing else is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexToken(Vec<u8>);

impl IndexToken {
    /// From stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store and to compare.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for IndexToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IndexToken({} bytes)", self.0.len())
    }
}
