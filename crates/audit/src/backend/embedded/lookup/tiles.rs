//! Hash tiles: each holds up to 256 hashes of its level and every perfect subtree above them, so that a
//! proof is read and not computed.
//!
//! The hashes of a tile stand in the order in which their subtrees became full. So a tile only grows at its
//! end, and the hash at `level` over the leaves up to `last` stands at `2 last - ones(last) + level`.

use eonpro_core::event::Digest;
use redb::{AccessGuard, ReadOnlyTable, ReadableTable, Table};

use super::LookupError;
use super::schema::TileKey;
use crate::merkle::{Node, ProofError, node_hash};
use crate::proving::Nodes;

/// The levels of a tile, and of the step from a tile to the one above.
const HEIGHT: u8 = 8;
const FULL: u64 = 256;
const HASH: usize = 32;

fn key(log: u32, level: u8, tile: u64) -> TileKey {
    let mut key = [0; 13];
    let [l0, l1, l2, l3] = log.to_be_bytes();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tile.to_be_bytes();
    key.copy_from_slice(&[l0, l1, l2, l3, level, t0, t1, t2, t3, t4, t5, t6, t7]);
    key
}

/// Where in a tile the subtree `index` of `level` stands.
fn place(level: u8, index: u64) -> Option<usize> {
    let last = ((index + 1) << level) - 1;
    let before = 2 * last - u64::from(last.count_ones()) + u64::from(level);
    usize::try_from(before).ok()
}

fn hash_at(tile: &[u8], level: u8, index: u64) -> Option<Digest> {
    let at = place(level, index)? * HASH;
    let bytes = tile.get(at..at.checked_add(HASH)?)?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// Appends the hash `within` of a tile, and the subtrees that it makes full; the tile's root if it is full.
fn push(tile: &mut Vec<u8>, within: u64, hash: Digest) -> Result<Option<Digest>, LookupError> {
    tile.extend_from_slice(hash.as_bytes());
    let mut subtree = hash;
    for level in 0..within.trailing_ones() {
        let level = u8::try_from(level).unwrap_or(HEIGHT);
        let left = (within >> level) - 1;
        let left = hash_at(tile, level, left).ok_or(LookupError::Untrue)?;
        subtree = node_hash(&left, &subtree);
        tile.extend_from_slice(subtree.as_bytes());
    }
    Ok((within + 1 == FULL).then_some(subtree))
}

/// Appends `leaves` to the tiles of a log that has `size` leaves.
pub(super) fn append(
    table: &mut Table<'_, &'static TileKey, &'static [u8]>,
    log: u32,
    size: u64,
    leaves: &[Digest],
) -> Result<(), LookupError> {
    let (mut size, mut hashes) = (size, leaves.to_vec());
    for level in 0..=HEIGHT {
        if hashes.is_empty() {
            break;
        }
        let mut above = Vec::new();
        let mut rest = hashes.as_slice();
        let before = size;
        while !rest.is_empty() {
            let within = size % FULL;
            let many = usize::try_from(FULL - within).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at_checked(many).unwrap_or((rest, &[]));
            rest = after;
            let key = key(log, level, size / FULL);
            let mut tile = stored(table, &key, within)?;
            for (at, hash) in (within..).zip(part) {
                above.extend(push(&mut tile, at, *hash)?);
            }
            table.insert(&key, tile.as_slice())?;
            size += part.len() as u64;
        }
        (size, hashes) = (before / FULL, above);
    }
    Ok(())
}

/// The bytes of a tile that has `within` hashes so far.
fn stored(
    table: &impl ReadableTable<&'static TileKey, &'static [u8]>,
    key: &TileKey,
    within: u64,
) -> Result<Vec<u8>, LookupError> {
    if within == 0 {
        return Ok(Vec::new());
    }
    let tile = table.get(key)?.ok_or(LookupError::Untrue)?;
    let hashes = 2 * within - u64::from(within.count_ones());
    if tile.value().len() as u64 != hashes * HASH as u64 {
        return Err(LookupError::Untrue);
    }
    Ok(tile.value().to_vec())
}

/// The tree of a log, read from its tiles. Nothing in it is to be believed before it is checked.
pub(in super::super) struct Tiles {
    table: ReadOnlyTable<&'static TileKey, &'static [u8]>,
    log: u32,
    /// The tiles in use: few, since proofs of neighbours share them.
    kept: Vec<(TileKey, AccessGuard<'static, &'static [u8]>)>,
}

impl std::fmt::Debug for Tiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiles").finish_non_exhaustive()
    }
}

/// How many tiles are kept.
const KEPT: usize = 16;

impl Tiles {
    pub(super) fn new(table: ReadOnlyTable<&'static TileKey, &'static [u8]>, log: u32) -> Self {
        Self {
            table,
            log,
            kept: Vec::new(),
        }
    }

    /// The hash of `node`.
    fn hash(&mut self, node: Node) -> Result<Digest, LookupError> {
        let (level, height) = (node.level() / HEIGHT, node.level() % HEIGHT);
        let tile = node.index() >> (HEIGHT - height);
        let within = node.index() & ((FULL >> height) - 1);
        let key = key(self.log, level, tile);
        let at = match self.kept.iter().position(|(kept, _)| *kept == key) {
            Some(at) => at,
            None => {
                let tile = self.table.get(&key)?.ok_or(LookupError::Untrue)?;
                if self.kept.len() >= KEPT {
                    self.kept.clear();
                }
                self.kept.push((key, tile));
                self.kept.len() - 1
            }
        };
        let kept = self.kept.get(at).ok_or(LookupError::Untrue)?;
        hash_at(kept.1.value(), height, within).ok_or(LookupError::Untrue)
    }

    /// The hash of the leaf at `index`.
    pub(in super::super) fn leaf(&mut self, index: u64) -> Result<Digest, LookupError> {
        self.hash(Node::new(0, index).ok_or(LookupError::Untrue)?)
    }
}

impl Nodes for Tiles {
    type Error = LookupError;

    fn node(&mut self, node: Node) -> Result<Digest, LookupError> {
        self.hash(node)
    }
}

impl From<ProofError> for LookupError {
    /// What follows from the tiles does not lead to the root.
    fn from(_: ProofError) -> Self {
        Self::Untrue
    }
}
