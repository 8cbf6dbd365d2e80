//! A replica: it stores nothing that it has not verified, and only ever goes forward or stops.
//!
//! Its own store has the published form. The directory log's `checkpoint` is what it believes: it is replaced
//! last, in one step, once everything that it covers is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use eonpro_core::port::{Observer, Operation, Timer};
use eonpro_core::time::{Monotonic, SharedClock};
use futures_util::stream::{self, StreamExt as _};
use object_store::ObjectStore;

use super::error::ArchiveError;
use super::evidence::{Evidence, StopReason};
use super::gaps::{Gaps, fetch_unless_pruned};
use super::lazy::LazyTiles;
use super::names;
use super::shelf::Shelf;
use super::source::{PublishedSource, TileSource};
use super::succession::{Said, change_in, find_head, is_unknown_signer, take_leaf};
use super::verify::{directory_head, fetch_bundle};
use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::tlog::{Bundle, FULL, Note, Policy, Tile, bundles_added, tiles_added};
use crate::trail::{KeyChange, Trail};

const PULL: Operation = Operation::new("audit", "replica_pull");
/// How many bundles are fetched ahead.
const AHEAD: usize = 4;

/// What a replica needs of others.
pub struct ReplicaParts {
    /// Where it pulls from.
    pub source: Arc<dyn TileSource>,
    /// Where it stores; a directory is made with [`local`](super::local), which syncs.
    pub store: Arc<dyn ObjectStore>,
    /// Where in that store, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The keys that may have signed the log. One of those that signed it one after the other is enough.
    pub keys: Vec<VerifyingKey>,
    /// Which heads of the directory log to believe besides: those that enough witnesses cosigned. Names the
    /// directory log, `VerifyingKey::vkey` of [`LogId::Directory`], by the key that signs it now: after a
    /// change of keys the policy has to name the new one.
    pub policy: Option<Policy>,
    /// Measures the lag.
    pub clock: SharedClock,
    /// Measures operations.
    pub observer: Arc<dyn Observer>,
}

impl fmt::Debug for ReplicaParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaParts").finish_non_exhaustive()
    }
}

/// How far a replica is behind the newest head that its source has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Leaves of the directory log, each the signed growth of one log. 0 if it is level, or has seen nothing.
    pub checkpoints: u64,
    /// Entries of all logs, as far as the newer heads could be read.
    pub entries: u64,
    /// Since when it has not been level with its source. A source that shows nothing new is not noticed.
    pub behind: Duration,
}

/// What a pull did.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulled {
    /// The size of the directory log that the replica holds now.
    pub size: u64,
    /// How many entries it gained, without the directory log's.
    pub entries: u64,
}

/// What a replica holds: the directory's head, and by it the last checkpoint of each log.
#[derive(Debug, Clone)]
struct Held {
    head: Checkpoint,
    note: String,
    logs: BTreeMap<LogId, (Checkpoint, Bytes)>,
    /// Whose signatures count, up to that head.
    trail: Trail,
}

/// Follows one source. See the [module](super).
#[derive(Debug)]
pub struct Replica {
    parts: ReplicaParts,
    shelf: Shelf,
    held: tokio::sync::Mutex<Option<Held>>,
    lag: Mutex<Seen>,
}

/// What is known of the source.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    checkpoints: u64,
    entries: u64,
    since: Option<Monotonic>,
}

impl Replica {
    /// A replica in `parts.store`, new or as it was left.
    ///
    /// # Errors
    /// [`ArchiveError::Config`] if the prefix is no path.
    pub fn new(parts: ReplicaParts) -> Result<Self, ArchiveError> {
        Ok(Self {
            shelf: Shelf::new(Arc::clone(&parts.store), &parts.prefix)?,
            parts,
            held: tokio::sync::Mutex::new(None),
            lag: Mutex::new(Seen::default()),
        })
    }

    /// Pulls what the source has more, verified before it is stored, and moves on to its head. One pull at a
    /// time; others wait. Cancel-safe and idempotent: what was interrupted is made good by the next.
    ///
    /// # Errors
    /// [`ArchiveError::Stopped`], from then on always, if the source shows a signed head that is not a later
    /// state of what the replica holds. Everything else leaves it behind, as it was:
    /// [`ArchiveError::Checkpoint`], [`ArchiveError::Trust`] if the head is not to be believed,
    /// [`ArchiveError::Tiles`], [`ArchiveError::Changed`], [`ArchiveError::Log`] if something does not belong
    /// to it, [`ArchiveError::Missing`], [`ArchiveError::Store`]; [`ArchiveError::Conflict`] if the replica's
    /// own store holds something else than it verified.
    pub async fn pull(&self) -> Result<Pulled, ArchiveError> {
        let timer = Timer::start(PULL, &*self.parts.clock, &*self.parts.observer);
        let mut held = self.held.lock().await;
        let pulled = self.pull_into(&mut held).await;
        timer.end(pulled)
    }

    /// How far it is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let seen = *self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.parts.clock.monotonic();
        Lag {
            checkpoints: seen.checkpoints,
            entries: seen.entries,
            behind: seen.since.map_or(Duration::ZERO, |since| now.since(since)),
        }
    }

    /// Why it has stopped, if it has.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; [`ArchiveError::Cursor`] if the evidence is malformed.
    pub async fn stopped(&self) -> Result<Option<Evidence>, ArchiveError> {
        let Some((bytes, _)) = self.shelf.get(names::EVIDENCE, None).await? else {
            return Ok(None);
        };
        let evidence = Evidence::parse(&bytes).ok_or(ArchiveError::Cursor)?;
        Ok(Some(evidence))
    }

    async fn pull_into(&self, slot: &mut Option<Held>) -> Result<Pulled, ArchiveError> {
        if let Some(evidence) = self.stopped().await? {
            return Err(ArchiveError::Stopped(Box::new(evidence)));
        }
        self.note_lag(|seen, now| _ = seen.since.get_or_insert(now));
        let mut held = match slot.take() {
            Some(held) => Some(held),
            None => self.load().await?,
        };
        let result = self.follow(&mut held).await;
        // After a failure the store tells.
        if result.is_ok() {
            *slot = held;
        }
        result
    }

    fn note_lag(&self, change: impl FnOnce(&mut Seen, Monotonic)) {
        let mut seen = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut seen, self.parts.clock.monotonic());
    }

    /// What the store holds, and the logs' own checkpoints as its head says.
    async fn load(&self) -> Result<Option<Held>, ArchiveError> {
        let own = PublishedSource::of(self.shelf.clone());
        let given = Trail::new(&self.parts.keys);
        let note = match find_head(&own, &given, 0, &|_| Ok(())).await {
            Err(ArchiveError::Missing(_)) => return Ok(None),
            other => other?,
        };
        let head = stated(&note)?;
        let (points, trail) = self.points(&own, &head, &note, None).await?;
        let mut held = Held {
            head,
            note,
            logs: BTreeMap::new(),
            trail,
        };
        for (point, note) in points {
            held.logs.insert(point.log, (point, note));
        }
        self.write_checkpoints(held.logs.values()).await?;
        Ok(Some(held))
    }

    /// Whom the replica believes, besides the log's keys.
    fn check_policy(&self, note: &str) -> Result<(), ArchiveError> {
        if let Some(policy) = &self.parts.policy {
            let note = Note::parse(note).map_err(|_| CheckpointError::Malformed)?;
            policy.verify(&note)?;
        }
        Ok(())
    }

    async fn follow(&self, held: &mut Option<Held>) -> Result<Pulled, ArchiveError> {
        let source = &*self.parts.source;
        let before = held.as_ref().map_or(0, |held| held.head.size);
        let trail = held.as_ref().map(|held| held.trail.clone());
        let trail = trail.unwrap_or_else(|| Trail::new(&self.parts.keys));
        let check = |note: &str| self.check_policy(note);
        let note = find_head(source, &trail, before, &check).await?;
        let head = stated(&note)?;
        if let Some(held) = held {
            self.compare(held, &head, &note).await?;
            if head == held.head {
                self.note_lag(|seen, _| *seen = Seen::default());
                return Ok(Pulled {
                    size: head.size,
                    entries: 0,
                });
            }
        }
        self.note_lag(|seen, _| seen.checkpoints = head.size.saturating_sub(before));
        // Only now is it sure that the head is signed by one who may.
        let (points, trail) = self.points(source, &head, &note, held.as_ref()).await?;
        let mut directory =
            LazyTiles::open(source, LogId::Directory, head.size, &head.root).await?;
        if let Some(held) = held {
            let old = held.head;
            let begins = directory.begins_with(old.size, &old.root, &head.root);
            if let Err(proof) = begins.await? {
                let (why, log) = (StopReason::Rewritten, LogId::Directory);
                let evidence = Evidence::new(why, log, &held.note, &note, proof);
                return Err(self.stop(evidence).await);
            }
        }
        let mut next = Held {
            head,
            note,
            logs: held
                .as_ref()
                .map(|held| held.logs.clone())
                .unwrap_or_default(),
            trail,
        };
        let entries = self.take_logs(held.as_ref(), points, &mut next).await?;
        self.copy(source, &mut directory, LogId::Directory, before, head.size)
            .await?;
        // From here on this is what the replica believes.
        let key = format!("{}/{}", LogId::Directory, names::CHECKPOINT);
        self.shelf
            .replace(&key, Bytes::from(next.note.clone()))
            .await?;
        let grown = |log: &LogId, size| held.as_ref().map_or(0, |held| held.size(log)) < size;
        let changed = next
            .logs
            .values()
            .filter(|(point, _)| grown(&point.log, point.size));
        self.write_checkpoints(changed).await?;
        if let Some(held) = held {
            self.remove_outgrown(held, &next).await?;
        }
        *held = Some(next);
        self.note_lag(|seen, _| *seen = Seen::default());
        Ok(Pulled {
            size: head.size,
            entries,
        })
    }

    /// A head of the source that is not later, nor the same, is the end.
    async fn compare(
        &self,
        held: &Held,
        head: &Checkpoint,
        note: &str,
    ) -> Result<(), ArchiveError> {
        let why = if head.size < held.head.size {
            StopReason::Shrunk
        } else if head.size == held.head.size && head.root != held.head.root {
            StopReason::Forked
        } else {
            return Ok(());
        };
        let evidence = Evidence::new(why, LogId::Directory, &held.note, note, Vec::new());
        Err(self.stop(evidence).await)
    }

    /// Keeps the evidence, and gives the error that is returned from now on.
    async fn stop(&self, evidence: Evidence) -> ArchiveError {
        tracing::error!(why = %evidence.why, "a replica of the audit log has stopped");
        let bytes = match evidence.to_bytes() {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return error,
        };
        match self.shelf.create(names::EVIDENCE, bytes).await {
            Ok(_) => ArchiveError::Stopped(Box::new(evidence)),
            Err(error) => error,
        }
    }

    /// The checkpoints in the leaves that the directory log has beyond `held`, verified, and whose signatures
    /// count up to `head`, which is signed by one of them.
    async fn points(
        &self,
        source: &dyn TileSource,
        head: &Checkpoint,
        note: &str,
        held: Option<&Held>,
    ) -> Result<(Vec<(Checkpoint, Bytes)>, Trail), ArchiveError> {
        let from = held.map_or(0, |held| held.head.size);
        let mut tree = LazyTiles::open(source, LogId::Directory, head.size, &head.root).await?;
        let mut leaves = Vec::new();
        for bundle in bundles_added(from, head.size) {
            let bytes = fetch_bundle(source, LogId::Directory, bundle).await?;
            let entries = tree.entries(bundle, &bytes).await?;
            for (index, entry) in (bundle.start().unwrap_or(0)..).zip(entries) {
                if index >= from {
                    leaves.push((index, Bytes::copy_from_slice(entry)));
                }
            }
        }
        let read = match held {
            Some(held) => read_leaves(held.trail.clone(), &leaves)?,
            None => match read_leaves(Trail::new(&self.parts.keys), &leaves) {
                // Perhaps the keys at hand are heirs of those that signed the beginning.
                Err(error) if is_unknown_signer(&error) => {
                    let changes = leaves.iter().filter_map(|(_, leaf)| change_in(leaf));
                    let changes: Vec<KeyChange> = changes.collect();
                    let trail = Trail::with_predecessors(&self.parts.keys, &changes);
                    read_leaves(trail, &leaves)?
                }
                other => other?,
            },
        };
        for at in read.changes {
            let begins = tree.begins_with(at.size, &at.root, &head.root).await?;
            if begins.is_err() {
                let place = Place::entry(LogId::Directory, at.size);
                return Err(VerifyError::tampered(place, Fault::Root).into());
            }
        }
        directory_head(note, &read.trail.at(head.size))?;
        Ok((read.points, read.trail))
    }

    /// Copies what every log gained, and enters its new checkpoints into `next`.
    async fn take_logs(
        &self,
        held: Option<&Held>,
        points: Vec<(Checkpoint, Bytes)>,
        next: &mut Held,
    ) -> Result<u64, ArchiveError> {
        let source = &*self.parts.source;
        let mut new: BTreeMap<LogId, Vec<(Checkpoint, Bytes)>> = BTreeMap::new();
        for (point, note) in points {
            new.entry(point.log).or_default().push((point, note));
        }
        let last =
            |points: &Vec<(Checkpoint, Bytes)>| points.last().map_or(0, |(point, _)| point.size);
        let gained = |(log, points): (&LogId, &Vec<_>)| {
            let own = held.map_or(0, |held| held.size(log));
            last(points).saturating_sub(own)
        };
        let entries = new.iter().map(gained).sum();
        self.note_lag(|seen, _| seen.entries = entries);
        for (log, points) in new {
            let Some((newest, note)) = points.last().cloned() else {
                continue;
            };
            let mut tree = LazyTiles::open(source, log, newest.size, &newest.root).await?;
            let own = held.and_then(|held| held.logs.get(&log)).cloned();
            // Each of them is a signed promise about this log.
            for (point, signed) in own.iter().chain(&points) {
                let begins = match point.size > newest.size {
                    true => Err(Vec::new()),
                    false => {
                        tree.begins_with(point.size, &point.root, &newest.root)
                            .await?
                    }
                };
                if let Err(proof) = begins {
                    let (ours, theirs) = (text(signed), text(&note));
                    let why = StopReason::Rewritten;
                    let evidence = Evidence::new(why, log, &ours, &theirs, proof);
                    return Err(self.stop(evidence).await);
                }
            }
            let from = own.map_or(0, |(point, _)| point.size);
            self.copy(source, &mut tree, log, from, newest.size).await?;
            next.logs.insert(log, (newest, note));
        }
        Ok(entries)
    }

    /// Copies the bundles and tiles that `log` gained, each verified before.
    async fn copy(
        &self,
        source: &dyn TileSource,
        tree: &mut LazyTiles<'_>,
        log: LogId,
        from: u64,
        to: u64,
    ) -> Result<(), ArchiveError> {
        let mut bundles = stream::iter(bundles_added(from, to))
            .map(|bundle| async move { (bundle, fetch_unless_pruned(source, log, bundle).await) })
            .buffered(AHEAD);
        let mut gaps = Gaps::default();
        while let Some((bundle, bytes)) = bundles.next().await {
            let Some(bytes) = bytes? else {
                gaps.miss(bundle);
                continue;
            };
            let entries = tree.entries(bundle, &bytes).await?;
            entries.into_iter().for_each(|entry| gaps.take(entry));
            self.shelf
                .create_same(&format!("{log}/{bundle}"), bytes)
                .await?;
        }
        gaps.check(log)?;
        for tile in tiles_added(from, to) {
            let bytes = tree.tile(tile).await?;
            self.shelf
                .create_same(&format!("{log}/{tile}"), bytes)
                .await?;
        }
        Ok(())
    }

    async fn write_checkpoints(
        &self,
        points: impl Iterator<Item = &(Checkpoint, Bytes)>,
    ) -> Result<(), ArchiveError> {
        for (point, note) in points {
            let key = format!("{}/{}", point.log, names::CHECKPOINT);
            let there = self.shelf.get(&key, None).await?;
            if there.is_none_or(|(there, _)| there != *note) {
                self.shelf.replace(&key, note.clone()).await?;
            }
        }
        Ok(())
    }

    /// Removes the partial tiles and bundles that no head needs any more.
    async fn remove_outgrown(&self, old: &Held, new: &Held) -> Result<(), ArchiveError> {
        let mut keys = Vec::new();
        let logs = old.logs.keys().copied().chain([LogId::Directory]);
        for log in logs {
            let (before, now) = (old.size(&log), new.size(&log));
            let names = partial(before)
                .into_iter()
                .filter(|name| !partial(now).contains(name));
            keys.extend(names.map(|name| format!("{log}/{name}")));
        }
        self.shelf.remove(keys).await
    }
}

impl Held {
    fn size(&self, log: &LogId) -> u64 {
        match log {
            LogId::Directory => self.head.size,
            _ => self.logs.get(log).map_or(0, |(point, _)| point.size),
        }
    }
}

/// What some leaves of the directory log say.
struct Leaves {
    points: Vec<(Checkpoint, Bytes)>,
    changes: Vec<Checkpoint>,
    trail: Trail,
}

fn read_leaves(trail: Trail, leaves: &[(u64, Bytes)]) -> Result<Leaves, ArchiveError> {
    let mut read = Leaves {
        points: Vec::new(),
        changes: Vec::new(),
        trail,
    };
    for (index, leaf) in leaves {
        match take_leaf(&mut read.trail, leaf, *index)? {
            Said::Head(point) => read.points.push((point, leaf.clone())),
            Said::Change(at) => read.changes.push(at),
        }
    }
    Ok(read)
}

/// What a note that was accepted says.
fn stated(note: &str) -> Result<Checkpoint, ArchiveError> {
    Ok(Checkpoint::unverified(note).ok_or(CheckpointError::Malformed)?)
}

/// The names of what is not full in a log of `size`.
fn partial(size: u64) -> Vec<String> {
    let tiles = (0..8).filter_map(|level| {
        let last = size.checked_shr(8 * u32::from(level) + 8).unwrap_or(0);
        Tile::in_tree(level, last, size).filter(|tile| tile.width() < FULL)
    });
    let mut names: Vec<String> = tiles.map(|tile| tile.to_string()).collect();
    let bundle = Bundle::in_tree(size >> 8, size);
    names.extend(bundle.map(|bundle| bundle.to_string()));
    names
}

fn text(note: &[u8]) -> String {
    String::from_utf8_lossy(note).into_owned()
}
