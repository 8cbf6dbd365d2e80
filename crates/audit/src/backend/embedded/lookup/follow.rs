//! How the index follows the log: batch by batch from the segments, each held against the log's chain.

use std::collections::BTreeMap;

use eonpro_core::event::Digest;
use redb::{Database, Durability, WriteTransaction};

use super::postings::{Asked, ListKey};
use super::schema::{self, Stored, cursor_bytes};
use super::{LookupError, Numbers, postings, tiles};
use crate::backend::embedded::index::Durable;
use crate::facts::Facts;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::merkle::leaf_hash;
use crate::scan::{Batch, Cursor};
use crate::segment::{Frame, HEADER_BYTES, Kind, Pruned};

/// How many leaves one commit takes, or one batch more.
const COMMIT_LEAVES: usize = 4_096;
/// redb frees pages at synced commits only, so one comes at the latest after these.
const UNSYNCED_COMMITS: u32 = 64;
/// How much of a segment is read at once, unless one batch is longer.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// How far the index has come.
#[derive(Debug)]
pub(in super::super) struct Followed {
    segment: u64,
    cursor: Cursor,
    logs: Vec<(LogId, u64)>,
    numbers: Numbers,
    /// Whether the cursor was found to be a place of this log.
    checked: bool,
    unsynced: u32,
}

/// What the next commit adds.
#[derive(Debug, Default)]
struct Staged {
    declared: Vec<(u32, LogId)>,
    leaves: BTreeMap<u32, Vec<Digest>>,
    postings: BTreeMap<ListKey, Vec<u64>>,
    count: usize,
}

impl Followed {
    pub(super) fn from_stored(stored: Stored) -> Self {
        let numbers = (0_u32..).zip(&stored.logs);
        Self {
            segment: stored.segment,
            cursor: stored.cursor,
            numbers: numbers.map(|(number, (log, _))| (*log, number)).collect(),
            logs: stored.logs,
            checked: false,
            unsynced: 0,
        }
    }

    pub(super) fn is_checked(&self) -> bool {
        self.checked
    }

    /// How many entries of `log` are in the index.
    pub(super) fn size(&self, log: &LogId) -> u64 {
        let number = self.numbers.get(log).map(|number| *number as usize);
        number
            .and_then(|number| self.logs.get(number))
            .map_or(0, |(_, size)| *size)
    }

    pub(super) fn number(&self, log: &LogId) -> Option<u32> {
        self.numbers.get(log).copied()
    }

    pub(super) fn has_reached(&self, goal: &Durable) -> bool {
        self.checked && self.place() >= (goal.segment, goal.cursor.offset)
    }

    fn place(&self) -> (u64, usize) {
        (self.segment, self.cursor.offset)
    }

    /// Takes the next window of what is durable `now`. An error leaves it where it cannot go on.
    pub(super) fn step(
        &mut self,
        store: &Database,
        layout: &Layout,
        now: &Durable,
    ) -> Result<(), LookupError> {
        let taken = self.take(store, layout, now);
        if matches!(taken, Err(LookupError::Log(_))) && !self.checked {
            // The cursor came from the file: it may be that which is wrong, and not the log.
            return Err(LookupError::Untrue);
        }
        taken
    }

    fn take(
        &mut self,
        store: &Database,
        layout: &Layout,
        now: &Durable,
    ) -> Result<(), LookupError> {
        // From the very beginning nothing has to be believed.
        self.checked |= self.segment == 0;
        let target = (now.segment, now.cursor.offset);
        if self.place() == target {
            return self.compare(now);
        }
        if self.place() > target {
            return Err(LookupError::Untrue);
        }
        let limit = if self.segment == 0 {
            0
        } else if self.segment < now.segment {
            let next = layout.header(self.segment + 1)?;
            // What was pruned made the file shorter than the next segment knows it.
            let end = next.previous_end.min(layout.length(self.segment)?);
            usize::try_from(end).map_err(|_| LookupError::Untrue)?
        } else {
            now.cursor.offset
        };
        if self.cursor.offset == limit {
            self.enter_next(layout)?;
        } else if self.cursor.offset > limit {
            return Err(LookupError::Untrue);
        } else {
            self.read_window(store, layout, limit)?;
        }
        if self.place() == target {
            self.compare(now)?;
        }
        Ok(())
    }

    /// At the end of what is durable all of the cursor must agree.
    fn compare(&mut self, now: &Durable) -> Result<(), LookupError> {
        if self.cursor != now.cursor {
            return Err(LookupError::Untrue);
        }
        self.checked = true;
        Ok(())
    }

    fn enter_next(&mut self, layout: &Layout) -> Result<(), LookupError> {
        let header = layout.header(self.segment + 1)?;
        let fits = header.first_batch == self.cursor.batch && header.chain == self.cursor.chain;
        if !fits {
            return Err(self.broken(Layout::segment_name(self.segment + 1), 0, Fault::Header));
        }
        self.segment += 1;
        self.cursor.offset = HEADER_BYTES;
        Ok(())
    }

    fn broken(&self, name: String, offset: usize, fault: Fault) -> LookupError {
        VerifyError::tampered(Place::file(&name, offset), fault).into()
    }

    /// Reads on in the present segment, at most up to `limit`, where a batch ends.
    fn read_window(
        &mut self,
        store: &Database,
        layout: &Layout,
        limit: usize,
    ) -> Result<(), LookupError> {
        let mut window = WINDOW_BYTES;
        loop {
            let base = self.cursor.offset;
            let until = base.saturating_add(window).min(limit);
            let bytes = layout.read(self.segment, base, Some(until))?;
            let stopped = self.take_batches(store, &bytes, base)?;
            let name = || Layout::segment_name(self.segment);
            match stopped {
                None if self.cursor.offset == until => {
                    // Batches continue the chain that the cursor names.
                    self.checked = true;
                    return Ok(());
                }
                // A batch that is cut by the window is read whole next time.
                _ if until < limit && self.cursor.offset > base => return Ok(()),
                _ if until < limit => window = window.saturating_mul(4),
                Some((offset, fault)) => return Err(self.broken(name(), base + offset, fault)),
                None => return Err(self.broken(name(), self.cursor.offset, Fault::Batch)),
            }
        }
    }

    /// Commits the batches in `bytes`, which begin at `base` of the segment; where they stop being batches.
    fn take_batches(
        &mut self,
        store: &Database,
        bytes: &[u8],
        base: usize,
    ) -> Result<Option<(usize, Fault)>, LookupError> {
        let mut cursor = Cursor {
            offset: 0,
            ..self.cursor
        };
        let mut staged = Staged::default();
        let stopped = loop {
            match cursor.next(bytes) {
                Ok(Some(batch)) => {
                    self.stage(&batch, &mut staged)?;
                    if staged.count >= COMMIT_LEAVES {
                        self.commit(store, std::mem::take(&mut staged), cursor, base)?;
                    }
                }
                Ok(None) => break None,
                Err(broken) => break Some((broken.offset, broken.fault)),
            }
        };
        if staged.count > 0 {
            self.commit(store, staged, cursor, base)?;
        }
        Ok(stopped)
    }

    fn stage(&self, batch: &Batch<'_>, staged: &mut Staged) -> Result<(), LookupError> {
        for (_, frame) in &batch.frames {
            // Declarations count, so that a batch of nothing else is committed too.
            staged.count += 1;
            if frame.kind == Kind::Declare {
                let origin = std::str::from_utf8(frame.payload).ok();
                let log = origin.and_then(LogId::parse).ok_or(LookupError::Untrue)?;
                if frame.log as usize != self.logs.len() + staged.declared.len() {
                    return Err(LookupError::Untrue);
                }
                staged.declared.push((frame.log, log));
            } else if let Some(hash) = leaf_of(frame) {
                let before = self.logs.get(frame.log as usize);
                let leaves = staged.leaves.entry(frame.log).or_default();
                let index = before.map_or(0, |(_, size)| *size) + leaves.len() as u64;
                if frame.index != index {
                    return Err(LookupError::Untrue);
                }
                leaves.push(hash);
                // The heads in the directory log are no entries: nobody asks for them by what they say.
                let facts = Facts::read(frame.payload);
                for said in facts.iter().flat_map(Asked::said) {
                    let list = said.of_log(frame.log);
                    staged.postings.entry(list).or_default().push(index);
                }
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        store: &Database,
        staged: Staged,
        cursor: Cursor,
        base: usize,
    ) -> Result<(), LookupError> {
        let cursor = Cursor {
            offset: base + cursor.offset,
            ..cursor
        };
        let mut write = store.begin_write()?;
        let syncs = self.unsynced >= UNSYNCED_COMMITS;
        if !syncs {
            write
                .set_durability(Durability::None)
                .map_err(redb::Error::from)?;
        }
        let grown = self.write(&write, &staged, &cursor)?;
        write.commit()?;
        self.unsynced = if syncs { 0 } else { self.unsynced + 1 };
        for (number, log) in staged.declared {
            self.numbers.insert(log, number);
            self.logs.push((log, 0));
        }
        for (number, size) in grown {
            if let Some(log) = self.logs.get_mut(number as usize) {
                log.1 = size;
            }
        }
        self.cursor = cursor;
        Ok(())
    }

    /// Writes what is staged; the new sizes of the logs that it concerns.
    fn write(
        &self,
        write: &WriteTransaction,
        staged: &Staged,
        cursor: &Cursor,
    ) -> Result<BTreeMap<u32, u64>, LookupError> {
        let mut origins: BTreeMap<u32, LogId> = staged.declared.iter().copied().collect();
        let mut sizes: BTreeMap<u32, u64> = origins.keys().map(|number| (*number, 0)).collect();
        let mut table = write.open_table(schema::TILES)?;
        for (number, leaves) in &staged.leaves {
            let mut size = 0;
            if let Some((log, before)) = self.logs.get(*number as usize) {
                origins.insert(*number, *log);
                size = *before;
            }
            tiles::append(&mut table, *number, size, leaves)?;
            sizes.insert(*number, size + leaves.len() as u64);
        }
        let mut table = write.open_table(schema::POSTINGS)?;
        for (list, indexes) in &staged.postings {
            postings::append(&mut table, list, indexes)?;
        }
        let mut table = write.open_table(schema::LOGS)?;
        for (number, size) in &sizes {
            // A leaf of a log that nobody declared.
            let log = origins.get(number).ok_or(LookupError::Untrue)?;
            table.insert(number, (log.to_string().as_str(), *size))?;
        }
        let bytes = cursor_bytes(self.segment, cursor);
        let mut table = write.open_table(schema::META)?;
        table.insert(schema::CURSOR, bytes.as_slice())?;
        Ok(sizes)
    }
}

/// The hash of the leaf in a frame, if it holds one or what is left of one.
fn leaf_of(frame: &Frame<'_>) -> Option<Digest> {
    match frame.kind {
        Kind::Leaf => Some(leaf_hash(frame.payload)),
        Kind::Pruned => Pruned::parse(frame).map(|pruned| pruned.leaf),
        Kind::Declare | Kind::End => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn cursor(offset: usize, chain: &[u8]) -> Cursor {
        Cursor {
            offset,
            batch: 3,
            chain: Digest::of(chain),
        }
    }

    #[test]
    fn only_the_very_end_of_this_log_is_taken_for_its_end() {
        let store = Database::builder();
        let store = store.create_with_backend(InMemoryBackend::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let now = Durable {
            segment: 1,
            cursor: cursor(200, b"ours"),
        };
        for (segment, found, good) in [
            (1, cursor(200, b"ours"), true),
            (1, cursor(200, b"theirs"), false),
            (1, cursor(208, b"ours"), false),
            (2, cursor(200, b"ours"), false),
        ] {
            let mut followed = Followed::from_stored(Stored {
                segment,
                cursor: found,
                logs: Vec::new(),
            });
            let step = followed.step(&store, &layout, &now);
            assert_eq!(step.is_ok(), good, "{segment} {found:?}");
            assert_eq!(followed.has_reached(&now), good, "{segment} {found:?}");
        }
    }
}
