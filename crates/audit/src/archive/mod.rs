//! Copies of the log outside of its directory: an archive in an object store, readers that verify one from it
//! alone, and replicas.
//!
//! An [`Archive`] copies each full tile and bundle of an open log once, and from time to time a *cut*: what
//! fills no tile yet, and the signed heads, so that [`verify_archive`] needs nothing else. Its manifest names
//! the version, the digest and the size of every object and is anchored in the log itself (AUD-007), so a
//! bucket with versions and Object Lock keeps the log even from those who hold its signing key. A [`Replica`]
//! pulls from an archive or a publication and stores nothing that it has not verified; what it serves is
//! what [`publish`](crate::publish) writes. `docs/formats/audit.md` has the format.

mod check;
mod config;
mod cursor;
mod error;
mod events;
mod evidence;
mod gaps;
mod harvest;
mod lazy;
mod lock;
mod manifest;
mod names;
mod replica;
mod service;
mod shelf;
mod source;
mod succession;
mod tower;
mod verify;

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

pub use check::{Checked, Finding, ObjectFault};
pub use config::{ArchiveConfig, ArchiveParts, RequiredLock};
pub use error::ArchiveError;
pub use evidence::{Evidence, StopReason};
pub use lock::{DefaultLock, LockMode, LockProbe, ObjectLock};
pub use manifest::Row;
pub use replica::{Lag, Pulled, Replica, ReplicaParts};
pub use service::{Archive, Archived};
pub use source::{ArchiveSource, Believe, Pin, PublishedSource, TileSource};
pub use verify::{verify_archive, verify_published, verify_source};

use crate::layout;

/// A store in the directory `dir`, which is created and closed to others. What it acknowledged is synced,
/// which `object_store` does not do by itself. Blocks.
///
/// # Errors
/// [`ArchiveError::Store`].
pub fn local(dir: &Path) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    layout::private_dir(dir).map_err(|error| ArchiveError::Store(error.into()))?;
    let store = LocalFileSystem::new_with_prefix(dir).map_err(ArchiveError::store)?;
    Ok(Arc::new(store.with_fsync(true)))
}
