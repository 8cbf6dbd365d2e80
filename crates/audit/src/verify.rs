//! Verification of a directory on disk, without the service that wrote it.

use std::ops::Range;
use std::path::Path;

use eonpro_core::event::Digest;

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{KEYS, Layout, SPOOL};
use crate::log_id::LogId;
use crate::replay::{LeafBytes, LogState, Signed, Taken};
use crate::retention::{BUNDLE, PrunedLog};
use crate::sealed::{self, SealedLog};
use crate::segment::{Frame, padded};
use crate::spool;
use crate::tlog::{KeyKind, VerifierKey};
use crate::walk::{Torn, Until, Walk, signed_points};
use crate::wire::{EntryValue, Leaf};

/// What was verified.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many entries the logs hold, without the directory log.
    pub entries: u64,
    /// How many of them no checkpoint covers: the end of each log since its last one. They are
    /// chained and checksummed, but who can write the files could have rewritten them.
    pub unsigned: u64,
    /// How many logs there are beside the directory log.
    pub logs: u64,
    /// How many signed checkpoints were found, and agreed with the entries.
    pub checkpoints: u64,
    /// The directory log's signed head, which covers all others. Compare it with one kept elsewhere:
    /// nothing inside the directory can show that the whole of it was put back to an older state.
    pub directory: Checkpoint,
    /// Size and root of each log beside the directory log, as the entries give them.
    pub heads: Vec<Checkpoint>,
    /// Entries that wait in the spool because the log was down.
    pub spooled: u64,
    /// The log that this one follows, by the digest of its statement, if it follows one: another was given
    /// up by an operator's decision (`EmbeddedAudit::seal_and_continue`).
    pub follows: Option<Digest>,
    /// The logs that were given up and are kept in the directory, oldest first. They are what was sealed,
    /// which does not verify.
    pub sealed: Vec<SealedLog>,
    /// Which entries no anchor covers: whoever holds the signing key could have rewritten them, and
    /// nothing shows it. Without an anchor that is all of them.
    pub unanchored: Vec<Unanchored>,
    /// Which logs lost the bytes of entries to [pruning](crate::EmbeddedAudit::prune). Their hashes are
    /// there, and signed entries of the log (AUD-009) account for exactly them.
    pub pruned: Vec<PrunedLog>,
}

/// Entries that no anchor covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanchored {
    /// Their log.
    pub log: LogId,
    /// Their indexes.
    pub indexes: Range<u64>,
}

/// Verifies everything in the log directory `dir`: that each batch is intact and continues the chain,
/// each entry names its predecessor's hash, and each signed root is the root of the entries.
/// `keys` are those that may have signed. Reads only; blocks; holds one segment and all signed heads
/// in memory.
///
/// # Errors
/// [`VerifyError::Tampered`] names the first bad place; [`VerifyError::Unfinished`] an unfinished
/// write at the end, as a crash leaves it, or a writer that is at work: use
/// [`AuditLog::verify`](crate::AuditLog::verify) on a log that is open.
pub fn verify(dir: &Path, keys: &[VerifyingKey]) -> Result<Report, VerifyError> {
    verify_anchored(dir, keys, &[])
}

/// As [`verify()`], and that the log is the one of which `anchors` were kept elsewhere: heads of the
/// directory log, of which one covers all logs, or of single logs. A log that was rewritten or put back
/// to an older state by somebody who has the signing key does not agree with them.
///
/// Read an anchor with [`Checkpoint::open`], under the same keys.
///
/// # Errors
/// As [`verify()`]; [`Fault::Anchor`] where the log differs from an anchor, [`Fault::Missing`] where it
/// ends before one.
pub fn verify_anchored(
    dir: &Path,
    keys: &[VerifyingKey],
    anchors: &[Checkpoint],
) -> Result<Report, VerifyError> {
    let layout = Layout::new(dir);
    layout.segments()?;
    verify_until(&layout, keys, None, anchors)
}

/// The keys that the log in `dir` says its checkpoints are signed with, oldest first.
///
/// It is only what the log says: whoever rewrites a log under a key of his own writes that one here. An
/// anchor that one of them signed shows that they are the right ones; without an anchor, compare them with
/// keys that you got elsewhere.
///
/// # Errors
/// [`VerifyError::NoLog`], [`VerifyError::Unreadable`]; [`Fault::Keys`] for a file that is no list of
/// verifier keys of the directory log, or none.
pub fn claimed_keys(dir: &Path) -> Result<Vec<VerifyingKey>, VerifyError> {
    let layout = Layout::new(dir);
    layout.segments()?;
    read_claim(&layout)
}

/// The keys that may be trusted with the log in `dir` by somebody who trusts `keys`: these, and those to
/// which they handed over, or which handed over to them, oldest first. Read anchors with them. Reads only;
/// blocks.
///
/// # Errors
/// As [`verify()`], as far as the signed heads of the directory log go.
pub fn followed_keys(dir: &Path, keys: &[VerifyingKey]) -> Result<Vec<VerifyingKey>, VerifyError> {
    let layout = Layout::new(dir);
    layout.segments()?;
    let (_, _, trail) = signed_points(&layout, keys, None)?;
    Ok(trail.keys().to_vec())
}

/// Whether the log names only keys that are known.
pub(crate) fn check_claim(layout: &Layout, keys: &[VerifyingKey]) -> Result<(), VerifyError> {
    match read_claim(layout)?.iter().all(|key| keys.contains(key)) {
        true => Ok(()),
        false => Err(VerifyError::tampered(Place::file(KEYS, 0), Fault::Keys)),
    }
}

fn read_claim(layout: &Layout) -> Result<Vec<VerifyingKey>, VerifyError> {
    let fault = || VerifyError::tampered(Place::file(KEYS, 0), Fault::Keys);
    let text = layout.read_keys()?.ok_or_else(fault)?;
    let lines = text.strip_suffix('\n').ok_or_else(fault)?.split('\n');
    let keys = lines.map(|line| {
        let key = VerifierKey::parse(line).ok()?;
        let ours = key.kind() == KeyKind::Note
            && LogId::parse(key.name().as_str()) == Some(LogId::Directory);
        ours.then(|| *key.key())
    });
    keys.collect::<Option<Vec<_>>>().ok_or_else(fault)
}

pub(crate) fn verify_until(
    layout: &Layout,
    keys: &[VerifyingKey],
    until: Option<Until>,
    anchors: &[Checkpoint],
) -> Result<Report, VerifyError> {
    layout.stray()?;
    let (mut signed, directory, trail) = signed_points(layout, keys, until)?;
    check_claim(layout, trail.keys())?;
    let (checkpoints, sizes) = (signed.count(), signed.sizes());
    for anchor in anchors {
        let last = anchor.size.saturating_sub(1);
        signed
            .add_anchor(anchor)
            .map_err(|fault| VerifyError::tampered(Place::entry(anchor.log, last), fault))?;
    }
    let mut walk = Walk::new();
    let mut first = None;
    let torn = walk.advance(layout, &signed, until, |segment, taken| {
        if taken.log == LogId::System && taken.index == 0 {
            first = Some((segment, *taken));
        }
    })?;
    nothing_signed_is_missing(&walk, &signed, torn.as_ref())?;
    what_is_pruned_was_announced(&walk)?;
    if let Some(torn) = torn {
        return Err(VerifyError::Unfinished { place: torn.place });
    }
    let spool = spool::read(layout)?;
    // A writer that is at work may be in the middle of one.
    if spool.torn && until.is_none() {
        let place = Place::file(SPOOL, spool.intact);
        return Err(VerifyError::Unfinished { place });
    }
    let follows = match walk.segment {
        0 => None,
        segment => layout.header(segment)?.follows,
    };
    check_first(layout, first, follows)?;
    let sealed = sealed::check(layout, follows)?;
    let heads: Vec<Checkpoint> = walk.replay.ordinary().map(LogState::head).collect();
    let signed_size = |log| sizes.get(&log).copied().unwrap_or(0);
    let unsigned = |head: &Checkpoint| head.size.saturating_sub(signed_size(head.log));
    let unanchored = heads.iter().map(|head| Unanchored {
        log: head.log,
        indexes: signed.anchored(head.log)..head.size,
    });
    Ok(Report {
        entries: walk.replay.entries(),
        unsigned: heads.iter().map(unsigned).sum(),
        logs: heads.len() as u64,
        checkpoints,
        directory,
        follows,
        sealed,
        unanchored: unanchored.filter(|some| !some.indexes.is_empty()).collect(),
        heads,
        spooled: spool.entries.len() as u64,
        pruned: walk.replay.ordinary().filter_map(pruned_log).collect(),
    })
}

fn pruned_log(log: &LogState) -> Option<PrunedLog> {
    (log.gone.count() > 0).then(|| PrunedLog {
        log: log.id,
        entries: log.gone.count(),
        minimum_index: log.gone.end().next_multiple_of(BUNDLE),
    })
}

/// Pruned entries that no signed one accounts for were destroyed.
pub(crate) fn what_is_pruned_was_announced(walk: &Walk) -> Result<(), VerifyError> {
    match walk.replay.unaccounted() {
        None => Ok(()),
        Some(place) => Err(VerifyError::tampered(place, Fault::Pruned)),
    }
}

/// A log that follows a sealed one says so in the first entry of its system log, and no other does.
fn check_first(
    layout: &Layout,
    first: Option<(u64, Taken)>,
    follows: Option<Digest>,
) -> Result<(), VerifyError> {
    let Some((segment, taken)) = first else {
        return Ok(());
    };
    if taken.bytes == LeafBytes::Pruned {
        return Ok(());
    }
    let until = taken.offset + padded(taken.length);
    let bytes = layout.read(segment, taken.offset, Some(until))?;
    let entry =
        Frame::parse(&bytes).and_then(|frame| Leaf::parse(frame.payload).ok()?.entry().ok());
    let found = entry.filter(|entry| entry.code == "AUD-006");
    let found = found.and_then(|entry| match entry.fields.get("found") {
        Some(EntryValue::Text(found)) => Digest::parse_hex(found),
        _ => None,
    });
    match found == follows {
        true => Ok(()),
        false => Err(VerifyError::tampered(
            Place::entry(LogId::System, 0),
            Fault::Sealed,
        )),
    }
}

/// A signed entry that is not there was taken away, whatever the end looks like.
pub(crate) fn nothing_signed_is_missing(
    walk: &Walk,
    signed: &Signed,
    torn: Option<&Torn>,
) -> Result<(), VerifyError> {
    match (walk.replay.missing(signed), torn) {
        (None, _) => Ok(()),
        (Some(_), Some(torn)) => Err(VerifyError::tampered(torn.place.clone(), torn.fault)),
        (Some(place), None) => Err(VerifyError::tampered(place, Fault::Missing)),
    }
}
