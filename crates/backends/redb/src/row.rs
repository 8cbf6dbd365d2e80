//! How keys and values lie in the file.
//!
//! Row version 1: 1 (1 byte), commit (8, big endian), flag (1: expires, 0: does not), instant (8, in
//! time order), value.

use bytes::Bytes;
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{Key, Partition, Version, Versioned};
use eonpro_core::time::Timestamp;

use crate::file::backend;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 8 + 1 + 8;

/// A row's version is unknown, or it is malformed.
#[derive(Debug, thiserror::Error)]
#[error("row of the store is of an unknown version or malformed")]
pub(crate) struct BadRow;

/// A partition's name followed by a zero byte, which ends it: no partition's keys begin with
/// another's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(Vec<u8>);

impl Prefix {
    pub(crate) fn of(partition: &Partition) -> Result<Self, KvError> {
        let mut name = partition.to_string().into_bytes();
        if name.contains(&0) {
            return Err(KvError::Invalid("partition without zero bytes"));
        }
        name.push(0);
        Ok(Self(name))
    }

    /// Where the partition's counter lies.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where the entry at `key` lies.
    pub(crate) fn join(&self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + key.len());
        out.extend_from_slice(&self.0);
        out.extend_from_slice(key);
        out
    }

    /// The key of an entry of this partition.
    pub(crate) fn key_in(&self, place: &[u8]) -> Option<Key> {
        let key = place.strip_prefix(self.0.as_slice())?;
        Key::new(Bytes::copy_from_slice(key)).ok()
    }
}

/// An instant whose byte order is its time order.
pub(crate) fn instant_bytes(at: Timestamp) -> [u8; 8] {
    (at.nanos().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn instant_from(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_nanos((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// A row as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) version: Version,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) value: &'a [u8],
}

impl<'a> Row<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.value.len());
        out.push(VERSION);
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.push(u8::from(self.expires.is_some()));
        out.extend_from_slice(&instant_bytes(self.expires.unwrap_or(Timestamp::EPOCH)));
        out.extend_from_slice(self.value);
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, KvError> {
        Self::parse(bytes).ok_or_else(|| backend(BadRow))
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (commit, rest) = rest.split_first_chunk()?;
        let (flag, rest) = rest.split_first()?;
        let (instant, value) = rest.split_first_chunk()?;
        let expires = match (version, flag) {
            (&VERSION, 0) => None,
            (&VERSION, 1) => Some(instant_from(*instant)),
            _ => return None,
        };
        Some(Self {
            version: Version(u64::from_be_bytes(*commit)),
            expires,
            value,
        })
    }

    /// Whether it has not expired at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    pub(crate) fn to_versioned(self) -> Versioned {
        Versioned {
            value: Bytes::copy_from_slice(self.value),
            version: self.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_survives_encoding(
            version in any::<u64>(),
            expires in any::<Option<i64>>(),
            value in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let row = Row {
                version: Version(version),
                expires: expires.map(Timestamp::from_nanos),
                value: &value,
            };
            let encoded = row.encode();
            prop_assert_eq!(Row::parse(&encoded), Some(row));
        }

        #[test]
        fn instants_sort_as_bytes_as_they_do_in_time(one in any::<i64>(), other in any::<i64>()) {
            let bytes = |nanos| instant_bytes(Timestamp::from_nanos(nanos));
            prop_assert_eq!(one.cmp(&other), bytes(one).cmp(&bytes(other)));
        }
    }

    #[test]
    fn a_row_of_another_version_or_cut_short_is_refused() {
        let row = Row {
            version: Version(1),
            expires: None,
            value: b"v",
        };
        let mut encoded = row.encode();
        for length in 0..HEADER {
            assert!(Row::decode(&encoded[..length]).is_err());
        }
        encoded[0] = 2;
        assert!(Row::decode(&encoded).is_err());
    }

    #[test]
    fn a_partition_whose_name_begins_like_another_shares_no_keys_with_it() {
        let short = Prefix::of(&Partition::system("a")).unwrap();
        let long = Prefix::of(&Partition::system("ab")).unwrap();
        assert_eq!(short.key_in(&long.join(b"k")), None);
        assert!(Prefix::of(&Partition::system("a\0b")).is_err());
    }
}
