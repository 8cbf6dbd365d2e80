//! What is in tiles and bundles: bytes to hashes and entries, and back. C2SP tlog-tiles.

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use super::tile::{Bundle, FULL, HEIGHT, Tile};
use crate::merkle::node_hash;

/// The most bytes of one entry: its length is written in 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;
const HASH_BYTES: usize = 32;

/// Bytes are no tile or bundle.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TileError {
    /// They are shorter or longer than their name says.
    #[error("tile has the wrong length")]
    Length,
    /// An entry is longer than 65,535 bytes.
    #[error("entry is too long for a bundle")]
    EntryTooLong,
    /// There is no such tile, bundle or node in the tree.
    #[error("tree has no such tile")]
    NotInTree,
    /// They are not what the root of the tree demands.
    #[error("tile is not of this tree")]
    Root,
}

impl Classify for TileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::EntryTooLong | Self::NotInTree => ErrorKind::InvalidInput,
            Self::Length | Self::Root => ErrorKind::Integrity,
        }
    }
}

/// The hashes of a tile, with all perfect subtrees above them within the tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileHashes {
    /// By height, the tile's own hashes first. Never more than nine, nor more than 511 hashes.
    heights: Vec<Vec<Digest>>,
}

impl TileHashes {
    /// From the hashes themselves, 1 to 256 of them.
    ///
    /// # Errors
    /// [`TileError::Length`].
    pub fn new(hashes: Vec<Digest>) -> Result<Self, TileError> {
        if hashes.is_empty() || hashes.len() > usize::from(FULL) {
            return Err(TileError::Length);
        }
        let mut heights = vec![hashes];
        for _ in 0..HEIGHT {
            let below = heights.last().map(Vec::as_slice).unwrap_or_default();
            let (pairs, _) = below.as_chunks::<2>();
            if pairs.is_empty() {
                break;
            }
            let parents = pairs.iter().map(|[left, right]| node_hash(left, right));
            heights.push(parents.collect());
        }
        Ok(Self { heights })
    }

    /// Reads the bytes of `tile`: 32 for each of its hashes.
    ///
    /// # Errors
    /// [`TileError::Length`].
    pub fn parse(tile: Tile, bytes: &[u8]) -> Result<Self, TileError> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.len() != usize::from(tile.width()) {
            return Err(TileError::Length);
        }
        Self::new(hashes.iter().copied().map(Digest::from_bytes).collect())
    }

    /// The bytes of the tile.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes = self.heights.first().into_iter().flatten();
        hashes.flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// The hash over the `2^height` hashes of the tile from `index * 2^height` on, if all are there.
    /// Height 0 are the tile's own, height 8 is the root of a full tile.
    #[must_use]
    pub fn subtree(&self, height: u8, index: usize) -> Option<Digest> {
        let subtrees = self.heights.get(usize::from(height))?;
        subtrees.get(index).copied()
    }

    /// The root of a full tile: its hash in the tile above.
    #[must_use]
    pub fn root(&self) -> Option<Digest> {
        self.subtree(HEIGHT, 0)
    }
}

/// The bytes of a bundle of `entries`, 1 to 256 of them: each after its length, 16 bits, big endian.
///
/// # Errors
/// [`TileError::EntryTooLong`], or [`TileError::Length`] of another number of entries.
pub fn write_bundle<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    if entries.is_empty() || entries.len() > usize::from(FULL) {
        return Err(TileError::Length);
    }
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// Reads the bytes of `bundle` into its entries. Nothing about them is verified: see
/// [`TileReader::entries`](super::TileReader::entries).
///
/// # Errors
/// [`TileError::Length`] if there are not exactly as many entries as the name says.
pub fn parse_bundle(bundle: Bundle, bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(usize::from(bundle.width()));
    let mut rest = bytes;
    for _ in 0..bundle.width() {
        let (length, after) = rest.split_first_chunk().ok_or(TileError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let entry;
        (entry, rest) = after.split_at_checked(length).ok_or(TileError::Length)?;
        entries.push(entry);
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(TileError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{CompactRange, leaf_hash};

    fn hashes(count: u8) -> Vec<Digest> {
        (0..count).map(|at| leaf_hash(&[at])).collect()
    }

    #[test]
    fn a_tile_is_as_many_hashes_as_its_name_says() {
        let tile = Tile::new(0, 7, 5).unwrap();
        let contents = TileHashes::new(hashes(5)).unwrap();
        let bytes = contents.to_bytes();
        assert_eq!(bytes.len(), 160);
        assert_eq!(TileHashes::parse(tile, &bytes), Ok(contents));
        for bad in [
            &bytes[..159],
            &bytes[..128],
            &[bytes.as_slice(), &[0]].concat(),
            &[],
        ] {
            assert_eq!(TileHashes::parse(tile, bad), Err(TileError::Length));
        }
        assert_eq!(TileHashes::new(Vec::new()), Err(TileError::Length));
        let many = vec![Digest::of(b""); 257];
        assert_eq!(TileHashes::new(many), Err(TileError::Length));
    }

    #[test]
    fn the_subtrees_of_a_tile_are_those_of_the_tree_over_it() {
        let all: Vec<Digest> = (0..=255).map(|at| leaf_hash(&[at])).collect();
        let tile = TileHashes::new(all.clone()).unwrap();
        for height in 0..=8_u8 {
            let width = 1_usize << height;
            for (index, below) in all.chunks(width).enumerate() {
                let mut range = CompactRange::new();
                below.iter().for_each(|hash| range.append(*hash));
                assert_eq!(tile.subtree(height, index), Some(range.root()));
            }
            assert_eq!(tile.subtree(height, 256 >> height), None);
        }
        assert_eq!(tile.root(), tile.subtree(8, 0));
        assert_eq!(tile.to_bytes().len(), 8192);
        let partial = TileHashes::new(all[..255].to_vec()).unwrap();
        assert_eq!(partial.root(), None);
        assert_eq!(partial.subtree(7, 0), tile.subtree(7, 0));
        assert_eq!(partial.subtree(7, 1), None);
    }

    #[test]
    fn a_bundle_parses_to_its_entries_and_to_nothing_else() {
        let longest = vec![7; MAX_ENTRY_BYTES];
        let entries = [b"".as_slice(), b"entry", &longest];
        let bytes = write_bundle(&entries).unwrap();
        assert_eq!(&bytes[..9], [0, 0, 0, 5, b'e', b'n', b't', b'r', b'y']);
        let named = |width| Bundle::new(0, width).unwrap();
        assert_eq!(parse_bundle(named(3), &bytes), Ok(entries.to_vec()));
        let cut = &bytes[..bytes.len() - 1];
        let longer = [bytes.as_slice(), &[0]].concat();
        for (width, bad) in [
            (2, &*bytes),
            (4, &*bytes),
            (3, cut),
            (3, &*longer),
            (1, &[]),
        ] {
            assert_eq!(parse_bundle(named(width), bad), Err(TileError::Length));
        }
    }

    #[test]
    fn what_fits_no_bundle_is_not_written() {
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        assert_eq!(write_bundle(&[&long]), Err(TileError::EntryTooLong));
        assert_eq!(write_bundle(&[[]; 257]), Err(TileError::Length));
        assert_eq!(write_bundle::<&[u8]>(&[]), Err(TileError::Length));
        assert_eq!(write_bundle(&[[]; 256]).map(|bytes| bytes.len()), Ok(512));
    }
}
