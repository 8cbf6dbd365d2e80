//! The durable tier in one redb file.
//!
//! Nothing waits for the disk: commits are not synced one by one. That is safe because the file is
//! marked in use while it is open and trusted again only after a clean close. After a crash the tier
//! starts empty, so an entry that was removed can never come back.
//!
//! Format 1. Table `entries`: tenant (16 bytes), the tenant's generation (8, big endian), name (32) →
//! version 1 (1 byte), expiry (8, big endian, sign flipped), sealed value. Table `expiry`: the same
//! expiry and key. Table `tenants`: tenant → generation. Table `meta`: format, bytes, clean.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::id::TenantId;
use eonpro_core::task;
use eonpro_core::time::{SharedClock, Timestamp};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::redb_writer::{Op, Reply, Writer};
use crate::error::TierError;
use crate::generation::Guard;
use crate::tier::{DurableTier, EntryName, SealedEntry};

pub(super) const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
pub(super) const EXPIRY: TableDefinition<'static, &[u8], ()> = TableDefinition::new("expiry");
pub(super) const TENANTS: TableDefinition<'static, &[u8], u64> = TableDefinition::new("tenants");
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
pub(super) const FORMAT: u64 = 1;
const ROW_VERSION: u8 = 1;
const QUEUE: usize = 1_024;

/// The limits of a [`RedbTier`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbTierConfig {
    /// Bytes of entries on disk; beyond, what expires first is given up. Default 256 MiB.
    pub max_bytes: u64,
    /// Bytes of redb's page cache. Default 8 MiB.
    pub page_cache_bytes: usize,
}

impl Default for RedbTierConfig {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            page_cache_bytes: 8 * 1024 * 1024,
        }
    }
}

/// The store, shared by readers and the writer, and taken away by close.
pub(super) type Store = Arc<RwLock<Option<Database>>>;

/// A durable tier in one redb file. After a crash it starts empty.
#[derive(Debug)]
pub struct RedbTier {
    clock: SharedClock,
    store: Store,
    ops: mpsc::Sender<Op>,
    writer: Mutex<Option<JoinHandle<()>>>,
    failed: Arc<AtomicBool>,
}

impl RedbTier {
    /// Opens or creates the tier's file, with mode 0600. What another process left behind by a crash,
    /// or in another format, is discarded. Blocks on the disk.
    ///
    /// # Errors
    /// [`TierError::Backend`] if the file cannot be created or is in use.
    pub fn open(
        path: &Path,
        clock: SharedClock,
        config: RedbTierConfig,
    ) -> Result<Self, TierError> {
        let store = open_trusted(path, &config)?;
        let store = Arc::new(RwLock::new(Some(store)));
        let failed = Arc::new(AtomicBool::new(false));
        let (ops, queue) = mpsc::channel(QUEUE);
        let writer = Writer::start(
            Arc::clone(&store),
            queue,
            Arc::clone(&clock),
            config.max_bytes,
            Arc::clone(&failed),
        )?;
        Ok(Self {
            clock,
            store,
            ops,
            writer: Mutex::new(Some(writer)),
            failed,
        })
    }

    async fn submit(&self, op: impl FnOnce(Reply) -> Op) -> Result<(), TierError> {
        let (reply, answer) = oneshot::channel();
        self.ops
            .send(op(reply))
            .await
            .map_err(|_| TierError::Closed)?;
        answer.await.map_err(|_| TierError::Closed)?
    }

    fn take_writer(&self) -> Option<JoinHandle<()>> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Opens the file if it was closed cleanly and is of our format, else makes a new one; marks it as
/// in use.
fn open_trusted(path: &Path, config: &RedbTierConfig) -> Result<Database, TierError> {
    let found = match create(path, config) {
        Ok(store) => store,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(backend(DatabaseError::DatabaseAlreadyOpen));
        }
        // Whatever is wrong with it: it is a cache.
        Err(_) => return start_over(path, config),
    };
    match is_trusted(&found) {
        Ok(true) => {
            mark(&found, false).map_err(backend)?;
            Ok(found)
        }
        Ok(false) | Err(_) => {
            drop(found);
            start_over(path, config)
        }
    }
}

fn start_over(path: &Path, config: &RedbTierConfig) -> Result<Database, TierError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(backend(error)),
        _ => {}
    }
    let store = create(path, config).map_err(backend)?;
    mark(&store, false).map_err(backend)?;
    Ok(store)
}

fn create(path: &Path, config: &RedbTierConfig) -> Result<Database, DatabaseError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(redb::StorageError::Io)?;
    Builder::new()
        .set_cache_size(config.page_cache_bytes)
        .create_with_backend(FileBackend::new(file)?)
}

fn is_trusted(store: &Database) -> Result<bool, redb::Error> {
    let read = store.begin_read()?;
    let meta = read.open_table(META)?;
    let at = |name: &str| -> Result<Option<u64>, redb::Error> {
        Ok(meta.get(name)?.map(|value| value.value()))
    };
    Ok(at("format")? == Some(FORMAT) && at("clean")? == Some(1))
}

/// Marks the file as in use or as closed cleanly, and makes all tables exist. Synced.
pub(super) fn mark(store: &Database, clean: bool) -> Result<(), redb::Error> {
    let write = store.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("clean", u64::from(clean))?;
        write.open_table(ENTRIES)?;
        write.open_table(EXPIRY)?;
        write.open_table(TENANTS)?;
    }
    write.commit()?;
    Ok(())
}

pub(super) fn backend(error: impl Into<eonpro_core::error::Source>) -> TierError {
    TierError::Backend(error.into())
}

/// The key of an entry on disk.
pub(super) fn entry_key(tenant: TenantId, generation: u64, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + 8 + name.len());
    key.extend_from_slice(tenant.as_bytes());
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// An expiry whose byte order is its time order.
pub(super) fn expiry_bytes(expires: Timestamp) -> [u8; 8] {
    (expires.nanos().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn expiry_from(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_nanos((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

pub(super) fn encode_row(entry: &SealedEntry) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + entry.sealed.len());
    row.push(ROW_VERSION);
    row.extend_from_slice(&expiry_bytes(entry.expires));
    row.extend_from_slice(&entry.sealed);
    row
}

/// The expiry bytes of a row, and its sealed value; `None` for another version.
pub(super) fn decode_row(row: &[u8]) -> Option<([u8; 8], &[u8])> {
    let (version, rest) = row.split_first()?;
    let (expires, sealed) = rest.split_first_chunk()?;
    (*version == ROW_VERSION).then_some((*expires, sealed))
}

fn read(
    store: &Store,
    tenant: TenantId,
    name: &EntryName,
    now: Timestamp,
) -> Result<Option<SealedEntry>, TierError> {
    let store = store.read().unwrap_or_else(PoisonError::into_inner);
    let store = store.as_ref().ok_or(TierError::Closed)?;
    let found = || -> Result<Option<SealedEntry>, redb::Error> {
        let read = store.begin_read()?;
        let generation = read
            .open_table(TENANTS)?
            .get(tenant.as_bytes().as_slice())?
            .map_or(0, |generation| generation.value());
        let entries = read.open_table(ENTRIES)?;
        let row = entries.get(entry_key(tenant, generation, &name.0).as_slice())?;
        // A row of another version is a miss; its next write or its expiry removes it.
        Ok(row.and_then(|row| {
            decode_row(row.value()).map(|(expires, sealed)| SealedEntry {
                expires: expiry_from(expires),
                sealed: Bytes::copy_from_slice(sealed),
            })
        }))
    };
    let found = found().map_err(backend)?;
    Ok(found.filter(|entry| now < entry.expires))
}

#[async_trait]
impl Component for RedbTier {
    fn name(&self) -> &'static str {
        "redb-tier"
    }

    fn posture(&self) -> Posture {
        Posture {
            // It may forget everything at any time, so what it loses is no loss.
            durability: Durability::Stateless,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        if self.failed.load(Ordering::Acquire) {
            Health::Unhealthy("a write failed")
        } else if self.ops.is_closed() {
            Health::Unhealthy("closed")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        let _ = self.submit(Op::Close).await;
        let writer = self.take_writer();
        let store = Arc::clone(&self.store);
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
impl DurableTier for RedbTier {
    async fn get(
        &self,
        scope: &TenantScope,
        name: &EntryName,
    ) -> Result<Option<SealedEntry>, TierError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(TierError::Closed);
        }
        let (store, tenant, name) = (Arc::clone(&self.store), scope.tenant(), *name);
        let now = self.clock.wall();
        task::blocking(move || read(&store, tenant, &name, now))
            .await
            .map_err(backend)?
    }

    async fn put(
        &self,
        scope: &TenantScope,
        name: &EntryName,
        entry: SealedEntry,
        guard: Guard,
    ) -> Result<(), TierError> {
        let (tenant, name) = (scope.tenant(), *name);
        self.submit(|reply| Op::Put {
            tenant,
            name,
            entry,
            guard,
            reply,
        })
        .await
    }

    async fn remove(&self, scope: &TenantScope, name: &EntryName) -> Result<(), TierError> {
        let (tenant, name) = (scope.tenant(), *name);
        self.submit(|reply| Op::Remove {
            tenant,
            name,
            reply,
        })
        .await
    }

    async fn clear(&self, scope: &TenantScope) -> Result<(), TierError> {
        let tenant = scope.tenant();
        self.submit(|reply| Op::Clear { tenant, reply }).await
    }
}

/// Waits for the writer, so that the file is free once the last handle is gone. The file is not
/// marked as closed cleanly: who drops without closing starts empty.
impl Drop for RedbTier {
    fn drop(&mut self) {
        let (nobody, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.ops, nobody));
        if let Some(writer) = self.take_writer() {
            let _ = writer.join();
        }
    }
}
