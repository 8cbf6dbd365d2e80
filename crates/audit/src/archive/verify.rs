//! Verification of what an archive, a replica or a publication holds, from it alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::event::Digest;
use futures_util::stream::{self, StreamExt as _};
use object_store::ObjectStore;

use super::error::ArchiveError;
use super::gaps::{Gaps, fetch_unless_pruned};
use super::source::{ArchiveSource, Pin, PublishedSource, TileSource};
use super::succession::{Said, find_head, is_unknown_signer, read_changes, take_leaf};
use super::tower::Tower;
use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::log_id::LogId;
use crate::merkle::leaf_hash;
use crate::replay::{Replay, Signed};
use crate::retention::PrunedLog;
use crate::scan::Batch;
use crate::segment::{Frame, Kind};
use crate::tlog::{Bundle, FULL, Tile, TileError, bundles_added, parse_bundle, write_bundle};
use crate::trail::Trail;
use crate::verify::{Report, Unanchored};

/// How many bundles are fetched ahead.
const AHEAD: usize = 4;

/// Verifies everything that the newest signed head in an archive covers, from the archive alone: each entry
/// against its chain, each tile and each signed root against the entries. `pin` leads to the right versions
/// of objects, whatever was put over them; `anchors` are heads that were kept elsewhere. One of the keys that
/// signed the log one after the other is enough among `keys`.
///
/// A full bundle that is missing is taken for pruned if it ends at or before the `minimum_index` of an AUD-009 in
/// its log; the report counts all its entries as pruned.
///
/// Reads everything; holds one log's tail and all signed heads in memory. Entries that are newer than the
/// last cut are not part of it. Cancel-safe.
///
/// # Errors
/// [`ArchiveError::Log`] names the first bad entry; [`ArchiveError::Missing`], [`ArchiveError::Changed`] the
/// first bad object; [`ArchiveError::Checkpoint`] if no head is signed by one of `keys`
/// or its heirs;
/// [`ArchiveError::Store`].
pub async fn verify_archive(
    store: Arc<dyn ObjectStore>,
    prefix: &str,
    pin: Option<Pin>,
    keys: &[VerifyingKey],
    anchors: &[Checkpoint],
) -> Result<Report, ArchiveError> {
    verify_source(&ArchiveSource::new(store, prefix, pin)?, keys, anchors).await
}

/// As [`verify_archive`], of what [`publish`](crate::publish) or a [`Replica`](super::Replica) wrote.
///
/// # Errors
/// As [`verify_archive`]; also while either is at work there.
pub async fn verify_published(
    store: Arc<dyn ObjectStore>,
    prefix: &str,
    keys: &[VerifyingKey],
    anchors: &[Checkpoint],
) -> Result<Report, ArchiveError> {
    verify_source(&PublishedSource::new(store, prefix)?, keys, anchors).await
}

/// As [`verify_archive`], of any source.
///
/// # Errors
/// As [`verify_archive`].
pub async fn verify_source(
    source: &dyn TileSource,
    keys: &[VerifyingKey],
    anchors: &[Checkpoint],
) -> Result<Report, ArchiveError> {
    let given = Trail::new(keys);
    let note = find_head(source, &given, 0, &|_| Ok(())).await?;
    let directory = Checkpoint::unverified(&note).ok_or(CheckpointError::Malformed)?;
    let add = |signed: &mut Signed, anchor: &Checkpoint| {
        let last = anchor.size.saturating_sub(1);
        let place = Place::entry(anchor.log, last);
        let added = signed.add_anchor(anchor);
        added.map_err(|fault| VerifyError::tampered(place, fault))
    };
    // What the directory log signs is known once it was read; its own anchors count from the beginning.
    let mut own = Signed::default();
    own.add(&directory)
        .map_err(|_| CheckpointError::Malformed)?;
    for anchor in anchors
        .iter()
        .filter(|anchor| anchor.log == LogId::Directory)
    {
        add(&mut own, anchor)?;
    }
    let read = match Directory::read(source, directory, &own, given).await {
        // Perhaps the keys at hand are heirs of those that signed the beginning.
        Err(error) if is_unknown_signer(&error) => {
            let changes = read_changes(source, directory.size).await?;
            let trail = Trail::with_predecessors(keys, &changes);
            Directory::read(source, directory, &own, trail).await?
        }
        other => other?,
    };
    let Directory {
        mut signed,
        points,
        trail,
    } = read;
    directory_head(&note, &trail.at(directory.size))?;
    signed
        .add(&directory)
        .map_err(|_| CheckpointError::Malformed)?;
    let checkpoints = signed.count();
    for anchor in anchors {
        add(&mut signed, anchor)?;
    }
    let mut pruned = Vec::new();
    for point in points.values() {
        let mut reading = Reading::new(source, *point);
        reading.run(&signed, |_, _, _| Ok(())).await?;
        let (entries, minimum_index) = reading.gaps.extent();
        if entries > 0 {
            pruned.push(PrunedLog {
                log: point.log,
                entries,
                minimum_index,
            });
        }
        check_checkpoint(source, point, trail.keys()).await?;
    }
    let mut sizes: Vec<_> = signed.sizes().into_iter().collect();
    sizes.sort_unstable();
    for (log, size) in sizes {
        let there = match log {
            LogId::Directory => directory.size,
            _ => points.get(&log).map_or(0, |point| point.size),
        };
        if there < size {
            let place = Place::entry(log, there);
            return Err(VerifyError::tampered(place, Fault::Missing).into());
        }
    }
    Ok(Report {
        pruned,
        ..report(directory, points, checkpoints, &signed)
    })
}

/// What the directory log says.
struct Directory {
    signed: Signed,
    /// The last head of each log.
    points: BTreeMap<LogId, Checkpoint>,
    /// Whose signatures count.
    trail: Trail,
}

impl Directory {
    async fn read(
        source: &dyn TileSource,
        head: Checkpoint,
        own: &Signed,
        trail: Trail,
    ) -> Result<Self, ArchiveError> {
        let mut found = Self {
            signed: Signed::default(),
            points: BTreeMap::new(),
            trail,
        };
        let mut reading = Reading::new(source, head);
        let take = |index, leaf: &[u8], before: &Tower| found.take(index, leaf, before);
        reading.run(own, take).await?;
        Ok(found)
    }

    /// Takes leaf `index`; `before` has those before it.
    fn take(&mut self, index: u64, leaf: &[u8], before: &Tower) -> Result<(), ArchiveError> {
        let fault = |fault| VerifyError::tampered(Place::entry(LogId::Directory, index), fault);
        let point = match take_leaf(&mut self.trail, leaf, index)? {
            Said::Head(point) => {
                self.points.insert(point.log, point);
                point
            }
            Said::Change(at) if at.root != before.root() => return Err(fault(Fault::Root).into()),
            Said::Change(at) => at,
        };
        self.signed.add_leaf(&point).map_err(fault)?;
        Ok(())
    }
}

fn report(
    directory: Checkpoint,
    points: BTreeMap<LogId, Checkpoint>,
    checkpoints: u64,
    signed: &Signed,
) -> Report {
    let heads: Vec<Checkpoint> = points.into_values().collect();
    let unanchored = heads.iter().map(|head| Unanchored {
        log: head.log,
        indexes: signed.anchored(head.log)..head.size,
    });
    Report {
        entries: heads.iter().map(|head| head.size).sum(),
        unsigned: 0,
        logs: heads.len() as u64,
        checkpoints,
        directory,
        unanchored: unanchored.filter(|some| !some.indexes.is_empty()).collect(),
        heads,
        pruned: Vec::new(),
        spooled: 0,
        follows: None,
        sealed: Vec::new(),
    }
}

/// A signed head of the directory log.
pub(super) fn directory_head(
    note: &str,
    keys: &[VerifyingKey],
) -> Result<Checkpoint, ArchiveError> {
    let head = Checkpoint::open(note, keys)?;
    match head.log == LogId::Directory {
        true => Ok(head),
        false => Err(CheckpointError::Malformed.into()),
    }
}

/// The log's own checkpoint says what the directory log says.
async fn check_checkpoint(
    source: &dyn TileSource,
    point: &Checkpoint,
    keys: &[VerifyingKey],
) -> Result<(), ArchiveError> {
    let name = || format!("{}/checkpoint", point.log);
    let note = source.checkpoint(point.log, point.size).await?;
    let note = note.ok_or_else(|| ArchiveError::Missing(name()))?;
    let note = std::str::from_utf8(&note).map_err(|_| CheckpointError::Malformed)?;
    match Checkpoint::open(note, keys)? == *point {
        true => Ok(()),
        false => Err(ArchiveError::Changed(name())),
    }
}

/// One log, read from its first entry to a signed head.
struct Reading<'a> {
    source: &'a dyn TileSource,
    head: Checkpoint,
    replay: Replay,
    tower: Tower,
    gaps: Gaps,
}

impl<'a> Reading<'a> {
    fn new(source: &'a dyn TileSource, head: Checkpoint) -> Self {
        let mut replay = Replay::new();
        replay.declare(head.log);
        Self {
            source,
            head,
            replay,
            tower: Tower::default(),
            gaps: Gaps::default(),
        }
    }

    /// Checks every rule of the log, every root in `signed`, and every tile, telling `seen` each leaf.
    async fn run(
        &mut self,
        signed: &Signed,
        mut seen: impl FnMut(u64, &[u8], &Tower) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let (source, log) = (self.source, self.head.log);
        let bundles = bundles_added(0, self.head.size);
        let mut bundles = stream::iter(bundles)
            .map(|bundle| async move { (bundle, fetch_unless_pruned(source, log, bundle).await) })
            .buffered(AHEAD);
        while let Some((bundle, bytes)) = bundles.next().await {
            let Some(bytes) = bytes? else {
                self.pass_over(bundle, signed).await?;
                continue;
            };
            let changed = |_| ArchiveError::Changed(format!("{log}/{bundle}"));
            let entries = parse_bundle(bundle, &bytes).map_err(changed)?;
            let mut full = Vec::new();
            for entry in entries {
                let index = self.tower.size();
                self.apply(Kind::Leaf, index, entry, signed)?;
                self.gaps.take(entry);
                seen(index, entry, &self.tower)?;
                let push = |tile, bytes| full.push((tile, bytes));
                self.tower.push(leaf_hash(entry), push)?;
            }
            for (tile, bytes) in full {
                self.check_tile(tile, &bytes).await?;
            }
        }
        for (tile, bytes) in self.tower.partial()? {
            self.check_tile(tile, &bytes).await?;
        }
        if (self.tower.size(), self.tower.root()) != (self.head.size, self.head.root) {
            let last = Place::entry(log, self.head.size.saturating_sub(1));
            return Err(VerifyError::tampered(last, Fault::Root).into());
        }
        self.gaps.check(log)
    }

    /// Takes the hashes of a bundle that is not there in the place of its entries. Whether they were pruned
    /// shows in what follows.
    async fn pass_over(&mut self, bundle: Bundle, signed: &Signed) -> Result<(), ArchiveError> {
        self.gaps.miss(bundle);
        let tile = Tile::new(0, bundle.index(), FULL).ok_or(TileError::Length)?;
        let bytes = fetch_tile(self.source, self.head.log, tile).await?;
        if bytes.len() != 32 * usize::from(FULL) {
            return Err(ArchiveError::Changed(format!("{}/{tile}", self.head.log)));
        }
        let mut full = Vec::new();
        for hash in bytes.chunks_exact(32) {
            let index = self.tower.size();
            let hash = <[u8; 32]>::try_from(hash).map_err(|_| TileError::Length)?;
            // How long the entry was is not published.
            let stays = [&hash[..], &[0; 4]].concat();
            self.apply(Kind::Pruned, index, &stays, signed)?;
            let push = |tile, bytes| full.push((tile, bytes));
            self.tower.push(Digest::from_bytes(hash), push)?;
        }
        for (tile, bytes) in full {
            self.check_tile(tile, &bytes).await?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        kind: Kind,
        index: u64,
        payload: &[u8],
        signed: &Signed,
    ) -> Result<(), VerifyError> {
        let frame = Frame {
            kind,
            log: 0,
            index,
            payload,
            length: 0,
        };
        let frames = vec![(0, frame)];
        self.replay.apply(&Batch { frames }, "tile", signed, |_| {})
    }

    async fn check_tile(&self, tile: Tile, expected: &[u8]) -> Result<(), ArchiveError> {
        let log = self.head.log;
        let found = fetch_tile(self.source, log, tile).await?;
        match found == expected {
            true => Ok(()),
            false => Err(ArchiveError::Changed(format!("{log}/{tile}"))),
        }
    }
}

/// The bytes of a tile; of a partial one that is gone, those that the full one begins with.
pub(super) async fn fetch_tile(
    source: &dyn TileSource,
    log: LogId,
    tile: Tile,
) -> Result<Bytes, ArchiveError> {
    if let Some(bytes) = source.fetch(log, &tile.to_string()).await? {
        return Ok(bytes);
    }
    let missing = || ArchiveError::Missing(format!("{log}/{tile}"));
    if tile.width() == FULL {
        return Err(missing());
    }
    let full = source.fetch(log, &tile.full().to_string()).await?;
    let full = full.ok_or_else(missing)?;
    let wanted = 32 * usize::from(tile.width());
    match full.len() == 32 * usize::from(FULL) {
        true => Ok(full.slice(..wanted)),
        false => Err(ArchiveError::Changed(format!("{log}/{}", tile.full()))),
    }
}

/// The bytes of a bundle; of a partial one that is gone, those that the full one begins with.
pub(super) async fn fetch_bundle(
    source: &dyn TileSource,
    log: LogId,
    bundle: Bundle,
) -> Result<Bytes, ArchiveError> {
    if let Some(bytes) = source.fetch(log, &bundle.to_string()).await? {
        return Ok(bytes);
    }
    let missing = || ArchiveError::Missing(format!("{log}/{bundle}"));
    if bundle.width() == FULL {
        return Err(missing());
    }
    let full = source.fetch(log, &bundle.full().to_string()).await?;
    let full = full.ok_or_else(missing)?;
    let changed = |_: TileError| ArchiveError::Changed(format!("{log}/{}", bundle.full()));
    let entries = parse_bundle(bundle.full(), &full).map_err(changed)?;
    let first = entries.get(..usize::from(bundle.width()));
    Ok(write_bundle(first.unwrap_or_default())?.into())
}
