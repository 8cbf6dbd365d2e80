//! The last signed head of each log: what proofs are checked against, and where its note stands.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::log_id::LogId;
use crate::replay::Signed;

/// A head that was signed, and whose root was recomputed from the bytes on disk before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) point: Checkpoint,
    /// The index of the directory log's leaf with its note; `None` for the directory log itself.
    pub(super) at: Option<u64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Heads {
    heads: RwLock<HashMap<LogId, Head>>,
    /// Whose signatures the notes carry.
    keys: RwLock<Vec<VerifyingKey>>,
}

impl Heads {
    pub(super) fn new(signed: &Signed, keys: &[VerifyingKey]) -> Self {
        let heads = signed.heads().into_iter();
        let heads = heads.map(|(point, at)| (point.log, Head { point, at }));
        Self {
            heads: RwLock::new(heads.collect()),
            keys: RwLock::new(keys.to_vec()),
        }
    }

    pub(super) fn get(&self, log: &LogId) -> Option<Head> {
        let heads = self.heads.read().unwrap_or_else(PoisonError::into_inner);
        heads.get(log).copied()
    }

    pub(super) fn keys(&self) -> Vec<VerifyingKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// A key that takes over.
    pub(super) fn trust(&self, key: VerifyingKey) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.push(key);
    }

    pub(super) fn set(&self, point: Checkpoint, at: Option<u64>) {
        let mut heads = self.heads.write().unwrap_or_else(PoisonError::into_inner);
        heads.insert(point.log, Head { point, at });
    }
}
