//! What an archive must hold of an open log, read from its segments as they grow.
//!
//! Every rule of the log is checked on the way, every signed root among them, before anything is handed
//! out. It keeps at most 256 places and eight unfinished tiles of each log, and what is not signed yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eonpro_core::event::Digest;

use super::error::ArchiveError;
use super::names;
use super::tower::Tower;
use crate::backend::embedded::SignedNow;
use crate::checkpoint::Checkpoint;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::merkle::leaf_hash;
use crate::replay::{LeafBytes, Signed, directory_leaf};
use crate::segment::FRAME_BYTES;
use crate::tlog::{Bundle, FULL, TileError, write_bundle};
use crate::walk::{Until, Walk};

/// A size of the directory log that was reached before, and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) size: u64,
    pub(super) root: Digest,
}

impl Reached {
    pub(super) fn of(head: &Checkpoint) -> Self {
        Self {
            size: head.size,
            root: head.root,
        }
    }
}

/// An object that the archive must hold.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) log: LogId,
    /// Its name below the origin.
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// An object that is ready, its bytes perhaps still in the segments.
#[derive(Debug)]
enum Piece {
    Made(Object),
    Bundle(LogId, Bundle, Vec<Spot>),
}

/// Where an entry lies in the segments, and its leaf hash.
#[derive(Debug, Clone, Copy)]
struct Spot {
    segment: u64,
    from: usize,
    length: usize,
    leaf: Digest,
    bytes: LeafBytes,
}

impl Spot {
    fn read(&self, layout: &Layout) -> Result<Vec<u8>, VerifyError> {
        layout.read(self.segment, self.from, Some(self.from + self.length))
    }
}

/// One log as far as it was read.
#[derive(Debug, Default)]
struct Growth {
    tower: Tower,
    /// The entries of the bundle that is not full yet.
    entries: Vec<Spot>,
    /// Leaves that are not signed yet, as far as this walk knows.
    pending: VecDeque<Spot>,
    /// How far the last cut went.
    cut: u64,
    /// The last checkpoint.
    note: Bytes,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Harvest {
    walk: Walk,
    logs: BTreeMap<LogId, Growth>,
    /// Leaves of the directory log that no signed head covers yet.
    leaves: VecDeque<Vec<u8>>,
    /// Everything up to here is archived: nothing of it is handed out again.
    tiles: Reached,
    cut: Reached,
    ready: VecDeque<Piece>,
}

impl Harvest {
    pub(super) fn new(tiles: Reached, cut: Reached) -> Self {
        Self {
            walk: Walk::new(),
            logs: BTreeMap::new(),
            leaves: VecDeque::new(),
            tiles,
            cut,
            ready: VecDeque::new(),
        }
    }

    /// Reads one more segment, or the rest; false once there is no more. After an error it is of no use.
    pub(super) fn read(&mut self, now: &SignedNow) -> Result<bool, ArchiveError> {
        let until = self.next_stop(now)?;
        let mut taken = Vec::new();
        let nothing = Signed::default();
        let walk = &mut self.walk;
        walk.advance(&now.layout, &nothing, Some(until), |segment, leaf| {
            let spot = Spot {
                segment,
                from: leaf.offset + FRAME_BYTES,
                length: leaf.length,
                leaf: leaf.leaf,
                bytes: leaf.bytes,
            };
            taken.push((leaf.log, spot));
        })?;
        for (log, spot) in taken {
            if log == LogId::Directory {
                self.leaves.push_back(spot.read(&now.layout)?);
            }
            self.logs.entry(log).or_default().pending.push_back(spot);
        }
        self.sign(now)?;
        let (there, signed) = (self.size(LogId::Directory), now.head.size);
        if until == now.until && there < signed {
            return Err(tampered(LogId::Directory, there, Fault::Missing));
        }
        Ok(until != now.until)
    }

    fn next_stop(&self, now: &SignedNow) -> Result<Until, VerifyError> {
        let segment = self.walk.segment + 1;
        if segment >= now.until.segment {
            return Ok(now.until);
        }
        let next = now.layout.header(segment + 1)?;
        let offset = usize::try_from(next.previous_end).unwrap_or(usize::MAX);
        Ok(Until { segment, offset })
    }

    /// Takes what the leaves of the directory log sign, as far as `now.head` signs them.
    fn sign(&mut self, now: &SignedNow) -> Result<(), ArchiveError> {
        loop {
            let index = self.size(LogId::Directory);
            if index >= now.head.size {
                break;
            }
            let Some(leaf) = self.leaves.pop_front() else {
                return Ok(());
            };
            let point = directory_leaf(&leaf, index, &now.keys)?;
            self.grow(LogId::Directory, index + 1, index >= self.tiles.size)?;
            let at = Reached {
                size: index + 1,
                root: self.root(LogId::Directory),
            };
            let differs = |known: &Reached| known.size == at.size && known.root != at.root;
            if differs(&self.tiles) || differs(&self.cut) {
                return Err(ArchiveError::OtherLog);
            }
            self.grow(point.log, point.size, index >= self.tiles.size)?;
            if self.root(point.log) != point.root {
                return Err(tampered(
                    point.log,
                    point.size.saturating_sub(1),
                    Fault::Root,
                ));
            }
            if let Some(growth) = self.logs.get_mut(&point.log) {
                growth.note = leaf.into();
                if index < self.cut.size {
                    growth.cut = point.size;
                }
            }
        }
        if self.root(LogId::Directory) != now.head.root {
            let last = now.head.size.saturating_sub(1);
            return Err(tampered(LogId::Directory, last, Fault::Root));
        }
        if let Some(directory) = self.logs.get_mut(&LogId::Directory) {
            directory.cut = self.cut.size;
            directory.note = now.note.clone().into();
        }
        Ok(())
    }

    /// Takes the leaves of `log` up to `size`, and makes ready what they fill if it is to be handed out.
    fn grow(&mut self, log: LogId, size: u64, hand_out: bool) -> Result<(), ArchiveError> {
        let growth = self.logs.entry(log).or_default();
        while growth.tower.size() < size {
            let index = growth.tower.size();
            let spot = growth.pending.pop_front();
            let spot = spot.ok_or_else(|| tampered(log, index, Fault::Missing))?;
            growth.entries.push(spot);
            if growth.entries.len() == usize::from(FULL) {
                let entries = std::mem::take(&mut growth.entries);
                let bundle = Bundle::new(index >> 8, FULL).ok_or(TileError::Length)?;
                if hand_out {
                    self.ready.push_back(Piece::Bundle(log, bundle, entries));
                }
            }
            let ready = &mut self.ready;
            growth.tower.push(spot.leaf, |tile, bytes| {
                if hand_out {
                    let name = tile.to_string();
                    ready.push_back(Piece::Made(Object { log, name, bytes }));
                }
            })?;
        }
        Ok(())
    }

    /// Makes ready what completes a cut: all that is not full of every log that grew since the last one,
    /// with its checkpoint. The directory's own comes last.
    pub(super) fn make_cut(&mut self) -> Result<(), ArchiveError> {
        for (log, growth) in &mut self.logs {
            let size = growth.tower.size();
            if size <= growth.cut {
                continue;
            }
            if !growth.entries.is_empty() {
                let width = u16::try_from(growth.entries.len()).map_err(|_| TileError::Length)?;
                let bundle = Bundle::new(size >> 8, width).ok_or(TileError::Length)?;
                let entries = growth.entries.clone();
                self.ready.push_back(Piece::Bundle(*log, bundle, entries));
            }
            for (tile, bytes) in growth.tower.partial()? {
                let name = tile.to_string();
                let object = Object {
                    log: *log,
                    name,
                    bytes,
                };
                self.ready.push_back(Piece::Made(object));
            }
            if *log != LogId::Directory {
                self.ready.push_back(Piece::Made(Object {
                    log: *log,
                    name: names::checkpoint(size),
                    bytes: growth.note.clone(),
                }));
            }
            growth.cut = size;
        }
        Ok(())
    }

    /// Hands out objects of about `most` bytes in all; none once there are no more.
    pub(super) fn take(
        &mut self,
        layout: &Layout,
        most: usize,
    ) -> Result<Vec<Object>, ArchiveError> {
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while bytes < most {
            let Some(piece) = self.ready.pop_front() else {
                break;
            };
            let object = match piece {
                Piece::Made(object) => object,
                Piece::Bundle(log, bundle, spots) => read_bundle(layout, log, bundle, &spots)?,
            };
            bytes += object.bytes.len();
            objects.push(object);
        }
        Ok(objects)
    }

    /// From here on nothing up to `head` is handed out again.
    pub(super) fn reached(&mut self, head: &Checkpoint, cut: bool) {
        self.tiles = Reached::of(head);
        if cut {
            self.cut = self.tiles;
        }
    }

    /// The signed entries of each log, and how many of them are in full bundles.
    pub(super) fn sizes(&self) -> BTreeMap<LogId, u64> {
        let logs = self.logs.iter();
        logs.map(|(log, growth)| (*log, growth.tower.size()))
            .collect()
    }

    fn size(&self, log: LogId) -> u64 {
        self.logs.get(&log).map_or(0, |growth| growth.tower.size())
    }

    fn root(&self, log: LogId) -> Digest {
        let empty = Tower::default;
        let growth = self.logs.get(&log);
        growth.map_or_else(|| empty().root(), |growth| growth.tower.root())
    }
}

fn read_bundle(
    layout: &Layout,
    log: LogId,
    bundle: Bundle,
    spots: &[Spot],
) -> Result<Object, ArchiveError> {
    let mut entries = Vec::with_capacity(spots.len());
    for (at, spot) in (0..).zip(spots) {
        let index = bundle.start().unwrap_or(0) + at;
        if spot.bytes == LeafBytes::Pruned {
            return Err(ArchiveError::Pruned { log, index });
        }
        let entry = spot.read(layout)?;
        if leaf_hash(&entry) != spot.leaf {
            return Err(ArchiveError::Moved { log, index });
        }
        entries.push(entry);
    }
    Ok(Object {
        log,
        name: bundle.to_string(),
        bytes: write_bundle(&entries)?.into(),
    })
}

fn tampered(log: LogId, index: u64, fault: Fault) -> ArchiveError {
    VerifyError::tampered(Place::entry(log, index), fault).into()
}
