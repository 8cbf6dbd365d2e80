//! Verification of a directory on disk, without the service that wrote it.

use std::path::Path;

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{Layout, SPOOL};
use crate::replay::{LogState, Signed};
use crate::spool;
use crate::walk::{Torn, Until, Walk, signed_points};

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
    let layout = Layout::new(dir);
    layout.segments()?;
    verify_until(&layout, keys, None)
}

pub(crate) fn verify_until(
    layout: &Layout,
    keys: &[VerifyingKey],
    until: Option<Until>,
) -> Result<Report, VerifyError> {
    layout.stray()?;
    let (signed, directory) = signed_points(layout, keys, until)?;
    let mut walk = Walk::new();
    let torn = walk.advance(layout, &signed, until, |_, _| {})?;
    nothing_signed_is_missing(&walk, &signed, torn.as_ref())?;
    if let Some(torn) = torn {
        return Err(VerifyError::Unfinished { place: torn.place });
    }
    let spool = spool::read(layout)?;
    // A writer that is at work may be in the middle of one.
    if spool.torn && until.is_none() {
        let place = Place::file(SPOOL, spool.intact);
        return Err(VerifyError::Unfinished { place });
    }
    let heads: Vec<Checkpoint> = walk.replay.ordinary().map(LogState::head).collect();
    let unsigned = |head: &Checkpoint| head.size - signed.size(head.log).min(head.size);
    Ok(Report {
        entries: walk.replay.entries(),
        unsigned: heads.iter().map(unsigned).sum(),
        logs: heads.len() as u64,
        checkpoints: signed.count(),
        directory,
        heads,
        spooled: spool.entries.len() as u64,
    })
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
