//! Epochs, holds and requests as they are stored: JSON with a format version.

use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, PublicId as _, SubjectId};
use eonpro_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::epochs::{Epoch, Epochs, Gone, MAX_PENDING, Pending};
use super::facts::{BackupExposure, ShredFacts, ShredTarget};
use super::hold::{Holds, LegalHold, MAX_HOLDS};
use super::request::{Decision, ShredRequest, ShredState};
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::keyset::KeyId;

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// `body` as JSON beside its version.
pub(crate) fn encode<T: Serialize>(body: T) -> Result<Vec<u8>, CryptoError> {
    serde_json::to_vec(&Versioned { v: VERSION, body }).map_err(|_| CryptoError::Record("not JSON"))
}

/// Reads what [`encode`] wrote; refuses other versions by their number.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CryptoError> {
    let VersionOnly { v } =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("no version"))?;
    if v != VERSION {
        return Err(CryptoError::Version(v));
    }
    let read: Versioned<T> =
        serde_json::from_slice(bytes).map_err(|_| CryptoError::Record("unknown shape"))?;
    Ok(read.body)
}

pub(crate) fn key_id(text: &str) -> Result<KeyId, CryptoError> {
    KeyId::parse(text).ok_or(CryptoError::Record("not a key id"))
}

pub(crate) fn epoch_id(text: &str) -> Result<EpochId, CryptoError> {
    EpochId::new(text).ok_or(CryptoError::Record("not an epoch id"))
}

fn code(text: String) -> Result<Code, CryptoError> {
    Code::new(text).map_err(|_| CryptoError::Record("not a code"))
}

pub(crate) fn actor(text: &str) -> Result<ActorId, CryptoError> {
    ActorId::new(text).map_err(|_| CryptoError::Record("not an actor"))
}

/// A record that is stored.
pub(crate) trait Stored: Sized {
    fn write(&self) -> Result<Vec<u8>, CryptoError>;
    fn read(bytes: &[u8]) -> Result<Self, CryptoError>;
}

#[derive(Serialize, Deserialize)]
struct WireEpochs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<WireEpoch>,
    pending: Vec<WirePending>,
    gone: Vec<WireGone>,
}

#[derive(Serialize, Deserialize)]
struct WireEpoch {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custody: Option<Box<str>>,
    number: u64,
    opened: i64,
    ends: i64,
    shredded: u64,
    announced: bool,
}

#[derive(Serialize, Deserialize)]
struct WirePending {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custody: Option<Box<str>>,
    number: u64,
    destroy_at: i64,
}

#[derive(Serialize, Deserialize)]
struct WireGone {
    id: String,
    number: u64,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

impl Stored for Epochs {
    fn write(&self) -> Result<Vec<u8>, CryptoError> {
        let pending = self.pending.iter().map(|one| WirePending {
            id: one.id.to_string(),
            custody: one.custody.clone(),
            number: one.number,
            destroy_at: one.destroy_at.nanos(),
        });
        let gone = self.gone.iter().map(|one| WireGone {
            id: one.id.to_string(),
            number: one.number,
            at: one.at.nanos(),
            until: one.until.map(Timestamp::nanos),
        });
        encode(WireEpochs {
            current: self.current.as_ref().map(|one| WireEpoch {
                id: one.id.to_string(),
                custody: one.custody.clone(),
                number: one.number,
                opened: one.opened.nanos(),
                ends: one.ends.nanos(),
                shredded: one.shredded,
                announced: one.announced,
            }),
            pending: pending.collect(),
            gone: gone.collect(),
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, CryptoError> {
        let wire: WireEpochs = decode(bytes)?;
        if wire.pending.len() > MAX_PENDING {
            return Err(CryptoError::Record("more than 16 epochs to destroy"));
        }
        let current = wire.current.map(|one| {
            Ok::<_, CryptoError>(Epoch {
                id: epoch_id(&one.id)?,
                custody: one.custody,
                number: one.number,
                opened: Timestamp::from_nanos(one.opened),
                ends: Timestamp::from_nanos(one.ends),
                shredded: one.shredded,
                announced: one.announced,
            })
        });
        let pending = wire.pending.into_iter().map(|one| {
            Ok::<_, CryptoError>(Pending {
                id: epoch_id(&one.id)?,
                custody: one.custody,
                number: one.number,
                destroy_at: Timestamp::from_nanos(one.destroy_at),
            })
        });
        let gone = wire.gone.into_iter().map(|one| {
            Ok::<_, CryptoError>(Gone {
                id: epoch_id(&one.id)?,
                number: one.number,
                at: Timestamp::from_nanos(one.at),
                until: one.until.map(Timestamp::from_nanos),
            })
        });
        Ok(Self {
            current: current.transpose()?,
            pending: pending.collect::<Result<_, _>>()?,
            gone: gone.collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireHolds {
    holds: Vec<WireHold>,
}

#[derive(Serialize, Deserialize)]
struct WireHold {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Uuid>,
    case: String,
    by: String,
    at: i64,
}

fn target(subject: Option<Uuid>) -> ShredTarget {
    match subject {
        None => ShredTarget::Tenant,
        Some(bits) => ShredTarget::Subject(SubjectId::from_uuid(bits)),
    }
}

fn bits(target: ShredTarget) -> Option<Uuid> {
    target.subject().map(SubjectId::uuid)
}

impl Stored for Holds {
    fn write(&self) -> Result<Vec<u8>, CryptoError> {
        let holds = self.0.iter().map(|hold| WireHold {
            subject: bits(hold.target),
            case: hold.case.to_string(),
            by: hold.by.to_string(),
            at: hold.at.nanos(),
        });
        encode(WireHolds {
            holds: holds.collect(),
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, CryptoError> {
        let WireHolds { holds } = decode(bytes)?;
        if holds.len() > MAX_HOLDS {
            return Err(CryptoError::Record("more than 4096 legal holds"));
        }
        let holds = holds.into_iter().map(|hold| {
            Ok::<_, CryptoError>(LegalHold {
                target: target(hold.subject),
                case: code(hold.case)?,
                by: actor(&hold.by)?,
                at: Timestamp::from_nanos(hold.at),
            })
        });
        Ok(Self(holds.collect::<Result<_, _>>()?))
    }
}

#[derive(Serialize, Deserialize)]
struct WireRequest {
    id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Uuid>,
    reason: String,
    requested: WireDecision,
    approvals: Vec<WireDecision>,
    #[serde(flatten)]
    state: WireState,
}

#[derive(Serialize, Deserialize)]
struct WireDecision {
    by: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum WireState {
    Requested,
    Approved { due: i64 },
    Cancelled { cancelled: WireDecision },
    Refused { refused: i64 },
    Shredded { shredded: WireFacts },
}

#[derive(Serialize, Deserialize)]
struct WireFacts {
    at: i64,
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    exposed_until: i64,
    backups: WireBackups,
    custody: Box<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireBackups {
    Ended,
    Until(i64),
    WhileBackupsExist,
}

fn decision(wire: &WireDecision) -> Result<Decision, CryptoError> {
    Ok(Decision {
        by: actor(&wire.by)?,
        at: Timestamp::from_nanos(wire.at),
    })
}

fn wire_decision(decision: &Decision) -> WireDecision {
    WireDecision {
        by: decision.by.to_string(),
        at: decision.at.nanos(),
    }
}

fn wire_state(state: &ShredState) -> WireState {
    match state {
        ShredState::Requested => WireState::Requested,
        ShredState::Approved { due } => WireState::Approved { due: due.nanos() },
        ShredState::Cancelled(by) => WireState::Cancelled {
            cancelled: wire_decision(by),
        },
        ShredState::Refused { at } => WireState::Refused {
            refused: at.nanos(),
        },
        ShredState::Shredded(facts) => WireState::Shredded {
            shredded: WireFacts {
                at: facts.at.nanos(),
                keys: facts.keys.iter().map(KeyId::to_string).collect(),
                epoch: facts.epoch.as_ref().map(EpochId::to_string),
                exposed_until: facts.exposed_until.nanos(),
                backups: match facts.backups {
                    BackupExposure::Ended => WireBackups::Ended,
                    BackupExposure::Until(at) => WireBackups::Until(at.nanos()),
                    BackupExposure::WhileBackupsExist => WireBackups::WhileBackupsExist,
                },
                custody: facts.custody.clone(),
            },
        },
    }
}

fn state(wire: WireState) -> Result<ShredState, CryptoError> {
    Ok(match wire {
        WireState::Requested => ShredState::Requested,
        WireState::Approved { due } => ShredState::Approved {
            due: Timestamp::from_nanos(due),
        },
        WireState::Cancelled { cancelled } => ShredState::Cancelled(decision(&cancelled)?),
        WireState::Refused { refused } => ShredState::Refused {
            at: Timestamp::from_nanos(refused),
        },
        WireState::Shredded { shredded } => {
            let keys = shredded.keys.iter().map(|id| key_id(id));
            ShredState::Shredded(ShredFacts {
                at: Timestamp::from_nanos(shredded.at),
                keys: keys.collect::<Result<_, _>>()?,
                epoch: shredded.epoch.as_deref().map(epoch_id).transpose()?,
                exposed_until: Timestamp::from_nanos(shredded.exposed_until),
                backups: match shredded.backups {
                    WireBackups::Ended => BackupExposure::Ended,
                    WireBackups::Until(at) => BackupExposure::Until(Timestamp::from_nanos(at)),
                    WireBackups::WhileBackupsExist => BackupExposure::WhileBackupsExist,
                },
                custody: shredded.custody,
            })
        }
    })
}

impl Stored for ShredRequest {
    fn write(&self) -> Result<Vec<u8>, CryptoError> {
        encode(WireRequest {
            id: self.id,
            subject: bits(self.target),
            reason: self.reason.to_string(),
            requested: wire_decision(&self.requested),
            approvals: self.approvals.iter().map(wire_decision).collect(),
            state: wire_state(&self.state),
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, CryptoError> {
        let wire: WireRequest = decode(bytes)?;
        let approvals = wire.approvals.iter().map(decision);
        Ok(Self {
            id: wire.id,
            target: target(wire.subject),
            reason: code(wire.reason)?,
            requested: decision(&wire.requested)?,
            approvals: approvals.collect::<Result<_, _>>()?,
            state: state(wire.state)?,
        })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
