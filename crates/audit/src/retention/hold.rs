//! Legal holds: what must stay whatever its age.
//!
//! Holds live in the service's state, one key each, and every change of one is on record in the log
//! (AUD-010) with the hold's id in it. Whoever prunes reads both: a hold that cannot be read, or that is on
//! record and not in the state, means that nothing goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::entropy::Entropy;
use eonpro_core::error::{Classify, ErrorKind, Status};
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, SubjectId, TenantId};
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::{Key, KvError, Partition, Transaction};
use eonpro_core::port::{KeyPurpose, KeyValue, SealError, SealScope, Sealer};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::log_id::LogId;
use crate::subjects::{Pseudonym, pseudonyms};
use crate::wire::{Entry, EntryValue};

const PREFIX: &str = "hold/";
const PARTITION: Partition = Partition::system("audit");
const VERSION: u32 = 1;
const TABLE: Table = Table::new("audit-holds");
const SCOPE: Column = Column::new("scope");
/// The kinds of scope that AUD-010 names.
const KINDS: [&str; 6] = ["everything", "tenant", "log", "range", "patient", "field"];
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
    /// The entries of any log that name this patient, by the pseudonym that they had there when the hold was
    /// placed, or have now. If no tenant's log knew the patient when the hold was placed, anything may be
    /// about them, and everything is held; so is the whole of a log whose keys were destroyed.
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
    /// What logs called the patient of [`HoldScope::Patient`] when it was placed.
    pub(crate) called: Names,
    /// What they call the patient now. Looked up, never stored.
    pub(crate) now: Names,
    /// The logs that nobody can look the patient up in, because their keys are gone.
    pub(crate) blind: BTreeSet<LogId>,
}

/// What logs call a patient.
pub(crate) type Names = BTreeMap<LogId, BTreeSet<Pseudonym>>;

/// The holds could not be read or changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The state is out of reach.
    #[error("legal holds could not be read or written")]
    State(#[source] KvError),
    /// A hold could not be sealed or opened.
    #[error("a legal hold could not be sealed or opened")]
    Seal(#[from] SealError),
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
            Self::Seal(error) => error.kind(),
            Self::Malformed => ErrorKind::Integrity,
            Self::Scope | Self::TooMany => ErrorKind::InvalidInput,
            Self::Exists => ErrorKind::Conflict,
            Self::Unknown => ErrorKind::NotFound,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::State(error) => error.status(),
            Self::Seal(error) => error.status(),
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
            HoldScope::Patient(_) => {
                let nobody_knew = !self.called.keys().any(|log| *log != LogId::System);
                let named = |entry: &Entry| {
                    let said = pseudonyms(entry);
                    let maps = [&self.called, &self.now].into_iter();
                    let mut known = maps.filter_map(|names| names.get(&log));
                    known.any(|names| !names.is_disjoint(&said))
                };
                nobody_knew || self.blind.contains(&log) || entry.is_none_or(named)
            }
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
    let (kind, id) = text("scope")?.split_once(':')?;
    if !KINDS.contains(&kind) {
        return None;
    }
    Some((HoldId::parse(id)?, text("change")? == SET))
}

/// The holds that stand. What each is about is sealed under the system's keys: a copy of the state together
/// with the log does not tell whom somebody holds.
#[derive(Debug, Clone)]
pub struct Holds {
    state: Arc<dyn KeyValue>,
    sealer: Arc<dyn Sealer>,
}

impl Holds {
    /// In the state of the service: `AuditParts.state`, sealed by `AuditParts.sealer`.
    #[must_use]
    pub fn new(state: Arc<dyn KeyValue>, sealer: Arc<dyn Sealer>) -> Self {
        Self { state, sealer }
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
                .state
                .scan(&PARTITION, PREFIX.as_bytes(), after.as_ref(), PAGE);
            let page = scan.await?;
            let Some(last) = page.last() else {
                return Ok(holds);
            };
            after = Some(last.key.clone());
            for entry in &page {
                let hold = self.open(&entry.versioned.value).await?;
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
        let found = self.state.get(&PARTITION, &key(id)?).await?;
        let found = found.ok_or(HoldError::Unknown)?;
        let hold = self.open(&found.value).await?;
        match hold.id == id {
            true => Ok(hold),
            false => Err(HoldError::Malformed),
        }
    }

    async fn seal(&self, hold: &Hold) -> Result<Vec<u8>, HoldError> {
        let id = hold.id.0.into_bytes();
        let plain = serde_json::to_vec(&Sealed::from(hold)).map_err(|_| HoldError::Scope)?;
        let plain = Zeroizing::new(plain);
        let (scope, cell) = (SealScope::System, cell(&id)?);
        let sealed = self.sealer.seal(scope, KeyPurpose::AUDIT, &cell, &plain);
        let wire = Wire {
            v: VERSION,
            id: hold.id.to_string(),
            placed: hold.placed.to_string(),
            sealed: URL_SAFE_NO_PAD.encode(sealed.await?),
        };
        serde_json::to_vec(&wire).map_err(|_| HoldError::Scope)
    }

    async fn open(&self, bytes: &[u8]) -> Result<Hold, HoldError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| HoldError::Malformed)?;
        let id = HoldId::parse(&wire.id).ok_or(HoldError::Malformed)?;
        let placed = Timestamp::parse_rfc3339(&wire.placed).ok_or(HoldError::Malformed)?;
        let sealed = URL_SAFE_NO_PAD.decode(&wire.sealed);
        let sealed = sealed.map_err(|_| HoldError::Malformed)?;
        let row = id.0.into_bytes();
        let (scope, cell) = (SealScope::System, cell(&row)?);
        let opened = self.sealer.open(scope, KeyPurpose::AUDIT, &cell, &sealed);
        let opened = opened.await?;
        let (scope, called) = parse(&opened).ok_or(HoldError::Malformed)?;
        if wire.v != VERSION {
            return Err(HoldError::Malformed);
        }
        Ok(Hold {
            id,
            scope,
            placed,
            called,
            now: Names::new(),
            blind: BTreeSet::new(),
        })
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
        let value = self.seal(hold).await?;
        let key = key(hold.id)?;
        let put = Transaction::new()
            .require_absent(key.clone())
            .put(key, value);
        match self.state.commit(&PARTITION, put).await {
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
        let Some(found) = self.state.get(&PARTITION, &key).await? else {
            return Ok(());
        };
        let remove = Transaction::new()
            .require(key.clone(), found.version)
            .delete(key);
        self.state.commit(&PARTITION, remove).await?;
        Ok(())
    }
}

fn key(id: HoldId) -> Result<Key, HoldError> {
    Ok(Key::new(format!("{PREFIX}{id}"))?)
}

/// Where the scope of a hold belongs.
fn cell(id: &[u8; 16]) -> Result<Cell<'_>, SealError> {
    let row = Row::named(id).ok_or(SealError::Malformed)?;
    Ok(Cell::new(TABLE, SCOPE, row))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    id: String,
    placed: String,
    /// [`Sealed`], in base64url.
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    scope: WireScope,
    /// Pseudonyms by log.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    called: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum WireScope {
    Everything {},
    Tenant { tenant: String },
    Log { log: String },
    Range { log: String, from: u64, until: u64 },
    Patient { patient: String },
    Field { name: String, value: String },
}

impl From<&Hold> for Sealed {
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
        let texts = |names: &BTreeSet<Pseudonym>| names.iter().map(Pseudonym::to_string).collect();
        let called = hold.called.iter();
        Self {
            scope,
            called: called
                .map(|(log, names)| (log.to_string(), texts(names)))
                .collect(),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(HoldScope, Names)> {
    let wire: Sealed = serde_json::from_slice(bytes).ok()?;
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
    let called = wire.called.iter().map(|(log, names)| {
        let names = names.iter().map(|name| Pseudonym::parse(name));
        Some((LogId::parse(log)?, names.collect::<Option<_>>()?))
    });
    Some((scope, called.collect::<Option<_>>()?))
}
