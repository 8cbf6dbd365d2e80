//! Bundles that are not there because entries of them were pruned, and the entries that account for them.

use bytes::Bytes;

use super::error::ArchiveError;
use super::source::TileSource;
use super::verify::fetch_bundle;
use crate::log_id::LogId;
use crate::tlog::{Bundle, FULL};
use crate::wire::{EntryValue, Leaf};

/// The missing bundles of one log.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    missing: Vec<Bundle>,
    /// The largest minimum index of an AUD-009.
    minimum: u64,
}

impl Gaps {
    /// Takes a full bundle that is not there.
    pub(super) fn miss(&mut self, bundle: Bundle) {
        self.missing.push(bundle);
    }

    /// Takes an entry that is there.
    pub(super) fn take(&mut self, entry: &[u8]) {
        self.minimum = self.minimum.max(minimum_index(entry).unwrap_or(0));
    }

    /// How many entries are in the missing bundles, and where these end.
    pub(super) fn extent(&self) -> (u64, u64) {
        let ends = self.missing.iter().map(end);
        let entries = self.missing.len() as u64 * u64::from(FULL);
        (entries, ends.max().unwrap_or(0))
    }

    /// # Errors
    /// [`ArchiveError::Missing`] if a bundle is missing that no entry accounts for.
    pub(super) fn check(&self, log: LogId) -> Result<(), ArchiveError> {
        match self.missing.iter().find(|one| end(one) > self.minimum) {
            Some(bundle) => Err(ArchiveError::Missing(format!("{log}/{bundle}"))),
            None => Ok(()),
        }
    }
}

fn end(bundle: &Bundle) -> u64 {
    let start = bundle.start().unwrap_or(u64::MAX);
    start.saturating_add(u64::from(FULL))
}

/// The minimum index in an AUD-009.
fn minimum_index(entry: &[u8]) -> Option<u64> {
    let leaf = Leaf::parse(entry).ok()?;
    if !leaf.has_code("AUD-009") {
        return None;
    }
    match leaf.entry().ok()?.fields.get("minimum_index")? {
        EntryValue::Count(minimum) => Some(*minimum),
        _ => None,
    }
}

/// As [`fetch_bundle`]; `None` of a full bundle that is not there and may have been pruned.
pub(super) async fn fetch_unless_pruned(
    source: &dyn TileSource,
    log: LogId,
    bundle: Bundle,
) -> Result<Option<Bytes>, ArchiveError> {
    match fetch_bundle(source, log, bundle).await {
        // No signed head is ever pruned.
        Err(ArchiveError::Missing(_)) if log != LogId::Directory && bundle.width() == FULL => {
            Ok(None)
        }
        other => other.map(Some),
    }
}
