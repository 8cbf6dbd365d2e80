//! How much a key has sealed in this process: an estimate by which epochs turn.
//!
//! A salt of 24 bytes bounds a key at 2^77 messages (C2SP chunked-encryption), so a bound of 2^40 leaves
//! room for what other processes seal under the same key and for what was forgotten: counts begin at
//! zero with each process, and when a scope leaves a full cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eonpro_core::port::SealError;

use crate::keyset::{KeyId, MAX_KEYS};

/// The most that one epoch may seal in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Whether a key should still seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wear {
    /// Yes.
    Fresh,
    /// Yes, but seven eighths of its bounds are used: another should take over.
    Due,
    /// No.
    Spent,
}

/// What one key has sealed.
#[derive(Debug)]
pub(crate) struct Usage {
    bounds: Bounds,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Counts one message of `length` bytes of plaintext, before it is sealed.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] if the key has sealed what it may.
    pub(crate) fn count(&self, length: usize) -> Result<(), SealError> {
        if self.wear() == Wear::Spent {
            return Err(SealError::LimitExceeded);
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        // At most `max_message_bytes` beyond the bound for each call that runs now: far from 2^64.
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Where the counts stand.
    pub(crate) fn wear(&self) -> Wear {
        let messages = self.messages.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let due = |bound: u64| bound - bound / 8;
        if messages >= self.bounds.messages || bytes >= self.bounds.bytes {
            Wear::Spent
        } else if messages >= due(self.bounds.messages) || bytes >= due(self.bounds.bytes) {
            Wear::Due
        } else {
            Wear::Fresh
        }
    }
}

/// The counts of one scope's keys; they outlast a lease.
#[derive(Debug, Default)]
pub(crate) struct Usages(Mutex<HashMap<KeyId, Arc<Usage>>>);

impl Usages {
    /// The counts of that key.
    pub(crate) fn of(&self, id: KeyId, bounds: Bounds) -> Arc<Usage> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MAX_KEYS && !known.contains_key(&id) {
            known.clear();
        }
        let usage = known
            .entry(id)
            .or_insert_with(|| Arc::new(Usage::new(bounds)));
        Arc::clone(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Bounds = Bounds {
        messages: 16,
        bytes: 1 << 20,
    };

    #[test]
    fn a_key_is_due_at_seven_eighths_and_spent_at_its_bound() {
        let usage = Usage::new(FEW);
        let mut seen = Vec::new();
        for _ in 0..16 {
            usage.count(0).unwrap();
            seen.push(usage.wear());
        }
        assert_eq!(seen.get(12), Some(&Wear::Fresh));
        assert_eq!(seen.get(13), Some(&Wear::Due));
        assert_eq!(seen.get(14), Some(&Wear::Due));
        assert_eq!(seen.get(15), Some(&Wear::Spent));
        assert!(matches!(usage.count(0), Err(SealError::LimitExceeded)));
    }

    #[test]
    fn bytes_wear_a_key_as_messages_do() {
        let usage = Usage::new(FEW);
        usage.count(1 << 19).unwrap();
        assert_eq!(usage.wear(), Wear::Fresh);
        usage.count(1 << 19).unwrap();
        assert!(matches!(usage.count(0), Err(SealError::LimitExceeded)));
    }

    #[test]
    fn counts_outlast_the_lease_that_made_them() {
        let usages = Usages::default();
        let id = KeyId::from_be_bytes([0, 0, 0, 1]);
        for _ in 0..16 {
            usages.of(id, FEW).count(0).unwrap();
        }
        assert_eq!(usages.of(id, FEW).wear(), Wear::Spent);
    }
}
