//! Checkpoints: every log that grew is signed into the directory log, and the directory's head last.
//!
//! What is signed was recomputed from the bytes on disk and agrees with what the writer holds in
//! memory, so neither a flipped bit on disk nor one in memory is ever signed.

use std::collections::HashMap;
use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::port::Signer;
use eonpro_core::task;

use super::queue::{NewLeaf, Queue};
use super::writer::Mark;
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::error::AuditError;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::merkle::empty_root;
use crate::replay::Signed;
use crate::service::DirectoryHead;
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
}

impl Signing {
    /// Signs what grew and returns the directory's head.
    pub(super) async fn checkpoint(&mut self, queue: &Queue) -> Result<DirectoryHead, AuditError> {
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
            queue.append(None, LogId::Directory, leaves).await?;
            for head in part {
                self.sizes.insert(head.log, head.size);
            }
        }
        let mark = queue.mark().await?;
        let directory = directory(&mark);
        if directory.size > self.size(LogId::Directory) {
            self.recompute(&mark).await?;
            let note = directory.sign(&*self.signer).await?;
            let layout = self.layout.clone();
            task::blocking(move || layout.replace(&layout.checkpoint(), note.as_bytes()))
                .await
                .map_err(|_| AuditError::WorkerLost)??;
            self.sizes.insert(LogId::Directory, directory.size);
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

/// The head of a directory log that holds nothing yet: signed before the first segment is there.
pub(super) fn empty_directory() -> Checkpoint {
    Checkpoint {
        log: LogId::Directory,
        size: 0,
        root: empty_root(),
    }
}
