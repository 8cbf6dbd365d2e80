//! The archive of an open log: each full tile and bundle once, and cuts that take the rest along.
//!
//! Nothing is ever written over: a name that is taken by other bytes stops the archive and is an alert. The
//! cursor moves only after the objects, the page that lists them and its receipt in the log are there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eonpro_core::event::Digest;
use eonpro_core::port::kv::Version;
use eonpro_core::port::{Observer, Operation, Timer};
use eonpro_core::task;
use eonpro_core::time::{Clock, SharedClock, Timestamp};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::config::{ArchiveConfig, ArchiveParts, RequiredLock};
use super::cursor::{Cursor, KnownPage, Pending, State};
use super::error::ArchiveError;
use super::events;
use super::harvest::{Harvest, Object, Reached};
use super::lock::{DefaultLock, LockProbe};
use super::manifest::{Page, ROWS, Row};
use super::names;
use super::shelf::{Put, Shelf, Stored};
use super::source::Pin;
use crate::backend::embedded::{EmbeddedAudit, SignedNow};
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::log_id::LogId;
use crate::tlog::FULL;

const RUN: Operation = Operation::new("audit", "archive");
/// What is read of the segments before it is written to the store.
const AT_ONCE: usize = 32 * 1024 * 1024;
const FORMAT: &[u8] = b"eonpro/audit/archive/v1\n";
const NOT_FORMAT: &[u8] = b"eonpro/audit/archive/probe\n";

/// What one run did.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Archived {
    /// Objects that the archive holds now and that this run added to the manifest.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The pages of the manifest that list them.
    pub pages: u64,
    /// The size of the directory log up to which a reader of the archive alone can verify everything; 0 if
    /// this run made no cut.
    pub cut: u64,
}

/// When a run also copies what fills no tile yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    WhenDue,
    Now,
}

/// Copies an open log into an object store. See the [module](super).
#[derive(Debug)]
pub struct Archive {
    pub(super) log: Arc<EmbeddedAudit>,
    pub(super) shelf: Shelf,
    pub(super) state: State,
    pub(super) lock: Option<Arc<dyn LockProbe>>,
    pub(super) config: ArchiveConfig,
    pub(super) observer: Arc<dyn Observer>,
    clock: SharedClock,
    default_lock: Option<DefaultLock>,
    work: tokio::sync::Mutex<Option<Work>>,
    /// How far each log is in full bundles that are in the manifest.
    safe: Mutex<BTreeMap<LogId, u64>>,
}

/// Where an archive is between two runs; gone after a failure.
#[derive(Debug)]
struct Work {
    cursor: Cursor,
    version: Version,
    harvest: Harvest,
}

impl Archive {
    /// Opens the archive of `parts.log`: shows that the store refuses to write over what is there, and that
    /// its locks are those required.
    ///
    /// # Errors
    /// [`ArchiveError::Unfit`] if the store writes over objects, or its lock is missing, softer or shorter
    /// than `require_lock`; [`ArchiveError::Config`], [`ArchiveError::Store`].
    pub async fn open(parts: ArchiveParts, config: ArchiveConfig) -> Result<Self, ArchiveError> {
        config.check()?;
        let shelf = Shelf::new(parts.store, &config.prefix)?;
        let default_lock = match &parts.lock {
            Some(probe) => probe.default_lock().await.map_err(ArchiveError::Store)?,
            None => None,
        };
        if let Some(required) = &config.require_lock {
            check_lock(required, default_lock.as_ref())?;
        }
        prove_create_only(&shelf).await?;
        Ok(Self {
            log: parts.log,
            shelf,
            state: State::new(parts.state, &config.name),
            lock: parts.lock,
            config,
            observer: parts.observer,
            clock: parts.clock,
            default_lock,
            work: tokio::sync::Mutex::new(None),
            safe: Mutex::new(BTreeMap::new()),
        })
    }

    /// Signs the log, copies every tile and bundle that has become full, and where `tail_after` has passed
    /// also what is not full, with the checkpoints: a cut, which can be verified without the log.
    ///
    /// One run at a time; others wait. Idempotent: a run that failed or was dropped is made good by the next.
    /// The first run after a start reads the whole log.
    ///
    /// # Errors
    /// [`ArchiveError::Conflict`] if a name is taken by other bytes (recorded as AUD-006);
    /// [`ArchiveError::OtherLog`] if the log is not a later state of what was archived (recorded);
    /// [`ArchiveError::Store`], [`ArchiveError::Audit`], [`ArchiveError::Log`], [`ArchiveError::State`].
    pub async fn run(&self) -> Result<Archived, ArchiveError> {
        self.measured(Tail::WhenDue).await
    }

    /// As [`Self::run`], with a cut now: before the log is closed, or before its directory is given up.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with_tail(&self) -> Result<Archived, ArchiveError> {
        self.measured(Tail::Now).await
    }

    /// How many entries of `log`, from the first, lie in full bundles that the archive holds and its
    /// manifest lists: what pruning may take from the log's own disk. Only what this process has seen in a
    /// run counts, so it is 0 until the first run after a start.
    #[must_use]
    pub fn archived(&self, log: &LogId) -> u64 {
        let safe = self.safe.lock().unwrap_or_else(PoisonError::into_inner);
        safe.get(log).copied().unwrap_or(0)
    }

    /// Whether the entry at `index` of `log` is among them.
    #[must_use]
    pub fn is_archived(&self, log: &LogId, index: u64) -> bool {
        index < self.archived(log)
    }

    /// The last page of the manifest, in its version: kept elsewhere, it leads a reader of the archive to the
    /// right version of every object, whatever was put over them.
    ///
    /// # Errors
    /// [`ArchiveError::State`], [`ArchiveError::Cursor`].
    pub async fn pin(&self) -> Result<Option<Pin>, ArchiveError> {
        let Some((cursor, _, _)) = self.state.load().await? else {
            return Ok(None);
        };
        let number = cursor.next_page.checked_sub(1);
        Ok(number.zip(cursor.last_page).map(|(page, row)| Pin {
            page,
            version: row.version,
            sha256: row.sha256,
        }))
    }

    /// Forgets how far the archive came. The next run offers every object again, which the store has, and
    /// lists them in new pages: the way on after the cursor was lost or a page's name was taken.
    ///
    /// # Errors
    /// [`ArchiveError::State`].
    pub async fn start_over(&self) -> Result<(), ArchiveError> {
        let mut work = self.work.lock().await;
        *work = None;
        self.state.forget().await
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    async fn measured(&self, tail: Tail) -> Result<Archived, ArchiveError> {
        let timer = Timer::start(RUN, &*self.clock, &*self.observer);
        let mut slot = self.work.lock().await;
        // Whatever ends this early leaves nothing half true in memory.
        let (work, done) = match slot.take() {
            Some(work) => self.go_on(work, tail).await,
            None => match self.begin().await {
                Ok(work) => self.go_on(work, tail).await,
                Err(error) => (None, Err(error)),
            },
        };
        *slot = work;
        if let Err(error) = &done {
            self.record_failure(error).await;
        }
        timer.end(done)
    }

    async fn go_on(
        &self,
        mut work: Work,
        tail: Tail,
    ) -> (Option<Work>, Result<Archived, ArchiveError>) {
        match self.advance(&mut work, tail).await {
            Ok(done) => (Some(work), Ok(done)),
            Err(error) => (None, Err(error)),
        }
    }

    async fn record_failure(&self, error: &ArchiveError) {
        let Some(event) = events::failed(error) else {
            return;
        };
        let outcome = eonpro_core::event::Outcome::Serious;
        if let Err(error) = self.log.note(event, outcome).await {
            tracing::error!(%error, "a fault of the audit archive could not be recorded");
        }
    }

    /// Where the archive stands, by its cursor, or by what the store has if that is lost.
    async fn begin(&self) -> Result<Work, ArchiveError> {
        let (cursor, version) = match self.state.load().await? {
            Some((cursor, version, None)) => (cursor, version),
            Some((cursor, version, Some(pending))) => self.settle(cursor, version, pending).await?,
            None => {
                let cursor = self.found_again().await?;
                let version = self.state.save(&cursor, None, None).await?;
                (cursor, version)
            }
        };
        Ok(Work {
            harvest: Harvest::new(cursor.tiles, cursor.cut),
            cursor,
            version,
        })
    }

    /// A cursor before everything, which goes on with the next page.
    async fn found_again(&self) -> Result<Cursor, ArchiveError> {
        let mut cursor = Cursor::start();
        let pages = self.shelf.names(names::MANIFEST, None).await?;
        let last = pages.iter().rev().find_map(|name| names::number(name));
        if let Some(last) = last {
            let next = last.checked_add(1);
            cursor.next_page = next.ok_or(ArchiveError::Cursor)?;
            let key = names::page(last);
            let found = self.shelf.get(&key, None).await?;
            cursor.last_page = found.map(|(_, stored)| Row::new(key, stored, None));
        }
        Ok(cursor)
    }

    /// Finishes a page that was being written, if it came to be.
    async fn settle(
        &self,
        cursor: Cursor,
        version: Version,
        pending: Pending,
    ) -> Result<(Cursor, Version), ArchiveError> {
        let key = names::page(cursor.next_page);
        match self.shelf.get(&key, None).await? {
            Some((_, stored)) if stored.sha256 == pending.sha256 => {
                self.commit(&cursor, version, pending, stored).await
            }
            Some((_, stored)) => Err(ArchiveError::Conflict {
                key,
                expected: pending.sha256,
                found: stored.sha256,
            }),
            // Its objects will be offered again.
            None => Ok((cursor, version)),
        }
    }

    async fn advance(&self, work: &mut Work, tail: Tail) -> Result<Archived, ArchiveError> {
        let now = Arc::new(self.log.signed_now().await?);
        if now.head.size < work.cursor.tiles.size {
            return Err(ArchiveError::OtherLog);
        }
        let mut run = Run {
            archive: self,
            work,
            now: Arc::clone(&now),
            rows: Vec::new(),
            done: Archived::default(),
        };
        while run.read().await? {
            run.put_ready().await?;
        }
        run.put_ready().await?;
        let sizes = run.work.harvest.sizes();
        let cut = self.is_cut_due(&run.work.cursor, &sizes, tail);
        if cut {
            run.work.harvest.make_cut()?;
            run.put_ready().await?;
            run.put_head().await?;
            run.done.cut = now.head.size;
        }
        run.finish(cut, entries(&sizes)).await?;
        let done = run.done;
        let full = |size: u64| size - size % u64::from(FULL);
        let mut safe = self.safe.lock().unwrap_or_else(PoisonError::into_inner);
        *safe = sizes
            .into_iter()
            .map(|(log, size)| (log, full(size)))
            .collect();
        Ok(done)
    }

    /// Only what others wrote is a reason for a cut, or each would be one for the next.
    fn is_cut_due(&self, cursor: &Cursor, sizes: &BTreeMap<LogId, u64>, tail: Tail) -> bool {
        let grown = entries(sizes).saturating_sub(cursor.cut_entries);
        let waited = self.clock.wall().since(cursor.cut_at) >= self.config.tail_after;
        grown > cursor.own && (tail == Tail::Now || waited)
    }

    fn row(&self, key: String, stored: Stored, before: Timestamp) -> Row {
        let until = self.default_lock.map(|lock| before.plus(lock.retention));
        Row::new(key, stored, until)
    }

    async fn put(&self, object: Object) -> Result<Row, ArchiveError> {
        let key = format!("{}/{}", object.log, object.name);
        let before = self.clock.wall();
        let stored = self.shelf.create_same(&key, object.bytes).await?;
        Ok(self.row(key, stored, before))
    }

    /// Records the page's receipt in the log, then moves the cursor.
    async fn commit(
        &self,
        cursor: &Cursor,
        version: Version,
        pending: Pending,
        stored: Stored,
    ) -> Result<(Cursor, Version), ArchiveError> {
        let event = events::anchored(&pending.head, pending.sha256);
        let outcome = eonpro_core::event::Outcome::Success;
        self.log.note(event, outcome).await?;
        let row = self.row(names::page(cursor.next_page), stored, self.clock.wall());
        let page = KnownPage {
            number: cursor.next_page,
            rows: pending.rows,
            row: row.clone(),
        };
        let mut after = pending.after;
        after.last_page = Some(row);
        let version = self.state.save(&after, Some(version), Some(&page)).await?;
        Ok((after, version))
    }
}

/// One run.
struct Run<'a> {
    archive: &'a Archive,
    work: &'a mut Work,
    now: Arc<SignedNow>,
    /// What no page lists yet.
    rows: Vec<Row>,
    done: Archived,
}

impl Run<'_> {
    /// Reads a part of the log; false once there is no more.
    async fn read(&mut self) -> Result<bool, ArchiveError> {
        let now = Arc::clone(&self.now);
        self.in_background(move |harvest| harvest.read(&now)).await
    }

    async fn in_background<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Harvest) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let empty = Harvest::new(self.work.cursor.tiles, self.work.cursor.cut);
        let mut harvest = std::mem::replace(&mut self.work.harvest, empty);
        let both = move || {
            let result = work(&mut harvest);
            (harvest, result)
        };
        let (harvest, result) = task::blocking(both)
            .await
            .map_err(|_| ArchiveError::lost())?;
        self.work.harvest = harvest;
        result
    }

    /// Writes what is ready.
    async fn put_ready(&mut self) -> Result<(), ArchiveError> {
        loop {
            let now = Arc::clone(&self.now);
            let take = move |harvest: &mut Harvest| harvest.take(&now.layout, AT_ONCE);
            let objects = self.in_background(take).await?;
            if objects.is_empty() {
                return Ok(());
            }
            let archive = self.archive;
            let puts = objects.into_iter().map(|object| archive.put(object));
            let puts = stream::iter(puts).buffered(archive.config.parallel);
            let rows: Vec<Row> = puts.try_collect().await?;
            self.done.objects += rows.len() as u64;
            self.done.bytes += rows.iter().map(|row| row.size).sum::<u64>();
            self.rows.extend(rows);
            while self.rows.len() > ROWS {
                let rest = self.rows.split_off(ROWS);
                let rows = std::mem::replace(&mut self.rows, rest);
                let after = self.work.cursor.clone();
                self.write_page(rows, after).await?;
            }
        }
    }

    /// Writes the directory's head, which makes the cut: everything that it covers is there before.
    async fn put_head(&mut self) -> Result<(), ArchiveError> {
        let head = self.now.head;
        let key = format!("{}/{}", LogId::Directory, names::checkpoint(head.size));
        let bytes = Bytes::from(self.now.note.clone());
        let (before, expected) = (self.archive.clock.wall(), Digest::of(&bytes));
        let stored = match self.archive.shelf.create(&key, bytes).await? {
            Put::There(stored) => stored,
            // The same head with other cosignatures, say.
            Put::Other(there, stored) if is_head(&there, &head, &self.now.keys) => stored,
            Put::Other(_, stored) => {
                return Err(ArchiveError::Conflict {
                    key,
                    expected,
                    found: stored.sha256,
                });
            }
        };
        self.done.objects += 1;
        self.done.bytes += stored.size;
        self.rows.push(self.archive.row(key, stored, before));
        Ok(())
    }

    /// Lists what is not listed yet, and moves the cursor to the head.
    async fn finish(&mut self, cut: bool, entries: u64) -> Result<(), ArchiveError> {
        let mut after = self.work.cursor.clone();
        after.tiles = Reached::of(&self.now.head);
        if cut {
            after.cut = after.tiles;
            after.cut_at = self.archive.clock.wall();
            after.cut_entries = entries;
            // The pages of this run were recorded after its head.
            after.own = self.done.pages;
        }
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            self.write_page(rows, after).await?;
        } else if after != self.work.cursor {
            let version = Some(self.work.version);
            self.work.version = self.archive.state.save(&after, version, None).await?;
            self.work.cursor = after;
        }
        self.work.harvest.reached(&self.now.head, cut);
        Ok(())
    }

    async fn write_page(&mut self, rows: Vec<Row>, mut after: Cursor) -> Result<(), ArchiveError> {
        let number = self.work.cursor.next_page;
        after.next_page = number.checked_add(1).ok_or(ArchiveError::Cursor)?;
        after.own += 1;
        let mut all: Vec<Row> = self.work.cursor.last_page.iter().cloned().collect();
        all.extend(rows);
        let page = Page { number, rows: all };
        let bytes = Bytes::from(page.to_bytes(self.archive.clock.wall())?);
        let pending = Pending {
            sha256: Digest::of(&bytes),
            rows: page.rows.len() as u64,
            head: Reached::of(&self.now.head),
            after,
        };
        let archive = self.archive;
        archive.state.announce(&pending, self.work.version).await?;
        // Announcing leaves the cursor's own version as it was.
        let stored = archive
            .shelf
            .create_same(&names::page(number), bytes)
            .await?;
        let committed = archive.commit(&self.work.cursor, self.work.version, pending, stored);
        (self.work.cursor, self.work.version) = committed.await?;
        self.done.pages += 1;
        Ok(())
    }
}

fn entries(sizes: &BTreeMap<LogId, u64>) -> u64 {
    let ordinary = sizes.iter().filter(|(log, _)| **log != LogId::Directory);
    ordinary.map(|(_, size)| size).sum()
}

fn is_head(note: &[u8], head: &Checkpoint, keys: &[VerifyingKey]) -> bool {
    let note = std::str::from_utf8(note).ok();
    note.and_then(|note| Checkpoint::open(note, keys).ok()) == Some(*head)
}

fn check_lock(required: &RequiredLock, found: Option<&DefaultLock>) -> Result<(), ArchiveError> {
    let Some(found) = found else {
        return Err(ArchiveError::Unfit(
            "nothing shows that its bucket locks new objects",
        ));
    };
    if found.mode < required.mode {
        return Err(ArchiveError::Unfit("its bucket's lock can be lifted"));
    }
    if found.retention < required.retention {
        return Err(ArchiveError::Unfit(
            "its bucket's default retention is too short",
        ));
    }
    Ok(())
}

/// Some servers ignore the condition of a creation; an archive on them could be written over.
async fn prove_create_only(shelf: &Shelf) -> Result<(), ArchiveError> {
    let (format, other) = (Bytes::from_static(FORMAT), Bytes::from_static(NOT_FORMAT));
    match shelf.create(names::FORMAT, format.clone()).await? {
        Put::There(_) => {}
        Put::Other(..) => return Err(ArchiveError::Unfit("it holds something else")),
    }
    match shelf.create(names::FORMAT, other).await? {
        Put::Other(there, _) if there == format => Ok(()),
        _ => Err(ArchiveError::Unfit("it writes over objects that are there")),
    }
}
