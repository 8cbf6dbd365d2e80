//! Opening a directory: the bytes are read through every rule, an unfinished tail is set aside, and
//! what no checkpoint covers is written afresh before anybody builds on it.
//!
//! After a failed sync the kernel may show pages that never reached the disk. So the last segment is
//! copied and synced under its own name unless everything in it is signed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::sync::Arc;

use super::head_store::Kept;
use super::index::{Durable, Index, Spot};
use super::recent::Recent;
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::fault::{Fault, Place, VerifyError};
use crate::head::HeadConflict;
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use crate::replay::{Signed, Taken};
use crate::sealed::Statement;
use crate::segment::{HEADER_BYTES, Header, Tail};
use crate::service::Receipt;
use crate::spool;
use crate::trail::Trail;
use crate::verify::{check_claim, nothing_signed_is_missing, what_is_pruned_was_announced};
use crate::walk::{Torn, Walk, directory_head, signed_points};

/// What opening found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) walk: Walk,
    pub(super) signed: Signed,
    /// The head in the file `checkpoint`.
    pub(super) head: Checkpoint,
    pub(super) trail: Trail,
    pub(super) index: Arc<Index>,
    pub(super) recent: Recent,
    pub(super) dropped: Option<Dropped>,
    /// Entries that an earlier log could not take.
    pub(super) spooled: Vec<(LogId, Vec<u8>)>,
}

/// An unfinished tail that was set aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped {
    pub(super) segment: u64,
    pub(super) bytes: u64,
    /// How many good batches there are.
    pub(super) batches: u64,
}

/// Creates what is missing of the directory and locks it. Blocks.
pub(super) fn prepare(layout: &Layout) -> Result<File, AuditError> {
    layout.create()?;
    let lock = lock(layout)?;
    layout.stray()?;
    clear(layout)?;
    Ok(lock)
}

/// Removes what crashes left of unfinished files, and makes all names durable.
pub(super) fn clear(layout: &Layout) -> io::Result<()> {
    remove_leftovers(layout)?;
    layout.sync_names()
}

/// Reads the prepared directory, which has its signed head. Blocks.
pub(super) fn recover(
    layout: &Layout,
    keys: &[VerifyingKey],
    config: &AuditConfig,
    kept: Option<&Kept>,
) -> Result<Recovered, AuditError> {
    if layout.segments()? == 0 {
        create_first(layout, keys)?;
    }
    let (mut signed, head, trail) = signed_points(layout, keys, None)?;
    check_claim(layout, trail.keys())?;
    if let Some(kept) = kept {
        kept.verify(&trail.at(kept.head.size))?;
        let forked = |_| AuditError::Fork(HeadConflict::with_store(&kept.head, &head));
        signed.add_anchor(&kept.head).map_err(forked)?;
    }
    let spooled = spool::read(layout)?;
    let mut recent = Recent::new(config.recent_ids);
    let mut walk = Walk::new();
    let mut spots = Vec::new();
    let torn = walk.advance(layout, &signed, None, |segment, taken| {
        spots.push((taken.log, spot(segment, taken)));
        if let Some(event) = taken.event {
            let receipt = Receipt {
                log: taken.log,
                index: taken.index,
                leaf: taken.leaf,
                recorded: taken.recorded,
            };
            recent.insert(event, receipt);
        }
    });
    let torn = fits_kept(torn, &walk, &head, kept)?;
    nothing_signed_is_missing(&walk, &signed, torn.as_ref())?;
    what_is_pruned_was_announced(&walk)?;
    let index = Arc::new(Index::default());
    let end = Durable {
        segment: walk.segment,
        cursor: walk.end,
    };
    index.publish(spots, end);
    // Nothing on disk is changed before all of it was found good.
    let dropped = settle_tail(layout, &walk, &signed, torn.as_ref())?;
    if spooled.torn {
        spool::set_tail_aside(layout, spooled.intact)?;
    }
    Ok(Recovered {
        walk,
        signed,
        head,
        trail,
        index,
        recent,
        dropped,
        spooled: spooled.entries,
    })
}

/// Whether the directory log is a later state of the head that the store keeps.
fn fits_kept(
    walked: Result<Option<Torn>, VerifyError>,
    walk: &Walk,
    head: &Checkpoint,
    kept: Option<&Kept>,
) -> Result<Option<Torn>, AuditError> {
    let Some(kept) = kept else {
        return Ok(walked?);
    };
    let torn = match walked {
        Err(VerifyError::Tampered {
            fault: Fault::Anchor,
            ..
        }) => return Err(AuditError::Fork(HeadConflict::with_store(&kept.head, head))),
        other => other?,
    };
    let there = walk.replay.size(LogId::Directory);
    // Without all that its own head covers it is damaged, rather than older.
    if (head.size..kept.head.size).contains(&there) {
        let conflict = HeadConflict::with_store(&kept.head, head);
        return Err(AuditError::RolledBack(conflict));
    }
    Ok(torn)
}

fn spot(segment: u64, taken: &Taken) -> Spot {
    Spot {
        segment: u32::try_from(segment).unwrap_or(u32::MAX),
        offset: u32::try_from(taken.offset).unwrap_or(u32::MAX),
        length: u32::try_from(taken.length).unwrap_or(u32::MAX),
    }
}

pub(super) fn lock(layout: &Layout) -> Result<File, AuditError> {
    let file = layout::private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(layout.lock())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn remove_leftovers(layout: &Layout) -> io::Result<()> {
    let checkpoint = layout::temporary(&layout.checkpoint());
    if checkpoint.exists() {
        layout.vfs().remove(&checkpoint)?;
    }
    for entry in fs::read_dir(layout.wal())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            layout.vfs().remove(&path)?;
        }
    }
    Ok(())
}

fn create_first(layout: &Layout, keys: &[VerifyingKey]) -> Result<(), AuditError> {
    if directory_head(layout, &Trail::new(keys))?.size > 0 {
        // Something was signed: the segments were taken away.
        let place = Place::entry(LogId::Directory, 0);
        return Err(VerifyError::tampered(place, Fault::Missing).into());
    }
    let header = Header {
        number: 1,
        first_batch: 0,
        chain: crate::segment::genesis(),
        previous_end: 0,
        previous_tail: Tail::Zeros,
        follows: Statement::pending(layout)?.map(|sealed| sealed.digest()),
    };
    Ok(layout.replace(&layout.segment(1), &header.encode())?)
}

/// Makes the last segment durable up to the end of its last intact batch, and nothing behind it.
fn settle_tail(
    layout: &Layout,
    walk: &Walk,
    signed: &Signed,
    torn: Option<&Torn>,
) -> Result<Option<Dropped>, AuditError> {
    // The directory's head is written after the sync of its leaves, so they count as well.
    let all_signed = walk
        .replay
        .logs
        .iter()
        .all(|log| signed.size(log.id) == log.tree.size());
    if torn.is_none() && (all_signed || walk.end.offset == HEADER_BYTES) {
        return Ok(None);
    }
    let segment = walk.segment;
    let bytes = layout.read(segment, 0, None)?;
    let (valid, rest) = bytes
        .split_at_checked(walk.end.offset)
        .ok_or(AuditError::WorkerLost)?;
    let mut dropped = None;
    if torn.is_some() {
        let length = rest
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let tail = rest.get(..length).unwrap_or_default();
        layout.private_dir(&layout.torn())?;
        let name = format!("{segment:010}-{}.bin", walk.end.offset);
        layout.replace(&layout.torn().join(name), tail)?;
        dropped = Some(Dropped {
            segment,
            bytes: length as u64,
            batches: walk.end.batch,
        });
    }
    layout.replace(&layout.segment(segment), valid)?;
    Ok(dropped)
}
