//! Whose signatures count in what is read: from the keys that a reader was given along the changes of keys
//! in the directory log.

use std::sync::{Mutex, PoisonError};

use super::error::ArchiveError;
use super::source::{Believe, TileSource};
use super::verify::{directory_head, fetch_bundle};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::replay::directory_leaf;
use crate::tlog::{bundles_added, parse_bundle};
use crate::trail::{KeyChange, Trail};

/// How many heads that nobody known signed are looked at for changes of keys, each time.
const HEADS: usize = 8;
/// How often a reader is led on to further keys before its source is taken to be a maze.
const ROUNDS: usize = 64;

/// What a leaf of the directory log says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    /// The head of a log.
    Head(Checkpoint),
    /// Another key signs from here on; the head of the directory log before this leaf.
    Change(Checkpoint),
}

/// Reads leaf `index` of the directory log, and follows it if it changes keys.
pub(super) fn take_leaf(trail: &mut Trail, leaf: &[u8], index: u64) -> Result<Said, VerifyError> {
    if !KeyChange::is_one(leaf) {
        return directory_leaf(leaf, index, trail.present()).map(Said::Head);
    }
    let fault = |fault| VerifyError::tampered(Place::entry(LogId::Directory, index), fault);
    let change = change_in(leaf).ok_or_else(|| fault(Fault::Signature))?;
    trail.take(change, index).map_err(fault)?;
    Ok(Said::Change(change.at))
}

pub(super) fn change_in(leaf: &[u8]) -> Option<KeyChange> {
    std::str::from_utf8(leaf).ok().and_then(KeyChange::open)
}

/// Whether the keys at hand may be heirs of those that signed the beginning.
pub(super) fn is_unknown_signer(error: &ArchiveError) -> bool {
    let fault = Fault::Signature;
    matches!(error, ArchiveError::Log(VerifyError::Tampered { fault: found, .. }) if *found == fault)
}

/// The newest head of `source` that `check` accepts and that is signed by a key of `trail`, or beyond `size`,
/// which is as far as the trail goes, by one that those name as their heirs. Whether such an heir is one shows
/// only when the trail was followed to that head: the caller looks again.
pub(super) async fn find_head(
    source: &dyn TileSource,
    trail: &Trail,
    size: u64,
    check: Believe<'_>,
) -> Result<String, ArchiveError> {
    let mut known = trail.keys().to_vec();
    let mut rounds = 0;
    loop {
        let unknown = Mutex::new(Vec::new());
        let believe = |note: &str| {
            let stated = Checkpoint::unverified(note).map_or(0, |head| head.size);
            let mut keys = trail.at(stated);
            if stated > size {
                let heirs = known.iter().filter(|key| !trail.keys().contains(key));
                keys.extend(heirs);
            }
            let signed = directory_head(note, &keys);
            if matches!(
                signed,
                Err(ArchiveError::Checkpoint(CheckpointError::Signature))
            ) {
                let mut unknown = unknown.lock().unwrap_or_else(PoisonError::into_inner);
                unknown.push(stated);
            }
            signed.and_then(|_| check(note))
        };
        let found = source.head(&believe).await;
        let unknown = unknown.into_inner().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        for stated in unknown.into_iter().take(HEADS) {
            for change in read_changes(source, stated).await? {
                if known.contains(&change.old) && !known.contains(&change.new) {
                    known.push(change.new);
                }
            }
        }
        rounds += 1;
        if known.len() == before || rounds == ROUNDS {
            return found;
        }
    }
}

/// The changes of keys in the directory log, as far as it can be read up to `size`. Each is signed by both of
/// its keys; nothing else of it was verified.
pub(super) async fn read_changes(
    source: &dyn TileSource,
    size: u64,
) -> Result<Vec<KeyChange>, ArchiveError> {
    let mut changes = Vec::new();
    for bundle in bundles_added(0, size) {
        let bytes = match fetch_bundle(source, LogId::Directory, bundle).await {
            Err(ArchiveError::Missing(_) | ArchiveError::Changed(_)) => break,
            other => other?,
        };
        let Ok(entries) = parse_bundle(bundle, &bytes) else {
            break;
        };
        let some = entries.into_iter().filter(|entry| KeyChange::is_one(entry));
        changes.extend(some.filter_map(change_in));
    }
    Ok(changes)
}
