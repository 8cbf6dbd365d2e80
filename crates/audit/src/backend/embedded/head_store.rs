//! The checkpoint store: the last signed head of the directory log, kept outside of the directory.
//!
//! A head is swapped in before it is published, by compare-and-swap, and is never lowered. So a directory
//! that was put back to an older state is recognized when it is opened, and of two processes that sign
//! copies of one directory the second is refused.

use std::sync::Arc;

use eonpro_core::port::kv::{Key, KeyValue, KvError, Partition, Transaction, Version};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::error::AuditError;
use crate::head::HeadConflict;
use crate::log_id::LogId;

const PARTITION: Partition = Partition::system("audit");
const PREFIX: &str = "head/";
const FORMAT: u8 = 1;
/// How many heads are remembered of which it is not known whether they were stored.
const MAX_DOUBTS: usize = 64;

/// A stored head as it is stored: `docs/formats/audit.md`, section Checkpoint store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u8,
    note: String,
}

/// A stored head. Who signed it is not verified yet.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    version: Version,
    pub(super) head: Checkpoint,
    /// The signed note.
    pub(super) note: String,
}

impl Kept {
    /// Whether one of `keys` signed it.
    pub(super) fn verify(&self, keys: &[VerifyingKey]) -> Result<(), AuditError> {
        match Checkpoint::open(&self.note, keys) {
            Ok(_) => Ok(()),
            Err(_) => Err(AuditError::HeadMalformed),
        }
    }
}

fn key() -> Result<Key, AuditError> {
    let key = Key::new(format!("{PREFIX}{}", LogId::Directory));
    key.map_err(AuditError::HeadStore)
}

/// The head that is stored, if one is.
pub(super) async fn load(state: &dyn KeyValue) -> Result<Option<Kept>, AuditError> {
    let found = state.get(&PARTITION, &key()?).await;
    let Some(found) = found.map_err(AuditError::HeadStore)? else {
        return Ok(None);
    };
    let stored: Option<Stored> = serde_json::from_slice(&found.value).ok();
    let stored = stored.filter(|stored| stored.v == FORMAT);
    let note = stored.ok_or(AuditError::HeadMalformed)?.note;
    let head = Checkpoint::unverified(&note).filter(|head| head.log == LogId::Directory);
    Ok(Some(Kept {
        version: found.version,
        head: head.ok_or(AuditError::HeadMalformed)?,
        note,
    }))
}

/// Forgets the head that is kept of the directory log, so that a directory that was restored from an
/// older backup opens again. Returns whether there was one.
///
/// This gives up what the store is for: do it only where it is known why the directory is older, with
/// no process running, and keep the evidence. Witnesses remember all the same.
///
/// # Errors
/// [`AuditError::HeadStore`].
pub async fn forget_head(state: &dyn KeyValue) -> Result<bool, AuditError> {
    let found = state.get(&PARTITION, &key()?).await;
    let Some(found) = found.map_err(AuditError::HeadStore)? else {
        return Ok(false);
    };
    let forget = Transaction::new().require(key()?, found.version);
    let forgotten = state.commit(&PARTITION, forget.delete(key()?)).await;
    forgotten.map_err(AuditError::HeadStore)?;
    tracing::warn!("the stored head of the audit log was forgotten");
    Ok(true)
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct HeadStore {
    state: Arc<dyn KeyValue>,
    /// What is stored, as far as this process knows.
    known: Option<(Version, Checkpoint)>,
    /// Heads of ours that may have been stored although the store failed.
    doubts: Vec<Checkpoint>,
}

impl HeadStore {
    /// A store that holds what was loaded.
    pub(super) fn new(state: Arc<dyn KeyValue>, kept: Option<&Kept>) -> Self {
        Self {
            state,
            known: kept.map(|kept| (kept.version, kept.head)),
            doubts: Vec::new(),
        }
    }

    /// Whether the store still holds what this process put there. A store that lost it holds nothing,
    /// and is filled again by the next swap.
    pub(super) async fn check(&mut self, own: &Checkpoint) -> Result<(), AuditError> {
        let kept = load(&*self.state).await?;
        let Some(kept) = kept else {
            if self.known.take().is_some() {
                tracing::warn!("the store lost the head of the audit log: it is stored afresh");
            }
            return Ok(());
        };
        let is_ours = match &self.known {
            Some((version, head)) => *version == kept.version || *head == kept.head,
            None => false,
        };
        if !is_ours && !self.doubts.contains(&kept.head) {
            return Err(AuditError::Fork(HeadConflict::with_store(&kept.head, own)));
        }
        self.known = Some((kept.version, kept.head));
        Ok(())
    }

    /// Puts `next`, as its signed `note`, in the place of what is known to be stored.
    pub(super) async fn swap(&mut self, next: &Checkpoint, note: &str) -> Result<(), AuditError> {
        match self.try_swap(next, note).await {
            Err(AuditError::HeadStore(KvError::Conflict)) => {}
            other => return other,
        }
        // Unless it was an earlier head of ours, of which the store gave no answer, this is a fork.
        self.check(next).await?;
        match self.try_swap(next, note).await {
            Err(AuditError::HeadStore(KvError::Conflict)) => {
                Err(AuditError::HeadStore(KvError::Conflict))
            }
            other => other,
        }
    }

    async fn try_swap(&mut self, next: &Checkpoint, note: &str) -> Result<(), AuditError> {
        let tx = match &self.known {
            Some((_, head)) if head.size > next.size => {
                return Err(AuditError::RolledBack(HeadConflict::with_store(head, next)));
            }
            Some((_, head)) if head.size == next.size && head.root != next.root => {
                return Err(AuditError::Fork(HeadConflict::with_store(head, next)));
            }
            Some((version, _)) => Transaction::new().require(key()?, *version),
            None => Transaction::new().require_absent(key()?),
        };
        let stored = Stored {
            v: FORMAT,
            note: note.to_owned(),
        };
        let value = serde_json::to_vec(&stored).map_err(|_| AuditError::HeadMalformed)?;
        if self.doubts.len() >= MAX_DOUBTS {
            self.doubts.remove(0);
        }
        // Until the store has answered nobody knows, also if this call is dropped.
        self.doubts.push(*next);
        let version = self.state.commit(&PARTITION, tx.put(key()?, value)).await;
        let version = version.map_err(AuditError::HeadStore)?;
        self.known = Some((version, *next));
        self.doubts.clear();
        Ok(())
    }
}
