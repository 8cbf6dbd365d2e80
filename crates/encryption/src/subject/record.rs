//! A subject's record as it is stored: JSON with a format version, apart from the domain's types.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Locked, SubjectKey, SubjectRecord};
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::shred::wire;

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum WireSubject {
    Live {
        id: String,
        created: i64,
        announced: bool,
        epoch: String,
        dek: String,
        secret: String,
        key: String,
    },
    Shredded {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        at: i64,
    },
}

/// The stored form.
pub(crate) fn encode(record: &SubjectRecord) -> Result<Vec<u8>, CryptoError> {
    let body = match record {
        SubjectRecord::Live(key) => WireSubject::Live {
            id: key.id.to_string(),
            created: key.created.nanos(),
            announced: key.announced,
            epoch: key.locked.epoch.to_string(),
            dek: key.locked.dek.to_string(),
            secret: URL_SAFE_NO_PAD.encode(&key.locked.secret),
            key: URL_SAFE_NO_PAD.encode(&key.locked.key),
        },
        SubjectRecord::Shredded { id, at } => WireSubject::Shredded {
            id: id.map(|id| id.to_string()),
            at: at.nanos(),
        },
    };
    wire::encode(&body)
}

/// Reads the stored form.
pub(crate) fn decode(bytes: &[u8]) -> Result<SubjectRecord, CryptoError> {
    Ok(match wire::decode(bytes)? {
        WireSubject::Live {
            id,
            created,
            announced,
            epoch,
            dek,
            secret,
            key,
        } => SubjectRecord::Live(SubjectKey {
            id: wire::key_id(&id)?,
            created: Timestamp::from_nanos(created),
            announced,
            locked: Locked {
                epoch: EpochId::new(&epoch).ok_or(CryptoError::Record("not an epoch id"))?,
                dek: wire::key_id(&dek)?,
                secret: bytes_of(&secret)?,
                key: bytes_of(&key)?,
            },
        }),
        WireSubject::Shredded { id, at } => SubjectRecord::Shredded {
            id: id.as_deref().map(wire::key_id).transpose()?,
            at: Timestamp::from_nanos(at),
        },
    })
}

fn bytes_of(text: &str) -> Result<Vec<u8>, CryptoError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CryptoError::Record("not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyset::KeyId;

    fn live() -> SubjectRecord {
        SubjectRecord::Live(SubjectKey {
            id: KeyId::from_be_bytes([0, 0, 0, 9]),
            created: Timestamp::from_nanos(5),
            announced: true,
            locked: Locked {
                epoch: EpochId::new("epoch:1").unwrap(),
                dek: KeyId::from_be_bytes([0, 0, 0, 7]),
                secret: vec![1; 8],
                key: vec![2; 8],
            },
        })
    }

    #[test]
    fn every_record_survives_its_stored_form() {
        let at = Timestamp::from_nanos(-7);
        let id = KeyId::parse("0000000a");
        for record in [
            live(),
            SubjectRecord::Shredded { id, at },
            SubjectRecord::Shredded { id: None, at },
        ] {
            assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let text = String::from_utf8(encode(&live()).unwrap()).unwrap();
        let changed = [
            String::new(),
            "{}".to_owned(),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("00000009", "9"),
            text.replace("epoch:1", "epoch 1"),
            text.replace("AQEBAQEBAQE", "not base64"),
            text.replace("\"live\"", "\"shredded\""),
        ];
        for bad in changed {
            assert_ne!(bad, text);
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
