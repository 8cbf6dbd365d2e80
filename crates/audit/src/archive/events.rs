//! What an archive records: AUD-007 for every page of the manifest, AUD-006 for what it finds wrong.

use eonpro_core::event::catalogue::audit;
use eonpro_core::event::{Code, Digest};

use super::error::ArchiveError;
use super::harvest::Reached;
use crate::tlog::{Bundle, Tile};

/// AUD-007: a page of the manifest, with this digest, stands where nobody can change it.
pub(super) fn anchored(head: &Reached, receipt: Digest) -> audit::CheckpointAnchored {
    audit::CheckpointAnchored {
        tree_size: head.size,
        root: head.root,
        anchor: Code::constant("worm"),
        receipt,
    }
}

/// AUD-006, where an archive's failure is one of integrity that is not on record yet.
pub(super) fn failed(error: &ArchiveError) -> Option<audit::IntegrityFailed> {
    match error {
        ArchiveError::Conflict {
            key,
            expected,
            found,
        } => Some(object(key, "tile", Some(*expected), Some(*found))),
        ArchiveError::OtherLog => Some(object("", "fork", None, None)),
        ArchiveError::Log(error @ crate::VerifyError::Tampered { .. }) => {
            Some(crate::events::failed(error))
        }
        _ => None,
    }
}

/// AUD-006 about an object.
pub(super) fn object(
    key: &str,
    kind: &'static str,
    expected: Option<Digest>,
    found: Option<Digest>,
) -> audit::IntegrityFailed {
    audit::IntegrityFailed {
        kind: Code::constant(kind),
        index: first_index(key),
        expected,
        found,
    }
}

/// The index of the first entry of a tile of level 0 or a bundle; 0 of everything else.
fn first_index(key: &str) -> u64 {
    let Some(at) = key.find("tile/") else {
        return 0;
    };
    let name = key.get(at..).unwrap_or_default();
    if let Some(bundle) = Bundle::parse(name) {
        return bundle.start().unwrap_or(0);
    }
    let tile = Tile::parse(name).filter(|tile| tile.level() == 0);
    tile.map_or(0, |tile| tile.index().saturating_mul(256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_entries_is_named_by_its_first() {
        for (key, index) in [
            ("eonpro/audit/system/tile/entries/002", 512),
            ("eonpro/audit/system/tile/0/003.p/7", 768),
            ("eonpro/audit/system/tile/1/003", 0),
            ("eonpro/audit/system/checkpoints/00000000000000000007", 0),
            ("manifest/00000000000000000007", 0),
        ] {
            assert_eq!(first_index(key), index, "{key}");
        }
    }
}
