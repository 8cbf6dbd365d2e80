//! What a document's records add up to: its versions, the current one, its holds, its retention.

use std::collections::{BTreeMap, BTreeSet};

use eonpro_core::event::{Code, Digest};
use eonpro_core::id::{ActorId, DocumentId, PublicId as _, SubjectId, VersionId};
use eonpro_core::phi::Phi;
use eonpro_core::port::{KeyPurpose, WrappedKey};
use eonpro_core::time::Timestamp;

use crate::category::Category;
use crate::error::StorageError;
use crate::manifest::{Added, Entry, Outcome, Record};
use crate::media::MediaType;
use crate::policy::PolicyBook;
use crate::service::{DocumentRef, Head, VersionInfo};

/// The most holds on one document.
pub const MAX_HOLDS: usize = 64;

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionState {
    /// Sealed under quarantine, without a verdict.
    Quarantined,
    /// Released, and the document's current version.
    Available,
    /// Released, but another version is current.
    Superseded,
    /// Infected: evidence, for ever unreadable.
    Blocked,
    /// The scanner could not judge it.
    Refused,
}

impl VersionState {
    /// A stable name for events and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Available => "available",
            Self::Superseded => "superseded",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
        }
    }
}

/// One thing that happened to a document.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A version was stored, sealed under quarantine.
    Added(VersionId),
    /// A scanner judged it clean.
    Cleared(VersionId),
    /// A scanner found this in it.
    Blocked(VersionId, Code),
    /// A scanner could not judge it, for this reason.
    Refused(VersionId, Code),
    /// It became readable and current.
    Released(VersionId),
    /// The document was deleted by this authority.
    Deleted(Code),
    /// An earlier version became current again.
    Restored(VersionId),
    /// A hold was set.
    HoldSet(Code),
    /// A hold was cleared.
    HoldCleared(Code),
}

/// One record of a document's history.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The record.
    pub head: Head,
    /// When it was written.
    pub at: Timestamp,
    /// Who did it.
    pub actor: ActorId,
    /// The digest of the policy that was in force.
    pub policy: Digest,
    /// What happened.
    pub changes: Vec<Change>,
}

/// One version as its records tell.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) id: VersionId,
    pub(crate) size: u64,
    pub(crate) extent_size: u64,
    pub(crate) released: Option<WrappedKey>,
    pub(crate) outcome: Option<Outcome>,
    declared: MediaType,
    sniffed: Code,
    name: Phi<String>,
    sha256: Digest,
    added: Timestamp,
}

/// A document as its whole chain tells.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) document: DocumentId,
    pub(crate) category: Category,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) versions: BTreeMap<VersionId, Version>,
    pub(crate) current: Option<VersionId>,
    pub(crate) deleted: bool,
    pub(crate) holds: BTreeSet<Code>,
    pub(crate) entries: Vec<HistoryEntry>,
    pub(crate) head: Head,
}

impl Chain {
    /// Adds up `records`, oldest first, each with the digest of its sealed form. They were checked
    /// to be chained.
    pub(crate) fn replay(
        document: DocumentId,
        records: Vec<(Record, Digest)>,
    ) -> Result<Self, StorageError> {
        let mut chain: Option<Self> = None;
        for (record, digest) in records {
            let head = Head {
                seq: record.seq,
                digest,
            };
            let at = Timestamp::from_nanos(record.at);
            let mut changes = Vec::with_capacity(record.events.len());
            for entry in record.events {
                let chain = match (&mut chain, &entry) {
                    (Some(chain), _) => chain,
                    (none, Entry::VersionAdded(added)) => {
                        none.insert(Self::empty(document, added, head)?)
                    }
                    (None, _) => return Err(StorageError::Corrupt),
                };
                changes.push(chain.apply(entry, at)?);
            }
            let entry = HistoryEntry {
                head,
                at,
                actor: ActorId::new(&record.actor).map_err(|_| StorageError::Corrupt)?,
                policy: Digest::parse_hex(&record.policy).ok_or(StorageError::Corrupt)?,
                changes,
            };
            let chain = chain.as_mut().ok_or(StorageError::Corrupt)?;
            chain.head = head;
            chain.entries.push(entry);
        }
        chain.ok_or(StorageError::NotFound)
    }

    fn empty(document: DocumentId, first: &Added, head: Head) -> Result<Self, StorageError> {
        Ok(Self {
            document,
            category: Category::parse(&first.category).ok_or(StorageError::UnknownFormat)?,
            subject: first.subject.map(SubjectId::from_uuid),
            versions: BTreeMap::new(),
            current: None,
            deleted: false,
            holds: BTreeSet::new(),
            entries: Vec::new(),
            head,
        })
    }

    fn apply(&mut self, entry: Entry, at: Timestamp) -> Result<Change, StorageError> {
        match entry {
            Entry::VersionAdded(added) => self.added(*added, at).map(Change::Added),
            Entry::Verdict {
                version,
                outcome,
                name,
                ..
            } => {
                let version = self.known(VersionId::from_uuid(version))?;
                version.outcome = Some(outcome);
                let id = version.id;
                match (outcome, name) {
                    (Outcome::Clean, _) => Ok(Change::Cleared(id)),
                    (Outcome::Infected, name) => Ok(Change::Blocked(id, some_code(name)?)),
                    (Outcome::Refused, name) => Ok(Change::Refused(id, some_code(name)?)),
                }
            }
            Entry::Released { version, key } => {
                let version = self.known(VersionId::from_uuid(version))?;
                if version.outcome != Some(Outcome::Clean) {
                    return Err(StorageError::Corrupt);
                }
                version.released = Some(WrappedKey(key));
                let id = version.id;
                self.current = Some(id);
                self.deleted = false;
                Ok(Change::Released(id))
            }
            Entry::Deleted { authority } => {
                self.deleted = true;
                Ok(Change::Deleted(code(authority)?))
            }
            Entry::Restored { from } => {
                let version = self.known(VersionId::from_uuid(from))?;
                if version.released.is_none() {
                    return Err(StorageError::Corrupt);
                }
                let id = version.id;
                self.current = Some(id);
                self.deleted = false;
                Ok(Change::Restored(id))
            }
            Entry::HoldSet { name } => {
                let name = code(name)?;
                self.holds.insert(name.clone());
                Ok(Change::HoldSet(name))
            }
            Entry::HoldCleared { name } => {
                let name = code(name)?;
                self.holds.remove(&name);
                Ok(Change::HoldCleared(name))
            }
        }
    }

    fn added(&mut self, added: Added, at: Timestamp) -> Result<VersionId, StorageError> {
        let category = Category::parse(&added.category).ok_or(StorageError::UnknownFormat)?;
        let subject = added.subject.map(SubjectId::from_uuid);
        if category != self.category || subject != self.subject || added.extent_size == 0 {
            return Err(StorageError::Corrupt);
        }
        let id = VersionId::from_uuid(added.version);
        let version = Version {
            id,
            size: added.size,
            extent_size: added.extent_size,
            released: None,
            outcome: None,
            declared: MediaType::parse(&added.declared).map_err(|_| StorageError::Corrupt)?,
            sniffed: code(added.sniffed)?,
            name: added.name,
            sha256: Digest::parse_hex(&added.sha256).ok_or(StorageError::Corrupt)?,
            added: at,
        };
        match self.versions.insert(id, version) {
            None => Ok(id),
            Some(_) => Err(StorageError::Corrupt),
        }
    }

    fn known(&mut self, id: VersionId) -> Result<&mut Version, StorageError> {
        self.versions.get_mut(&id).ok_or(StorageError::Corrupt)
    }

    /// The version that `at` names. A deleted document has none; one that was never released is
    /// named by its newest version, so that its state can be told.
    pub(crate) fn find(&self, at: &DocumentRef) -> Result<&Version, StorageError> {
        if let Some(known) = at.known {
            let there = self.entries.iter().any(|entry| entry.head == known);
            if !there {
                return Err(StorageError::Truncated);
            }
        }
        if self.deleted {
            return Err(StorageError::NotFound);
        }
        match at.version.or(self.current) {
            Some(id) => self.versions.get(&id).ok_or(StorageError::NotFound),
            None => self.newest().ok_or(StorageError::NotFound),
        }
    }

    fn newest(&self) -> Option<&Version> {
        let last = self.entries.iter().rev().flat_map(|entry| &entry.changes);
        let mut added = last.filter_map(|change| match change {
            Change::Added(id) => Some(id),
            _ => None,
        });
        self.versions.get(added.next()?)
    }

    pub(crate) fn state(&self, version: &Version) -> VersionState {
        match (&version.released, version.outcome) {
            (Some(_), _) if self.current == Some(version.id) => VersionState::Available,
            (Some(_), _) => VersionState::Superseded,
            (None, Some(Outcome::Infected)) => VersionState::Blocked,
            (None, Some(Outcome::Refused)) => VersionState::Refused,
            (None, None | Some(Outcome::Clean)) => VersionState::Quarantined,
        }
    }

    pub(crate) fn info(&self, version: &Version) -> Result<VersionInfo, StorageError> {
        Ok(VersionInfo {
            document: self.document,
            version: version.id,
            category: self.category,
            subject: self.subject,
            state: self.state(version),
            size: version.size,
            declared: version.declared.clone(),
            sniffed: version.sniffed.clone(),
            name: version.name.clone(),
            sha256: Phi::new(*version.sha256.as_bytes()),
            added: version.added,
            head: self.head,
        })
    }

    /// Until when no version may go: the category's floor after its newest version; infected ones
    /// count as evidence only.
    pub(crate) fn retained_until(&self, policy: &PolicyBook) -> Result<Timestamp, StorageError> {
        let floor = policy.of(self.category)?.retention_floor;
        let ends = self.versions.values().map(|version| {
            let span = match self.state(version) {
                VersionState::Blocked => policy.evidence(),
                _ => floor,
            };
            version.added.plus(span)
        });
        Ok(ends.max().unwrap_or(Timestamp::EPOCH))
    }

    /// The purpose of the keys that open released versions.
    pub(crate) fn purpose(&self, policy: &PolicyBook) -> Result<KeyPurpose, StorageError> {
        Ok(policy.of(self.category)?.keys)
    }
}

fn code(text: String) -> Result<Code, StorageError> {
    Code::new(text).map_err(|_| StorageError::Corrupt)
}

fn some_code(text: Option<String>) -> Result<Code, StorageError> {
    code(text.ok_or(StorageError::Corrupt)?)
}
