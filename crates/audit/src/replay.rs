//! The logs as their batches build them up, each rule checked on the way.
//!
//! The same rules serve opening, signing and verifying: an index follows its predecessor, a leaf
//! names its predecessor's hash, the recording time grows, an entry's tenant is its log's, and where
//! a checkpoint was signed the root is the signed one.

use std::collections::{BTreeMap, HashMap};

use eonpro_core::event::Digest;
use eonpro_core::id::EventId;
use eonpro_core::time::Timestamp;

use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::merkle::{CompactRange, empty_root, leaf_hash, sha256};
use crate::retention::{Gone, UnderWay};
use crate::scan::{Batch, Break};
use crate::segment::{Frame, Kind, Pruned};
use crate::wire::{EntryValue, Leaf};

/// One log at some size.
#[derive(Debug, Clone)]
pub(crate) struct LogState {
    pub(crate) id: LogId,
    pub(crate) tree: CompactRange,
    /// What the next leaf must name as its predecessor.
    pub(crate) previous: Digest,
    /// What of it was pruned.
    pub(crate) gone: Gone,
}

impl LogState {
    /// The log without entries. Its first leaf names the hash of its origin.
    pub(crate) fn new(id: LogId) -> Self {
        Self {
            id,
            tree: CompactRange::new(),
            previous: sha256(&[id.to_string().as_bytes()]),
            gone: Gone::default(),
        }
    }

    /// Its size and root.
    pub(crate) fn head(&self) -> Checkpoint {
        Checkpoint {
            log: self.id,
            size: self.tree.size(),
            root: self.tree.root(),
        }
    }

    pub(crate) fn append(&mut self, leaf: Digest) {
        self.tree.append(leaf);
        self.previous = leaf;
    }

    /// Takes the next leaf, which must be recorded after `latest`; tells what it says.
    pub(crate) fn take(&mut self, payload: &[u8], latest: Timestamp) -> Result<Told, VerifyError> {
        let (id, index) = (self.id, self.tree.size());
        let at = |index, fault| VerifyError::tampered(Place::entry(id, index), fault);
        let hash = leaf_hash(payload);
        if id == LogId::Directory {
            self.append(hash);
            return Ok(Told {
                leaf: hash,
                recorded: latest,
                event: None,
                pruned: None,
            });
        }
        let leaf = Leaf::parse(payload).map_err(|_| at(index, Fault::Leaf))?;
        let (event, tenant) = leaf.brief().map_err(|_| at(index, Fault::Leaf))?;
        if leaf.previous != self.previous {
            // The one that was changed is the predecessor, whose hash is no longer the one named.
            return Err(at(index.saturating_sub(1), Fault::Previous));
        }
        if leaf.recorded <= latest {
            return Err(at(index, Fault::Recorded));
        }
        if matches!(id, LogId::Tenant(own) if tenant != Some(own)) {
            return Err(at(index, Fault::Tenant));
        }
        self.append(hash);
        Ok(Told {
            leaf: hash,
            recorded: leaf.recorded,
            event: Some(event),
            pruned: says_pruned(&leaf),
        })
    }
}

/// What a leaf says that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) leaf: Digest,
    /// In the directory log the time before.
    pub(crate) recorded: Timestamp,
    /// Its event; none in the directory log.
    pub(crate) event: Option<EventId>,
    /// The root over all pruned leaves and the index below which they are, if it accounts for a pruning.
    pub(crate) pruned: Option<(Digest, u64)>,
}

/// What signed checkpoints say: the root of a log at a size.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    roots: HashMap<LogId, BTreeMap<u64, Digest>>,
    /// The logs and sizes that the leaves of the directory log sign, in their order.
    leaves: Vec<(LogId, u64)>,
    /// The heads that were kept elsewhere.
    anchors: Vec<Checkpoint>,
    /// What is being pruned.
    pub(crate) under_way: UnderWay,
}

impl Signed {
    /// Takes a checkpoint; two that contradict each other are a fault.
    pub(crate) fn add(&mut self, point: &Checkpoint) -> Result<(), Fault> {
        let roots = self.roots.entry(point.log).or_default();
        match roots.insert(point.size, point.root) {
            Some(other) if other != point.root => Err(Fault::Root),
            _ => Ok(()),
        }
    }

    /// Takes the checkpoint in the next leaf of the directory log.
    pub(crate) fn add_leaf(&mut self, point: &Checkpoint) -> Result<(), Fault> {
        self.leaves.push((point.log, point.size));
        self.add(point)
    }

    /// Takes a head that was kept elsewhere.
    pub(crate) fn add_anchor(&mut self, anchor: &Checkpoint) -> Result<(), Fault> {
        if anchor.size == 0 && anchor.root != empty_root() {
            return Err(Fault::Anchor);
        }
        self.anchors.push(*anchor);
        self.add(anchor).map_err(|_| Fault::Anchor)
    }

    /// How many entries of `log` the anchors cover, by themselves or by what the directory log signed
    /// up to them.
    pub(crate) fn anchored(&self, log: LogId) -> u64 {
        let covers = |anchor: &Checkpoint| {
            if anchor.log == log {
                return anchor.size;
            }
            let leaves = usize::try_from(anchor.size).unwrap_or(usize::MAX);
            let before = self.leaves.iter().take(leaves);
            let sizes = before.filter(|(signed, _)| *signed == log);
            match anchor.log {
                LogId::Directory => sizes.map(|(_, size)| *size).max().unwrap_or(0),
                _ => 0,
            }
        };
        self.anchors.iter().map(covers).max().unwrap_or(0)
    }

    /// How far each log goes by the checkpoints that `head`, one of the directory log, covers.
    pub(crate) fn sizes_under(&self, head: &Checkpoint) -> BTreeMap<LogId, u64> {
        let mut sizes = BTreeMap::from([(head.log, head.size)]);
        let leaves = usize::try_from(head.size).unwrap_or(usize::MAX);
        for (log, size) in self.leaves.iter().take(leaves) {
            let known = sizes.entry(*log).or_insert(0);
            *known = (*known).max(*size);
        }
        sizes
    }

    /// Whether a leaf may be pruned: it is signed, or nothing signed is looked at, and it is no signed head.
    fn may_be_pruned(&self, log: LogId, index: u64) -> bool {
        log != LogId::Directory && (self.roots.is_empty() || index < self.size(log))
    }

    /// The last signed head of each log; and for all but the directory log the index of the leaf with it.
    pub(crate) fn heads(&self) -> Vec<(Checkpoint, Option<u64>)> {
        let leaves = (0..).zip(&self.leaves);
        let leaves = leaves.map(|(at, (log, size))| (*log, *size, Some(at)));
        let directory = self.size(LogId::Directory);
        let all = leaves.chain([(LogId::Directory, directory, None)]);
        all.filter_map(|(log, size, at)| {
            let root = self.root(log, size)?;
            Some((Checkpoint { log, size, root }, at))
        })
        .collect()
    }

    fn root(&self, log: LogId, size: u64) -> Option<Digest> {
        self.roots.get(&log)?.get(&size).copied()
    }

    /// Compares the head of a log, after its last leaf was taken, with the signed one of that size.
    pub(crate) fn check(&self, head: &Checkpoint) -> Result<(), VerifyError> {
        match self.root(head.log, head.size) {
            Some(root) if root != head.root => {
                let place = Place::entry(head.log, head.size.saturating_sub(1));
                Err(VerifyError::tampered(
                    place,
                    self.fault(head.log, head.size),
                ))
            }
            _ => Ok(()),
        }
    }

    /// What it means if the root at that size is another.
    fn fault(&self, log: LogId, size: u64) -> Fault {
        let is_it = |anchor: &Checkpoint| (anchor.log, anchor.size) == (log, size);
        match self.anchors.iter().any(is_it) {
            true => Fault::Anchor,
            false => Fault::Root,
        }
    }

    /// The largest signed size of `log`.
    pub(crate) fn size(&self, log: LogId) -> u64 {
        let last = self.roots.get(&log).and_then(BTreeMap::last_key_value);
        last.map_or(0, |(size, _)| *size)
    }

    /// The largest signed size of each log that was signed.
    pub(crate) fn sizes(&self) -> HashMap<LogId, u64> {
        let logs = self.roots.keys();
        logs.map(|log| (*log, self.size(*log))).collect()
    }

    /// The logs that were signed, in order.
    fn logs(&self) -> Vec<LogId> {
        let mut logs: Vec<LogId> = self.roots.keys().copied().collect();
        logs.sort_unstable();
        logs
    }

    /// How many checkpoints there are.
    pub(crate) fn count(&self) -> u64 {
        let logs = self.roots.values();
        logs.map(|roots| roots.len() as u64).sum()
    }
}

/// One leaf that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) log: LogId,
    pub(crate) index: u64,
    pub(crate) leaf: Digest,
    pub(crate) recorded: Timestamp,
    /// Its event; none in the directory log.
    pub(crate) event: Option<EventId>,
    /// Where its frame begins in the segment.
    pub(crate) offset: usize,
    /// How long its payload is.
    pub(crate) length: usize,
    pub(crate) bytes: LeafBytes,
}

/// Whether the bytes of a leaf are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeafBytes {
    There,
    Pruned,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// The logs by their numbers.
    pub(crate) logs: Vec<LogState>,
    pub(crate) numbers: HashMap<LogId, u32>,
    /// The latest recording time of all logs.
    pub(crate) recorded: Timestamp,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self {
            logs: Vec::new(),
            numbers: HashMap::new(),
            recorded: Timestamp::from_nanos(i64::MIN),
        }
    }

    /// Declares a log under the next number.
    pub(crate) fn declare(&mut self, id: LogId) -> u32 {
        let number = u32::try_from(self.logs.len()).unwrap_or(u32::MAX);
        self.numbers.insert(id, number);
        self.logs.push(LogState::new(id));
        number
    }

    /// The entries of all logs but the directory.
    pub(crate) fn entries(&self) -> u64 {
        self.ordinary().map(|log| log.tree.size()).sum()
    }

    /// All logs but the directory.
    pub(crate) fn ordinary(&self) -> impl Iterator<Item = &LogState> {
        self.logs.iter().filter(|log| log.id != LogId::Directory)
    }

    /// Takes the frames of one intact batch of the file `name`, telling `seen` each leaf.
    pub(crate) fn apply(
        &mut self,
        batch: &Batch<'_>,
        name: &str,
        signed: &Signed,
        mut seen: impl FnMut(&Taken),
    ) -> Result<(), VerifyError> {
        for (offset, frame) in &batch.frames {
            match frame.kind {
                Kind::Declare => self.take_declaration(frame, *offset, name)?,
                Kind::Leaf => seen(&self.take_leaf(frame, *offset, name, signed)?),
                Kind::Pruned => seen(&self.take_pruned(frame, *offset, name, signed)?),
                // A batch never has its end among its frames.
                Kind::End => {}
            }
        }
        Ok(())
    }

    fn take_declaration(
        &mut self,
        frame: &Frame<'_>,
        offset: usize,
        name: &str,
    ) -> Result<(), VerifyError> {
        let origin = std::str::from_utf8(frame.payload).ok();
        match origin.and_then(LogId::parse) {
            Some(log)
                if frame.log as usize == self.logs.len() && !self.numbers.contains_key(&log) =>
            {
                self.declare(log);
                Ok(())
            }
            _ => Err(VerifyError::tampered(
                Place::file(name, offset),
                Fault::Declaration,
            )),
        }
    }

    fn take_leaf(
        &mut self,
        frame: &Frame<'_>,
        offset: usize,
        name: &str,
        signed: &Signed,
    ) -> Result<Taken, VerifyError> {
        let latest = self.recorded;
        let log = usize::try_from(frame.log).ok();
        let Some(state) = log.and_then(|number| self.logs.get_mut(number)) else {
            let place = Place::file(name, offset);
            return Err(VerifyError::tampered(place, Fault::Declaration));
        };
        let (id, index) = (state.id, state.tree.size());
        let at = |index, fault| VerifyError::tampered(Place::entry(id, index), fault);
        if frame.index != index {
            return Err(at(index, Fault::Gap));
        }
        let told = state.take(frame.payload, latest)?;
        if index < signed.size(id)
            && let Some((root, minimum)) = told.pruned
        {
            state.gone.account(root, minimum);
        }
        if signed.under_way.plans() > 0 {
            let gone = &mut state.gone;
            gone.take_living(id, index, told.leaf, &signed.under_way);
        }
        signed.check(&state.head())?;
        let taken = Taken {
            log: id,
            index,
            leaf: told.leaf,
            recorded: told.recorded,
            event: told.event,
            offset,
            length: frame.payload.len(),
            bytes: LeafBytes::There,
        };
        self.recorded = taken.recorded;
        Ok(taken)
    }

    /// Takes what stays of a pruned leaf. Its bytes tell nothing any more; that it was this leaf shows in
    /// the roots, in the chain, and in the `prev` of the next one.
    fn take_pruned(
        &mut self,
        frame: &Frame<'_>,
        offset: usize,
        name: &str,
        signed: &Signed,
    ) -> Result<Taken, VerifyError> {
        let recorded = self.recorded;
        let log = usize::try_from(frame.log).ok();
        let Some(state) = log.and_then(|number| self.logs.get_mut(number)) else {
            let place = Place::file(name, offset);
            return Err(VerifyError::tampered(place, Fault::Declaration));
        };
        let (id, index) = (state.id, state.tree.size());
        let at = |fault| VerifyError::tampered(Place::entry(id, index), fault);
        if frame.index != index {
            return Err(at(Fault::Gap));
        }
        let pruned = Pruned::parse(frame).filter(|_| signed.may_be_pruned(id, index));
        let leaf = pruned.ok_or_else(|| at(Fault::Pruned))?.leaf;
        state.append(leaf);
        state.gone.take_pruned(index, leaf, &signed.under_way);
        signed.check(&state.head())?;
        Ok(Taken {
            log: id,
            index,
            leaf,
            recorded,
            event: None,
            offset,
            length: frame.payload.len(),
            bytes: LeafBytes::Pruned,
        })
    }

    /// The first entry of a log whose pruned entries no signed one accounts for, if there is such a log.
    pub(crate) fn unaccounted(&self) -> Option<Place> {
        self.logs.iter().find_map(|log| {
            let first = log.gone.unaccounted()?;
            Some(Place::entry(log.id, first))
        })
    }

    /// The first signed entry that is missing, if one is.
    pub(crate) fn missing(&self, signed: &Signed) -> Option<Place> {
        signed.logs().into_iter().find_map(|log| {
            let there = self.size(log);
            (there < signed.size(log)).then(|| Place::entry(log, there))
        })
    }

    /// The number of leaves of `log`.
    pub(crate) fn size(&self, log: LogId) -> u64 {
        let number = self.numbers.get(&log).map(|number| *number as usize);
        number
            .and_then(|number| self.logs.get(number))
            .map_or(0, |state| state.tree.size())
    }

    /// Which entry a break concerns, as far as the damage tells; else the file and the offset.
    pub(crate) fn blame(&self, broken: &Break<'_>, name: &str) -> Place {
        let is_leaf = |kind| matches!(kind, Kind::Leaf | Kind::Pruned);
        let says = broken.says.filter(|says| is_leaf(says.kind));
        let entry = says.and_then(|says| {
            let (id, size) = self.standing(says.log, &broken.before)?;
            let same = |frame: &&Frame<'_>| is_leaf(frame.kind) && frame.log == says.log;
            let index = size + broken.before.iter().filter(same).count() as u64;
            // The index must agree, or it is the log's number that was damaged.
            (says.index == index).then(|| Place::entry(id, index))
        });
        entry.unwrap_or_else(|| Place::file(name, broken.offset))
    }

    /// A log by its number, which `before` may declare, and its size without `before`.
    fn standing(&self, number: u32, before: &[Frame<'_>]) -> Option<(LogId, u64)> {
        if let Some(state) = self.logs.get(usize::try_from(number).ok()?) {
            return Some((state.id, state.tree.size()));
        }
        let declares = |frame: &&Frame<'_>| frame.kind == Kind::Declare && frame.log == number;
        let frame = before.iter().find(declares)?;
        let id = LogId::parse(std::str::from_utf8(frame.payload).ok()?)?;
        Some((id, 0))
    }
}

/// The root and the minimum index in an AUD-009.
fn says_pruned(leaf: &Leaf<'_>) -> Option<(Digest, u64)> {
    if !leaf.has_code("AUD-009") {
        return None;
    }
    let entry = leaf.entry().ok()?;
    let root = match entry.fields.get("retained_root")? {
        EntryValue::Text(text) => Digest::parse_hex(text)?,
        _ => return None,
    };
    match entry.fields.get("minimum_index")? {
        EntryValue::Count(minimum) => Some((root, *minimum)),
        _ => None,
    }
}

/// The checkpoint in a leaf of the directory log.
pub(crate) fn directory_leaf(
    bytes: &[u8],
    index: u64,
    keys: &[VerifyingKey],
) -> Result<Checkpoint, VerifyError> {
    let fault = |fault| VerifyError::tampered(Place::entry(LogId::Directory, index), fault);
    let text = std::str::from_utf8(bytes).map_err(|_| fault(Fault::Checkpoint))?;
    match Checkpoint::open(text, keys) {
        Ok(point) if point.log != LogId::Directory => Ok(point),
        Ok(_) | Err(CheckpointError::Malformed) => Err(fault(Fault::Checkpoint)),
        Err(CheckpointError::Signature) => Err(fault(Fault::Signature)),
    }
}
