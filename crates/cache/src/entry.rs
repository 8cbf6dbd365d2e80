//! Entries: what memory holds, and the plaintext that is sealed for disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eonpro_core::secret::SecretBytes;
use eonpro_core::time::{Monotonic, Timestamp};

use crate::generation::{Guard, TenantGeneration};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 8;

/// A copy of `bytes` in an allocation of its own, wiped when its last handle goes.
pub(crate) fn wiped(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(SecretBytes::new(bytes.to_vec()))
}

/// An entry in memory.
pub(crate) struct LocalEntry {
    value: Option<Bytes>,
    expires: Monotonic,
    tenant: Arc<TenantGeneration>,
    tenant_seen: u64,
}

impl LocalEntry {
    pub(crate) fn new(value: Option<Bytes>, expires: Monotonic, guard: &Guard) -> Self {
        let (tenant, tenant_seen) = guard.tenant();
        Self {
            value,
            expires,
            tenant: Arc::clone(tenant),
            tenant_seen,
        }
    }

    /// Whether it may be served at `now`.
    pub(crate) fn is_valid(&self, now: Monotonic) -> bool {
        now < self.expires && self.tenant.current() == self.tenant_seen
    }

    /// The value; `None` if the thing is known not to exist.
    pub(crate) fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What is sealed for disk: version 1 (1 byte), expiry in nanoseconds since the Unix epoch (8, little
/// endian), time in memory in nanoseconds (8, little endian), value. All of it is authenticated.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DurableEntry {
    pub(crate) expires: Timestamp,
    pub(crate) local_ttl: Duration,
    pub(crate) value: Bytes,
}

impl DurableEntry {
    pub(crate) fn encode(&self) -> SecretBytes {
        let local_ttl = u64::try_from(self.local_ttl.as_nanos()).unwrap_or(u64::MAX);
        let mut out = SecretBytes::with_capacity(HEADER + self.value.len());
        out.push(VERSION);
        out.extend_from_slice(&self.expires.nanos().to_le_bytes());
        out.extend_from_slice(&local_ttl.to_le_bytes());
        out.extend_from_slice(&self.value);
        out
    }

    /// `None` for another version or a malformed header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (local_ttl, value) = rest.split_first_chunk()?;
        (*version == VERSION).then(|| Self {
            expires: Timestamp::from_nanos(i64::from_le_bytes(*expires)),
            local_ttl: Duration::from_nanos(u64::from_le_bytes(*local_ttl)),
            value: wiped(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> DurableEntry {
        DurableEntry {
            expires: Timestamp::from_seconds(7),
            local_ttl: Duration::from_secs(3),
            value: Bytes::from_static(b"value"),
        }
    }

    #[test]
    fn an_entry_survives_encoding() {
        assert!(DurableEntry::decode(&entry().encode()) == Some(entry()));
    }

    #[test]
    fn another_version_and_a_short_header_are_no_entry() {
        let mut encoded = entry().encode().to_vec();
        for length in 0..HEADER {
            assert!(DurableEntry::decode(&encoded[..length]).is_none());
        }
        encoded[0] = 2;
        assert!(DurableEntry::decode(&encoded).is_none());
    }
}
