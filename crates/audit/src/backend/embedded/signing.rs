//! Checkpoints: every log that grew is signed into the directory log, and the directory's head last.
//!
//! What is signed was recomputed from the bytes on disk and agrees with what the writer holds in
//! memory, so neither a flipped bit on disk nor one in memory is ever signed.

use std::collections::HashMap;
use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::port::Signer;
use eonpro_core::task;

use super::cosigning::{Cosigning, Round};
use super::head_store::HeadStore;
use super::heads::Heads;
use super::index::Index;
use super::queue::{NewLeaf, Queue};
use super::writer::Mark;
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::error::AuditError;
use crate::fault::{Fault, Place, VerifyError};
use crate::head::HeadConflict;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::merkle::empty_root;
use crate::replay::Signed;
use crate::service::DirectoryHead;
use crate::trail::KeyChange;
use crate::verify::{Report, verify_until};
use crate::walk::{Until, Walk};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) layout: Layout,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) keys: Vec<VerifyingKey>,
    pub(super) batch_entries: usize,
    /// What was read back of the disk so far; `None` after a call that was dropped half way.
    pub(super) walk: Option<Walk>,
    /// The largest signed size of each log.
    pub(super) sizes: HashMap<LogId, u64>,
    /// What was signed last, for readers.
    pub(super) heads: Arc<Heads>,
    /// What was signed last, where another process looks before it signs.
    pub(super) store: HeadStore,
    /// The published head of the directory log.
    pub(super) head: Checkpoint,
    pub(super) cosigning: Cosigning,
    /// Why nothing more is signed.
    pub(super) halted: Option<Halt>,
}

/// The log is not the one that it should be: what signing answers from then on.
#[derive(Debug, Clone)]
pub(super) enum Halt {
    RolledBack(Box<HeadConflict>),
    Fork(Box<HeadConflict>),
}

impl Halt {
    /// What an error means for the signing after it.
    pub(super) fn of(error: &AuditError) -> Option<Self> {
        match error {
            AuditError::RolledBack(conflict) => Some(Self::RolledBack(conflict.clone())),
            AuditError::Fork(conflict) => Some(Self::Fork(conflict.clone())),
            _ => None,
        }
    }

    pub(super) fn conflict(&self) -> &HeadConflict {
        match self {
            Self::RolledBack(conflict) | Self::Fork(conflict) => conflict,
        }
    }
}

impl From<Halt> for AuditError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::RolledBack(conflict) => Self::RolledBack(conflict),
            Halt::Fork(conflict) => Self::Fork(conflict),
        }
    }
}

impl Signing {
    /// Signs what grew and returns the directory's head, unless the log was found to be another.
    pub(super) async fn checkpoint(&mut self, queue: &Queue) -> Result<DirectoryHead, AuditError> {
        if let Some(halt) = &self.halted {
            return Err(halt.clone().into());
        }
        let signed = self.sign_grown(queue).await;
        if let Err(error) = &signed {
            self.halted = Halt::of(error);
        }
        signed
    }

    /// Hands over to the key of `next`: the last act of the present one.
    pub(super) async fn rotate(
        &mut self,
        queue: &Queue,
        next: Arc<dyn Signer>,
    ) -> Result<DirectoryHead, AuditError> {
        let new = VerifyingKey::from_bytes(next.public_key());
        if self.keys.contains(&new) {
            return Err(AuditError::Config("a signing key has its time once"));
        }
        self.checkpoint(queue).await?;
        let change = KeyChange {
            at: self.head,
            old: VerifyingKey::from_bytes(self.signer.public_key()),
            new,
        };
        let leaf = change.sign(&*self.signer, &*next).await?;
        let leaf = NewLeaf::Checkpoint(leaf.into_bytes());
        queue.append(None, LogId::Directory, vec![leaf]).await?;
        self.signer = next;
        self.keys.push(new);
        self.heads.trust(new);
        let (layout, keys) = (self.layout.clone(), self.keys.clone());
        task::blocking(move || name_keys(&layout, &keys))
            .await
            .map_err(|_| AuditError::WorkerLost)??;
        self.checkpoint(queue).await
    }

    /// Asks the witnesses about the published head.
    pub(super) async fn cosign(&mut self, index: &Arc<Index>) -> Result<Round, AuditError> {
        let head = self.head;
        let round = self.cosigning.round(&head, &self.layout, index).await;
        if let Err(error) = &round {
            self.halted = Halt::of(error);
        }
        round
    }

    async fn sign_grown(&mut self, queue: &Queue) -> Result<DirectoryHead, AuditError> {
        // Before anything is signed: of two processes with copies of the log one stops here.
        self.store.check(&self.head).await?;
        let mark = queue.mark().await?;
        self.recompute(&mark).await?;
        let grown: Vec<Checkpoint> = mark
            .heads
            .iter()
            .filter(|head| head.log != LogId::Directory && head.size > self.size(head.log))
            .copied()
            .collect();
        for part in grown.chunks(self.batch_entries.max(1)) {
            let mut leaves = Vec::with_capacity(part.len());
            for head in part {
                let note = head.sign(&*self.signer).await?;
                leaves.push(NewLeaf::Checkpoint(note.into_bytes()));
            }
            let receipts = queue.append(None, LogId::Directory, leaves).await?;
            for (head, receipt) in part.iter().zip(receipts) {
                self.sizes.insert(head.log, head.size);
                self.heads.set(*head, Some(receipt.index));
            }
        }
        let mark = queue.mark().await?;
        let directory = directory(&mark);
        if directory.size > self.size(LogId::Directory) {
            self.recompute(&mark).await?;
            let note = directory.sign(&*self.signer).await?;
            self.store.swap(&directory, &note).await?;
            let layout = self.layout.clone();
            task::blocking(move || layout.replace(&layout.checkpoint(), note.as_bytes()))
                .await
                .map_err(|_| AuditError::WorkerLost)??;
            self.sizes.insert(LogId::Directory, directory.size);
            self.heads.set(directory, None);
            self.head = directory;
        }
        let ordinary = || {
            mark.heads
                .iter()
                .filter(|head| head.log != LogId::Directory)
        };
        Ok(DirectoryHead {
            root: directory.root,
            size: directory.size,
            logs: ordinary().count() as u64,
            entries: ordinary().map(|head| head.size).sum(),
        })
    }

    /// Verifies the whole directory up to what is durable and signed now.
    pub(super) async fn verify(&mut self, queue: &Queue) -> Result<Report, AuditError> {
        self.checkpoint(queue).await?;
        let until = queue.mark().await?.until;
        let (layout, keys) = (self.layout.clone(), self.keys.clone());
        let verified = task::blocking(move || verify_until(&layout, &keys, Some(until), &[])).await;
        Ok(verified.map_err(|_| AuditError::WorkerLost)??)
    }

    fn size(&self, log: LogId) -> u64 {
        self.sizes.get(&log).copied().unwrap_or(0)
    }

    /// Reads what the disk has gained up to `mark`, and compares.
    async fn recompute(&mut self, mark: &Mark) -> Result<(), AuditError> {
        let walk = self.walk.take().unwrap_or_else(Walk::new);
        let (layout, until) = (self.layout.clone(), mark.until);
        let walk = task::blocking(move || read_on(walk, &layout, until))
            .await
            .map_err(|_| AuditError::WorkerLost)??;
        let from_disk: HashMap<LogId, (u64, Digest)> = walk
            .replay
            .logs
            .iter()
            .map(|log| (log.id, (log.tree.size(), log.tree.root())))
            .collect();
        for head in &mark.heads {
            if from_disk.get(&head.log) != Some(&(head.size, head.root)) {
                let place = Place::entry(head.log, head.size.saturating_sub(1));
                return Err(VerifyError::tampered(place, Fault::Root).into());
            }
        }
        self.walk = Some(walk);
        Ok(())
    }
}

fn read_on(mut walk: Walk, layout: &Layout, until: Until) -> Result<Walk, VerifyError> {
    // Nothing signed constrains this walk: its roots are compared with the writer's.
    walk.advance(layout, &Signed::default(), Some(until), |_, _| {})?;
    Ok(walk)
}

fn directory(mark: &Mark) -> Checkpoint {
    let found = mark.heads.iter().find(|head| head.log == LogId::Directory);
    found.copied().unwrap_or_else(empty_directory)
}

/// Writes down whose signatures the log carries, for verifiers that were given no key. Blocks.
pub(super) fn name_keys(layout: &Layout, keys: &[VerifyingKey]) -> Result<(), AuditError> {
    let lines = keys.iter().map(|key| key.vkey(&LogId::Directory) + "\n");
    let text: String = lines.collect();
    // Nothing on disk is changed that is as it should be.
    if layout.read_keys().ok().flatten().as_ref() == Some(&text) {
        return Ok(());
    }
    Ok(layout.replace(&layout.keys(), text.as_bytes())?)
}

/// The head of a directory log that holds nothing yet: signed before the first segment is there.
pub(super) fn empty_directory() -> Checkpoint {
    Checkpoint {
        log: LogId::Directory,
        size: 0,
        root: empty_root(),
    }
}
