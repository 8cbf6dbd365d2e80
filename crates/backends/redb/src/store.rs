//! The store: reads on the spot, commits through the one writer.
//!
//! [`KeyValue::get`] reads where it is called: the pages of its path are in the page cache almost
//! always, and a thread hop costs more than the read. [`KeyValue::scan`], which may touch many pages,
//! runs off the asynchronous threads.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, MAX_SCAN, Partition, Transaction, Version,
    Versioned,
};
use eonpro_core::task;
use eonpro_core::time::{SharedClock, Timestamp};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use redb::{Database, ReadableDatabase as _};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::config::RedbConfig;
use crate::file::{self, ENTRIES, backend};
use crate::row::{Prefix, Row};
use crate::writer::{Op, Writer};

/// Bytes of values after which a scan ends its page.
const SCAN_BYTES: usize = 8 * 1024 * 1024;

/// The open file, shared with the writer; taken away by close.
pub(crate) type Store = Arc<RwLock<Option<Database>>>;

/// The durable `KeyValue` in one redb file.
#[derive(Debug)]
pub struct RedbKeyValue {
    clock: SharedClock,
    store: Store,
    ops: mpsc::Sender<Op>,
    changes: broadcast::Sender<(Partition, Key)>,
    writer: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
    failed: Arc<AtomicBool>,
}

impl RedbKeyValue {
    /// Opens or creates the store at `path`, with mode 0600; entries expire by `clock`. Blocks on the
    /// disk; after a crash it also verifies and repairs the file.
    ///
    /// # Errors
    /// [`KvError::Backend`] if the file cannot be opened, is in use, is damaged beyond repair, or
    /// has a format that this version does not know.
    pub fn open(path: &Path, clock: SharedClock) -> Result<Self, KvError> {
        Self::open_with(path, clock, RedbConfig::default())
    }

    /// [`Self::open`] with other limits.
    ///
    /// # Errors
    /// As [`Self::open`]; [`KvError::Invalid`] for a limit of zero.
    pub fn open_with(path: &Path, clock: SharedClock, config: RedbConfig) -> Result<Self, KvError> {
        if config.queue == 0 || config.watch_backlog == 0 {
            return Err(KvError::Invalid("limits above zero"));
        }
        let store: Store = Arc::new(RwLock::new(Some(file::open(path, &config)?)));
        let (ops, queue) = mpsc::channel(config.queue);
        let (changes, _) = broadcast::channel(config.watch_backlog);
        let failed = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            store: Arc::clone(&store),
            queue,
            clock: Arc::clone(&clock),
            changes: changes.clone(),
            failed: Arc::clone(&failed),
        };
        Ok(Self {
            clock,
            store,
            ops,
            changes,
            writer: Mutex::new(Some(writer.start()?)),
            closed: AtomicBool::new(false),
            failed,
        })
    }

    fn admit(&self) -> Result<(), KvError> {
        if self.closed.load(Ordering::Acquire) {
            Err(KvError::Closed)
        } else {
            Ok(())
        }
    }

    fn take_writer(&self) -> Option<JoinHandle<()>> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Reads the open store.
pub(crate) fn with_store<T>(
    store: &Store,
    read: impl FnOnce(&Database) -> Result<T, KvError>,
) -> Result<T, KvError> {
    let held = store.read().unwrap_or_else(PoisonError::into_inner);
    read(held.as_ref().ok_or(KvError::Closed)?)
}

fn get(store: &Database, place: &[u8], now: Timestamp) -> Result<Option<Versioned>, KvError> {
    let read = store.begin_read().map_err(backend)?;
    let entries = read.open_table(ENTRIES).map_err(backend)?;
    let Some(found) = entries.get(place).map_err(backend)? else {
        return Ok(None);
    };
    let row = Row::decode(found.value())?;
    Ok(row.is_live(now).then(|| row.to_versioned()))
}

/// What a scan asks.
struct Page {
    partition: Prefix,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: usize,
    now: Timestamp,
}

fn scan(store: &Database, page: &Page) -> Result<Vec<Entry>, KvError> {
    let first = page.partition.join(&page.prefix);
    let from = match &page.after {
        Some(after) if *after >= first => Bound::Excluded(after.as_slice()),
        _ => Bound::Included(first.as_slice()),
    };
    let read = store.begin_read().map_err(backend)?;
    let entries = read.open_table(ENTRIES).map_err(backend)?;
    let rows = entries
        .range::<&[u8]>((from, Bound::Unbounded))
        .map_err(backend)?;
    let (mut out, mut bytes) = (Vec::new(), 0);
    for row in rows {
        if out.len() >= page.limit || bytes >= SCAN_BYTES {
            break;
        }
        let (place, found) = row.map_err(backend)?;
        if !place.value().starts_with(&first) {
            break;
        }
        let row = Row::decode(found.value())?;
        let Some(key) = page.partition.key_in(place.value()) else {
            continue;
        };
        if row.is_live(page.now) {
            bytes += row.value.len();
            out.push(Entry {
                key,
                versioned: row.to_versioned(),
            });
        }
    }
    Ok(out)
}

#[async_trait]
impl Component for RedbKeyValue {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        if self.closed.load(Ordering::Acquire) {
            Health::Unhealthy("closed")
        } else if self.failed.load(Ordering::Acquire) || self.ops.is_closed() {
            Health::Unhealthy("a write failed")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let (reply, done) = oneshot::channel();
        // Queued behind what was accepted; if the writer is gone there is nothing to wait for.
        if self.ops.send(Op::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
        let (writer, store) = (self.take_writer(), Arc::clone(&self.store));
        let _ = task::blocking(move || {
            if let Some(writer) = writer {
                let _ = writer.join();
            }
            drop(store.write().unwrap_or_else(PoisonError::into_inner).take());
        })
        .await;
    }
}

#[async_trait]
impl KeyValue for RedbKeyValue {
    fn capabilities(&self) -> KvCapabilities {
        KvCapabilities::new(true, false)
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.admit()?;
        let place = Prefix::of(partition)?.join(key.as_bytes());
        let now = self.clock.wall();
        with_store(&self.store, |store| get(store, &place, now))
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.admit()?;
        let partition = Prefix::of(partition)?;
        let after = after.map(|after| partition.join(after.as_bytes()));
        let page = Page {
            partition,
            prefix: prefix.to_vec(),
            after,
            limit: limit.min(MAX_SCAN),
            now: self.clock.wall(),
        };
        let store = Arc::clone(&self.store);
        task::blocking(move || with_store(&store, |store| scan(store, &page)))
            .await
            .map_err(backend)?
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        tx.check()?;
        self.admit()?;
        let place = Prefix::of(partition)?;
        let (reply, answer) = oneshot::channel();
        let op = Op::Commit {
            partition: *partition,
            place,
            tx,
            reply,
        };
        self.ops.send(op).await.map_err(|_| KvError::Closed)?;
        answer.await.map_err(|_| KvError::Closed)?
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.admit()?;
        let (partition, prefix) = (*partition, prefix.to_vec());
        let receiver = self.changes.subscribe();
        let all = futures_util::stream::unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Ok(change) => Some((Some(change), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((None, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        let ours = all.filter_map(move |change| {
            let hint = match change {
                None => Some(Change::Lagged),
                Some((at, key)) if at == partition && key.as_bytes().starts_with(&prefix) => {
                    Some(Change::Key(key))
                }
                Some(_) => None,
            };
            std::future::ready(hint)
        });
        Ok(ours.boxed())
    }
}

/// Waits for the writer, so that the file is free once the last handle is gone.
impl Drop for RedbKeyValue {
    fn drop(&mut self) {
        let (nobody, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.ops, nobody));
        if let Some(writer) = self.take_writer() {
            let _ = writer.join();
        }
    }
}
