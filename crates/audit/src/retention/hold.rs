//! Legal holds: what must stay whatever its age.
//!
//! Holds live in the service's state, one key each, and every change of one is on record in the log
//! (AUD-010) with the hold's id in it. Whoever prunes reads both: a hold that cannot be read, or that is on
//! record and not in the state, means that nothing goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use eonpro_core::entropy::Entropy;
use eonpro_core::error::{Classify, ErrorKind, Status};
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, SubjectId, TenantId};
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::{Key, KvError, Partition, Transaction};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log_id::LogId;
use crate::subjects::Pseudonym;
use crate::wire::{Entry, EntryValue};

const PREFIX: &str = "hold/";
const PARTITION: Partition = Partition::system("audit");
const VERSION: u32 = 1;
/// How many holds there may be.
const MAX_HOLDS: usize = 65_536;
const PAGE: usize = 256;
/// What AUD-010 says when a hold is placed.
pub(crate) const SET: &str = "set";

/// The id of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(Uuid);

impl HoldId {
    /// Of no hold.
    pub(crate) const NIL: Self = Self(Uuid::nil());

    /// A fresh random id.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bits = [0; 16];
        entropy.fill(&mut bits);
        Self(uuid::Builder::from_random_bytes(bits).into_uuid())
    }

    /// Parses any UUID text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is held.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything.
    Everything,
    /// A tenant's log, and what the system log has about that tenant.
    Tenant(TenantId),
    /// A whole log.
    Log(LogId),
    /// The entries from `from` up to `until`, without `until`.
    Range {
        /// Their log.
        log: LogId,
        /// The first index.
        from: u64,
        /// The first index behind.
        until: u64,
    },
    /// The entries of any log that name this patient, by the pseudonym there, in a clear field.
    Patient(SubjectId),
    /// The entries of any log that have this text in the clear field of this name, alone or in a list.
    Field {
        /// The field's name.
        name: String,
        /// The text.
        value: String,
    },
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// What it holds.
    pub scope: HoldScope,
    /// When it was placed.
    pub placed: Timestamp,
    /// What each log calls the patient of [`HoldScope::Patient`], where one names them. Looked up anew each
    /// time, never stored; until it was, the hold is about everybody.
    pub(crate) called: Option<BTreeMap<LogId, Pseudonym>>,
}

/// The holds could not be read or changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The state is out of reach.
    #[error("legal holds could not be read or written")]
    State(#[source] KvError),
    /// What is there is no hold of a version that this crate knows.
    #[error("a stored legal hold is malformed")]
    Malformed,
    /// The scope names nothing: an empty range, a field without a name.
    #[error("scope of the legal hold is refused")]
    Scope,
    /// A hold with that id has another scope.
    #[error("a legal hold with this id has another scope")]
    Exists,
    /// There is no such hold.
    #[error("there is no such legal hold")]
    Unknown,
    /// There are as many holds as there may be.
    #[error("there are too many legal holds")]
    TooMany,
}

impl Classify for HoldError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::State(error) => error.kind(),
            Self::Malformed => ErrorKind::Integrity,
            Self::Scope | Self::TooMany => ErrorKind::InvalidInput,
            Self::Exists => ErrorKind::Conflict,
            Self::Unknown => ErrorKind::NotFound,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::State(error) => error.status(),
            _ => Status::Permanent,
        }
    }
}

impl From<KvError> for HoldError {
    fn from(error: KvError) -> Self {
        Self::State(error)
    }
}

impl Hold {
    /// Whether it holds an entry. `entry` is `None` where the entry cannot be read: then it does.
    pub(crate) fn takes(&self, log: LogId, index: u64, entry: Option<&Entry>) -> bool {
        let names = |wanted: &str, of: Option<&str>| {
            entry.is_none_or(|entry| {
                let mut fields = entry.fields.iter();
                fields.any(|(name, value)| of.is_none_or(|of| of == name) && says(value, wanted))
            })
        };
        match &self.scope {
            HoldScope::Everything => true,
            HoldScope::Tenant(tenant) => {
                let (own, tenant) = (LogId::Tenant(*tenant), tenant.to_string());
                let named = || entry.is_none_or(|entry| entry.tenant.as_ref() == Some(&tenant));
                log == own || named() || names(&tenant, None)
            }
            HoldScope::Log(held) => log == *held,
            HoldScope::Range {
                log: held,
                from,
                until,
            } => log == *held && (*from..*until).contains(&index),
            HoldScope::Patient(_) => self.called.as_ref().is_none_or(|called| {
                let pseudonym = called.get(&log);
                pseudonym.is_some_and(|pseudonym| names(&pseudonym.to_string(), None))
            }),
            HoldScope::Field { name, value } => names(value, Some(name)),
        }
    }

    /// Whether it may hold entries about a patient of a tenant.
    fn covers(&self, tenant: TenantId, patient: SubjectId) -> bool {
        match &self.scope {
            HoldScope::Everything => true,
            HoldScope::Tenant(held) => *held == tenant,
            // A range may be about anybody.
            HoldScope::Log(log) | HoldScope::Range { log, .. } => {
                matches!(log, LogId::Tenant(own) if *own == tenant) || *log == LogId::System
            }
            HoldScope::Patient(held) => *held == patient,
            // And so may entries with that field.
            HoldScope::Field { .. } => true,
        }
    }
}

fn says(value: &EntryValue, wanted: &str) -> bool {
    match value {
        EntryValue::Text(text) => text == wanted,
        EntryValue::Texts(texts) => texts.iter().any(|text| text == wanted),
        EntryValue::Object(parts) => parts.values().any(|part| part == wanted),
        EntryValue::Flag(_) | EntryValue::Count(_) => false,
    }
}

/// What AUD-010 says is held: the kind of scope and the hold's id.
pub(crate) fn hold_code(id: HoldId, scope: &HoldScope) -> Code {
    let kind = match scope {
        HoldScope::Everything => "everything",
        HoldScope::Tenant(_) => "tenant",
        HoldScope::Log(_) => "log",
        HoldScope::Range { .. } => "range",
        HoldScope::Patient(_) => "patient",
        HoldScope::Field { .. } => "field",
    };
    Code::new(format!("{kind}:{id}")).unwrap_or(Code::constant("hold"))
}

/// The hold that an AUD-010 is about, and whether it was placed. `None` if it was not written here.
pub(crate) fn hold_of_code(entry: &Entry) -> Option<(HoldId, bool)> {
    let text = |name| match entry.fields.get(name)? {
        EntryValue::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let (_, id) = text("scope")?.split_once(':')?;
    Some((HoldId::parse(id)?, text("change")? == SET))
}

/// The holds that stand.
#[derive(Debug, Clone)]
pub struct Holds(Arc<dyn KeyValue>);

impl Holds {
    /// In the state of the service: `AuditParts.state`.
    #[must_use]
    pub fn new(state: Arc<dyn KeyValue>) -> Self {
        Self(state)
    }

    /// All of them, in the order of their ids. Cancel-safe.
    ///
    /// # Errors
    /// [`HoldError`]: then take it that everything is held.
    pub async fn list(&self) -> Result<Vec<Hold>, HoldError> {
        let mut holds = Vec::new();
        let mut after = None;
        loop {
            let scan = self
                .0
                .scan(&PARTITION, PREFIX.as_bytes(), after.as_ref(), PAGE);
            let page = scan.await?;
            let Some(last) = page.last() else {
                return Ok(holds);
            };
            after = Some(last.key.clone());
            for entry in &page {
                let hold = parse(&entry.versioned.value).ok_or(HoldError::Malformed)?;
                if entry.key != key(hold.id)? {
                    return Err(HoldError::Malformed);
                }
                holds.push(hold);
            }
            if holds.len() > MAX_HOLDS {
                return Err(HoldError::TooMany);
            }
        }
    }

    /// Whether a hold may cover entries about this patient of this tenant: while one does, neither the
    /// patient's entries nor the keys that open them may go. Cancel-safe.
    ///
    /// Whether their retention is over is another question:
    /// [`EmbeddedAudit::keeps`](crate::EmbeddedAudit::keeps) answers both.
    ///
    /// # Errors
    /// [`HoldError`]: then take it that the patient is held.
    pub async fn covers(&self, tenant: TenantId, patient: SubjectId) -> Result<bool, HoldError> {
        let holds = self.list().await?;
        Ok(holds.iter().any(|hold| hold.covers(tenant, patient)))
    }

    /// The hold with this id.
    ///
    /// # Errors
    /// [`HoldError::Unknown`], and as [`Self::list`].
    pub async fn get(&self, id: HoldId) -> Result<Hold, HoldError> {
        let found = self.0.get(&PARTITION, &key(id)?).await?;
        let found = found.ok_or(HoldError::Unknown)?;
        parse(&found.value)
            .filter(|hold| hold.id == id)
            .ok_or(HoldError::Malformed)
    }

    /// Stores a hold, unless it is there.
    pub(crate) async fn put(&self, hold: &Hold) -> Result<(), HoldError> {
        let sound = match &hold.scope {
            HoldScope::Range { from, until, .. } => from < until,
            HoldScope::Field { name, value } => {
                (1..=64).contains(&name.len()) && (1..=256).contains(&value.len())
            }
            _ => true,
        };
        if !sound {
            return Err(HoldError::Scope);
        }
        if self.list().await?.len() >= MAX_HOLDS {
            return Err(HoldError::TooMany);
        }
        let value = serde_json::to_vec(&Wire::from(hold)).map_err(|_| HoldError::Scope)?;
        let key = key(hold.id)?;
        let put = Transaction::new()
            .require_absent(key.clone())
            .put(key, value);
        match self.0.commit(&PARTITION, put).await {
            Ok(_) => Ok(()),
            Err(KvError::Conflict) => match self.get(hold.id).await? {
                there if there.scope == hold.scope => Ok(()),
                _ => Err(HoldError::Exists),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a hold.
    pub(crate) async fn remove(&self, id: HoldId) -> Result<(), HoldError> {
        let key = key(id)?;
        let Some(found) = self.0.get(&PARTITION, &key).await? else {
            return Ok(());
        };
        let remove = Transaction::new()
            .require(key.clone(), found.version)
            .delete(key);
        self.0.commit(&PARTITION, remove).await?;
        Ok(())
    }
}

fn key(id: HoldId) -> Result<Key, HoldError> {
    Ok(Key::new(format!("{PREFIX}{id}"))?)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    id: String,
    placed: String,
    scope: WireScope,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum WireScope {
    Everything {},
    Tenant { tenant: String },
    Log { log: String },
    Range { log: String, from: u64, until: u64 },
    Patient { patient: String },
    Field { name: String, value: String },
}

impl From<&Hold> for Wire {
    fn from(hold: &Hold) -> Self {
        let scope = match &hold.scope {
            HoldScope::Everything => WireScope::Everything {},
            HoldScope::Tenant(tenant) => WireScope::Tenant {
                tenant: tenant.to_string(),
            },
            HoldScope::Log(log) => WireScope::Log {
                log: log.to_string(),
            },
            HoldScope::Range { log, from, until } => WireScope::Range {
                log: log.to_string(),
                from: *from,
                until: *until,
            },
            HoldScope::Patient(patient) => WireScope::Patient {
                patient: patient.to_string(),
            },
            HoldScope::Field { name, value } => WireScope::Field {
                name: name.clone(),
                value: value.clone(),
            },
        };
        Self {
            v: VERSION,
            id: hold.id.to_string(),
            placed: hold.placed.to_string(),
            scope,
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Hold> {
    let wire: Wire = serde_json::from_slice(bytes).ok()?;
    let scope = match wire.scope {
        WireScope::Everything {} => HoldScope::Everything,
        WireScope::Tenant { tenant } => HoldScope::Tenant(TenantId::parse(&tenant)?),
        WireScope::Log { log } => HoldScope::Log(LogId::parse(&log)?),
        WireScope::Range { log, from, until } => HoldScope::Range {
            log: LogId::parse(&log)?,
            from,
            until,
        },
        WireScope::Patient { patient } => {
            HoldScope::Patient(SubjectId::from_uuid(Uuid::try_parse(&patient).ok()?))
        }
        WireScope::Field { name, value } => HoldScope::Field { name, value },
    };
    (wire.v == VERSION).then_some(Hold {
        id: HoldId::parse(&wire.id)?,
        scope,
        placed: Timestamp::parse_rfc3339(&wire.placed)?,
        called: None,
    })
}
