//! The leaf: one event as compact UTF-8 JSON, hashed exactly as stored.
//!
//! `{"v":1,"prev":"<64 hex>","recorded":"<instant>",` and then the members of [`Entry`]. The head has
//! a fixed length, so that callers build the rest in parallel and the writer only fills the head in.

use std::collections::BTreeMap;

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;
use eonpro_core::id::{EventId, TenantId};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::log_id::LogId;

const BEFORE_PREVIOUS: &[u8] = b"{\"v\":1,\"prev\":\"";
const BEFORE_RECORDED: &[u8] = b"\",\"recorded\":\"";
const AFTER_RECORDED: &[u8] = b"\",";
const PREVIOUS_BYTES: usize = 64;
/// The length of a [`Timestamp`] as text.
const RECORDED_BYTES: usize = 30;

/// How many bytes the writer puts before what the caller built.
pub(crate) const HEAD_BYTES: usize = BEFORE_PREVIOUS.len()
    + PREVIOUS_BYTES
    + BEFORE_RECORDED.len()
    + RECORDED_BYTES
    + AFTER_RECORDED.len();

/// How many bytes of a leaf without its head stand before the code: `"id":"<UUID>","code":"`.
const BEFORE_CODE: usize = 6 + 36 + 10;

/// The bytes are no entry of a version that this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit entry is malformed or was pruned")]
pub struct WireError;

impl Classify for WireError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryActor {
    /// The kind of actor, such as `user`.
    pub kind: String,
    /// The actor's pseudonym.
    pub id: String,
    /// The roles granted for the request.
    pub roles: Vec<String>,
    /// The session, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
}

/// One clear value of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EntryValue {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Count(u64),
    /// A token, an id, an instant, an address or a digest, as text.
    Text(String),
    /// Several tokens.
    Texts(Vec<String>),
    /// A thing: `kind`, `id` and perhaps `version`.
    Object(BTreeMap<String, String>),
}

/// What an entry says, without its place in the log. Serialized in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The event's id (UUIDv7): the key of idempotency.
    pub id: String,
    /// The catalogue code, such as `PHI-001`.
    pub code: String,
    /// The catalogue name, such as `phi.record.viewed`.
    pub name: String,
    /// When it happened, by the clock of whoever announced it (RFC 3339).
    pub occurred: String,
    /// 0 success, 4 minor, 8 serious, 12 major failure (DICOM PS3.15, FHIR R4).
    pub outcome: u8,
    /// The tenant of the request; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    /// Who acted.
    pub actor: EntryActor,
    /// Authenticator assurance level, 0 to 3 (NIST SP 800-63B).
    pub aal: u8,
    /// The request (UUIDv7).
    pub request: String,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace: String,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<String>,
    /// The HL7 purpose of use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// The clear fields of the event.
    #[serde(default)]
    pub fields: BTreeMap<String, EntryValue>,
    /// The pseudonym of the one patient under whose key the sealed fields were sealed; absent where it
    /// was under the keys of the log, or where there are none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// The sealed fields: base64url of the sealed bytes. Each was sealed for the cell (`audit`, the
    /// field's name, the 16 bytes of `id`), by the key of `subject` or else with purpose `audit`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub sealed: BTreeMap<String, String>,
    /// For each sealed field the commitment to its value, base64url of 32 bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub commit: BTreeMap<String, String>,
}

/// An entry as it stands in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// Its log.
    pub log: LogId,
    /// Its index, from 0.
    pub index: u64,
    /// The leaf exactly as stored: JSON, or in the directory log a signed checkpoint. Empty if it was
    /// pruned.
    pub bytes: Vec<u8>,
    /// The leaf's hash if its bytes were pruned because their time was over: all that is left of it.
    pub pruned: Option<Digest>,
}

impl EntryView {
    /// Its RFC 6962 leaf hash.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        let hash = || crate::merkle::leaf_hash(&self.bytes);
        self.pruned.unwrap_or_else(hash)
    }

    /// When the log recorded it.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are no entry, such as the leaves of the directory log, or were
    /// [pruned](Self::pruned).
    pub fn recorded(&self) -> Result<Timestamp, WireError> {
        Ok(Leaf::parse(&self.bytes)?.recorded)
    }

    /// What it says.
    ///
    /// # Errors
    /// As [`Self::recorded`].
    pub fn entry(&self) -> Result<Entry, WireError> {
        Leaf::parse(&self.bytes)?.entry()
    }
}

/// Writes the head: everything that the writer alone can know.
pub(crate) fn push_head(out: &mut Vec<u8>, previous: &Digest, recorded: Timestamp) {
    out.extend_from_slice(BEFORE_PREVIOUS);
    hex::push(out, previous.as_bytes());
    out.extend_from_slice(BEFORE_RECORDED);
    out.extend_from_slice(recorded.to_string().as_bytes());
    out.extend_from_slice(AFTER_RECORDED);
}

/// The rest of a leaf as a caller builds it: `entry` as JSON without its opening brace.
pub(crate) fn tail(entry: &Entry) -> Result<Vec<u8>, WireError> {
    let mut json = serde_json::to_vec(entry).map_err(|_| WireError)?;
    json.remove(0);
    Ok(json)
}

/// A leaf taken apart as far as its chain needs.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    pub(crate) previous: Digest,
    pub(crate) recorded: Timestamp,
    /// The members after the head, with the closing brace.
    tail: &'a [u8],
}

/// What the log itself must know of an entry.
#[derive(Debug, Deserialize)]
struct Brief<'a> {
    id: &'a str,
    #[serde(default)]
    tenant: Option<&'a str>,
}

impl<'a> Leaf<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::split(bytes).ok_or(WireError)
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(BEFORE_PREVIOUS)?;
        let (previous, rest) = rest.split_at_checked(PREVIOUS_BYTES)?;
        let rest = rest.strip_prefix(BEFORE_RECORDED)?;
        let (recorded, rest) = rest.split_at_checked(RECORDED_BYTES)?;
        let tail = rest.strip_prefix(AFTER_RECORDED)?;
        let previous = Digest::parse_hex(std::str::from_utf8(previous).ok()?)?;
        let recorded = Timestamp::parse_rfc3339(std::str::from_utf8(recorded).ok()?)?;
        Some(Self {
            previous,
            recorded,
            tail,
        })
    }

    /// Everything it says.
    pub(crate) fn entry(&self) -> Result<Entry, WireError> {
        serde_json::from_slice(&whole(self.tail)).map_err(|_| WireError)
    }

    /// Whether its code is `code`, by the place where the writer puts it.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        let rest = self.tail.get(BEFORE_CODE..).unwrap_or_default();
        let rest = rest.strip_prefix(code.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// Its id and its tenant.
    pub(crate) fn brief(&self) -> Result<(EventId, Option<TenantId>), WireError> {
        tail_brief(self.tail)
    }
}

/// The id and the tenant in a leaf without its head.
pub(crate) fn tail_brief(tail: &[u8]) -> Result<(EventId, Option<TenantId>), WireError> {
    let json = whole(tail);
    let brief: Brief<'_> = serde_json::from_slice(&json).map_err(|_| WireError)?;
    let id = uuid::Uuid::try_parse(brief.id).map_err(|_| WireError)?;
    let tenant = match brief.tenant {
        None => None,
        Some(text) => Some(TenantId::parse(text).ok_or(WireError)?),
    };
    Ok((EventId::from_uuid(id), tenant))
}

/// Everything that a leaf without its head says.
pub(crate) fn tail_entry(tail: &[u8]) -> Result<Entry, WireError> {
    serde_json::from_slice(&whole(tail)).map_err(|_| WireError)
}

/// A tail as the JSON object that it is without the head.
fn whole(tail: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(tail.len() + 1);
    json.push(b'{');
    json.extend_from_slice(tail);
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        Entry {
            id: "0190a1b2-0000-7000-8000-00000000000a".to_owned(),
            code: "PHI-001".to_owned(),
            name: "phi.record.viewed".to_owned(),
            occurred: "1970-01-01T00:00:00.000000000Z".to_owned(),
            outcome: 0,
            tenant: None,
            actor: EntryActor {
                kind: "user".to_owned(),
                id: "u1".to_owned(),
                roles: vec!["clinician".to_owned()],
                session: None,
            },
            aal: 2,
            request: "0190a1b2-0000-7000-8000-00000000000b".to_owned(),
            trace: "0".repeat(32),
            client: Some("192.0.2.1".to_owned()),
            purpose: None,
            fields: BTreeMap::from([("rows".to_owned(), EntryValue::Count(7))]),
            subject: None,
            sealed: BTreeMap::new(),
            commit: BTreeMap::new(),
        }
    }

    #[test]
    fn a_leaf_is_one_json_object_that_reads_back() {
        let (previous, recorded) = (Digest::of(b"before"), Timestamp::from_nanos(5));
        let mut bytes = Vec::new();
        push_head(&mut bytes, &previous, recorded);
        assert_eq!(bytes.len(), HEAD_BYTES);
        bytes.extend_from_slice(&tail(&entry()).unwrap());

        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["v"], 1);
        assert_eq!(json["prev"], previous.to_string());
        assert_eq!(json["fields"]["rows"], 7);

        let leaf = Leaf::parse(&bytes).unwrap();
        assert_eq!((leaf.previous, leaf.recorded), (previous, recorded));
        assert_eq!(leaf.entry(), Ok(entry()));
        assert_eq!(leaf.brief().unwrap().1, None);
        assert!(leaf.has_code("PHI-001"));
        assert!(!leaf.has_code("PHI-00") && !leaf.has_code("AUD-009"));
    }

    #[test]
    fn every_timestamp_has_the_length_that_the_head_reserves() {
        for nanos in [i64::MIN, -1, 0, 1, i64::MAX] {
            let text = Timestamp::from_nanos(nanos).to_string();
            assert_eq!(text.len(), RECORDED_BYTES, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(leaf) = Leaf::parse(&bytes) {
                let _ = (leaf.entry(), leaf.brief());
            }
        }
    }
}
