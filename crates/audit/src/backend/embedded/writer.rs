//! The one thread that writes: it takes all that is queued, writes it as one batch, syncs once, and
//! only then tells the callers.
//!
//! No timer: an idle log commits a single entry at once, and load makes its own batches. After a failed
//! write or sync nothing in that segment is trusted any more: the batch is written again into a new
//! segment, and if that fails too the log is down until it is opened again.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use eonpro_core::event::Digest;
use eonpro_core::port::Alert;
use eonpro_core::time::SharedClock;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::alerts::Notice;
use super::disk;
use super::index::{Durable, Index, Spot, count};
use super::queue::{Append, Budget, Job, NewLeaf};
use super::recent::Recent;
use crate::checkpoint::Checkpoint;
use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::merkle::leaf_hash;
use crate::replay::{LogState, Replay};
use crate::scan::Cursor;
use crate::segment::{self, End, HEADER_BYTES, Header, Kind, Tail, padded, push_frame};
use crate::sequence;
use crate::service::Receipt;
use crate::vfs::VfsFile;
use crate::walk::Until;
use crate::wire;

/// Room for the end frame and the declaration of a log.
const SPARE: usize = 256;

/// How far the log is durable.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) until: Until,
    /// Size and root of every log, the directory's included.
    pub(super) heads: Vec<Checkpoint>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) layout: Layout,
    pub(super) file: Box<dyn VfsFile>,
    pub(super) config: AuditConfig,
    pub(super) clock: SharedClock,
    pub(super) index: Arc<Index>,
    pub(super) alerts: mpsc::Sender<Notice>,
    /// The logs with what is staged but not yet durable. After a final failure nobody reads it.
    pub(super) replay: Replay,
    pub(super) recent: Recent,
    /// The header of the present segment.
    pub(super) header: Header,
    /// The end of what is durable in the segment.
    pub(super) offset: usize,
    /// How far the segment is filled with zeros.
    pub(super) filled: usize,
    pub(super) batch: u64,
    pub(super) chain: Digest,
    /// Whether the present segment can no longer be relied upon: a fill failed, or the next segment
    /// may already have its name. Nothing more is written to it.
    pub(super) must_roll: bool,
    /// Whether anything may stand behind the durable end of the present segment.
    pub(super) tail: Tail,
    pub(super) down: bool,
    /// The lock of the directory: held as long as somebody may write.
    pub(super) _lock: File,
}

/// A batch in the making.
#[derive(Debug, Default)]
struct Staged {
    frames: Vec<u8>,
    count: u64,
    spots: Vec<(LogId, usize, u32)>,
    answers: Vec<Answer>,
    alerts: Vec<(LogId, Alert)>,
}

type Answer = (Append, Result<Vec<Receipt>, AuditError>);

/// What one write and one sync will answer.
#[derive(Debug, Default)]
struct Group {
    appends: Vec<Append>,
    marks: Vec<oneshot::Sender<Result<Mark, AuditError>>>,
    bytes: usize,
    entries: usize,
    ends: bool,
}

impl Group {
    fn take(&mut self, job: Job) {
        match job {
            Job::Append(append) => {
                let leaf = |leaf: &NewLeaf| padded(wire::HEAD_BYTES + leaf.bytes());
                self.bytes += SPARE + append.leaves.iter().map(leaf).sum::<usize>();
                self.entries += append.leaves.len();
                self.appends.push(append);
            }
            Job::Mark(reply) => self.marks.push(reply),
            Job::End => self.ends = true,
        }
    }
}

impl Writer {
    /// Works until it is told to end, or all callers are gone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        // A job that would have made a group too large waits for the next.
        let mut held: VecDeque<Job> = VecDeque::new();
        while let Some(first) = held.pop_front().or_else(|| jobs.recv().ok()) {
            let mut group = Group::default();
            group.take(first);
            while !group.ends && group.entries < self.config.batch_entries {
                let Ok(job) = jobs.try_recv() else { break };
                if self.fits(&group, &job) {
                    group.take(job);
                } else {
                    held.push_back(job);
                    break;
                }
            }
            let ends = group.ends;
            self.commit(group);
            if ends {
                return turn_away(jobs);
            }
        }
    }

    fn fits(&self, group: &Group, job: &Job) -> bool {
        match job {
            Job::Append(append) => {
                let bytes: usize = append.leaves.iter().map(NewLeaf::bytes).sum();
                group.bytes + bytes <= self.config.batch_bytes
                    && group.entries + append.leaves.len() <= self.config.batch_entries
            }
            Job::Mark(_) | Job::End => true,
        }
    }

    fn commit(&mut self, group: Group) {
        let answers = self.write(group.appends, group.bytes);
        for (append, result) in answers {
            // A caller that went away does not un-write its entry.
            let _ = append.reply.send(result);
        }
        for mark in group.marks {
            let answer = if self.down {
                Err(AuditError::Down)
            } else {
                Ok(self.mark())
            };
            let _ = mark.send(answer);
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            until: Until {
                segment: self.header.number,
                offset: self.offset,
            },
            heads: self.replay.logs.iter().map(LogState::head).collect(),
        }
    }

    fn write(&mut self, appends: Vec<Append>, bytes: usize) -> Vec<Answer> {
        if appends.is_empty() {
            return Vec::new();
        }
        if self.down {
            return refuse(appends, |append| self.answer_when_down(append));
        }
        if let Err(error) = self.make_room(bytes) {
            let text = error.to_string();
            return refuse(appends, |_| AuditError::NoRoom(text.as_str().into()));
        }
        let mut staged = self.stage(appends);
        if staged.count == 0 {
            return staged.answers;
        }
        let chain = segment::chain(&self.chain, self.batch, &staged.frames);
        let end = End {
            batch: self.batch,
            frames: staged.count,
            chain,
        };
        end.push(&mut staged.frames);
        if let Err(first) = self.persist(&staged.frames) {
            tracing::error!(error = %first.kind(), "a write to the audit log failed");
            count(&self.index.counters.abandoned, 1);
            self.tail = Tail::GivenUp;
            if let Err(second) = self.roll().and_then(|()| self.persist(&staged.frames)) {
                tracing::error!(error = %second.kind(), "the audit log is down");
                self.down = true;
                let appends = staged.answers.into_iter().map(|(append, _)| append);
                return refuse(appends, |_| AuditError::Poisoned);
            }
        }
        self.publish(&staged, chain);
        self.offset += staged.frames.len();
        self.batch += 1;
        self.chain = chain;
        count(&self.index.counters.batches, 1);
        count(&self.index.counters.bytes, staged.frames.len() as u64);
        self.raise(staged.alerts);
        staged.answers
    }

    /// While the log is down, an entry that was in flight when it failed stays in doubt.
    fn answer_when_down(&self, append: &Append) -> AuditError {
        let in_doubt = |leaf: &NewLeaf| match leaf {
            NewLeaf::Entry { event, .. } => self.recent.get(*event).is_some(),
            NewLeaf::Checkpoint(_) => false,
        };
        if append.leaves.iter().any(in_doubt) {
            AuditError::Poisoned
        } else {
            AuditError::Down
        }
    }

    /// Makes sure that `bytes` more fit behind zeros that are on disk.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = bytes + SPARE;
        let full = self.offset > HEADER_BYTES && self.offset + needed > self.config.segment_bytes;
        if full || self.must_roll {
            self.roll()?;
        }
        self.fill(needed)
    }

    fn fill(&mut self, needed: usize) -> io::Result<()> {
        let wanted = self.offset + needed;
        if wanted > self.filled {
            let ahead = (self.filled + self.config.fill_bytes).min(self.config.segment_bytes);
            let length = wanted.max(ahead);
            // Where there is no room, zeros that are half written are written on later.
            disk::fill(&mut *self.file, length as u64)?;
            // After a failed sync the next one may succeed without the bytes being there.
            self.must_roll = true;
            self.file.sync_all()?;
            self.must_roll = false;
            self.filled = length;
        }
        Ok(())
    }

    /// Begins a new segment. What stands behind the durable end of the present one counts no more,
    /// also if this fails: the new segment may have its name all the same. A segment without a batch is
    /// made anew under its own name, so that a full disk does not come to hold ever more of them.
    fn roll(&mut self) -> io::Result<()> {
        self.must_roll = true;
        let header = if self.offset == HEADER_BYTES {
            self.header
        } else {
            Header {
                number: self.header.number + 1,
                first_batch: self.batch,
                chain: self.chain,
                previous_end: self.offset as u64,
                previous_tail: self.tail,
                follows: self.header.follows,
            }
        };
        self.file = disk::create(&self.layout, &header)?;
        self.header = header;
        self.offset = HEADER_BYTES;
        self.filled = HEADER_BYTES;
        self.must_roll = false;
        self.tail = Tail::Zeros;
        Ok(())
    }

    fn persist(&mut self, frames: &[u8]) -> io::Result<()> {
        self.fill(frames.len())?;
        self.file.write_all_at(frames, self.offset as u64)?;
        self.file.sync_data()
    }

    fn stage(&mut self, appends: Vec<Append>) -> Staged {
        let mut staged = Staged::default();
        for mut append in appends {
            let result = match self.repeated(&append) {
                Some(repeat) => repeat,
                None => self.stage_append(&mut append, &mut staged),
            };
            staged.answers.push((append, result));
        }
        staged
    }

    /// The answer to an append of which at least a part was seen before.
    fn repeated(&self, append: &Append) -> Option<Result<Vec<Receipt>, AuditError>> {
        let events = append.leaves.iter().filter_map(|leaf| match leaf {
            NewLeaf::Entry { event, .. } => Some(*event),
            NewLeaf::Checkpoint(_) => None,
        });
        let ids: Vec<_> = events.collect();
        let known = ids.iter().filter_map(|event| self.recent.get(*event));
        let answer = sequence::repeats(append.log, &ids, known.collect())?;
        if let Ok(known) = &answer {
            count(&self.index.counters.repeats, known.len() as u64);
        }
        Some(answer.map_err(AuditError::Batch))
    }

    fn stage_append(
        &mut self,
        append: &mut Append,
        staged: &mut Staged,
    ) -> Result<Vec<Receipt>, AuditError> {
        let log = append.log;
        let number = match self.replay.numbers.get(&log) {
            Some(number) => *number,
            None => self.declare(log, &append.budget, staged)?,
        };
        let mut receipts = Vec::with_capacity(append.leaves.len());
        let mut payload = Vec::new();
        for leaf in &mut append.leaves {
            payload.clear();
            receipts.push(self.stage_leaf(number, leaf, &mut payload, staged)?);
            if let NewLeaf::Entry { alert, .. } = leaf {
                staged.alerts.extend(alert.take().map(|alert| (log, alert)));
            }
        }
        Ok(receipts)
    }

    fn declare(
        &mut self,
        log: LogId,
        budget: &Budget,
        staged: &mut Staged,
    ) -> Result<u32, AuditError> {
        // The directory and the system have their places beside the limit, and what was spooled was
        // acknowledged.
        let limited = matches!((log, budget), (LogId::Tenant(_), Budget::Caller(_)));
        let tenants = self.replay.logs.iter();
        let tenants = tenants.filter(|log| matches!(log.id, LogId::Tenant(_)));
        if limited && tenants.count() >= self.config.max_logs {
            return Err(AuditError::TooManyLogs);
        }
        let number = self.replay.declare(log);
        let origin = log.to_string();
        push_frame(
            &mut staged.frames,
            Kind::Declare,
            number,
            0,
            origin.as_bytes(),
        );
        staged.count += 1;
        Ok(number)
    }

    fn stage_leaf(
        &mut self,
        number: u32,
        leaf: &NewLeaf,
        payload: &mut Vec<u8>,
        staged: &mut Staged,
    ) -> Result<Receipt, AuditError> {
        let now = self.clock.wall();
        let state = usize::try_from(number).ok();
        let state = state.and_then(|number| self.replay.logs.get_mut(number));
        let state = state.ok_or(AuditError::WorkerLost)?;
        let mut recorded = self.replay.recorded;
        let event = match leaf {
            NewLeaf::Entry { event, tail, .. } => {
                // Time goes forward in the log even where the wall clock steps back.
                recorded = sequence::next_recorded(now, recorded);
                wire::push_head(payload, &state.previous, recorded);
                payload.extend_from_slice(tail);
                Some(*event)
            }
            NewLeaf::Checkpoint(note) => {
                payload.extend_from_slice(note);
                None
            }
        };
        let receipt = Receipt {
            log: state.id,
            index: state.tree.size(),
            leaf: leaf_hash(payload),
            recorded,
        };
        let length = u32::try_from(payload.len()).map_err(|_| AuditError::TooLarge)?;
        staged.spots.push((state.id, staged.frames.len(), length));
        push_frame(
            &mut staged.frames,
            Kind::Leaf,
            number,
            receipt.index,
            payload,
        );
        staged.count += 1;
        state.append(receipt.leaf);
        self.replay.recorded = recorded;
        if let Some(event) = event {
            self.recent.insert(event, receipt);
        }
        Ok(receipt)
    }

    /// Shows readers what has become durable at the present offset.
    fn publish(&self, staged: &Staged, chain: Digest) {
        let end = Durable {
            segment: self.header.number,
            cursor: Cursor {
                offset: self.offset + staged.frames.len(),
                batch: self.batch + 1,
                chain,
            },
        };
        let place = |at: usize| u32::try_from(self.offset + at).unwrap_or(u32::MAX);
        let segment = u32::try_from(self.header.number).unwrap_or(u32::MAX);
        let spots = staged.spots.iter().map(|(log, at, length)| {
            let spot = Spot {
                segment,
                offset: place(*at),
                length: *length,
            };
            (*log, spot)
        });
        self.index.publish(spots, end);
    }

    fn raise(&self, alerts: Vec<(LogId, Alert)>) {
        for (log, alert) in alerts {
            if self.alerts.try_send(Notice::Alert(log, alert)).is_err() {
                count(&self.index.counters.alerts_dropped, 1);
            }
        }
    }
}

/// Tells whoever came behind the end that nothing was written.
fn turn_away(jobs: &Receiver<Job>) {
    for job in jobs.try_iter() {
        match job {
            Job::Append(append) => _ = append.reply.send(Err(AuditError::Closed)),
            Job::Mark(reply) => _ = reply.send(Err(AuditError::Closed)),
            Job::End => {}
        }
    }
}

fn refuse(
    appends: impl IntoIterator<Item = Append>,
    error: impl Fn(&Append) -> AuditError,
) -> Vec<Answer> {
    appends
        .into_iter()
        .map(|append| {
            let error = error(&append);
            (append, Err(error))
        })
        .collect()
}
