//! An object store below a prefix, used in the ways that every one of them has: create once, read one
//! version, replace whole.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::event::Digest;
use futures_util::TryStreamExt as _;
use futures_util::stream::{self, StreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, PutMode, PutOptions, PutPayload};

use super::error::ArchiveError;

/// No object of ours is longer: a bundle of 256 entries of 65,535 bytes, each after its length.
pub(super) const MAX_OBJECT_BYTES: u64 = 256 * (65_535 + 2);

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Shelf {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl fmt::Debug for Shelf {
    /// Neither the bucket nor the prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

/// What the store says of an object, and what its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) version: Option<String>,
    pub(super) e_tag: Option<String>,
    pub(super) sha256: Digest,
    pub(super) size: u64,
}

/// How an attempt to create an object ended.
#[derive(Debug)]
pub(super) enum Put {
    /// It is there, now or from before.
    There(Stored),
    /// Other bytes have that name.
    Other(Bytes, Stored),
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, ArchiveError> {
        let prefix = Path::parse(prefix)
            .map_err(|_| ArchiveError::Config("prefix is a path of an object store"))?;
        Ok(Self { store, prefix })
    }

    fn path(&self, key: &str) -> Path {
        let parts = key.split('/').map(ToOwned::to_owned);
        parts.fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Creates an object that never changes. Where it is there already it must be the same.
    pub(super) async fn create(&self, key: &str, bytes: Bytes) -> Result<Put, ArchiveError> {
        let (sha256, size) = (Digest::of(&bytes), bytes.len() as u64);
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(bytes);
        match self.store.put_opts(&self.path(key), payload, options).await {
            Ok(put) => Ok(Put::There(Stored {
                version: put.version,
                e_tag: put.e_tag,
                sha256,
                size,
            })),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let missing = || ArchiveError::Missing(key.to_owned());
                let (bytes, stored) = self.get(key, None).await?.ok_or_else(missing)?;
                match stored.sha256 == sha256 {
                    true => Ok(Put::There(stored)),
                    false => Ok(Put::Other(bytes, stored)),
                }
            }
            Err(error) => Err(ArchiveError::store(error)),
        }
    }

    /// Creates an object that never changes; other bytes under that name are an error.
    pub(super) async fn create_same(
        &self,
        key: &str,
        bytes: Bytes,
    ) -> Result<Stored, ArchiveError> {
        let expected = Digest::of(&bytes);
        match self.create(key, bytes).await? {
            Put::There(stored) => Ok(stored),
            Put::Other(_, stored) => Err(ArchiveError::Conflict {
                key: key.to_owned(),
                expected,
                found: stored.sha256,
            }),
        }
    }

    /// Puts an object in the place of what is there, in one step.
    pub(super) async fn replace(&self, key: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        let (path, payload) = (self.path(key), PutPayload::from(bytes));
        let put = self.store.put_opts(&path, payload, PutOptions::default());
        put.await.map(drop).map_err(ArchiveError::store)
    }

    /// An object, in that version or the present one. A longer one than any of ours is not read.
    pub(super) async fn get(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<(Bytes, Stored)>, ArchiveError> {
        let options = GetOptions {
            version: version.map(ToOwned::to_owned),
            ..GetOptions::default()
        };
        let found = match self.store.get_opts(&self.path(key), options).await {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(ArchiveError::store)?,
        };
        if found.meta.size > MAX_OBJECT_BYTES {
            return Err(ArchiveError::Changed(key.to_owned()));
        }
        let (version, e_tag) = (found.meta.version.clone(), found.meta.e_tag.clone());
        let bytes = match found.bytes().await {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(ArchiveError::store)?,
        };
        let stored = Stored {
            version,
            e_tag,
            sha256: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        Ok(Some((bytes, stored)))
    }

    /// What the store says of the present version.
    pub(super) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ArchiveError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.store.get_opts(&self.path(key), options).await {
            Ok(found) => Ok(Some(found.meta)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(ArchiveError::store(error)),
        }
    }

    /// The names right in `folder`, after `after`, in order.
    pub(super) async fn names(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, ArchiveError> {
        let folder = self.path(folder);
        let listing = match after {
            None => self.store.list(Some(&folder)),
            Some(after) => {
                let after = folder.clone().join(after.to_owned());
                self.store.list_with_offset(Some(&folder), &after)
            }
        };
        let found: Vec<ObjectMeta> = listing.try_collect().await.map_err(ArchiveError::store)?;
        let name = |meta: &ObjectMeta| {
            let mut parts = meta.location.prefix_match(&folder)?;
            let name = parts.next()?.as_ref().to_owned();
            parts.next().is_none().then_some(name)
        };
        let mut names: Vec<String> = found.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes objects; those that are not there are no error.
    pub(super) async fn remove(&self, keys: Vec<String>) -> Result<(), ArchiveError> {
        let paths: Vec<_> = keys.iter().map(|key| Ok(self.path(key))).collect();
        let mut removed = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(result) = removed.next().await {
            match result {
                Err(error) if !is_absent(&error) => return Err(ArchiveError::store(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}
