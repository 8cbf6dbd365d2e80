//! The tiles of one log as its leaves build them up.

use bytes::Bytes;
use eonpro_core::event::Digest;

use crate::merkle::CompactRange;
use crate::tlog::{FULL, Tile, TileError, TileHashes};

/// The levels of tiles in a tree of 64-bit size.
const LEVELS: usize = 8;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tower {
    tree: CompactRange,
    /// The hashes of the tile that is not full yet, and how many full ones come before, by level.
    levels: [(Vec<Digest>, u64); LEVELS],
}

impl Tower {
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    pub(super) fn root(&self) -> Digest {
        self.tree.root()
    }

    /// Appends a leaf, and gives `full` the tiles that it fills, the lowest first.
    pub(super) fn push(
        &mut self,
        leaf: Digest,
        mut full: impl FnMut(Tile, Bytes),
    ) -> Result<(), TileError> {
        self.tree.append(leaf);
        let mut above = Some(leaf);
        for (level, (hashes, before)) in (0..).zip(&mut self.levels) {
            let Some(hash) = above.take() else { break };
            hashes.push(hash);
            if hashes.len() < usize::from(FULL) {
                break;
            }
            let tile = Tile::new(level, *before, FULL).ok_or(TileError::Length)?;
            let hashes = TileHashes::new(std::mem::take(hashes))?;
            *before += 1;
            above = hashes.root();
            full(tile, hashes.to_bytes().into());
        }
        Ok(())
    }

    /// The tiles that are not full.
    pub(super) fn partial(&self) -> Result<Vec<(Tile, Bytes)>, TileError> {
        let mut tiles = Vec::new();
        for (level, (hashes, before)) in (0..).zip(&self.levels) {
            if hashes.is_empty() {
                continue;
            }
            let width = u16::try_from(hashes.len()).map_err(|_| TileError::Length)?;
            let tile = Tile::new(level, *before, width).ok_or(TileError::Length)?;
            let hashes = TileHashes::new(hashes.clone())?;
            tiles.push((tile, hashes.to_bytes().into()));
        }
        Ok(tiles)
    }
}
