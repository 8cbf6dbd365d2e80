//! What may go: each entry judged by its place, its age and the holds, while the log is verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::time::Timestamp;

use super::gone::Union;
use super::hold_of_code;
use super::{
    BUNDLE, Hold, HoldId, LogPlan, PrunePlan, PruneRefusal, RetentionClass, RetentionPolicy,
};
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::replay::{LeafBytes, Signed, Taken};
use crate::segment::{Frame, Kind};
use crate::verify::{nothing_signed_is_missing, what_is_pruned_was_announced};
use crate::walk::{Until, Walk, signed_points};
use crate::wire::{Entry, Leaf};

/// How many ranges of a log go at once; the rest goes the next time.
const MAX_RANGES: usize = 262_144;
/// AUD-006 and AUD-002, the first of a log that follows a sealed one: the only record of that.
const OF_THE_SEAL: u64 = 2;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Surveyor {
    pub(crate) layout: Layout,
    pub(crate) keys: Vec<VerifyingKey>,
    pub(crate) until: Until,
    pub(crate) policy: RetentionPolicy,
    pub(crate) as_of: Timestamp,
    pub(crate) anchors: Vec<Checkpoint>,
    pub(crate) holds: Arc<[Hold]>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) plan: PrunePlan,
    /// The segments in which something would go.
    pub(crate) segments: BTreeSet<u64>,
    /// The logs by their numbers in frames.
    pub(crate) numbers: Vec<LogId>,
}

#[derive(Debug, Default)]
struct OfLog {
    union: Union,
    by_class: BTreeMap<RetentionClass, u64>,
    held: u64,
    minimum: u64,
}

impl Surveyor {
    /// Below which index entries of each log may go.
    fn limits(&self, signed: &Signed, head: &Checkpoint) -> HashMap<LogId, u64> {
        let mut limits: HashMap<LogId, u64> = HashMap::new();
        for (log, size) in signed.sizes_under(head) {
            let anchored = if self.anchors.is_empty() {
                size
            } else {
                signed.anchored(log)
            };
            // Whole bundles only, so that what is published has a minimum index.
            limits.insert(log, size.min(anchored) / BUNDLE * BUNDLE);
        }
        limits.remove(&LogId::Directory);
        limits
    }

    /// Verifies the log up to `until` and says what may go. Blocks.
    pub(crate) fn survey(&self) -> Result<Result<Survey, PruneRefusal>, VerifyError> {
        let (mut signed, head, _) = signed_points(&self.layout, &self.keys, Some(self.until))?;
        for anchor in &self.anchors {
            let place = Place::entry(anchor.log, anchor.size.saturating_sub(1));
            signed
                .add_anchor(anchor)
                .map_err(|fault| VerifyError::tampered(place, fault))?;
        }
        let limits = self.limits(&signed, &head);
        let follows = match self.until.segment {
            0 => None,
            segment => self.layout.header(segment)?.follows,
        };

        let mut judge = Judge {
            by: self,
            limits,
            of_the_seal: follows.map_or(0, |_| OF_THE_SEAL),
            logs: BTreeMap::new(),
            segments: BTreeSet::new(),
            set: BTreeMap::new(),
            open: None,
        };
        let mut failed = Ok(());
        let mut walk = Walk::new();
        let torn = walk.advance(&self.layout, &signed, Some(self.until), |segment, taken| {
            if failed.is_ok() {
                failed = judge.take(segment, taken);
            }
        })?;
        failed?;
        nothing_signed_is_missing(&walk, &signed, torn.as_ref())?;
        what_is_pruned_was_announced(&walk)?;

        let known: BTreeSet<HoldId> = self.holds.iter().map(|hold| hold.id).collect();
        let mut on_record = judge.set.iter().filter(|(_, set)| **set);
        if on_record.any(|(id, _)| !known.contains(id)) {
            return Ok(Err(PruneRefusal::HoldMissing));
        }
        let held = judge.logs.values().map(|of| of.held).sum();
        let mut logs = Vec::new();
        for state in walk.replay.ordinary() {
            let of = judge.logs.remove(&state.id).unwrap_or_default();
            let root = of.union.tree.root();
            let announced = state.gone.names(&root);
            if of.union.more.is_empty() && state.gone.is_settled() {
                continue;
            }
            logs.push(LogPlan {
                log: state.id,
                by_class: of.by_class,
                held: of.held,
                minimum_index: of.minimum.next_multiple_of(BUNDLE),
                root,
                indexes: of.union.more,
                announced,
            });
        }
        logs.sort_by_key(|plan| plan.log);
        Ok(Ok(Survey {
            plan: PrunePlan {
                as_of: self.as_of,
                policy: self.policy.clone(),
                anchors: self.anchors.clone(),
                logs,
                held,
            },
            segments: judge.segments,
            numbers: walk.replay.logs.iter().map(|log| log.id).collect(),
        }))
    }

    /// The class of an entry that is old enough to go.
    fn expired(&self, entry: &Entry, recorded: Timestamp) -> Option<RetentionClass> {
        let class = RetentionClass::of(&entry.code)?;
        let kept = self.policy.duration(class);
        // A duration that reaches beyond all time never ends.
        let end = i64::try_from(kept.as_nanos()).ok()?;
        let end = recorded.nanos().checked_add(end)?;
        (end <= self.as_of.nanos()).then_some(class)
    }
}

struct Judge<'a> {
    by: &'a Surveyor,
    /// Below which index of each log entries may go.
    limits: HashMap<LogId, u64>,
    /// How many entries at the beginning of the system log say which log this one follows.
    of_the_seal: u64,
    logs: BTreeMap<LogId, OfLog>,
    segments: BTreeSet<u64>,
    /// The holds that are on record, and whether they were placed last.
    set: BTreeMap<HoldId, bool>,
    /// The segment that is being read.
    open: Option<(u64, Vec<u8>)>,
}

impl Judge<'_> {
    fn take(&mut self, segment: u64, taken: &Taken) -> Result<(), VerifyError> {
        if taken.log == LogId::Directory {
            return Ok(());
        }
        if taken.bytes == LeafBytes::Pruned {
            self.union(taken.log, taken.index, taken.leaf);
            return Ok(());
        }
        let payload = self.payload(segment, taken)?;
        let leaf = Leaf::parse(&payload);
        let entry = leaf.as_ref().ok().and_then(|leaf| leaf.entry().ok());
        // Holds are recorded by the log itself, and only there: nobody else can block its pruning.
        let on_hold = |entry: &&Entry| entry.code == "AUD-010" && entry.actor.kind == "system";
        if let Some(entry) = entry.as_ref().filter(on_hold)
            && taken.log == LogId::System
        {
            self.set.extend(hold_of_code(entry));
        }
        if taken.log == LogId::System && taken.index < self.of_the_seal {
            return Ok(());
        }
        let limit = self.limits.get(&taken.log).copied().unwrap_or(0);
        if segment >= self.by.until.segment || taken.index >= limit {
            return Ok(());
        }
        let expired = entry
            .as_ref()
            .and_then(|entry| self.by.expired(entry, taken.recorded));
        let Some(class) = expired else {
            return Ok(());
        };
        let mut holds = self.by.holds.iter();
        let of = self.logs.entry(taken.log).or_default();
        if holds.any(|hold| hold.takes(taken.log, taken.index, entry.as_ref())) {
            of.held += 1;
            return Ok(());
        }
        if of.union.more.ranges().len() >= MAX_RANGES {
            return Ok(());
        }
        of.union.more.push(taken.index);
        *of.by_class.entry(class).or_default() += 1;
        self.segments.insert(segment);
        self.union(taken.log, taken.index, taken.leaf);
        Ok(())
    }

    fn union(&mut self, log: LogId, index: u64, leaf: Digest) {
        let of = self.logs.entry(log).or_default();
        of.union.tree.append(leaf);
        of.minimum = index.saturating_add(1);
    }

    fn payload(&mut self, segment: u64, taken: &Taken) -> Result<Vec<u8>, VerifyError> {
        let layout = &self.by.layout;
        let bytes = match &mut self.open {
            Some((open, bytes)) if *open == segment => bytes,
            other => &mut other.insert((segment, layout.read(segment, 0, None)?)).1,
        };
        let frame = Frame::parse(bytes.get(taken.offset..).unwrap_or_default());
        let frame = frame.filter(|frame| frame.kind == Kind::Leaf && frame.index == taken.index);
        let place = Place::entry(taken.log, taken.index);
        let frame = frame.ok_or_else(|| VerifyError::tampered(place, Fault::Frame))?;
        Ok(frame.payload.to_vec())
    }
}
