//! A tile reader over a source that has to be waited for: what it asks for is fetched, and it is asked again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eonpro_core::event::Digest;

use super::error::ArchiveError;
use super::source::TileSource;
use super::verify::fetch_tile;
use crate::log_id::LogId;
use crate::merkle::{ProofError, verify_consistency};
use crate::tlog::{Bundle, Tile, TileError, TileReadError, TileReader};

/// A tile is needed that is not at hand.
#[derive(Debug, thiserror::Error)]
#[error("tile is needed")]
struct Need(Tile);

type Fetch = Box<dyn FnMut(Tile) -> Result<Bytes, Need> + Send>;
type AtHand = Arc<Mutex<HashMap<Tile, Bytes>>>;

/// The tree of a signed head. Everything it gives was verified against that head.
pub(super) struct LazyTiles<'a> {
    source: &'a dyn TileSource,
    log: LogId,
    at_hand: AtHand,
    reader: TileReader<Fetch>,
}

impl fmt::Debug for LazyTiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTiles").finish_non_exhaustive()
    }
}

fn fetch(at_hand: &AtHand) -> Fetch {
    let at_hand = Arc::clone(at_hand);
    Box::new(move |tile| {
        let tiles = at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.get(&tile).cloned().ok_or(Need(tile))
    })
}

impl<'a> LazyTiles<'a> {
    /// The tree of `log` with `size` leaves and `root`.
    pub(super) async fn open(
        source: &'a dyn TileSource,
        log: LogId,
        size: u64,
        root: &Digest,
    ) -> Result<Self, ArchiveError> {
        let at_hand = AtHand::default();
        let reader = loop {
            match TileReader::open(size, root, fetch(&at_hand)) {
                Ok(reader) => break reader,
                Err(error) => bring(source, log, &at_hand, error).await?,
            }
        };
        Ok(Self {
            source,
            log,
            at_hand,
            reader,
        })
    }

    async fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut TileReader<Fetch>) -> Result<T, TileReadError<Need>>,
    ) -> Result<T, ArchiveError> {
        loop {
            match question(&mut self.reader) {
                Ok(answer) => {
                    // The reader keeps what it needs of them.
                    let mut tiles = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
                    tiles.clear();
                    return Ok(answer);
                }
                Err(error) => bring(self.source, self.log, &self.at_hand, error).await?,
            }
        }
    }

    /// Whether the tree begins with the `size` leaves that have `root`. The tree's own tiles are sound in
    /// either case; the hashes are the proof.
    pub(super) async fn begins_with(
        &mut self,
        size: u64,
        root: &Digest,
        own_root: &Digest,
    ) -> Result<Result<(), Vec<Digest>>, ArchiveError> {
        if size == 0 {
            return Ok(Ok(()));
        }
        let proof = self.ask(|reader| reader.consistency(size)).await?;
        match verify_consistency(&proof, size, root, self.reader.size(), own_root) {
            Ok(()) => Ok(Ok(())),
            Err(ProofError::Root) => Ok(Err(proof)),
            Err(error) => Err(not_in_tree(error)),
        }
    }

    /// The bytes of a tile of the tree.
    pub(super) async fn tile(&mut self, tile: Tile) -> Result<Bytes, ArchiveError> {
        let hashes = self.ask(|reader| reader.hashes(tile)).await?;
        Ok(hashes.to_bytes().into())
    }

    /// The entries in the bytes of a bundle of the tree.
    pub(super) async fn entries<'b>(
        &mut self,
        bundle: Bundle,
        bytes: &'b [u8],
    ) -> Result<Vec<&'b [u8]>, ArchiveError> {
        self.ask(|reader| reader.entries(bundle, bytes)).await
    }
}

async fn bring(
    source: &dyn TileSource,
    log: LogId,
    at_hand: &AtHand,
    error: TileReadError<Need>,
) -> Result<(), ArchiveError> {
    let tile = match error {
        TileReadError::Fetch(Need(tile)) => tile,
        TileReadError::Tile(error) => return Err(error.into()),
        TileReadError::Proof(error) => return Err(not_in_tree(error)),
    };
    let bytes = fetch_tile(source, log, tile).await?;
    let mut tiles = at_hand.lock().unwrap_or_else(PoisonError::into_inner);
    tiles.insert(tile, bytes);
    Ok(())
}

/// The sizes were compared before.
fn not_in_tree(_: ProofError) -> ArchiveError {
    TileError::NotInTree.into()
}
