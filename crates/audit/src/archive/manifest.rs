//! The manifest: what was archived, in which version, page by page.
//!
//! A page is an object like the others and names the one before it. Its digest is the receipt of an
//! AUD-007 in the system log, so the next signed heads cover it. JSON on the wire, version 1.

use eonpro_core::event::Digest;
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::shelf::Stored;

/// How many objects a page lists.
pub(super) const ROWS: usize = 4_096;
const VERSION: u32 = 1;

/// One archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name below the archive's prefix.
    pub key: String,
    /// The version that the store gave it; a store without versions gives none.
    pub version: Option<String>,
    /// Its entity tag, as the store gave it.
    pub e_tag: Option<String>,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// When the store's lock ends at the earliest, if a [`LockProbe`](super::LockProbe) told.
    pub retain_until: Option<Timestamp>,
}

impl Row {
    pub(super) fn new(key: String, stored: Stored, retain_until: Option<Timestamp>) -> Self {
        Self {
            key,
            version: stored.version,
            e_tag: stored.e_tag,
            sha256: stored.sha256,
            size: stored.size,
            retain_until,
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) number: u64,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePage {
    v: u32,
    page: u64,
    at: String,
    objects: Vec<WireRow>,
}

/// A row on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRow {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    sha256: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl From<&Row> for WireRow {
    fn from(row: &Row) -> Self {
        Self {
            key: row.key.clone(),
            version: row.version.clone(),
            etag: row.e_tag.clone(),
            sha256: row.sha256.to_string(),
            size: row.size,
            until: row.retain_until.map(|until| until.to_string()),
        }
    }
}

impl WireRow {
    /// `None` if it is malformed.
    pub(super) fn read(self) -> Option<Row> {
        let retain_until = match self.until {
            None => None,
            Some(until) => Some(Timestamp::parse_rfc3339(&until)?),
        };
        Some(Row {
            key: self.key,
            version: self.version,
            e_tag: self.etag,
            sha256: Digest::parse_hex(&self.sha256)?,
            size: self.size,
            retain_until,
        })
    }
}

impl Page {
    pub(super) fn to_bytes(&self, at: Timestamp) -> Result<Vec<u8>, ArchiveError> {
        let rows = self.rows.iter().map(WireRow::from);
        let page = WirePage {
            v: VERSION,
            page: self.number,
            at: at.to_string(),
            objects: rows.collect(),
        };
        serde_json::to_vec(&page).map_err(|_| ArchiveError::Cursor)
    }

    /// `None` if the bytes are no page, or one of another version.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let page: WirePage = serde_json::from_slice(bytes).ok()?;
        if page.v != VERSION || page.objects.len() > ROWS + 1 {
            return None;
        }
        let rows = page.objects.into_iter().map(WireRow::read);
        Some(Self {
            number: page.page,
            rows: rows.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_reads_back() {
        let row = |version: Option<&str>, retain_until| Row {
            key: "eonpro/audit/system/tile/0/000".to_owned(),
            version: version.map(ToOwned::to_owned),
            e_tag: Some("\"x\"".to_owned()),
            sha256: Digest::of(b"bytes"),
            size: 5,
            retain_until,
        };
        let until = Timestamp::from_seconds(2_000_000_000);
        let page = Page {
            number: 7,
            rows: vec![row(Some("v1"), Some(until)), row(None, None)],
        };
        let bytes = page.to_bytes(Timestamp::EPOCH).unwrap();
        assert_eq!(Page::parse(&bytes), Some(page));
        let text = String::from_utf8(bytes).unwrap();
        let other = text.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(Page::parse(other.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Page::parse(&bytes);
        }
    }
}
