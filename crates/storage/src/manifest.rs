//! Manifest records as they lie in the store: sealed JSON, chained by the digest of the last one.
//!
//! Format version 1. A record is never changed; the record of a sequence number is created once or
//! not at all, which is all the locking that there is.

use eonpro_core::event::Digest;
use eonpro_core::phi::Phi;
use eonpro_core::secret::SecretBytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StorageError;

/// The version of the record format that this build writes and reads.
pub(crate) const FORMAT: u32 = 1;
/// The largest sealed record that is read.
pub(crate) const MAX_RECORD: u64 = 64 << 10;
/// The most records of one document.
pub const MAX_RECORDS: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) v: u32,
    pub(crate) doc: Uuid,
    pub(crate) seq: u64,
    /// Hexadecimal SHA-256 of the sealed record before; none for the first.
    pub(crate) prev: Option<String>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) at: i64,
    pub(crate) actor: String,
    /// Digest of the policy in force.
    pub(crate) policy: String,
    pub(crate) events: Vec<Entry>,
}

/// What a record says happened. Several at once where the scan was synchronous.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    VersionAdded(Box<Added>),
    Verdict {
        version: Uuid,
        outcome: Outcome,
        /// Name of what was found or why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        engine: String,
        signatures: String,
    },
    Released {
        version: Uuid,
        /// The data key, wrapped for the readers' purpose.
        #[serde(with = "base64url")]
        key: Vec<u8>,
    },
    Deleted {
        authority: String,
    },
    Restored {
        from: Uuid,
    },
    HoldSet {
        name: String,
    },
    HoldCleared {
        name: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Added {
    pub(crate) version: Uuid,
    pub(crate) category: String,
    pub(crate) subject: Option<Uuid>,
    pub(crate) size: u64,
    pub(crate) extent_size: u64,
    pub(crate) declared: String,
    pub(crate) sniffed: String,
    #[serde(with = "phi_text")]
    pub(crate) name: Phi<String>,
    /// Hexadecimal SHA-256 of the plaintext.
    pub(crate) sha256: String,
    /// The data key, wrapped for quarantine.
    #[serde(with = "base64url")]
    pub(crate) key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Clean,
    Infected,
    Refused,
}

impl Record {
    /// Its bytes, to be sealed.
    pub(crate) fn encode(&self) -> Result<SecretBytes, StorageError> {
        let bytes = serde_json::to_vec(self).map_err(|_| StorageError::LimitExceeded)?;
        Ok(SecretBytes::new(bytes))
    }

    /// The record in `bytes`, which must be the one of `doc` at `seq` after `prev`.
    pub(crate) fn decode(
        bytes: &[u8],
        doc: Uuid,
        seq: u64,
        prev: Option<Digest>,
    ) -> Result<Self, StorageError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|_| StorageError::Corrupt)?;
        if version.v != FORMAT {
            return Err(StorageError::UnknownFormat);
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|_| StorageError::Corrupt)?;
        let chained = match (&record.prev, prev) {
            (None, None) => true,
            (Some(text), Some(prev)) => Digest::parse_hex(text) == Some(prev),
            _ => false,
        };
        if record.doc == doc && record.seq == seq && chained {
            Ok(record)
        } else {
            Err(StorageError::Corrupt)
        }
    }
}

/// A record's file name is PHI; the record as a whole is sealed before it goes anywhere.
mod phi_text {
    use super::{Deserialize, Phi};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Phi<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Phi<String>, D::Error> {
        String::deserialize(from).map(Phi::new)
    }
}

mod base64url {
    use super::Deserialize;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(prev: Option<Digest>) -> Record {
        Record {
            v: FORMAT,
            doc: Uuid::from_u128(1),
            seq: 3,
            prev: prev.map(|digest| digest.to_string()),
            at: 7,
            actor: "clinician-1".to_owned(),
            policy: Digest::of(b"policy").to_string(),
            events: vec![
                Entry::VersionAdded(Box::new(Added {
                    version: Uuid::from_u128(2),
                    category: "genomic".to_owned(),
                    subject: None,
                    size: 5,
                    extent_size: 4096,
                    declared: "text/plain".to_owned(),
                    sniffed: "text".to_owned(),
                    name: Phi::from("smith.txt"),
                    sha256: Digest::of(b"12345").to_string(),
                    key: vec![1, 2, 0xff],
                })),
                Entry::Released {
                    version: Uuid::from_u128(2),
                    key: vec![9],
                },
            ],
        }
    }

    #[test]
    fn a_record_opens_only_at_its_own_place_in_its_own_chain() {
        let prev = Some(Digest::of(b"before"));
        let bytes = record(prev).encode().unwrap();
        let doc = Uuid::from_u128(1);
        assert!(Record::decode(&bytes, doc, 3, prev).is_ok());
        for (doc, seq, prev) in [
            (Uuid::from_u128(9), 3, prev),
            (doc, 4, prev),
            (doc, 3, None),
            (doc, 3, Some(Digest::of(b"other"))),
        ] {
            let refused = Record::decode(&bytes, doc, seq, prev);
            assert!(matches!(refused, Err(StorageError::Corrupt)));
        }
    }

    #[test]
    fn a_record_of_another_format_is_refused_by_name() {
        let mut other = record(None);
        other.v = 2;
        let bytes = other.encode().unwrap();
        let refused = Record::decode(&bytes, other.doc, 3, None);
        assert!(matches!(refused, Err(StorageError::UnknownFormat)));
    }

    #[test]
    fn a_record_prints_no_file_name() {
        assert!(!format!("{:?}", record(None)).contains("smith"));
    }
}
