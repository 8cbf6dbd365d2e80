//! The log's format for backends that keep it elsewhere than in segments: how leaves are built and
//! chained, what must be kept to go on, and how what was kept is verified.
//!
//! For writers of backends, not for applications. Leaves, chain, tree and checkpoints are those of
//! `docs/formats/audit.md`, byte for byte, by the same code as the embedded log's. One at a time
//! continues a [`Chain`]; who that is, and how it is made durable, is the backend's business.

use std::collections::HashMap;
use std::time::Duration;

use eonpro_core::event::Digest;
use eonpro_core::id::EventId;
use eonpro_core::time::Timestamp;

pub use crate::alert::alert_of;
pub use crate::backend::embedded::may_read;
pub use crate::entry::LeafBuilder;
pub use crate::events::{alerted, failed, started, verified};

use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::error::{AuditError, BatchFault};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::merkle::{CompactRange, empty_root, leaf_hash};
use crate::replay::{LogState, Signed, directory_leaf};
use crate::segment::MAX_PAYLOAD;
use crate::service::Receipt;
use crate::verify::{Report, Unanchored};
use crate::wire::{self, HEAD_BYTES, WireError};

/// The most bytes of a leaf without its head: with it, it has at most 65,535.
pub const MAX_TAIL: usize = MAX_PAYLOAD - HEAD_BYTES;

/// The recording time of the next entry: later than the `latest` of all logs, whatever the clock says.
#[must_use]
pub fn next_recorded(now: Timestamp, latest: Timestamp) -> Timestamp {
    now.max(latest.plus(Duration::from_nanos(1)))
}

/// A leaf that was appended to a [`Chain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainLeaf {
    /// Its index.
    pub index: u64,
    /// Its bytes, to be stored exactly so.
    pub bytes: Vec<u8>,
    /// Its RFC 6962 leaf hash.
    pub leaf: Digest,
}

/// What a leaf says that was taken into a [`Chain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its RFC 6962 leaf hash.
    pub leaf: Digest,
    /// When it was recorded; in the directory log the time before.
    pub recorded: Timestamp,
    /// Its event; none in the directory log.
    pub event: Option<EventId>,
}

/// One log at some size: what must be kept to append to it, at most 2,080 bytes.
#[derive(Debug, Clone)]
pub struct Chain(LogState);

impl Chain {
    /// The log without entries.
    #[must_use]
    pub fn new(log: LogId) -> Self {
        Self(LogState::new(log))
    }

    /// The log as [`state`](Self::state) told it at `size`; `None` if that is no state of that size.
    #[must_use]
    pub fn restore(log: LogId, size: u64, state: &[u8]) -> Option<Self> {
        let (hashes, rest) = state.as_chunks::<32>();
        let (previous, peaks) = hashes.split_first()?;
        let peaks = peaks.iter().copied().map(Digest::from_bytes).collect();
        let tree = CompactRange::restore(size, peaks).filter(|_| rest.is_empty())?;
        Some(Self(LogState {
            id: log,
            tree,
            previous: Digest::from_bytes(*previous),
        }))
    }

    /// What its next leaf names as its predecessor, then the roots of its perfect subtrees, the largest
    /// first: 32 bytes each.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let hashes = std::iter::once(&self.0.previous).chain(self.0.tree.peaks());
        hashes.flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.0.id
    }

    /// Its size and root.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        self.0.head()
    }

    /// Appends an entry: `tail` is what [`LeafBuilder::tail`] built.
    ///
    /// # Errors
    /// [`AuditError::TooLarge`]; nothing was appended.
    pub fn append(&mut self, recorded: Timestamp, tail: &[u8]) -> Result<ChainLeaf, AuditError> {
        if tail.len() > MAX_TAIL {
            return Err(AuditError::TooLarge);
        }
        let mut bytes = Vec::with_capacity(HEAD_BYTES + tail.len());
        wire::push_head(&mut bytes, &self.0.previous, recorded);
        bytes.extend_from_slice(tail);
        Ok(self.put(bytes))
    }

    /// Appends a signed checkpoint to the directory log.
    pub fn append_note(&mut self, note: String) -> ChainLeaf {
        self.put(note.into_bytes())
    }

    fn put(&mut self, bytes: Vec<u8>) -> ChainLeaf {
        let (index, leaf) = (self.0.tree.size(), leaf_hash(&bytes));
        self.0.append(leaf);
        ChainLeaf { index, bytes, leaf }
    }

    /// Takes the next leaf as it was read back, recorded after `latest`.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] naming the first bad entry.
    pub fn take(&mut self, bytes: &[u8], latest: Timestamp) -> Result<Taken, VerifyError> {
        let (leaf, recorded, event) = self.0.take(bytes, latest)?;
        Ok(Taken {
            leaf,
            recorded,
            event,
        })
    }
}

/// The answer to an append of the events `ids` to `log`, of which `known` stand in some log already: their
/// receipts in the order of `ids`. `None` if all are new.
#[must_use]
pub fn repeats(
    log: LogId,
    ids: &[EventId],
    known: Vec<Receipt>,
) -> Option<Result<Vec<Receipt>, BatchFault>> {
    let mut seen = ids.to_vec();
    seen.sort_unstable();
    let twice = seen.windows(2).any(|pair| pair.first() == pair.last());
    if known.iter().any(|receipt| receipt.log != log) {
        return Some(Err(BatchFault::OtherLog));
    }
    if twice || (!known.is_empty() && known.len() < ids.len()) {
        return Some(Err(BatchFault::PartialRepeat));
    }
    (!known.is_empty()).then_some(Ok(known))
}

/// The event of an entry for `log` that somebody else handed over without its head.
///
/// # Errors
/// [`WireError`] if it is no entry, is too large, or is another tenant's.
pub fn staged_event(log: LogId, tail: &[u8]) -> Result<EventId, WireError> {
    let (event, tenant) = wire::tail_brief(tail)?;
    let fits = match log {
        LogId::Tenant(own) => tenant == Some(own),
        LogId::System => true,
        LogId::Directory => false,
    };
    (fits && tail.len() <= MAX_TAIL)
        .then_some(event)
        .ok_or(WireError)
}

/// Recomputes everything that logs and checkpoints say: first the leaves of the directory log, then its
/// head, then each other log from its first leaf on. Names the first bad entry.
///
/// `recorded` is compared within each log only. What it cannot know the backend must check: that no leaf
/// is left out in the middle, and that the columns beside the bytes say what the bytes say.
#[derive(Debug)]
pub struct Verification {
    keys: Vec<VerifyingKey>,
    signed: Signed,
    sizes: HashMap<LogId, u64>,
    checkpoints: u64,
    directory: Chain,
    head: Option<Checkpoint>,
    current: Option<(Chain, Timestamp)>,
    heads: Vec<Checkpoint>,
}

impl Verification {
    /// Under the keys that may have signed.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self {
            keys,
            signed: Signed::default(),
            sizes: HashMap::new(),
            checkpoints: 0,
            directory: Chain::new(LogId::Directory),
            head: None,
            current: None,
            heads: Vec::new(),
        }
    }

    /// Takes the next leaf of the directory log.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`]: it is no checkpoint, not signed, or contradicts an earlier one.
    pub fn take_note(&mut self, bytes: &[u8]) -> Result<Taken, VerifyError> {
        let index = self.directory.head().size;
        let point = directory_leaf(bytes, index, &self.keys)?;
        let place = Place::entry(LogId::Directory, index);
        let grows = point.size > self.signed.size(point.log);
        let added = self.signed.add_leaf(&point);
        let added = added.and(if grows {
            Ok(())
        } else {
            Err(Fault::Checkpoint)
        });
        added.map_err(|fault| VerifyError::tampered(place, fault))?;
        self.directory.take(bytes, Timestamp::from_nanos(i64::MIN))
    }

    /// Takes the signed head of the directory log, after all leaves that there are.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`]: it is not there, not signed, or says something else than the leaves.
    pub fn take_head(&mut self, note: Option<&str>) -> Result<(), VerifyError> {
        let there = self.directory.head();
        let place = |index| Place::entry(LogId::Directory, index);
        let fault = |fault| VerifyError::tampered(place(there.size), fault);
        let head = match Checkpoint::open(note.ok_or_else(|| fault(Fault::Missing))?, &self.keys) {
            Ok(head) if head.log == LogId::Directory => head,
            Ok(_) | Err(CheckpointError::Malformed) => return Err(fault(Fault::Checkpoint)),
            Err(CheckpointError::Signature) => return Err(fault(Fault::Signature)),
        };
        if head.size > there.size {
            return Err(fault(Fault::Missing));
        }
        // Leaves that the head does not cover yet are those of a checkpoint that did not come to its end.
        if head.size == there.size && head.root != there.root {
            let last = there.size.saturating_sub(1);
            return Err(VerifyError::tampered(place(last), Fault::Root));
        }
        self.checkpoints = self.signed.count() + 1;
        self.sizes = self.signed.sizes();
        self.head = Some(head);
        Ok(())
    }

    /// How many leaves of the directory log were taken, and their root.
    #[must_use]
    pub fn directory(&self) -> Checkpoint {
        self.directory.head()
    }

    /// Begins with `log`, which is not the directory log.
    pub fn begin(&mut self, log: LogId) {
        self.current = Some((Chain::new(log), Timestamp::from_nanos(i64::MIN)));
    }

    /// Takes the next leaf of the log that was begun.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] naming the first bad entry.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taken, VerifyError> {
        let Some((chain, latest)) = &mut self.current else {
            return Err(VerifyError::NoLog);
        };
        let taken = chain.take(bytes, *latest)?;
        *latest = taken.recorded;
        self.signed.check(&chain.head())?;
        Ok(taken)
    }

    /// Ends the log that was begun; gives it as its leaves made it.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] if signed entries are missing.
    pub fn end(&mut self) -> Result<Chain, VerifyError> {
        let Some((chain, _)) = self.current.take() else {
            return Err(VerifyError::NoLog);
        };
        let head = chain.head();
        if head.size < self.signed.size(head.log) {
            let place = Place::entry(head.log, head.size);
            return Err(VerifyError::tampered(place, Fault::Missing));
        }
        self.heads.push(head);
        Ok(chain)
    }

    /// The report, once all logs were taken.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] if a log that was signed is missing, or the directory's head is.
    pub fn finish(self) -> Result<Report, VerifyError> {
        let there = |log: &LogId| self.heads.iter().any(|head| head.log == *log);
        let mut missing: Vec<LogId> = self.sizes.keys().copied().collect();
        missing.retain(|log| !there(log));
        missing.sort_unstable();
        if let Some(log) = missing.first() {
            let place = Place::entry(*log, 0);
            return Err(VerifyError::tampered(place, Fault::Missing));
        }
        let size = |log: &LogId| self.sizes.get(log).copied().unwrap_or(0);
        let unsigned = |head: &Checkpoint| head.size.saturating_sub(size(&head.log));
        let all = |head: &Checkpoint| Unanchored {
            log: head.log,
            indexes: 0..head.size,
        };
        Ok(Report {
            entries: self.heads.iter().map(|head| head.size).sum(),
            unsigned: self.heads.iter().map(unsigned).sum(),
            logs: self.heads.len() as u64,
            checkpoints: self.checkpoints,
            directory: self.head.ok_or(VerifyError::NoLog)?,
            unanchored: self.heads.iter().map(all).collect(),
            heads: self.heads,
            spooled: 0,
        })
    }
}

/// The head of a directory log that holds nothing yet: signed before there is any entry.
#[must_use]
pub fn empty_directory() -> Checkpoint {
    Checkpoint {
        log: LogId::Directory,
        size: 0,
        root: empty_root(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(size: u64) -> Chain {
        let mut chain = Chain::new(LogId::System);
        for number in 0..size {
            chain.put(number.to_be_bytes().to_vec());
        }
        chain
    }

    proptest! {
        #[test]
        fn a_chain_goes_on_from_its_state_as_if_it_had_never_stopped(size in 0_u64..70, more in 0_u64..9) {
            let mut kept = chain(size);
            let mut restored = Chain::restore(LogId::System, size, &kept.state()).unwrap();
            for number in 0..more {
                kept.put(number.to_le_bytes().to_vec());
                restored.put(number.to_le_bytes().to_vec());
            }
            prop_assert_eq!(kept.head(), restored.head());
            prop_assert_eq!(kept.state(), restored.state());
        }

        #[test]
        fn a_state_is_of_one_size_only(size in 0_u64..70, other in 0_u64..70) {
            let state = chain(size).state();
            let fits = size.count_ones() == other.count_ones();
            prop_assert_eq!(Chain::restore(LogId::System, other, &state).is_some(), fits);
            prop_assert!(Chain::restore(LogId::System, size, &state[1..]).is_none());
        }
    }
}
