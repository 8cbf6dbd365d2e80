//! Our proofs and tiles against those of the crate tlog_tiles, a port of Go's. It stands here because
//! it brings older versions of packages that the libraries have in newer ones.

use std::collections::HashMap;

use eonpro_audit::merkle::{Plan, leaf_hash, verify_consistency, verify_inclusion};
use eonpro_audit::tlog::{Tile, TileReader, tiles_added};
use eonpro_core::event::Digest;
use tlog_tiles::{Hash, HashReader, TileHashReader};

/// Their storage: all perfect subtrees in their order.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let at = |index: &u64| self.0[usize::try_from(*index).unwrap()];
        Ok(indexes.iter().map(at).collect())
    }
}

/// Their tiles on our paths.
struct Files(HashMap<String, Vec<u8>>);

impl tlog_tiles::TileReader for Files {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.0[&path(tile)].clone()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Theirs names the height, as Go's checksum database does.
fn path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn stored(size: u64) -> Stored {
    let mut all = Stored(Vec::new());
    for index in 0..size {
        let more = tlog_tiles::stored_hashes(index, &entry(index), &all).unwrap();
        all.0.extend(more);
    }
    all
}

fn digest(hash: &Hash) -> Digest {
    Digest::from_bytes(hash.0)
}

fn hashes(proof: &[Digest]) -> Vec<Hash> {
    proof.iter().map(|hash| Hash(*hash.as_bytes())).collect()
}

/// Our proof out of their storage.
fn ours(plan: &Plan, all: &Stored) -> Vec<Digest> {
    let at = |level, index| tlog_tiles::stored_hash_index(level, index);
    plan.read(|node| {
        let hash = all.0.get(usize::try_from(at(node.level(), node.index())).unwrap());
        hash.map(digest).ok_or(node)
    })
    .unwrap()
}

#[test]
fn proofs_are_theirs() {
    let all = stored(300);
    let root = |size| tlog_tiles::tree_hash(size, &all).unwrap();
    for size in (1..=70).chain([127, 128, 129, 255, 256, 257, 300]) {
        for at in 0..size {
            let proof = ours(&Plan::inclusion(at, size).unwrap(), &all);
            let theirs = tlog_tiles::prove_record(size, at, &all).unwrap();
            assert_eq!(hashes(&proof), theirs, "{at} of {size}");
            let leaf = leaf_hash(&entry(at));
            let verified = verify_inclusion(&proof, at, &leaf, size, &digest(&root(size)));
            assert_eq!(verified, Ok(()));
            let leaf = Hash(*leaf.as_bytes());
            tlog_tiles::check_record(&theirs, size, root(size), at, leaf).unwrap();

            let old = at + 1;
            let proof = ours(&Plan::consistency(old, size).unwrap(), &all);
            let theirs = tlog_tiles::prove_tree(size, old, &all).unwrap();
            assert_eq!(hashes(&proof), theirs, "{old} to {size}");
            let (before, after) = (digest(&root(old)), digest(&root(size)));
            let verified = verify_consistency(&proof, old, &before, size, &after);
            assert_eq!(verified, Ok(()));
            tlog_tiles::check_tree(&theirs, size, root(size), old, root(old)).unwrap();
        }
    }
}

#[test]
fn a_growing_tree_adds_the_tiles_that_they_add() {
    let sizes = [0, 1, 255, 256, 257, 700, 65_535, 65_536, 65_537, 70_000, 70_001];
    for from in sizes {
        for to in sizes.into_iter().filter(|to| *to >= from) {
            let ours = tiles_added(from, to).map(|tile| tile.to_string());
            let theirs = tlog_tiles::Tile::new_tiles(8, from, to);
            let theirs = theirs.iter().map(path);
            let (mut ours, mut theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
            (ours.sort(), theirs.sort());
            assert_eq!(ours, theirs, "{from} to {to}");
        }
    }
    for index in [0, 999, 1000, 1_234_067, u64::MAX] {
        for width in [1, 255, 256] {
            let theirs = tlog_tiles::Tile::new(8, 3, index, u32::from(width), false);
            let ours = Tile::new(3, index, width).unwrap();
            assert_eq!(ours.to_string(), path(&theirs));
        }
    }
}

#[test]
fn their_reader_reads_our_tiles_and_ours_reads_theirs() {
    let size = 66_000;
    let all = stored(size);
    let root = tlog_tiles::tree_hash(size, &all).unwrap();
    let tiles = tlog_tiles::Tile::new_tiles(8, 0, size);
    let read = |tile: &tlog_tiles::Tile| (path(tile), tile.read_data(&all).unwrap());
    let files = Files(tiles.iter().map(read).collect());
    let theirs = TileHashReader::new(size, root, &files);
    let fetch = |tile: Tile| files.0.get(&tile.to_string()).ok_or(tile);
    let mut ours = TileReader::open(size, &digest(&root), fetch).unwrap();
    for at in [0, 1, 255, 256, 300, 65_535, 65_536, 65_999] {
        let proof = ours.inclusion(at).unwrap();
        let found = tlog_tiles::prove_record(size, at, &theirs).unwrap();
        assert_eq!(hashes(&proof), found);
        let proof = ours.consistency(at + 1).unwrap();
        let found = tlog_tiles::prove_tree(size, at + 1, &theirs).unwrap();
        assert_eq!(hashes(&proof), found);
    }
}
