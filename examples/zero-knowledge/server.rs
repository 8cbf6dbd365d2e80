//! The server: rows of sealed values and tokens, and wrapped keys. It has no key and needs none.

use std::collections::BTreeMap;

/// One row as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    pub sealed: Vec<u8>,
    pub token: Vec<u8>,
}

/// A client key, wrapped for recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    pub purpose: String,
    pub id: u32,
    pub wrapped: Vec<u8>,
}

/// All that a breach of the server gives away.
#[derive(Debug, Default)]
pub struct Server {
    rows: BTreeMap<[u8; 16], StoredRow>,
    keys: Vec<WrappedKey>,
}

impl Server {
    pub fn put(&mut self, row: [u8; 16], stored: StoredRow) {
        self.rows.insert(row, stored);
    }

    pub fn put_key(&mut self, key: WrappedKey) {
        self.keys.push(key);
    }

    pub fn row(&self, row: &[u8; 16]) -> Option<&StoredRow> {
        self.rows.get(row)
    }

    pub fn key(&self, purpose: &str) -> Option<&WrappedKey> {
        self.keys.iter().find(|key| key.purpose == purpose)
    }

    /// The rows with that token: equality of bytes is all that the server can tell.
    pub fn find(&self, token: &[u8]) -> Vec<[u8; 16]> {
        let hits = self.rows.iter().filter(|(_, row)| row.token == token);
        hits.map(|(id, _)| *id).collect()
    }

    /// Whether `secret` lies anywhere in what is stored.
    pub fn knows(&self, secret: &[u8]) -> bool {
        let rows = self.rows.values().flat_map(|row| [&row.sealed, &row.token]);
        let keys = self.keys.iter().map(|key| &key.wrapped);
        rows.chain(keys)
            .any(|bytes| bytes.windows(secret.len()).any(|part| part == secret))
    }
}
