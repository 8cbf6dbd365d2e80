//! Where signed entries can be read: an archive, or what was published. Nobody has to be trusted for them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::event::Digest;
use object_store::ObjectStore;

use super::error::ArchiveError;
use super::manifest::{Page, Row};
use super::names;
use super::shelf::Shelf;
use crate::checkpoint::CheckpointError;
use crate::log_id::LogId;

/// What a reader asks of a signed head before it takes it.
pub type Believe<'a> = &'a (dyn Fn(&str) -> Result<(), ArchiveError> + Send + Sync);

/// Tiles, bundles and checkpoints of all logs, by name. Whoever reads them verifies them.
#[async_trait]
pub trait TileSource: fmt::Debug + Send + Sync {
    /// The newest head of the directory log that `believe` accepts, as a signed note. Everything that it
    /// covers is there. Cancel-safe.
    ///
    /// # Errors
    /// What `believe` said of the newest if it accepts none; [`ArchiveError::Missing`] if there is none;
    /// [`ArchiveError::Store`].
    async fn head(&self, believe: Believe<'_>) -> Result<String, ArchiveError>;

    /// The tile or bundle `name` of `log`, spelt as in C2SP tlog-tiles, at most 16 MiB; `None` if it is not
    /// there. Cancel-safe.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; [`ArchiveError::Changed`] if it is known to be another one.
    async fn fetch(&self, log: LogId, name: &str) -> Result<Option<Bytes>, ArchiveError>;

    /// The checkpoint of `log` at `size`; `None` if it is not there. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    async fn checkpoint(&self, log: LogId, size: u64) -> Result<Option<Bytes>, ArchiveError>;
}

/// What `publish` or a replica wrote, below a prefix of an object store.
#[derive(Debug, Clone)]
pub struct PublishedSource(Shelf);

impl PublishedSource {
    /// What was published below `prefix` of `store`.
    ///
    /// # Errors
    /// [`ArchiveError::Config`] if the prefix is no path.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, ArchiveError> {
        Ok(Self(Shelf::new(store, prefix)?))
    }

    pub(super) fn of(shelf: Shelf) -> Self {
        Self(shelf)
    }

    async fn get(&self, log: LogId, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        let found = self.0.get(&format!("{log}/{name}"), None).await?;
        Ok(found.map(|(bytes, _)| bytes))
    }
}

#[async_trait]
impl TileSource for PublishedSource {
    async fn head(&self, believe: Believe<'_>) -> Result<String, ArchiveError> {
        let found = self.get(LogId::Directory, names::CHECKPOINT).await?;
        let key = || format!("{}/{}", LogId::Directory, names::CHECKPOINT);
        let note = text(found.ok_or_else(|| ArchiveError::Missing(key()))?)?;
        believe(&note).map(|()| note)
    }

    async fn fetch(&self, log: LogId, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.get(log, name).await
    }

    async fn checkpoint(&self, log: LogId, _size: u64) -> Result<Option<Bytes>, ArchiveError> {
        self.get(log, names::CHECKPOINT).await
    }
}

/// A page of a manifest, kept outside of the archive: see [`Archive::pin`](super::Archive::pin).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its number.
    pub page: u64,
    /// Its version, if the store gave it one.
    pub version: Option<String>,
    /// SHA-256 of its bytes: the receipt of an AUD-007.
    pub sha256: Digest,
}

/// An archive, each object in the version that the manifest names.
///
/// An object that no readable page lists is read in its present version. What is read this way is verified
/// like everything else: without a [`Pin`] somebody who may write to the bucket can hinder a reader, but not
/// deceive it.
#[derive(Debug)]
pub struct ArchiveSource {
    shelf: Shelf,
    pin: Option<Pin>,
    listed: tokio::sync::Mutex<Listed>,
}

/// What the manifest lists.
#[derive(Debug, Default)]
struct Listed {
    /// By key; the pages that were read are among them.
    rows: HashMap<String, Row>,
    /// Whether it was read at all, and the largest number of a page that was there then.
    read: bool,
    newest: Option<u64>,
}

impl ArchiveSource {
    /// The archive below `prefix` of `store`. The manifest is read at the first use, and again for each head.
    ///
    /// # Errors
    /// [`ArchiveError::Config`] if the prefix is no path.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        pin: Option<Pin>,
    ) -> Result<Self, ArchiveError> {
        Ok(Self {
            shelf: Shelf::new(store, prefix)?,
            pin,
            listed: tokio::sync::Mutex::default(),
        })
    }

    /// Reads the pages that have come since the last time.
    async fn read_manifest(&self, listed: &mut Listed) -> Result<(), ArchiveError> {
        let after = listed.newest.map(|page| format!("{page:020}"));
        let names = self.shelf.names(names::MANIFEST, after.as_deref()).await?;
        let mut pages: BTreeSet<u64> = names
            .iter()
            .filter_map(|name| names::number(name))
            .collect();
        let newest = pages.last().copied().max(listed.newest);
        if let Some(pin) = self.pin.as_ref().filter(|_| !listed.read) {
            let row = Row {
                key: names::page(pin.page),
                version: pin.version.clone(),
                e_tag: None,
                sha256: pin.sha256,
                size: 0,
                retain_until: None,
            };
            self.follow(row, listed, &mut pages).await?;
        }
        // From the newest back: each page names the version of the one before.
        while let Some(number) = pages.pop_last() {
            let key = names::page(number);
            let Some((bytes, stored)) = self.shelf.get(&key, None).await? else {
                continue;
            };
            let Some(page) = Page::parse(&bytes).filter(|page| page.number == number) else {
                continue;
            };
            let before = take(listed, page, Trust::None);
            let row = Row::new(key.clone(), stored, None);
            listed.rows.entry(key).or_insert(row);
            if let Some(before) = before {
                self.follow_unpinned(before, listed, &mut pages).await?;
            }
        }
        listed.newest = newest;
        listed.read = true;
        Ok(())
    }

    /// Reads the page of `row` and those before it, each in the version and with the digest that the one
    /// after it names.
    async fn follow(
        &self,
        row: Row,
        listed: &mut Listed,
        pages: &mut BTreeSet<u64>,
    ) -> Result<(), ArchiveError> {
        let mut next = Some(row);
        while let Some(row) = next.take() {
            let page = self.page(&row).await?;
            let page = page.ok_or_else(|| ArchiveError::Missing(row.key.clone()))?;
            pages.remove(&page.number);
            next = take(listed, page, Trust::Pinned);
            listed.rows.insert(row.key.clone(), row);
        }
        Ok(())
    }

    /// The same from a page that nothing vouches for, as far as it goes.
    async fn follow_unpinned(
        &self,
        row: Row,
        listed: &mut Listed,
        pages: &mut BTreeSet<u64>,
    ) -> Result<(), ArchiveError> {
        let mut next = Some(row);
        while let Some(row) = next.take() {
            if listed.rows.contains_key(&row.key) {
                return Ok(());
            }
            let Ok(Some(page)) = self.page(&row).await else {
                return Ok(());
            };
            pages.remove(&page.number);
            next = take(listed, page, Trust::None);
            listed.rows.entry(row.key.clone()).or_insert(row);
        }
        Ok(())
    }

    async fn page(&self, row: &Row) -> Result<Option<Page>, ArchiveError> {
        let Some((bytes, stored)) = self.shelf.get(&row.key, row.version.as_deref()).await? else {
            return Ok(None);
        };
        let page = Page::parse(&bytes).filter(|page| names::page(page.number) == row.key);
        match page {
            Some(page) if stored.sha256 == row.sha256 => Ok(Some(page)),
            _ => Err(ArchiveError::Changed(row.key.clone())),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        let row = {
            let mut listed = self.listed.lock().await;
            if !listed.read {
                self.read_manifest(&mut listed).await?;
            }
            listed.rows.get(key).cloned()
        };
        let version = row.as_ref().and_then(|row| row.version.as_deref());
        let Some((bytes, stored)) = self.shelf.get(key, version).await? else {
            return Ok(None);
        };
        match row {
            Some(row) if row.sha256 != stored.sha256 => Err(ArchiveError::Changed(key.to_owned())),
            _ => Ok(Some(bytes)),
        }
    }
}

/// Whether a page is vouched for by a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    None,
    Pinned,
}

/// Takes the rows of a page, and gives the one that names the page before. The oldest row of a key counts,
/// and one that a pin vouches for before all others.
fn take(listed: &mut Listed, page: Page, trust: Trust) -> Option<Row> {
    let before = page.number.checked_sub(1).map(names::page);
    let mut previous = None;
    for row in page.rows {
        if Some(&row.key) == before.as_ref() {
            previous = Some(row);
        } else if trust == Trust::Pinned {
            listed.rows.insert(row.key.clone(), row);
        } else {
            listed.rows.entry(row.key.clone()).or_insert(row);
        }
    }
    previous
}

#[async_trait]
impl TileSource for ArchiveSource {
    async fn head(&self, believe: Believe<'_>) -> Result<String, ArchiveError> {
        let folder = format!("{}/{}", LogId::Directory, names::CHECKPOINTS);
        let found = self.shelf.names(&folder, None).await?;
        let mut sizes: BTreeSet<u64> = found
            .iter()
            .filter_map(|name| names::number(name))
            .collect();
        let within = |key: &String| {
            key.strip_prefix(&folder)?
                .strip_prefix('/')
                .map(names::number)
        };
        {
            let mut listed = self.listed.lock().await;
            self.read_manifest(&mut listed).await?;
            sizes.extend(listed.rows.keys().filter_map(within).flatten());
        }
        let mut refused = None;
        for size in sizes.into_iter().rev() {
            let key = format!("{folder}/{size:020}");
            let note = match self.get(&key).await {
                Ok(Some(bytes)) => text(bytes),
                Ok(None) => Err(ArchiveError::Missing(key)),
                Err(error) => Err(error),
            };
            match note.and_then(|note| believe(&note).map(|()| note)) {
                Ok(note) => return Ok(note),
                Err(error @ ArchiveError::Store(_)) => return Err(error),
                Err(error) => _ = refused.get_or_insert(error),
            }
        }
        Err(refused.unwrap_or(ArchiveError::Missing(folder)))
    }

    async fn fetch(&self, log: LogId, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        self.get(&format!("{log}/{name}")).await
    }

    async fn checkpoint(&self, log: LogId, size: u64) -> Result<Option<Bytes>, ArchiveError> {
        self.get(&format!("{log}/{}", names::checkpoint(size)))
            .await
    }
}

fn text(bytes: Bytes) -> Result<String, ArchiveError> {
    let text = String::from_utf8(bytes.into()).map_err(|_| CheckpointError::Malformed)?;
    Ok(text)
}
