//! What is embedded: the directory on a key-value store, and a SQLite file per tenant.

pub(crate) mod kv;
pub(crate) mod sqlite;
