//! The log's format for backends that keep it elsewhere than in segments: how leaves are built and
//! chained, what must be kept to go on, and how what was kept is verified.
//!
//! For writers of backends, not for applications. Leaves, chain, tree and checkpoints are those of
//! `docs/formats/audit.md`, byte for byte, by the same code as the embedded log's. One at a time
//! continues a [`Chain`]; who that is, and how it is made durable, is the backend's business.

use std::collections::BTreeMap;
use std::time::Duration;

use eonpro_core::event::Digest;
use eonpro_core::id::EventId;
use eonpro_core::time::Timestamp;

pub use crate::alert::alert_of;
pub use crate::backend::embedded::may_read;
pub use crate::entry::LeafBuilder;
pub use crate::events::{alerted, failed, started, verified};
pub use crate::proving::{Nodes, Tree, covering};
pub use crate::viewing::{Asked, record_view, viewed};

use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::error::{AuditError, BatchFault};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::merkle::{CompactRange, empty_root, leaf_hash};
use crate::replay::{LogState, Signed, directory_leaf};
use crate::retention::Gone;
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
            gone: Gone::default(),
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
        let told = self.0.take(bytes, latest)?;
        Ok(Taken {
            leaf: told.leaf,
            recorded: told.recorded,
            event: told.event,
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

/// Recomputes what logs and checkpoints say, and names the first bad entry: first the signed head of the
/// directory log, then the leaves of the directory log, then all other logs, each from its first leaf on.
/// It may go on later, as the logs grow.
///
/// `recorded` is compared within each log only. What it cannot know the backend must check: that no leaf
/// is left out in the middle, and that what stands beside the bytes says what the bytes say.
#[derive(Debug)]
pub struct Verification {
    keys: Vec<VerifyingKey>,
    signed: Signed,
    head: Option<Checkpoint>,
    directory: Chain,
    logs: BTreeMap<LogId, (Chain, Timestamp)>,
}

impl Verification {
    /// Under the keys that may have signed.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self {
            keys,
            signed: Signed::default(),
            head: None,
            directory: Chain::new(LogId::Directory),
            logs: BTreeMap::new(),
        }
    }

    /// Takes the signed head of the directory log, before the leaves that it covers.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`]: it is not there, not signed, or contradicts an earlier one.
    pub fn take_head(&mut self, note: Option<&str>) -> Result<(), VerifyError> {
        let place = || Place::entry(LogId::Directory, self.directory.head().size);
        let fault = |fault| VerifyError::tampered(place(), fault);
        let head = match Checkpoint::open(note.ok_or_else(|| fault(Fault::Missing))?, &self.keys) {
            Ok(head) if head.log == LogId::Directory => head,
            Ok(_) | Err(CheckpointError::Malformed) => return Err(fault(Fault::Checkpoint)),
            Err(CheckpointError::Signature) => return Err(fault(Fault::Signature)),
        };
        if self.head.is_some_and(|before| head.size < before.size) {
            return Err(fault(Fault::Missing));
        }
        let added = self.signed.add(&head);
        added.map_err(|found| VerifyError::tampered(place(), found))?;
        self.head = Some(head);
        Ok(())
    }

    /// Takes the next leaf of the directory log.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`]: it is no checkpoint, not signed, or contradicts an earlier one.
    pub fn take_note(&mut self, bytes: &[u8]) -> Result<Taken, VerifyError> {
        let index = self.directory.head().size;
        let point = directory_leaf(bytes, index, &self.keys)?;
        let at = |fault| VerifyError::tampered(Place::entry(LogId::Directory, index), fault);
        if point.size <= self.signed.size(point.log) {
            return Err(at(Fault::Checkpoint));
        }
        self.signed.add_leaf(&point).map_err(at)?;
        let taken = self
            .directory
            .take(bytes, Timestamp::from_nanos(i64::MIN))?;
        self.signed.check(&self.directory.head())?;
        Ok(taken)
    }

    /// Takes the next leaf of `log`, which is not the directory log.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] naming the first bad entry.
    pub fn take(&mut self, log: LogId, bytes: &[u8]) -> Result<Taken, VerifyError> {
        let fresh = || (Chain::new(log), Timestamp::from_nanos(i64::MIN));
        let (chain, latest) = self.logs.entry(log).or_insert_with(fresh);
        let taken = chain.take(bytes, *latest)?;
        *latest = taken.recorded;
        self.signed.check(&chain.head())?;
        Ok(taken)
    }

    /// The log as its leaves have made it so far.
    #[must_use]
    pub fn chain(&self, log: LogId) -> Chain {
        match log {
            LogId::Directory => self.directory.clone(),
            _ => {
                let found = self.logs.get(&log).map(|(chain, _)| chain.clone());
                found.unwrap_or_else(|| Chain::new(log))
            }
        }
    }

    /// The largest size of `log` that a checkpoint covers.
    #[must_use]
    pub fn signed_size(&self, log: LogId) -> u64 {
        self.signed.size(log)
    }

    /// The report, once all leaves were taken.
    ///
    /// # Errors
    /// [`VerifyError::Tampered`] if entries that were signed are missing, or the directory's head is.
    pub fn finish(&self) -> Result<Report, VerifyError> {
        let mut logs: Vec<LogId> = self.signed.sizes().into_keys().collect();
        logs.sort_unstable();
        for log in logs {
            let there = self.chain(log).head().size;
            if there < self.signed.size(log) {
                let place = Place::entry(log, there);
                return Err(VerifyError::tampered(place, Fault::Missing));
            }
        }
        let place = Place::entry(LogId::Directory, 0);
        let missing = || VerifyError::tampered(place, Fault::Missing);
        let heads: Vec<Checkpoint> = self.logs.values().map(|(chain, _)| chain.head()).collect();
        let unsigned = |head: &Checkpoint| head.size.saturating_sub(self.signed.size(head.log));
        let all = |head: &Checkpoint| Unanchored {
            log: head.log,
            indexes: 0..head.size,
        };
        Ok(Report {
            entries: heads.iter().map(|head| head.size).sum(),
            unsigned: heads.iter().map(unsigned).sum(),
            logs: heads.len() as u64,
            checkpoints: self.signed.count(),
            directory: self.head.ok_or_else(missing)?,
            unanchored: heads.iter().map(all).collect(),
            heads,
            spooled: 0,
            follows: None,
            sealed: Vec::new(),
            pruned: Vec::new(),
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
