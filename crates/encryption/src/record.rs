//! A scope's keys as they are stored: JSON with a format version, apart from the domain's types.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CryptoError;
use crate::keyset::{KeyId, KeyRole, Keyset, MAX_KEYS, ScopeRecord, StoredKey, Tombstone};
use crate::state::KeyState;

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct WireRecord {
    v: u32,
    #[serde(flatten)]
    body: WireBody,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum WireBody {
    Live { root: Box<str>, keys: Vec<WireKey> },
    Shredded { at: i64, keys: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey {
    id: String,
    role: WireRole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<Box<str>>,
    epoch: u64,
    state: WireState,
    created: i64,
    wrapped: String,
    announced: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireRole {
    Kek,
    Dek,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireState {
    Primary,
    DecryptOnly,
    Drained,
    Suspended,
    Compromised,
    Destroyed,
}

/// The stored form.
pub(crate) fn encode(record: &ScopeRecord) -> Result<Vec<u8>, CryptoError> {
    let body = match record {
        ScopeRecord::Live(keyset) => {
            keyset.check()?;
            WireBody::Live {
                root: keyset.root.clone(),
                keys: keyset.keys.iter().map(to_wire).collect(),
            }
        }
        ScopeRecord::Shredded(tombstone) => WireBody::Shredded {
            at: tombstone.at.nanos(),
            keys: tombstone.keys,
        },
    };
    let wire = WireRecord { v: VERSION, body };
    serde_json::to_vec(&wire).map_err(|_| CryptoError::Record("not JSON"))
}

/// Reads the stored form, and checks it.
pub(crate) fn decode(bytes: &[u8]) -> Result<ScopeRecord, CryptoError> {
    let VersionOnly { v } =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("no version"))?;
    if v != VERSION {
        return Err(CryptoError::Version(v));
    }
    let wire: WireRecord =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("unknown shape"))?;
    match wire.body {
        WireBody::Live { root, keys } => {
            if keys.len() > MAX_KEYS {
                return Err(CryptoError::Record("more than 1024 keys"));
            }
            let keys = keys.into_iter().map(from_wire);
            let keyset = Keyset {
                root,
                keys: keys.collect::<Result<_, _>>()?,
            };
            keyset.check()?;
            Ok(ScopeRecord::Live(keyset))
        }
        WireBody::Shredded { at, keys } => Ok(ScopeRecord::Shredded(Tombstone {
            at: Timestamp::from_nanos(at),
            keys,
        })),
    }
}

fn to_wire(key: &StoredKey) -> WireKey {
    let (role, purpose) = match &key.role {
        KeyRole::Wrapping => (WireRole::Kek, None),
        KeyRole::Data(purpose) => (WireRole::Dek, Some(purpose.clone())),
    };
    WireKey {
        id: key.id.to_string(),
        role,
        purpose,
        epoch: key.epoch,
        state: match key.state {
            KeyState::Primary => WireState::Primary,
            KeyState::DecryptOnly => WireState::DecryptOnly,
            KeyState::Drained => WireState::Drained,
            KeyState::Suspended => WireState::Suspended,
            KeyState::Compromised => WireState::Compromised,
            KeyState::Destroyed => WireState::Destroyed,
        },
        created: key.created.nanos(),
        wrapped: URL_SAFE_NO_PAD.encode(&key.wrapped),
        announced: key.announced,
    }
}

fn from_wire(wire: WireKey) -> Result<StoredKey, CryptoError> {
    let role = match (wire.role, wire.purpose) {
        (WireRole::Kek, None) => KeyRole::Wrapping,
        (WireRole::Dek, Some(purpose)) => KeyRole::Data(purpose),
        _ => return Err(CryptoError::Record("role and purpose disagree")),
    };
    Ok(StoredKey {
        id: KeyId::parse(&wire.id).ok_or(CryptoError::Record("not a key id"))?,
        role,
        epoch: wire.epoch,
        state: match wire.state {
            WireState::Primary => KeyState::Primary,
            WireState::DecryptOnly => KeyState::DecryptOnly,
            WireState::Drained => KeyState::Drained,
            WireState::Suspended => KeyState::Suspended,
            WireState::Compromised => KeyState::Compromised,
            WireState::Destroyed => KeyState::Destroyed,
        },
        created: Timestamp::from_nanos(wire.created),
        wrapped: URL_SAFE_NO_PAD
            .decode(&wire.wrapped)
            .map_err(|_| CryptoError::Record("not base64url"))?,
        announced: wire.announced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> ScopeRecord {
        let key = |id, role, state| StoredKey {
            id: KeyId::from_be_bytes([0, 0, 0, id]),
            role,
            epoch: 1,
            state,
            created: Timestamp::from_nanos(5),
            wrapped: if state == KeyState::Destroyed {
                Vec::new()
            } else {
                vec![id; 8]
            },
            announced: true,
        };
        ScopeRecord::Live(Keyset {
            root: "keyring:1".into(),
            keys: vec![
                key(1, KeyRole::Wrapping, KeyState::Destroyed),
                key(2, KeyRole::Wrapping, KeyState::Primary),
                key(3, KeyRole::data("records"), KeyState::DecryptOnly),
                key(4, KeyRole::data("records"), KeyState::Primary),
                key(5, KeyRole::data("records"), KeyState::Drained),
                key(6, KeyRole::data("records"), KeyState::Suspended),
                key(7, KeyRole::data("records"), KeyState::Compromised),
            ],
        })
    }

    #[test]
    fn every_record_survives_its_stored_form() {
        let shredded = ScopeRecord::Shredded(Tombstone {
            at: Timestamp::from_nanos(-7),
            keys: 9,
        });
        for record in [live(), shredded] {
            assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        assert!(matches!(
            decode(br#"{"v":2,"state":"frozen"}"#),
            Err(CryptoError::Version(2))
        ));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let text = String::from_utf8(encode(&live()).unwrap()).unwrap();
        let changed = [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            text.replace("\"kek\"", "\"dek\""),
            text.replace("\"primary\"", "\"decrypt_only\""),
            text.replace("00000004", "00000003"),
            text.replace("00000004", "4"),
            text.replace("\"epoch\":1", "\"epoch\":-1"),
            text.replace("BAQEBAQEBAQ", "not base64"),
        ];
        for bad in changed {
            assert_ne!(bad, text);
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
