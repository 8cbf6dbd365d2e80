//! A tree read from tiles that nobody has to be trusted for: each is checked before it is used.
//!
//! The partial tiles at the right edge hold exactly the perfect subtrees that the root is made of: they
//! are checked against it first. The root of every full tile stands in the tile above it.

use std::collections::HashMap;
use std::sync::Arc;

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use super::contents::{TileError, TileHashes, parse_bundle};
use super::tile::{Bundle, HEIGHT, Tile};
use crate::merkle::{Node, Plan, ProofError, leaf_hash};

/// How many verified full tiles are kept, of 16 KiB each.
const KEPT: usize = 64;

/// A tree could not be read from its tiles.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TileReadError<E> {
    /// A tile could not be had.
    #[error("tile could not be read")]
    Fetch(#[source] E),
    /// A tile is not what it should be.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// There is no such proof in this tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl<E: std::error::Error + 'static> Classify for TileReadError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Fetch(_) => ErrorKind::Unavailable,
            Self::Tile(error) => error.kind(),
            Self::Proof(_) => ErrorKind::InvalidInput,
        }
    }
}

/// Reads nodes, proofs and entries of one tree from its tiles.
///
/// `F` brings the bytes of a tile. Where it is asked for a partial tile that is no longer there, it may
/// bring those of the full one.
#[derive(Debug)]
pub struct TileReader<F> {
    size: u64,
    fetch: F,
    /// The partial tiles of the right edge, one for each level that has one.
    edge: HashMap<Tile, Arc<TileHashes>>,
    /// Full tiles that were verified.
    full: HashMap<Tile, Arc<TileHashes>>,
}

impl<F, B, E> TileReader<F>
where
    F: FnMut(Tile) -> Result<B, E>,
    B: AsRef<[u8]>,
{
    /// The tree of `size` leaves with `root`, which the caller trusts, such as that of a verified
    /// checkpoint. Reads the partial tiles of its right edge, at most eight.
    ///
    /// # Errors
    /// [`TileReadError`]; [`TileError::Root`] if they do not lead to the root.
    pub fn open(size: u64, root: &Digest, fetch: F) -> Result<Self, TileReadError<E>> {
        let mut reader = Self {
            size,
            fetch,
            edge: HashMap::new(),
            full: HashMap::new(),
        };
        let plan = Plan::root(size);
        for node in plan.nodes() {
            let tile = Tile::of_node(*node, size).ok_or(TileError::NotInTree)?;
            if !reader.edge.contains_key(&tile) {
                let hashes = reader.bring(tile)?;
                reader.edge.insert(tile, hashes);
            }
        }
        let peak = |node| {
            let tile = Tile::of_node(node, size).ok_or(TileError::NotInTree)?;
            let hashes = reader.edge.get(&tile).ok_or(TileError::NotInTree)?;
            subtree(hashes, node).ok_or(TileError::NotInTree)
        };
        if plan.read(peak)?.first() != Some(root) {
            return Err(TileError::Root.into());
        }
        Ok(reader)
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash of `node`. Reads at most eight tiles.
    ///
    /// # Errors
    /// [`TileReadError`]; [`TileError::Root`] if a tile is not of this tree.
    pub fn node(&mut self, node: Node) -> Result<Digest, TileReadError<E>> {
        let tile = Tile::of_node(node, self.size).ok_or(TileError::NotInTree)?;
        let hashes = self.tile(tile)?;
        Ok(subtree(&hashes, node).ok_or(TileError::NotInTree)?)
    }

    /// The proof that the leaf at `index` is in the tree.
    ///
    /// # Errors
    /// [`TileReadError`].
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Digest>, TileReadError<E>> {
        Plan::inclusion(index, self.size)?.read(|node| self.node(node))
    }

    /// The proof that the tree begins with the tree of its first `old` leaves.
    ///
    /// # Errors
    /// [`TileReadError`].
    pub fn consistency(&mut self, old: u64) -> Result<Vec<Digest>, TileReadError<E>> {
        Plan::consistency(old, self.size)?.read(|node| self.node(node))
    }

    /// The entries of `bundle` in `bytes`, each of which is the leaf at its index. A partial bundle that
    /// the tree has outgrown will do.
    ///
    /// # Errors
    /// [`TileReadError`]; [`TileError::Root`] if an entry is another one.
    pub fn entries<'a>(
        &mut self,
        bundle: Bundle,
        bytes: &'a [u8],
    ) -> Result<Vec<&'a [u8]>, TileReadError<E>> {
        let tile = Tile::in_tree(0, bundle.index(), self.size)
            .filter(|tile| tile.width() >= bundle.width())
            .ok_or(TileError::NotInTree)?;
        let entries = parse_bundle(bundle, bytes)?;
        let hashes = self.tile(tile)?;
        for (index, entry) in entries.iter().enumerate() {
            if hashes.subtree(0, index) != Some(leaf_hash(entry)) {
                return Err(TileError::Root.into());
            }
        }
        Ok(entries)
    }

    /// The verified hashes of `tile`, which must be as it is in this tree.
    #[cfg(feature = "archive")]
    pub(crate) fn hashes(&mut self, tile: Tile) -> Result<Arc<TileHashes>, TileReadError<E>> {
        match Tile::in_tree(tile.level(), tile.index(), self.size) == Some(tile) {
            true => self.tile(tile),
            false => Err(TileError::NotInTree.into()),
        }
    }

    /// A verified tile of this tree.
    fn tile(&mut self, tile: Tile) -> Result<Arc<TileHashes>, TileReadError<E>> {
        // Up to one that is known to be good, then down again, each checked against the one above.
        let mut way = Vec::new();
        let mut at = tile;
        let mut known = loop {
            if let Some(known) = self.edge.get(&at).or_else(|| self.full.get(&at)) {
                break Arc::clone(known);
            }
            way.push(at);
            at = at.above(self.size).ok_or(TileError::NotInTree)?;
        };
        while let Some(tile) = way.pop() {
            let hashes = self.bring(tile)?;
            let place = usize::from(tile.index().to_le_bytes()[0]);
            if hashes.root().is_none() || hashes.root() != known.subtree(0, place) {
                return Err(TileError::Root.into());
            }
            if self.full.len() >= KEPT {
                self.full.clear();
            }
            self.full.insert(tile, Arc::clone(&hashes));
            known = hashes;
        }
        Ok(known)
    }

    /// A tile that is not verified yet.
    fn bring(&mut self, tile: Tile) -> Result<Arc<TileHashes>, TileReadError<E>> {
        let bytes = (self.fetch)(tile).map_err(TileReadError::Fetch)?;
        let mut bytes = bytes.as_ref();
        let wanted = 32 * usize::from(tile.width());
        if bytes.len() == 32 * usize::from(tile.full().width()) {
            bytes = bytes.get(..wanted).unwrap_or(bytes);
        }
        Ok(Arc::new(TileHashes::parse(tile, bytes)?))
    }
}

/// The hash of `node` in the tile that holds it.
fn subtree(hashes: &TileHashes, node: Node) -> Option<Digest> {
    let height = node.level() % HEIGHT;
    let within = (u64::from(super::tile::FULL) >> height) - 1;
    let index = usize::try_from(node.index() & within).ok()?;
    hashes.subtree(height, index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use crate::merkle::{CompactRange, verify_consistency, verify_inclusion};
    use crate::tlog::tile::{bundles_added, tiles_added, tiles_needed};
    use crate::tlog::write_bundle;
    use proptest::prelude::*;

    type Files = HashMap<String, Vec<u8>>;

    fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    fn root(size: u64) -> Digest {
        let mut range = CompactRange::new();
        (0..size).for_each(|index| range.append(leaf_hash(&entry(index))));
        range.root()
    }

    /// All tiles of a log, built level by level from the tiles below.
    fn files(size: u64) -> Files {
        let mut files = Files::new();
        let mut level: Vec<Digest> = (0..size).map(|index| leaf_hash(&entry(index))).collect();
        for number in 0..8 {
            let mut above = Vec::new();
            for (index, chunk) in level.chunks(256).enumerate() {
                let tile = Tile::in_tree(number, index as u64, size).unwrap();
                let hashes = TileHashes::new(chunk.to_vec()).unwrap();
                files.insert(tile.to_string(), hashes.to_bytes());
                above.extend(hashes.root());
            }
            level = above;
        }
        files
    }

    type Reader<'a> = TileReader<Box<dyn FnMut(Tile) -> Result<Vec<u8>, String> + 'a>>;

    fn reader(files: &Files, size: u64) -> Result<Reader<'_>, TileReadError<String>> {
        let fetch = |tile: Tile| {
            files
                .get(&tile.to_string())
                .cloned()
                .ok_or(tile.to_string())
        };
        TileReader::open(size, &root(size), Box::new(fetch))
    }

    #[test]
    fn proofs_from_tiles_verify_on_every_side_of_the_edges() {
        for size in [
            1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000,
        ] {
            let files = files(size);
            assert_eq!(files.len(), tiles_added(0, size).count());
            let mut reader = reader(&files, size).unwrap();
            let places = [0, 1, 255, 256, 257, size / 2, size - 2.min(size), size - 1];
            for index in places.into_iter().filter(|index| *index < size) {
                let proof = reader.inclusion(index).unwrap();
                let leaf = leaf_hash(&entry(index));
                let verified = verify_inclusion(&proof, index, &leaf, size, &root(size));
                assert_eq!(verified, Ok(()), "{index} of {size}");
            }
            for old in [1, 2, 255, 256, 257, size / 2, size - 1, size] {
                if (1..=size).contains(&old) {
                    let proof = reader.consistency(old).unwrap();
                    let verified = verify_consistency(&proof, old, &root(old), size, &root(size));
                    assert_eq!(verified, Ok(()), "{old} to {size}");
                }
            }
        }
    }

    #[test]
    fn a_tree_without_leaves_needs_no_tile() {
        let files = Files::new();
        let mut reader = reader(&files, 0).unwrap();
        assert!(matches!(
            reader.inclusion(0),
            Err(TileReadError::Proof(ProofError::Size))
        ));
        assert!(matches!(
            reader.node(Node::new(0, 0).unwrap()),
            Err(TileReadError::Tile(TileError::NotInTree))
        ));
    }

    #[test]
    fn every_changed_tile_is_refused_by_whoever_reads_it() {
        let size = 66_000;
        let good = files(size);
        let index = 300;
        // Index 300 is under tile/0/001, tile/1/000 (full) and tile/2/000.p/1.
        for path in [
            "tile/0/001",
            "tile/1/000",
            "tile/1/001.p/1",
            "tile/2/000.p/1",
        ] {
            for at in [0, 31] {
                let mut bad = good.clone();
                bad.get_mut(path).unwrap()[at] ^= 1;
                let read = reader(&bad, size).and_then(|mut reader| reader.inclusion(index));
                assert!(
                    matches!(read, Err(TileReadError::Tile(TileError::Root))),
                    "{path} at {at}: {read:?}"
                );
            }
            let mut cut = good.clone();
            cut.get_mut(path).unwrap().pop();
            let read = reader(&cut, size).and_then(|mut reader| reader.inclusion(index));
            assert!(matches!(read, Err(TileReadError::Tile(TileError::Length))));
            let mut gone = good.clone();
            gone.remove(path);
            let read = reader(&gone, size).and_then(|mut reader| reader.inclusion(index));
            assert!(matches!(read, Err(TileReadError::Fetch(missing)) if missing == path));
        }
        let mut swapped = good.clone();
        let other = swapped["tile/0/002"].clone();
        swapped.insert("tile/0/001".to_owned(), other);
        let read = reader(&swapped, size).and_then(|mut reader| reader.inclusion(index));
        assert!(matches!(read, Err(TileReadError::Tile(TileError::Root))));
    }

    #[test]
    fn another_root_opens_nothing() {
        let files = files(300);
        let fetch = |tile: Tile| Ok::<_, Infallible>(files[&tile.to_string()].clone());
        let opened = TileReader::open(300, &root(299), fetch);
        assert!(matches!(opened, Err(TileReadError::Tile(TileError::Root))));
    }

    #[test]
    fn the_full_tile_stands_in_for_a_partial_one() {
        let files = files(1024);
        let fetch = |tile: Tile| files.get(&tile.full().to_string()).cloned().ok_or(());
        // Level 1 has no full tile at 1024 leaves: serve a padded one, whose end nobody may read.
        let fetch = |tile: Tile| {
            if tile.level() == 0 {
                return fetch(tile);
            }
            let mut bytes = files["tile/1/000.p/4"].clone();
            bytes.resize(8192, 0);
            Ok(bytes)
        };
        let mut reader = TileReader::open(700, &root(700), fetch).unwrap();
        let proof = reader.inclusion(600).unwrap();
        let leaf = leaf_hash(&entry(600));
        let verified = verify_inclusion(&proof, 600, &leaf, 700, &root(700));
        assert_eq!(verified, Ok(()));
    }

    #[test]
    fn entries_are_those_of_the_leaves() {
        let size = 600;
        let files = files(size);
        let mut reader = reader(&files, size).unwrap();
        for bundle in bundles_added(0, size) {
            let start = bundle.start().unwrap();
            let end = start + u64::from(bundle.width());
            let entries: Vec<Vec<u8>> = (start..end).map(entry).collect();
            let bytes = write_bundle(&entries).unwrap();
            assert_eq!(reader.entries(bundle, &bytes).unwrap(), entries);
            let mut changed = entries;
            changed[3].push(b'!');
            let bytes = write_bundle(&changed).unwrap();
            assert!(matches!(
                reader.entries(bundle, &bytes),
                Err(TileReadError::Tile(TileError::Root))
            ));
        }
        let early = Bundle::new(1, 3).unwrap();
        let entries: Vec<Vec<u8>> = (256..259).map(entry).collect();
        let bytes = write_bundle(&entries).unwrap();
        assert_eq!(reader.entries(early, &bytes).unwrap(), entries);
        for outside in [Bundle::new(2, 256).unwrap(), Bundle::new(3, 1).unwrap()] {
            assert!(matches!(
                reader.entries(outside, &bytes),
                Err(TileReadError::Tile(TileError::NotInTree))
            ));
        }
    }

    #[test]
    fn the_tiles_that_are_named_first_are_those_that_are_read() {
        for size in [1, 256, 300, 65_536, 66_000] {
            let files = files(size);
            for index in [0, 200, 256, size / 2, size - 1] {
                let Ok(plan) = Plan::inclusion(index, size) else {
                    continue;
                };
                let needed = tiles_needed(plan.nodes(), size).unwrap();
                let mut read = BTreeSet::new();
                let fetch = |tile: Tile| {
                    read.insert(tile);
                    files.get(&tile.to_string()).cloned().ok_or(tile)
                };
                let mut reader = TileReader::open(size, &root(size), fetch).unwrap();
                reader.inclusion(index).unwrap();
                assert_eq!(read, needed, "{index} of {size}");
            }
        }
        assert_eq!(tiles_needed(&[Node::new(0, 5).unwrap()], 5), None);
        assert_eq!(tiles_needed(&[], 0), Some(BTreeSet::new()));
    }

    #[test]
    fn a_long_walk_keeps_few_tiles() {
        let size = 30_000;
        let files = files(size);
        let mut reader = reader(&files, size).unwrap();
        for index in (0..size).step_by(256) {
            reader.inclusion(index).unwrap();
            assert!(reader.full.len() <= KEPT);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_leaf_of_any_log_is_proven(size in 1_u64..2_000, at: prop::sample::Index) {
            let files = files(size);
            let mut reader = reader(&files, size).unwrap();
            let index = at.index(usize::try_from(size).unwrap()) as u64;
            let proof = reader.inclusion(index).unwrap();
            let leaf = leaf_hash(&entry(index));
            let verified = verify_inclusion(&proof, index, &leaf, size, &root(size));
            prop_assert_eq!(verified, Ok(()));
        }
    }
}
