//! What a commit asks: preconditions, and the writes that follow if they all hold.

use bytes::Bytes;

use super::{Key, KvError, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES, Version};
use crate::time::Timestamp;

/// What must hold at the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key was last written by that commit, and has not expired.
    At(Key, Version),
    /// The key is absent or has expired.
    Absent(Key),
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Stores a value, until `expires` by the wall clock if given.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// From when on it counts as absent.
        expires: Option<Timestamp>,
    },
    /// Removes a key. Nothing happens if it is absent.
    Delete(Key),
}

/// A transaction within one partition. Each key is written at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    preconditions: Vec<Precondition>,
    writes: Vec<Write>,
}

impl Transaction {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that `key` was last written by commit `version`.
    #[must_use]
    pub fn require(mut self, key: Key, version: Version) -> Self {
        self.preconditions.push(Precondition::At(key, version));
        self
    }

    /// Requires that `key` is absent.
    #[must_use]
    pub fn require_absent(mut self, key: Key) -> Self {
        self.preconditions.push(Precondition::Absent(key));
        self
    }

    /// Stores `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: Key, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put {
            key,
            value: value.into(),
            expires: None,
        });
        self
    }

    /// Stores `value` at `key` until `expires`.
    #[must_use]
    pub fn put_until(mut self, key: Key, value: impl Into<Bytes>, expires: Timestamp) -> Self {
        self.writes.push(Write::Put {
            key,
            value: value.into(),
            expires: Some(expires),
        });
        self
    }

    /// Removes `key`.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// What must hold.
    #[must_use]
    pub fn preconditions(&self) -> &[Precondition] {
        &self.preconditions
    }

    /// What is written.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Checks the limits that hold for every backend. Backends call it first.
    ///
    /// # Errors
    /// [`KvError::Invalid`] naming the limit.
    pub fn check(&self) -> Result<(), KvError> {
        if self.preconditions.len() + self.writes.len() > MAX_TRANSACTION_OPS {
            return Err(KvError::Invalid("transaction of at most 1024 operations"));
        }
        let mut keys: Vec<&Key> = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            match write {
                Write::Put { key, value, .. } => {
                    if value.len() > MAX_VALUE_BYTES {
                        return Err(KvError::Invalid("value of at most 1 MiB"));
                    }
                    keys.push(key);
                }
                Write::Delete(key) => keys.push(key),
            }
        }
        keys.sort_unstable();
        if keys
            .windows(2)
            .any(|pair| matches!(pair, [one, next] if one == next))
        {
            return Err(KvError::Invalid("each key written at most once"));
        }
        Ok(())
    }
}
