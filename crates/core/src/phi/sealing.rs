//! How a field is sealed: by which suite, how long it seems, and to what it is bound.

/// A family of ciphertexts. The key decides it, never the ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Suite {
    /// Cobblestone-256: commits to its key and context, streams. 77 bytes longer than a short value.
    #[default]
    Standard,
    /// XAES-256-GCM: 45 bytes longer than the value and faster for short ones. Does not commit to
    /// its key, so whoever knows two keys can make one ciphertext that opens under both.
    Compact,
    /// AES-SIV: equal values of one column have equal ciphertexts, 21 bytes longer than the value.
    /// Shows which rows are equal, so it is only for columns of many distinct values.
    Deterministic,
}

impl Suite {
    /// All suites.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Compact, Self::Deterministic];

    /// `standard`, `compact` or `deterministic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Compact => "compact",
            Self::Deterministic => "deterministic",
        }
    }
}

/// To what a sealed field is bound beside its tenant, table and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Binding {
    /// To its row: it opens nowhere else.
    #[default]
    Row,
    /// To its column only: values of one column can be exchanged between rows.
    Column,
}

/// How one field is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FieldSealing {
    /// The suite.
    pub suite: Suite,
    /// The plaintext is padded to a multiple of so many bytes (ISO/IEC 7816-4), so that the
    /// ciphertext does not tell its length; 0 for none. At most 4096. The number may change, but
    /// with values stored a field can neither begin nor cease to be padded.
    pub pad: u16,
    /// The binding.
    pub bind: Binding,
    /// An estimate of how many distinct values the column holds, for deterministic fields; 0 if
    /// unknown.
    pub cardinality: u64,
}

impl FieldSealing {
    /// The default suite, without padding, bound to the row.
    pub const STANDARD: Self = Self {
        suite: Suite::Standard,
        pad: 0,
        bind: Binding::Row,
        cardinality: 0,
    };

    /// The fewest distinct values of a column that is sealed deterministically without an override:
    /// below, equal ciphertexts tell the values to whoever knows how frequent they are.
    pub const MIN_CARDINALITY: u64 = 1 << 20;

    /// The most padding.
    pub const MAX_PAD: u16 = 4096;
}

/// What is sealed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RecordMode {
    /// Each field as a message of its own: fields can be written one by one.
    #[default]
    Fields,
    /// The record as one message: one derivation for all fields, which are read one by one but
    /// written together.
    Whole,
}
