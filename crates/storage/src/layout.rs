//! Where everything lies: object keys of random ids only, and the cells that bind sealed bytes.
//!
//! `<tenant tag>/d/<document>/m/<seq, 16 hex>` is a manifest record,
//! `<tenant tag>/c/<version>/<extent, 8 hex>` an extent, `<tenant tag>/g/<grant>` the mark of a used
//! signed URL. No caller's text ever becomes part of a key.

use std::fmt;

use eonpro_core::id::{DocumentId, PublicId as _, TenantId, VersionId};
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::secret::KeyBytes;
use object_store::path::Path;
use ring::hmac;
use uuid::Uuid;

use crate::error::StorageError;

pub(crate) const TAG_LABEL: &str = "storage/tenant-tag";
const TAG_LEN: usize = 26;
const TABLE: Table = Table::new("document");
const MANIFEST: Column = Column::new("manifest");
const EXTENT: Column = Column::new("extent");
const KEY: Column = Column::new("key");

/// A tenant's folder: 26 characters of base32 over 128 bits of a MAC, so that a listing of the
/// bucket names no tenant.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TenantTag(String);

impl TenantTag {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == TAG_LEN
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TenantTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes tenant tags.
pub(crate) struct TenantTags(hmac::Key);

impl TenantTags {
    pub(crate) fn new(key: &KeyBytes<32>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    pub(crate) fn of(&self, tenant: TenantId) -> TenantTag {
        let mac = hmac::sign(&self.0, tenant.as_bytes());
        TenantTag(base32(mac.as_ref().iter().take(16).copied()))
    }
}

impl fmt::Debug for TenantTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantTags")
    }
}

/// RFC 4648 section 6 in lower case, without padding.
fn base32(bytes: impl Iterator<Item = u8>) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut out, mut buffer, mut bits) = (String::with_capacity(TAG_LEN), 0_u32, 0_u32);
    let mut push = |index: u32| {
        let digit = ALPHABET.get((index & 31) as usize).copied().unwrap_or(b'a');
        out.push(char::from(digit));
    };
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(buffer >> bits);
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        push(buffer << (5 - bits));
    }
    out
}

/// The folder of a document's manifest records.
pub(crate) fn manifest_folder(tag: &TenantTag, document: DocumentId) -> Path {
    let document = document.uuid().simple().to_string();
    Path::from_iter([tag.as_str(), "d", document.as_str(), "m"])
}

/// One manifest record.
pub(crate) fn manifest(tag: &TenantTag, document: DocumentId, seq: u64) -> Path {
    let seq = format!("{seq:016x}");
    manifest_folder(tag, document).join(seq)
}

/// The sequence number in the last part of a manifest record's key.
pub(crate) fn manifest_seq(key: &Path) -> Option<u64> {
    let name = key.filename()?;
    (name.len() == 16)
        .then(|| u64::from_str_radix(name, 16).ok())
        .flatten()
}

/// One extent.
pub(crate) fn extent(tag: &TenantTag, version: VersionId, ordinal: u32) -> Path {
    let version = version.uuid().simple().to_string();
    let ordinal = format!("{ordinal:08x}");
    Path::from_iter([tag.as_str(), "c", version.as_str(), ordinal.as_str()])
}

/// The mark that a single-use URL was used.
pub(crate) fn used_grant(tag: &TenantTag, grant: Uuid) -> Path {
    let grant = grant.simple().to_string();
    Path::from_iter([tag.as_str(), "g", grant.as_str()])
}

/// Names one sealed thing; owns the bytes that a [`Cell`] borrows.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    column: Column,
    row: Vec<u8>,
}

impl Place {
    pub(crate) fn manifest(document: DocumentId, seq: u64) -> Self {
        let row = [document.uuid().as_bytes().as_slice(), &seq.to_be_bytes()].concat();
        Self {
            column: MANIFEST,
            row,
        }
    }

    pub(crate) fn key(document: DocumentId, version: VersionId) -> Self {
        Self {
            column: KEY,
            row: ids(document, version),
        }
    }

    pub(crate) fn extent(document: DocumentId, version: VersionId, ordinal: u32) -> Self {
        let mut row = ids(document, version);
        row.extend_from_slice(&ordinal.to_be_bytes());
        Self {
            column: EXTENT,
            row,
        }
    }

    pub(crate) fn cell(&self) -> Result<Cell<'_>, StorageError> {
        let row = Row::named(&self.row).ok_or(StorageError::Corrupt)?;
        Ok(Cell::new(TABLE, self.column, row))
    }
}

fn ids(document: DocumentId, version: VersionId) -> Vec<u8> {
    let (document, version) = (document.uuid(), version.uuid());
    [document.as_bytes().as_slice(), version.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(plain.bytes()), coded);
        }
    }

    #[test]
    fn a_tenants_folder_tells_nothing_of_the_tenant_and_differs_between_tenants() {
        let tags = TenantTags::new(&KeyBytes::take(&mut [7; 32]));
        let tenant = |n| TenantId::from_uuid(Uuid::from_u128(n)).unwrap();
        let tag = tags.of(tenant(1));
        assert_eq!(tag, tags.of(tenant(1)));
        assert_ne!(tag, tags.of(tenant(2)));
        assert_eq!(TenantTag::parse(tag.as_str()), Some(tag));
        assert_eq!(TenantTag::parse("../../etc/passwd_________"), None);
    }

    #[test]
    fn a_manifest_key_tells_its_sequence_number() {
        let tag = TenantTag::parse(&"a".repeat(26)).unwrap();
        let document = DocumentId::from_uuid(Uuid::from_u128(5));
        let key = manifest(&tag, document, 0x1f);
        assert_eq!(manifest_seq(&key), Some(0x1f));
        assert!(key.as_ref().ends_with("/m/000000000000001f"), "{key}");
        assert_eq!(manifest_seq(&key.join("x")), None);
    }
}
