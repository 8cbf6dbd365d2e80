//! A scope's keys as they are stored: JSON with a format version, apart from the domain's types.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CryptoError;
use crate::index_status::{IndexStatus, StoredIndex};
use crate::keyset::{
    AlsoWrapped, KeyId, KeyRole, KeyState, Keyset, MAX_KEYS, MAX_PRUNED, ScopeRecord, StoredKey,
    Tombstone,
};

/// The format of a record without rotated indexes. Readers of before indexes could be rotated read
/// it, and only it: they would drop the lines of the indexes when they write.
const PLAIN: u32 = 1;

/// The format of a record with rotated indexes or allowed columns, which a reader of the plain one
/// would drop when it writes.
const EXTENDED: u32 = 2;

/// The format of a record from which keys were pruned: a reader of those before would drop their ids when
/// it writes, and give them again.
const PRUNED: u32 = 3;

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
    Live {
        root: Box<str>,
        keys: Vec<WireKey>,
        /// Base64url of four bytes for each id, big endian.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pruned: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<WireAlso>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        low_cardinality: Vec<Box<str>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        indexes: Vec<WireIndex>,
    },
    Shredded {
        at: i64,
        keys: u64,
    },
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
#[serde(deny_unknown_fields)]
struct WireAlso {
    by: Box<str>,
    wrapped: String,
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireIndex {
    table: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<Box<str>>,
    name: Box<str>,
    phase: WirePhase,
    /// The version that is in use, or, while another is added or dropped, the older one.
    version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WirePhase {
    Stable,
    Adding,
    Dropping,
}

/// The stored form.
pub(crate) fn encode(record: &ScopeRecord) -> Result<Vec<u8>, CryptoError> {
    let body = match record {
        ScopeRecord::Live(keyset) => {
            keyset.check()?;
            WireBody::Live {
                root: keyset.root.clone(),
                keys: keyset.keys.iter().map(to_wire).collect(),
                pruned: pruned_to_wire(&keyset.pruned),
                also: keyset.also.iter().map(also_to_wire).collect(),
                low_cardinality: keyset.low_cardinality.clone(),
                indexes: keyset.indexes.iter().map(index_to_wire).collect(),
            }
        }
        ScopeRecord::Shredded(tombstone) => WireBody::Shredded {
            at: tombstone.at.nanos(),
            keys: tombstone.keys,
        },
    };
    let v = version_of(&body);
    let wire = WireRecord { v, body };
    serde_json::to_vec(&wire).map_err(|_| CryptoError::Record("not JSON"))
}

/// The lowest format in which nothing of it is dropped by an older reader.
fn version_of(body: &WireBody) -> u32 {
    match body {
        WireBody::Live { pruned, .. } if !pruned.is_empty() => PRUNED,
        WireBody::Live {
            indexes,
            low_cardinality,
            also,
            ..
        } if !(indexes.is_empty() && low_cardinality.is_empty() && also.is_empty()) => EXTENDED,
        _ => PLAIN,
    }
}

/// Reads the stored form, and checks it.
pub(crate) fn decode(bytes: &[u8]) -> Result<ScopeRecord, CryptoError> {
    let VersionOnly { v } =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("no version"))?;
    if !(PLAIN..=PRUNED).contains(&v) {
        return Err(CryptoError::Version(v));
    }
    let wire: WireRecord =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("unknown shape"))?;
    if version_of(&wire.body) != v {
        return Err(CryptoError::Record("version and content disagree"));
    }
    match wire.body {
        WireBody::Live {
            root,
            keys,
            pruned,
            also,
            low_cardinality,
            indexes,
        } => {
            if keys.len() > MAX_KEYS {
                return Err(CryptoError::Record("more than 1024 keys"));
            }
            let also = also.into_iter().map(also_from_wire);
            let indexes = indexes.into_iter().map(index_from_wire);
            let keys = keys.into_iter().map(from_wire);
            let keyset = Keyset {
                root,
                keys: keys.collect::<Result<_, _>>()?,
                pruned: pruned_from_wire(&pruned)?,
                also: also.collect::<Result<_, _>>()?,
                low_cardinality,
                indexes: indexes.collect::<Result<_, _>>()?,
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

fn pruned_to_wire(pruned: &[KeyId]) -> String {
    let bytes: Vec<u8> = pruned.iter().flat_map(|id| id.to_be_bytes()).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pruned_from_wire(text: &str) -> Result<Vec<KeyId>, CryptoError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| CryptoError::Record("not base64url"))?;
    let (ids, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() || ids.len() > MAX_PRUNED {
        return Err(CryptoError::Record("pruned keys are malformed"));
    }
    Ok(ids.iter().map(|id| KeyId::from_be_bytes(*id)).collect())
}

fn also_to_wire(also: &AlsoWrapped) -> WireAlso {
    WireAlso {
        by: also.by.clone(),
        wrapped: URL_SAFE_NO_PAD.encode(&also.wrapped),
    }
}

fn also_from_wire(wire: WireAlso) -> Result<AlsoWrapped, CryptoError> {
    Ok(AlsoWrapped {
        by: wire.by,
        wrapped: URL_SAFE_NO_PAD
            .decode(&wire.wrapped)
            .map_err(|_| CryptoError::Record("not base64url"))?,
    })
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

fn index_to_wire(index: &StoredIndex) -> WireIndex {
    let (phase, version, new, settled_at) = match index.status {
        IndexStatus::Stable { version } => (WirePhase::Stable, version, None, None),
        IndexStatus::Adding {
            old,
            new,
            settled_at,
        } => (WirePhase::Adding, old, Some(new), Some(settled_at.nanos())),
        IndexStatus::Dropping {
            old,
            new,
            settled_at,
        } => (
            WirePhase::Dropping,
            old,
            Some(new),
            Some(settled_at.nanos()),
        ),
    };
    WireIndex {
        table: index.table.clone(),
        column: index.column.clone(),
        name: index.name.clone(),
        phase,
        version,
        new,
        settled_at,
    }
}

fn index_from_wire(wire: WireIndex) -> Result<StoredIndex, CryptoError> {
    let old = wire.version;
    let settled_at = wire.settled_at.map(Timestamp::from_nanos);
    let status = match (wire.phase, wire.new, settled_at) {
        (WirePhase::Stable, None, None) => IndexStatus::Stable { version: old },
        (WirePhase::Adding, Some(new), Some(settled_at)) => IndexStatus::Adding {
            old,
            new,
            settled_at,
        },
        (WirePhase::Dropping, Some(new), Some(settled_at)) => IndexStatus::Dropping {
            old,
            new,
            settled_at,
        },
        _ => return Err(CryptoError::Record("phase of an index lacks its parts")),
    };
    Ok(StoredIndex {
        table: wire.table,
        column: wire.column,
        name: wire.name,
        status,
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
            pruned: Vec::new(),
            also: Vec::new(),
            low_cardinality: Vec::new(),
            indexes: Vec::new(),
        })
    }

    fn rotated() -> ScopeRecord {
        let ScopeRecord::Live(mut keyset) = live() else {
            panic!("not live");
        };
        let settled_at = Timestamp::from_nanos(9);
        let (old, new) = (1, 2);
        let line = |column: Option<&str>, status| StoredIndex {
            table: "patients".into(),
            column: column.map(Into::into),
            name: "ssn".into(),
            status,
        };
        keyset.indexes = vec![
            line(Some("a"), IndexStatus::Stable { version: 7 }),
            line(
                Some("b"),
                IndexStatus::Adding {
                    old,
                    new,
                    settled_at,
                },
            ),
            line(
                None,
                IndexStatus::Dropping {
                    old,
                    new,
                    settled_at,
                },
            ),
        ];
        ScopeRecord::Live(keyset)
    }

    #[test]
    fn every_record_survives_its_stored_form() {
        let shredded = ScopeRecord::Shredded(Tombstone {
            at: Timestamp::from_nanos(-7),
            keys: 9,
        });
        for record in [live(), rotated(), shredded] {
            assert_eq!(decode(&encode(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        assert!(matches!(
            decode(br#"{"v":4,"state":"frozen"}"#),
            Err(CryptoError::Version(4))
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

    #[test]
    fn pruned_ids_survive_and_no_older_reader_drops_them() {
        for record in [live(), rotated()] {
            let ScopeRecord::Live(mut keyset) = record else {
                panic!("not live");
            };
            keyset.pruned = vec![
                KeyId::from_be_bytes([9, 8, 7, 6]),
                KeyId::from_be_bytes([9; 4]),
            ];
            let record = ScopeRecord::Live(keyset);
            let bytes = encode(&record).unwrap();
            assert_eq!(decode(&bytes).unwrap(), record);
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.starts_with(r#"{"v":3,"#), "{text}");
            for (what, with) in [
                (r#""v":3"#, r#""v":2"#),
                (r#""v":3"#, r#""v":1"#),
                ("CQgHBgkJCQk", ""),
                ("CQgHBgkJCQk", "CQgHBgkJCQ"),
                ("CQgHBgkJCQk", "CQgHBgkIBwY"),
                ("CQgHBgkJCQk", "AAAAAgkJCQk"),
                ("CQgHBgkJCQk", "AAAAAAkJCQk"),
            ] {
                let bad = text.replace(what, with);
                assert_ne!(bad, text, "{what}");
                assert!(decode(bad.as_bytes()).is_err(), "{bad}");
            }
        }
    }

    fn with_allowed_column() -> ScopeRecord {
        let ScopeRecord::Live(mut keyset) = live() else {
            return live();
        };
        keyset.low_cardinality = vec!["patients/sex".into()];
        ScopeRecord::Live(keyset)
    }

    #[test]
    fn a_column_that_is_allowed_survives_and_is_not_dropped_by_an_older_reader() {
        let bytes = encode(&with_allowed_column()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), with_allowed_column());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(r#""v":2"#));
        assert!(decode(text.replace(r#""v":2"#, r#""v":1"#).as_bytes()).is_err());
    }

    #[test]
    fn only_a_record_with_rotated_indexes_needs_a_reader_that_knows_them() {
        let version = |record| {
            let bytes = encode(&record).unwrap();
            serde_json::from_slice::<VersionOnly>(&bytes).unwrap().v
        };
        assert_eq!((version(live()), version(rotated())), (1, 2));
    }

    #[test]
    fn contradictory_lines_of_indexes_are_refused() {
        let text = String::from_utf8(encode(&rotated()).unwrap()).unwrap();
        for (what, with) in [
            (r#""v":2"#, r#""v":1"#),
            (r#""new":2"#, r#""new":3"#),
            (r#""version":7"#, r#""version":0"#),
            (r#""version":1,"new":2"#, r#""version":0,"new":1"#),
            (r#""phase":"stable""#, r#""phase":"adding""#),
            (r#""phase":"adding""#, r#""phase":"stable""#),
            (r#""phase":"adding""#, r#""phase":"frozen""#),
            (r#""column":"b""#, r#""column":"a""#),
            (r#""column":"b""#, r#""column":"""#),
            (r#","settled_at":9"#, ""),
        ] {
            let bad = text.replace(what, with);
            assert_ne!(bad, text, "{what}");
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
