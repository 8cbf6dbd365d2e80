//! Sealed values: the 5-byte prefix, and the context that binds a value to its place.
//!
//! `0x01 || key id (4, big endian) || message`, with the context
//! `PAE(label, suite || prefix, scope, purpose, table, column, row)`. The label keeps values, padded
//! values, records, wrapped data keys and the parts that data keys seal apart from each other.

use std::fmt;

use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Row, Suite, Table};

use crate::cobblestone::HEADER_LEN;
use crate::keyset::KeyId;

/// Bytes before the message.
pub const PREFIX_LEN: usize = 5;
/// Bytes at the start of a sealed stream that [`TenantCipher::open_stream`] wants first.
///
/// [`TenantCipher::open_stream`]: crate::TenantCipher::open_stream
pub const HEAD_LEN: usize = PREFIX_LEN + HEADER_LEN;

const VERSION: u8 = 1;
const PARTS: usize = 7;
/// Pieces in which a context is handed over.
pub(crate) const PIECES: usize = 7;
/// The longest context that needs no allocation: all of those of records.
const INLINE_LEN: usize = 384;

/// What is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A value of the caller.
    Value,
    /// A value of the caller, padded.
    Padded,
    /// A record as a whole.
    Record,
    /// A data key.
    WrappedKey,
    /// A part sealed by a data key.
    Part,
}

const CONTENTS: [Content; 5] = [
    Content::Value,
    Content::Padded,
    Content::Record,
    Content::WrappedKey,
    Content::Part,
];

impl Content {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Value => b"eonpro/phi/v1",
            Self::Padded => b"eonpro/padded/v1",
            Self::Record => b"eonpro/record/v1",
            Self::WrappedKey => b"eonpro/wrap/v1",
            Self::Part => b"eonpro/part/v1",
        }
    }
}

const fn suite_name(suite: Suite) -> &'static [u8] {
    match suite {
        Suite::Standard => b"Cobblestone-256",
        Suite::Compact => b"XAES-256-GCM",
        Suite::Deterministic => b"AES-SIV",
    }
}

/// What the contexts of all values of one key have in common, encoded once: everything before the
/// table, for each content.
pub(crate) struct KeyContext([Box<[u8]>; CONTENTS.len()]);

impl KeyContext {
    /// `purpose` is empty for parts, so that their data key can be rewrapped for another purpose.
    pub(crate) fn new(suite: Suite, id: KeyId, tenant: &Option<TenantId>, purpose: &str) -> Self {
        let named = [suite_name(suite), &prefix(id)].concat();
        Self(CONTENTS.map(|content| {
            let parts = [
                content.label(),
                &named,
                scope_bytes(tenant),
                purpose.as_bytes(),
            ];
            let mut head = (PARTS as u64).to_le_bytes().to_vec();
            for part in parts {
                pae::visit_part(part, &mut |bytes| head.extend_from_slice(bytes));
            }
            head.into()
        }))
    }

    fn of(&self, content: Content) -> &[u8] {
        let [value, padded, record, wrapped_key, part] = &self.0;
        match content {
            Content::Value => value,
            Content::Padded => padded,
            Content::Record => record,
            Content::WrappedKey => wrapped_key,
            Content::Part => part,
        }
    }
}

impl fmt::Debug for KeyContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyContext")
    }
}

/// The place to which a sealed value is bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) content: Content,
    pub(crate) key: &'a KeyContext,
    pub(crate) table: &'a str,
    /// Empty for a record as a whole.
    pub(crate) column: &'a str,
    /// Empty for what is bound to its column only.
    pub(crate) row: &'a [u8],
}

/// `system`, or the 16 bytes of the tenant's id.
pub(crate) fn scope_bytes(tenant: &Option<TenantId>) -> &[u8] {
    match tenant {
        None => b"system",
        Some(tenant) => tenant.as_bytes(),
    }
}

/// The prefix that names `key`.
pub(crate) fn prefix(key: KeyId) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = key.to_be_bytes();
    [VERSION, a, b, c, d]
}

/// The key that `sealed` names, and the message. `None` if it has no prefix of ours.
pub(crate) fn split(sealed: &[u8]) -> Option<(KeyId, &[u8])> {
    let ([version, a, b, c, d], message) = sealed.split_first_chunk()?;
    (*version == VERSION).then_some((KeyId::from_be_bytes([*a, *b, *c, *d]), message))
}

impl<'a> Place<'a> {
    pub(crate) fn new(content: Content, key: &'a KeyContext, cell: &'a Cell<'a>) -> Self {
        Self {
            content,
            key,
            table: cell.table().as_str(),
            column: cell.column().as_str(),
            row: cell.row().as_bytes(),
        }
    }

    /// The place of a record as a whole: its column is empty, which no cell's is.
    pub(crate) fn of_record(key: &'a KeyContext, table: Table, row: &'a Row<'a>) -> Self {
        Self {
            content: Content::Record,
            key,
            table: table.as_str(),
            column: "",
            row: row.as_bytes(),
        }
    }

    /// Hands over the context, piece by piece and without a buffer: it equals
    /// [`eonpro_core::pae::encode`] of the seven parts.
    pub(crate) fn with_context<R>(&self, use_it: impl FnOnce(&[&[u8]; PIECES]) -> R) -> R {
        let length = |part: &[u8]| (part.len() as u64).to_le_bytes();
        let (table, column) = (self.table.as_bytes(), self.column.as_bytes());
        use_it(&[
            self.key.of(self.content),
            &length(table),
            table,
            &length(column),
            column,
            &length(self.row),
            self.row,
        ])
    }

    /// Hands over the context as one string, for suites that take it as associated data.
    pub(crate) fn with_aad<R>(&self, use_it: impl FnOnce(&[u8]) -> R) -> R {
        self.with_context(|pieces| joined(pieces, use_it))
    }
}

/// Hands over `pieces` as one string, on the stack if it is short.
pub(crate) fn joined<R>(pieces: &[&[u8]], use_it: impl FnOnce(&[u8]) -> R) -> R {
    let mut buffer = [0; INLINE_LEN];
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let Some(joined) = buffer.get_mut(..length) else {
        return use_it(&pieces.concat());
    };
    let mut start = 0;
    for piece in pieces {
        let end = start + piece.len();
        if let Some(place) = joined.get_mut(start..end) {
            place.copy_from_slice(piece);
        }
        start = end;
    }
    use_it(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::phi::Column;

    #[test]
    fn the_context_is_the_pae_of_the_documented_parts() {
        let cell = Cell::new(
            Table::new("patients"),
            Column::new("ssn"),
            Row::named(b"row").unwrap(),
        );
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(7));
        for (content, label) in [
            (Content::Value, "eonpro/phi/v1"),
            (Content::Padded, "eonpro/padded/v1"),
            (Content::Record, "eonpro/record/v1"),
            (Content::WrappedKey, "eonpro/wrap/v1"),
            (Content::Part, "eonpro/part/v1"),
        ] {
            for (tenant, scope) in [
                (None, b"system".to_vec()),
                (tenant, {
                    let mut bytes = vec![0; 15];
                    bytes.push(7);
                    bytes
                }),
            ] {
                for (suite, name) in [
                    (Suite::Standard, "Cobblestone-256"),
                    (Suite::Compact, "XAES-256-GCM"),
                    (Suite::Deterministic, "AES-SIV"),
                ] {
                    let id = KeyId::from_be_bytes([1, 2, 3, 4]);
                    let key = KeyContext::new(suite, id, &tenant, "records");
                    let place = Place::new(content, &key, &cell);
                    let documented = pae::encode(&[
                        label.as_bytes(),
                        &[name.as_bytes(), b"\x01\x01\x02\x03\x04"].concat(),
                        &scope,
                        b"records",
                        b"patients",
                        b"ssn",
                        b"row",
                    ]);
                    let pieces = place.with_context(|pieces| pieces.concat());
                    assert_eq!(pieces, documented);
                    assert_eq!(place.with_aad(<[u8]>::to_vec), documented);
                }
            }
        }
    }

    #[test]
    fn a_context_that_does_not_fit_the_buffer_is_whole_all_the_same() {
        for length in [200, 250, INLINE_LEN, 5000] {
            let row = vec![7; length];
            let cell = Cell::new(
                Table::new("patients"),
                Column::new("ssn"),
                Row::named(&row).unwrap(),
            );
            let id = KeyId::from_be_bytes([1, 2, 3, 4]);
            let key = KeyContext::new(Suite::Compact, id, &None, "records");
            let place = Place::new(Content::Value, &key, &cell);
            let joined = place.with_context(|pieces| pieces.concat());
            assert_eq!(place.with_aad(<[u8]>::to_vec), joined);
        }
    }

    #[test]
    fn only_our_prefix_is_taken_apart() {
        let id = KeyId::from_be_bytes([0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(split(&[1, 0xde, 0xad, 0xbe, 0xef, 9]), Some((id, &[9][..])));
        assert_eq!(split(&prefix(id)), Some((id, &[][..])));
        assert_eq!(split(&[2, 0, 0, 0, 0, 9]), None);
        assert_eq!(split(&[1, 0, 0, 0]), None);
        assert_eq!(split(&[]), None);
    }
}
