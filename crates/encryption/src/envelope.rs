//! Sealed values: the 5-byte prefix, and the context that binds a value to its place.
//!
//! `0x01 || key id (4, big endian) || Cobblestone-256 message`, with the context
//! `PAE(label, "Cobblestone-256" || prefix, scope, purpose, table, column, row)`. The label keeps
//! values, wrapped data keys and the parts that data keys seal apart from each other.

use eonpro_core::id::TenantId;
use eonpro_core::phi::Cell;
use eonpro_core::port::SealError;
use zeroize::Zeroizing;

use crate::cobblestone::{Cause, HEADER_LEN, InputKey, StreamOpener, StreamSealer};
use crate::keyset::KeyId;

/// Bytes before the Cobblestone-256 message.
pub const PREFIX_LEN: usize = 5;
/// Bytes at the start of a sealed stream that [`TenantCipher::open_stream`] wants first.
///
/// [`TenantCipher::open_stream`]: crate::TenantCipher::open_stream
pub const HEAD_LEN: usize = PREFIX_LEN + HEADER_LEN;

const VERSION: u8 = 1;
const SUITE: &[u8; 15] = b"Cobblestone-256";
const PARTS: usize = 7;

/// What is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A value of the caller.
    Value,
    /// A data key.
    WrappedKey,
    /// A part sealed by a data key.
    Part,
}

impl Content {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Value => b"eonpro/phi/v1",
            Self::WrappedKey => b"eonpro/wrap/v1",
            Self::Part => b"eonpro/part/v1",
        }
    }
}

/// The place to which a sealed value is bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) content: Content,
    pub(crate) tenant: &'a Option<TenantId>,
    /// Empty for parts, so that their data key can be rewrapped for another purpose.
    pub(crate) purpose: &'a str,
    pub(crate) cell: &'a Cell<'a>,
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

impl Place<'_> {
    pub(crate) fn seal(
        &self,
        id: KeyId,
        key: &InputKey,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.with_context(id, |context| {
            key.seal_after(&prefix(id), context, plaintext, &mut out)
        })?;
        Ok(out)
    }

    pub(crate) fn open(
        &self,
        id: KeyId,
        key: &InputKey,
        message: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Cause> {
        self.with_context(id, |context| key.open_or_cause(context, message))
    }

    pub(crate) fn begin(
        &self,
        id: KeyId,
        key: &InputKey,
        out: &mut Vec<u8>,
    ) -> Result<StreamSealer, SealError> {
        out.extend_from_slice(&prefix(id));
        self.with_context(id, |context| StreamSealer::begin(key, context, out))
    }

    pub(crate) fn resume(
        &self,
        id: KeyId,
        key: &InputKey,
        header: &[u8; HEADER_LEN],
    ) -> Result<StreamOpener, Cause> {
        self.with_context(id, |context| {
            StreamOpener::begin_or_cause(key, context, header)
        })
    }

    /// Hands over the context, piece by piece and without a buffer: it equals
    /// [`eonpro_core::pae::encode`] of the seven parts.
    pub(crate) fn with_context<R>(&self, id: KeyId, use_it: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut suite = [0; SUITE.len() + PREFIX_LEN];
        let (name, named_key) = suite.split_at_mut(SUITE.len());
        name.copy_from_slice(SUITE);
        named_key.copy_from_slice(&prefix(id));
        let parts: [&[u8]; PARTS] = [
            self.content.label(),
            &suite,
            scope_bytes(self.tenant),
            self.purpose.as_bytes(),
            self.cell.table().as_str().as_bytes(),
            self.cell.column().as_str().as_bytes(),
            self.cell.row().as_bytes(),
        ];
        let count = (PARTS as u64).to_le_bytes();
        let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
        let [l0, l1, l2, l3, l4, l5, l6] = &lengths;
        let [p0, p1, p2, p3, p4, p5, p6] = parts;
        use_it(&[
            &count, l0, p0, l1, p1, l2, p2, l3, p3, l4, p4, l5, p5, l6, p6,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::pae;
    use eonpro_core::phi::{Column, Row, Table};

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
                let place = Place {
                    content,
                    tenant: &tenant,
                    purpose: "records",
                    cell: &cell,
                };
                let context =
                    place.with_context(KeyId::from_be_bytes([1, 2, 3, 4]), |parts| parts.concat());
                let documented = pae::encode(&[
                    label.as_bytes(),
                    b"Cobblestone-256\x01\x01\x02\x03\x04",
                    &scope,
                    b"records",
                    b"patients",
                    b"ssn",
                    b"row",
                ]);
                assert_eq!(context, documented);
            }
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
