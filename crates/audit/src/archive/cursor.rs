//! How far the archive has come, in the log's `KeyValue`.
//!
//! A cache: what is lost of it is found again by offering every object once more. What must not be lost is
//! never here alone. Keys: `archive/<name>/cursor`, `…/pending`, `…/page/<20 digits>`.

use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction, Version};
use eonpro_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::harvest::Reached;
use super::manifest::{Row, WireRow};
use crate::merkle::empty_root;

const PARTITION: Partition = Partition::system("audit");
const VERSION: u32 = 1;

/// How far everything is archived and in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The head of the directory log under which every full tile is archived.
    pub(super) tiles: Reached,
    /// The head that the last cut archived, with all that is not full.
    pub(super) cut: Reached,
    /// When, and how many entries all logs had then.
    pub(super) cut_at: Timestamp,
    pub(super) cut_entries: u64,
    /// How many entries the archive itself made since then.
    pub(super) own: u64,
    /// The number of the next page of the manifest.
    pub(super) next_page: u64,
    /// The page before it.
    pub(super) last_page: Option<Row>,
}

impl Cursor {
    /// Nothing is known to be archived.
    pub(super) fn start() -> Self {
        let nothing = Reached {
            size: 0,
            root: empty_root(),
        };
        Self {
            tiles: nothing,
            cut: nothing,
            cut_at: Timestamp::EPOCH,
            cut_entries: 0,
            own: 0,
            next_page: 0,
            last_page: None,
        }
    }
}

/// A page that is being written.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) sha256: Digest,
    pub(super) rows: u64,
    /// The head that it is anchored under.
    pub(super) head: Reached,
    /// Where the cursor stands once it is there, but for the page's own row.
    pub(super) after: Cursor,
}

/// A page that is there.
#[derive(Debug, Clone)]
pub(super) struct KnownPage {
    pub(super) number: u64,
    pub(super) rows: u64,
    /// The page as an object.
    pub(super) row: Row,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireReached {
    size: u64,
    root: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireCursor {
    v: u32,
    tiles: WireReached,
    cut: WireReached,
    cut_at: String,
    cut_entries: u64,
    own: u64,
    next_page: u64,
    last_page: Option<WireRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePending {
    sha256: String,
    rows: u64,
    head: WireReached,
    after: WireCursor,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireKnownPage {
    v: u32,
    page: u64,
    rows: u64,
    row: WireRow,
}

impl From<Reached> for WireReached {
    fn from(reached: Reached) -> Self {
        Self {
            size: reached.size,
            root: reached.root.to_string(),
        }
    }
}

impl WireReached {
    fn read(&self) -> Option<Reached> {
        Some(Reached {
            size: self.size,
            root: Digest::parse_hex(&self.root)?,
        })
    }
}

impl From<&Cursor> for WireCursor {
    fn from(cursor: &Cursor) -> Self {
        Self {
            v: VERSION,
            tiles: cursor.tiles.into(),
            cut: cursor.cut.into(),
            cut_at: cursor.cut_at.to_string(),
            cut_entries: cursor.cut_entries,
            own: cursor.own,
            next_page: cursor.next_page,
            last_page: cursor.last_page.as_ref().map(WireRow::from),
        }
    }
}

impl WireCursor {
    fn read(self) -> Option<Cursor> {
        let last_page = match self.last_page {
            None => None,
            Some(row) => Some(row.read()?),
        };
        (self.v == VERSION).then_some(())?;
        Some(Cursor {
            tiles: self.tiles.read()?,
            cut: self.cut.read()?,
            cut_at: Timestamp::parse_rfc3339(&self.cut_at)?,
            cut_entries: self.cut_entries,
            own: self.own,
            next_page: self.next_page,
            last_page,
        })
    }
}

/// The state of one archive.
#[derive(Debug)]
pub(super) struct State {
    kv: Arc<dyn KeyValue>,
    name: String,
}

impl State {
    pub(super) fn new(kv: Arc<dyn KeyValue>, name: &str) -> Self {
        Self {
            kv,
            name: name.to_owned(),
        }
    }

    fn key(&self, rest: &str) -> Result<Key, ArchiveError> {
        Ok(Key::new(format!("archive/{}/{rest}", self.name))?)
    }

    fn page_key(&self, number: u64) -> Result<Key, ArchiveError> {
        self.key(&format!("page/{number:020}"))
    }

    async fn read<T: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<(T, Version)>, ArchiveError> {
        let Some(found) = self.kv.get(&PARTITION, key).await? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&found.value).map_err(|_| ArchiveError::Cursor)?;
        Ok(Some((value, found.version)))
    }

    /// The cursor, if there is one, and the page that was being written.
    pub(super) async fn load(
        &self,
    ) -> Result<Option<(Cursor, Version, Option<Pending>)>, ArchiveError> {
        let Some((cursor, version)) = self.read::<WireCursor>(&self.key("cursor")?).await? else {
            return Ok(None);
        };
        let cursor = cursor.read().ok_or(ArchiveError::Cursor)?;
        let pending = match self.read::<WirePending>(&self.key("pending")?).await? {
            None => None,
            Some((wire, _)) => Some(pending(wire).ok_or(ArchiveError::Cursor)?),
        };
        Ok(Some((cursor, version, pending)))
    }

    /// Keeps `cursor`, whose version was `before`, and what is known of the page that it follows.
    pub(super) async fn save(
        &self,
        cursor: &Cursor,
        before: Option<Version>,
        page: Option<&KnownPage>,
    ) -> Result<Version, ArchiveError> {
        let key = self.key("cursor")?;
        let tx = match before {
            Some(version) => Transaction::new().require(key.clone(), version),
            None => Transaction::new().require_absent(key.clone()),
        };
        let mut tx = tx.put(key, json(&WireCursor::from(cursor))?);
        tx = tx.delete(self.key("pending")?);
        if let Some(page) = page {
            let wire = WireKnownPage {
                v: VERSION,
                page: page.number,
                rows: page.rows,
                row: WireRow::from(&page.row),
            };
            tx = tx.put(self.page_key(page.number)?, json(&wire)?);
        }
        Ok(self.kv.commit(&PARTITION, tx).await?)
    }

    /// Remembers which page is about to be written, so that it is known again after a crash.
    pub(super) async fn announce(
        &self,
        pending: &Pending,
        before: Version,
    ) -> Result<(), ArchiveError> {
        let wire = WirePending {
            sha256: pending.sha256.to_string(),
            rows: pending.rows,
            head: pending.head.into(),
            after: WireCursor::from(&pending.after),
        };
        let tx = Transaction::new()
            .require(self.key("cursor")?, before)
            .put(self.key("pending")?, json(&wire)?);
        self.kv.commit(&PARTITION, tx).await?;
        Ok(())
    }

    /// The known pages, in order.
    pub(super) async fn pages(&self) -> Result<Vec<KnownPage>, ArchiveError> {
        let prefix = format!("archive/{}/page/", self.name);
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let found = self
                .kv
                .scan(&PARTITION, prefix.as_bytes(), after.as_ref(), 1_024)
                .await?;
            let Some(last) = found.last() else {
                return Ok(pages);
            };
            after = Some(last.key.clone());
            for entry in &found {
                let wire: WireKnownPage = serde_json::from_slice(&entry.versioned.value)
                    .map_err(|_| ArchiveError::Cursor)?;
                let row = wire.row.read().filter(|_| wire.v == VERSION);
                pages.push(KnownPage {
                    number: wire.page,
                    rows: wire.rows,
                    row: row.ok_or(ArchiveError::Cursor)?,
                });
            }
        }
    }

    /// Forgets the cursor; what is known of pages stays.
    pub(super) async fn forget(&self) -> Result<(), ArchiveError> {
        let tx = Transaction::new()
            .delete(self.key("cursor")?)
            .delete(self.key("pending")?);
        self.kv.commit(&PARTITION, tx).await?;
        Ok(())
    }
}

fn pending(wire: WirePending) -> Option<Pending> {
    Some(Pending {
        sha256: Digest::parse_hex(&wire.sha256)?,
        rows: wire.rows,
        head: wire.head.read()?,
        after: wire.after.read()?,
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ArchiveError> {
    serde_json::to_vec(value).map_err(|_| ArchiveError::Cursor)
}
