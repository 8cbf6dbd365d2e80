//! The logs of a directory in the form that other tools read, and proofs out of it.
//!
//! Below `<origin>/` of each log lie its last `checkpoint`, its tiles and its bundles of entries, as C2SP
//! tlog-tiles says: a web server or a bucket can hand them out as they are. Full tiles and bundles never
//! change, so they may be cached for ever. Whoever reads them needs to trust the signing key only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Write as _};
use std::path::{Path, PathBuf};

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::fault::VerifyError;
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use crate::merkle::ProofError;
use crate::replay::{LeafBytes, Signed, Taken, directory_leaf};
use crate::segment::FRAME_BYTES;
use crate::tlog::{
    Bundle, FULL, Note, OfflineProof, OfflineProofError, Tile, TileError, TileHashes,
    TileReadError, TileReader, write_bundle,
};
use crate::trail::{KeyChange, Trail};
use crate::verify::verify_until;
use crate::walk::{Walk, signed_points};

const CHECKPOINT: &str = "checkpoint";
/// No bundle is longer: 256 entries of 65,535 bytes, each after its length.
const MAX_BYTES: u64 = 256 * (65_535 + 2);
/// The levels of tiles in a tree of 64-bit size.
const LEVELS: usize = 8;

/// What was published.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// How many logs, the directory log among them.
    pub logs: u64,
    /// How many entries they have, as far as they are signed.
    pub entries: u64,
    /// How many of them are pruned. Their hashes are published; the bundles that they stood in are not,
    /// and are removed if they were.
    pub pruned: u64,
    /// How many files were written that were not there.
    pub files: u64,
}

/// A log could not be published, or nothing could be proven from what was.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The log does not verify, or it is not the one that was published before.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// What was published is not what the log holds: files that never change were changed.
    #[error("published file {0} was changed")]
    Changed(String),
    /// A published checkpoint is missing, malformed, or not signed by a given key.
    #[error("published checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Published tiles or entries do not belong to the checkpoint.
    #[error(transparent)]
    Tiles(#[from] TileError),
    /// There is no such entry in what was published.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The bundle that the entry stands in is not there: an entry of it was pruned.
    #[error("the entries around this one are no longer published")]
    Pruned,
    /// A proof file of it would be too large.
    #[error(transparent)]
    Offline(#[from] OfflineProofError),
    /// A file could not be read or written.
    #[error("published file could not be read or written")]
    Io(#[from] io::Error),
}

impl Classify for PublishError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Log(error) => error.kind(),
            Self::Proof(_) | Self::Pruned => ErrorKind::NotFound,
            Self::Changed(_) | Self::Checkpoint(_) | Self::Tiles(_) | Self::Offline(_) => {
                ErrorKind::Integrity
            }
            Self::Io(_) => ErrorKind::Unavailable,
        }
    }
}

impl From<TileReadError<io::Error>> for PublishError {
    fn from(error: TileReadError<io::Error>) -> Self {
        match error {
            TileReadError::Fetch(error) => Self::Io(error),
            TileReadError::Tile(error) => Self::Tiles(error),
            TileReadError::Proof(error) => Self::Proof(error),
        }
    }
}

/// Verifies the closed log in `dir` and writes its signed entries below the directory `to`, which is
/// created. May be repeated as the log grows, into the same directory: then what is there already must
/// be what this log holds. A log's checkpoint is replaced last, once everything it covers is durable.
///
/// Blocks; reads the log twice. A repeat after a failure goes on where it was.
///
/// # Errors
/// [`PublishError::Log`] also where the log is not a later state of the published one
/// ([`Fault::Anchor`](crate::Fault::Anchor), [`Fault::Missing`](crate::Fault::Missing)): nothing is
/// written then. [`PublishError::Changed`].
pub fn publish(dir: &Path, keys: &[VerifyingKey], to: &Path) -> Result<Published, PublishError> {
    let layout = Layout::new(dir);
    layout.segments()?;
    let (signed, head, trail) = signed_points(&layout, keys, None)?;
    let sizes = signed.sizes_under(&head);
    let before = published_heads(&sizes, trail.keys(), to)?;
    let anchors: Vec<Checkpoint> = before.values().copied().collect();
    verify_until(&layout, keys, None, &anchors)?;

    let mut draft = Draft {
        layout: &layout,
        trail: &trail,
        to,
        sizes: &sizes,
        logs: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    let mut failed = Ok(());
    let nothing = Signed::default();
    Walk::new().advance(&layout, &nothing, None, |segment, taken| {
        if failed.is_ok() {
            failed = draft.take(segment, taken);
        }
    })?;
    failed?;
    let Draft {
        mut logs,
        mut notes,
        ..
    } = draft;
    notes.insert(head.log, layout.read_checkpoint()?.unwrap_or_default());

    let mut published = Published::default();
    for (log, note) in notes {
        let mut files = logs.remove(&log).unwrap_or_else(|| LogFiles::new(to, log));
        files.finish(&layout, &note, before.get(&log))?;
        published.logs += 1;
        published.entries += files.size();
        published.pruned += files.pruned;
        published.files += files.written;
    }
    Ok(published)
}

/// The heads of what was published before.
fn published_heads(
    sizes: &BTreeMap<LogId, u64>,
    keys: &[VerifyingKey],
    to: &Path,
) -> Result<BTreeMap<LogId, Checkpoint>, PublishError> {
    let mut heads = BTreeMap::new();
    for log in sizes.keys().copied() {
        let path = to.join(log.to_string()).join(CHECKPOINT);
        if let Some(bytes) = layout::read_up_to(MAX_BYTES, &path)? {
            heads.insert(log, checkpoint(&bytes, log, keys)?);
        }
    }
    Ok(heads)
}

fn checkpoint(
    bytes: &[u8],
    log: LogId,
    keys: &[VerifyingKey],
) -> Result<Checkpoint, CheckpointError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CheckpointError::Malformed)?;
    let head = Checkpoint::open(text, keys)?;
    match head.log == log {
        true => Ok(head),
        false => Err(CheckpointError::Malformed),
    }
}

/// What is being published.
struct Draft<'a> {
    layout: &'a Layout,
    trail: &'a Trail,
    to: &'a Path,
    /// How far each log goes.
    sizes: &'a BTreeMap<LogId, u64>,
    logs: BTreeMap<LogId, LogFiles>,
    /// The checkpoint of each log at that size.
    notes: BTreeMap<LogId, String>,
}

impl Draft<'_> {
    /// Takes the next leaf of a log, unless it goes beyond what is signed.
    fn take(&mut self, segment: u64, taken: &Taken) -> Result<(), PublishError> {
        let size = self.sizes.get(&taken.log).copied().unwrap_or(0);
        if taken.index >= size {
            return Ok(());
        }
        let spot = Spot::of(segment, taken);
        if taken.log == LogId::Directory {
            let bytes = spot.read(self.layout)?;
            self.name_head(bytes, taken.index)?;
        }
        let (to, log) = (self.to, taken.log);
        let files = self.logs.entry(log);
        let files = files.or_insert_with(|| LogFiles::new(to, log));
        let there = taken.bytes == LeafBytes::There;
        files.take(self.layout, taken.leaf, there.then_some(spot))
    }
}

impl Draft<'_> {
    /// Keeps a leaf of the directory log that is the last head of a log. A change of keys is none.
    fn name_head(&mut self, leaf: Vec<u8>, index: u64) -> Result<(), PublishError> {
        if KeyChange::is_one(&leaf) {
            return Ok(());
        }
        let point = directory_leaf(&leaf, index, &self.trail.at(index))?;
        if self.sizes.get(&point.log) == Some(&point.size) {
            let note = String::from_utf8(leaf).map_err(|_| CheckpointError::Malformed)?;
            self.notes.insert(point.log, note);
        }
        Ok(())
    }
}

/// Where an entry lies in the segments.
#[derive(Debug, Clone, Copy)]
struct Spot {
    segment: u64,
    from: usize,
    length: usize,
}

impl Spot {
    fn of(segment: u64, taken: &Taken) -> Self {
        Self {
            segment,
            from: taken.offset + FRAME_BYTES,
            length: taken.length,
        }
    }

    fn read(&self, layout: &Layout) -> Result<Vec<u8>, VerifyError> {
        layout.read(self.segment, self.from, Some(self.from + self.length))
    }
}

/// The files of one log as its entries build them up.
struct LogFiles {
    root: PathBuf,
    /// The entries of the bundle that is not full yet; none where one was pruned.
    entries: Vec<Option<Spot>>,
    /// The bundles of which an entry was pruned, and how many entries were.
    incomplete: Vec<Bundle>,
    pruned: u64,
    /// The hashes of the tiles that are not full yet, and how many full ones come before, by level.
    levels: [(Vec<Digest>, u64); LEVELS],
    /// Directories in which names are not durable yet.
    unsynced: BTreeSet<PathBuf>,
    written: u64,
}

impl LogFiles {
    fn new(to: &Path, log: LogId) -> Self {
        Self {
            root: to.join(log.to_string()),
            entries: Vec::new(),
            incomplete: Vec::new(),
            pruned: 0,
            levels: Default::default(),
            unsynced: BTreeSet::new(),
            written: 0,
        }
    }

    fn take(
        &mut self,
        layout: &Layout,
        leaf: Digest,
        spot: Option<Spot>,
    ) -> Result<(), PublishError> {
        self.pruned += u64::from(spot.is_none());
        self.entries.push(spot);
        if self.entries.len() == usize::from(FULL) {
            self.write_bundle(layout)?;
            self.entries.clear();
        }
        let mut above = Some(leaf);
        let mut level = 0;
        while let Some(hash) = above.take() {
            let Some((hashes, _)) = self.levels.get_mut(level) else {
                break;
            };
            hashes.push(hash);
            if hashes.len() == usize::from(FULL) {
                above = self.write_tile(level)?;
                if let Some((hashes, before)) = self.levels.get_mut(level) {
                    hashes.clear();
                    *before += 1;
                }
            }
            level += 1;
        }
        Ok(())
    }

    /// Writes the entries at hand as a bundle, if all of them are there.
    fn write_bundle(&mut self, layout: &Layout) -> Result<(), PublishError> {
        let before = self.levels.first().map_or(0, |(_, before)| *before);
        let width = u16::try_from(self.entries.len()).unwrap_or(FULL);
        let bundle = Bundle::new(before, width).ok_or(TileError::Length)?;
        let Some(spots) = self.entries.iter().copied().collect::<Option<Vec<_>>>() else {
            self.incomplete.push(bundle);
            return Ok(());
        };
        let entries = spots.iter().map(|spot| spot.read(layout));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        self.write(&bundle.to_string(), &write_bundle(&entries)?)
    }

    /// Writes the hashes at hand as a tile, and gives its root if it is full.
    fn write_tile(&mut self, level: usize) -> Result<Option<Digest>, PublishError> {
        let (hashes, before) = self.levels.get(level).cloned().unwrap_or_default();
        let width = u16::try_from(hashes.len()).unwrap_or(FULL);
        let number = u8::try_from(level).unwrap_or(u8::MAX);
        let tile = Tile::new(number, before, width).ok_or(TileError::Length)?;
        let hashes = TileHashes::new(hashes)?;
        self.write(&tile.to_string(), &hashes.to_bytes())?;
        Ok(hashes.root())
    }

    /// Writes a file that is never changed.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        let path = self.root.join(name);
        match layout::read_up_to(MAX_BYTES, &path)? {
            Some(there) if there == bytes => return Ok(()),
            Some(_) => return Err(PublishError::Changed(name.to_owned())),
            None => {}
        }
        let parent = path.parent().unwrap_or(&self.root);
        if !parent.is_dir() {
            layout::private_dir(parent)?;
        }
        let temporary = layout::temporary(&path);
        let mut file = layout::private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        self.unsynced.insert(parent.to_owned());
        self.written += 1;
        Ok(())
    }

    /// Writes what is not full, then the checkpoint, and removes what the log has outgrown.
    fn finish(
        &mut self,
        layout: &Layout,
        note: &str,
        before: Option<&Checkpoint>,
    ) -> Result<(), PublishError> {
        if !self.entries.is_empty() {
            self.write_bundle(layout)?;
        }
        for level in 0..LEVELS {
            if self
                .levels
                .get(level)
                .is_some_and(|(hashes, _)| !hashes.is_empty())
            {
                self.write_tile(level)?;
            }
        }
        for dir in std::mem::take(&mut self.unsynced) {
            File::open(dir)?.sync_all()?;
        }
        layout::private_dir(&self.root)?;
        layout::replace(&self.root.join(CHECKPOINT), note.as_bytes())?;
        if let Some(before) = before {
            self.remove_outgrown(before.size)?;
        }
        for bundle in &self.incomplete {
            remove(&self.root.join(bundle.to_string()))?;
        }
        Ok(())
    }

    /// The partial tiles and the partial bundle of the earlier size, unless they still are the last.
    fn remove_outgrown(&self, size: u64) -> io::Result<()> {
        let now = self.size();
        for level in 0..LEVELS as u8 {
            let index = size.checked_shr(8 * u32::from(level) + 8).unwrap_or(0);
            let tile = Tile::in_tree(level, index, size);
            if let Some(tile) = tile.filter(|tile| tile.width() < FULL)
                && Tile::in_tree(level, index, now) != Some(tile)
            {
                remove(&self.root.join(tile.to_string()))?;
            }
        }
        let bundle = Bundle::in_tree(size >> 8, size);
        if let Some(bundle) = bundle.filter(|bundle| bundle.width() < FULL)
            && Bundle::in_tree(size >> 8, now) != Some(bundle)
        {
            remove(&self.root.join(bundle.to_string()))?;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        let (hashes, before) = self.levels.first().cloned().unwrap_or_default();
        before * u64::from(FULL) + hashes.len() as u64
    }
}

/// The proof of one entry out of what was published below `published`, with the entry's bytes as its extra
/// data: a file that anybody can check later without any of it. Blocks.
///
/// # Errors
/// [`PublishError::Proof`] if the entry is not there; [`PublishError::Pruned`] if its bundle is no longer
/// published; [`PublishError::Checkpoint`], [`PublishError::Tiles`]
/// if what was published was changed.
pub fn prove(
    published: &Path,
    keys: &[VerifyingKey],
    log: LogId,
    index: u64,
) -> Result<OfflineProof, PublishError> {
    let root = published.join(log.to_string());
    let bytes =
        layout::read_up_to(MAX_BYTES, &root.join(CHECKPOINT))?.ok_or(CheckpointError::Malformed)?;
    let head = checkpoint(&bytes, log, keys)?;
    let note = std::str::from_utf8(&bytes).ok().map(Note::parse);
    let note = note
        .and_then(Result::ok)
        .ok_or(CheckpointError::Malformed)?;
    let fetch = |tile: Tile| -> io::Result<Vec<u8>> {
        let there = layout::read_up_to(MAX_BYTES, &root.join(tile.to_string()))?;
        there.ok_or_else(|| Io::NotFound.into())
    };
    let mut reader = TileReader::open(head.size, &head.root, fetch)?;
    let path = reader.inclusion(index)?;
    let bundle = Bundle::in_tree(index >> 8, head.size).ok_or(ProofError::Size)?;
    let bytes = layout::read_up_to(MAX_BYTES, &root.join(bundle.to_string()))?
        .ok_or(PublishError::Pruned)?;
    let entries = reader.entries(bundle, &bytes)?;
    let place = usize::try_from(index % u64::from(FULL)).unwrap_or(usize::MAX);
    let entry = entries.get(place).ok_or(ProofError::Size)?;
    Ok(OfflineProof::new(index, path, note)?.with_extra(entry.to_vec())?)
}

/// Removes a partial file, and its directory if it was the last in it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == Io::NotFound => {}
        other => other?,
    }
    if let Some(parent) = path.parent() {
        // Another one may be in it.
        let _kept = fs::remove_dir(parent);
    }
    Ok(())
}
