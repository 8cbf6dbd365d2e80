//! The one thread that writes the durable tier: whatever waits becomes one transaction.
//!
//! Puts and removals are applied in the order of the queue, and a put's guard is asked right before
//! it is applied: so an invalidation, which raises the generation and then queues its removal,
//! either voids a put or removes it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use eonpro_core::id::TenantId;
use eonpro_core::time::SharedClock;
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, Table, WriteTransaction,
};
use tokio::sync::{mpsc, oneshot};

use super::redb_tier::{
    ENTRIES, EXPIRY, META, Store, TENANTS, backend, decode_row, encode_row, entry_key,
    expiry_bytes, mark,
};
use crate::error::TierError;
use crate::generation::Guard;
use crate::tier::{EntryName, SealedEntry};

/// Operations of one transaction.
const BATCH: usize = 256;
/// Entries that one transaction sweeps: expired ones, and those of cleared generations.
const SWEEP: usize = 128;
/// redb frees pages at synced commits only, so one comes at the latest after these.
const UNSYNCED_COMMITS: u32 = 64;
const UNSYNCED_BYTES: u64 = 8 * 1024 * 1024;
/// What an entry costs on disk beyond its row, roughly: both keys and the tree.
const OVERHEAD_BYTES: u64 = 200;

pub(super) type Reply = oneshot::Sender<Result<(), TierError>>;

pub(super) enum Op {
    Put {
        tenant: TenantId,
        name: EntryName,
        entry: SealedEntry,
        guard: Guard,
        reply: Reply,
    },
    Remove {
        tenant: TenantId,
        name: EntryName,
        reply: Reply,
    },
    Clear {
        tenant: TenantId,
        reply: Reply,
    },
    Close(Reply),
}

impl Op {
    fn into_reply(self) -> Reply {
        match self {
            Self::Put { reply, .. }
            | Self::Remove { reply, .. }
            | Self::Clear { reply, .. }
            | Self::Close(reply) => reply,
        }
    }
}

/// The store failed; shared by all operations of a transaction.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store failed")]
struct StoreFailed(#[source] Arc<redb::Error>);

pub(super) struct Writer {
    store: Store,
    queue: mpsc::Receiver<Op>,
    clock: SharedClock,
    max_bytes: u64,
    failed: Arc<AtomicBool>,
    bytes: u64,
    // Tenants with entries of generations below their present one.
    cleared: VecDeque<(TenantId, u64)>,
    unsynced_commits: u32,
    unsynced_bytes: u64,
}

type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
type Expiries<'txn> = Table<'txn, &'static [u8], ()>;

impl Writer {
    pub(super) fn start(
        store: Store,
        queue: mpsc::Receiver<Op>,
        clock: SharedClock,
        max_bytes: u64,
        failed: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>, TierError> {
        let (bytes, cleared) = {
            let held = store.read().unwrap_or_else(PoisonError::into_inner);
            let store = held.as_ref().ok_or(TierError::Closed)?;
            leftovers(store).map_err(backend)?
        };
        let writer = Self {
            store,
            queue,
            clock,
            max_bytes,
            failed,
            bytes,
            cleared,
            unsynced_commits: 0,
            unsynced_bytes: 0,
        };
        thread::Builder::new()
            .name("cache-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(backend)
    }

    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let closing = batch.iter().any(|op| matches!(op, Op::Close(_)));
            if closing {
                self.queue.close();
            }
            let applied = self.apply(&batch);
            if applied.is_err() {
                self.failed.store(true, Ordering::Release);
            }
            let marked = if closing { self.mark_clean() } else { Ok(()) };
            let outcome = applied
                .and(marked)
                .map_err(|error| StoreFailed(Arc::new(error)));
            for op in batch {
                // The caller may have gone away, which is no error.
                let _ = op.into_reply().send(outcome.clone().map_err(backend));
            }
            if closing {
                return;
            }
        }
    }

    /// Whatever waits; an empty batch if there is only sweeping to do; `None` at the end.
    fn next_batch(&mut self) -> Option<Vec<Op>> {
        let mut batch = Vec::new();
        if self.cleared.is_empty() || self.failed.load(Ordering::Acquire) {
            batch.push(self.queue.blocking_recv()?);
        }
        while batch.len() < BATCH {
            match self.queue.try_recv() {
                Ok(op) => batch.push(op),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) if batch.is_empty() => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    fn apply(&mut self, batch: &[Op]) -> Result<(), redb::Error> {
        let held = Arc::clone(&self.store);
        let held = held.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = held.as_ref() else {
            return Err(redb::Error::DatabaseClosed);
        };
        let mut write = store.begin_write()?;
        let syncs =
            self.unsynced_commits >= UNSYNCED_COMMITS || self.unsynced_bytes >= UNSYNCED_BYTES;
        if !syncs {
            write
                .set_durability(Durability::None)
                .map_err(redb::Error::from)?;
        }
        self.apply_to(&write, batch)?;
        write.commit()?;
        if syncs {
            (self.unsynced_commits, self.unsynced_bytes) = (0, 0);
        } else {
            self.unsynced_commits += 1;
        }
        Ok(())
    }

    fn apply_to(&mut self, write: &WriteTransaction, batch: &[Op]) -> Result<(), redb::Error> {
        let mut rows = write.open_table(ENTRIES)?;
        let mut expiries = write.open_table(EXPIRY)?;
        let mut tenants = write.open_table(TENANTS)?;
        for op in batch {
            match op {
                Op::Put {
                    tenant,
                    name,
                    entry,
                    guard,
                    ..
                } => {
                    if guard.holds() {
                        let key = entry_key(*tenant, generation(&tenants, *tenant)?, &name.0);
                        self.put(&mut rows, &mut expiries, &key, entry)?;
                    }
                }
                Op::Remove { tenant, name, .. } => {
                    let key = entry_key(*tenant, generation(&tenants, *tenant)?, &name.0);
                    self.remove(&mut rows, &mut expiries, &key)?;
                }
                Op::Clear { tenant, .. } => {
                    let next = generation(&tenants, *tenant)? + 1;
                    tenants.insert(tenant.as_bytes().as_slice(), next)?;
                    self.cleared.push_back((*tenant, next));
                }
                Op::Close(_) => {}
            }
        }
        self.sweep_expired(&mut rows, &mut expiries)?;
        self.sweep_cleared(&mut rows, &mut expiries)
    }

    fn put(
        &mut self,
        rows: &mut Rows<'_>,
        expiries: &mut Expiries<'_>,
        key: &[u8],
        entry: &SealedEntry,
    ) -> Result<(), redb::Error> {
        self.remove(rows, expiries, key)?;
        let row = encode_row(entry);
        let cost = row.len() as u64 + OVERHEAD_BYTES;
        while self.bytes + cost > self.max_bytes {
            let first = expiries.pop_first()?.map(|(key, _)| key.value().to_vec());
            let Some(first) = first else { return Ok(()) };
            self.forget(rows, first.get(8..).unwrap_or_default())?;
        }
        rows.insert(key, row.as_slice())?;
        expiries.insert(expiry_key(expiry_bytes(entry.expires), key).as_slice(), ())?;
        self.bytes += cost;
        self.unsynced_bytes += cost;
        Ok(())
    }

    fn remove(
        &mut self,
        rows: &mut Rows<'_>,
        expiries: &mut Expiries<'_>,
        key: &[u8],
    ) -> Result<(), redb::Error> {
        if let Some(expires) = self.forget(rows, key)? {
            expiries.remove(expiry_key(expires, key).as_slice())?;
        }
        Ok(())
    }

    /// Removes a row and tells its expiry, which the caller takes out of the index.
    fn forget(&mut self, rows: &mut Rows<'_>, key: &[u8]) -> Result<Option<[u8; 8]>, redb::Error> {
        let Some(row) = rows.remove(key)? else {
            return Ok(None);
        };
        let cost = row.value().len() as u64 + OVERHEAD_BYTES;
        self.bytes = self.bytes.saturating_sub(cost);
        Ok(decode_row(row.value()).map(|(expires, _)| expires))
    }

    fn sweep_expired(
        &mut self,
        rows: &mut Rows<'_>,
        expiries: &mut Expiries<'_>,
    ) -> Result<(), redb::Error> {
        let now = expiry_bytes(self.clock.wall());
        for _ in 0..SWEEP {
            let due = expiries
                .first()?
                .map(|(key, _)| key.value().to_vec())
                .filter(|key| {
                    key.get(..8)
                        .is_some_and(|expires| expires <= now.as_slice())
                });
            let Some(due) = due else { break };
            expiries.remove(due.as_slice())?;
            self.forget(rows, due.get(8..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn sweep_cleared(
        &mut self,
        rows: &mut Rows<'_>,
        expiries: &mut Expiries<'_>,
    ) -> Result<(), redb::Error> {
        let Some((tenant, present)) = self.cleared.front().copied() else {
            return Ok(());
        };
        let (from, to) = (entry_key(tenant, 0, &[]), entry_key(tenant, present, &[]));
        let doomed = rows
            .range::<&[u8]>(from.as_slice()..to.as_slice())?
            .take(SWEEP)
            .map(|row| row.map(|(key, _)| key.value().to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        for key in &doomed {
            self.remove(rows, expiries, key)?;
        }
        if doomed.len() < SWEEP {
            self.cleared.pop_front();
        }
        Ok(())
    }

    fn mark_clean(&self) -> Result<(), redb::Error> {
        if self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let held = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = held.as_ref() else {
            return Ok(());
        };
        let write = store.begin_write()?;
        write.open_table(META)?.insert("bytes", self.bytes)?;
        write.commit()?;
        mark(store, true)
    }
}

fn expiry_key(expires: [u8; 8], key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&expires);
    out.extend_from_slice(key);
    out
}

fn generation(
    tenants: &Table<'_, &'static [u8], u64>,
    tenant: TenantId,
) -> Result<u64, redb::Error> {
    let found = tenants.get(tenant.as_bytes().as_slice())?;
    Ok(found.map_or(0, |generation| generation.value()))
}

/// The bytes on disk, and the tenants whose cleared entries an earlier process did not sweep.
fn leftovers(store: &Database) -> Result<(u64, VecDeque<(TenantId, u64)>), redb::Error> {
    let read = store.begin_read()?;
    let bytes = read.open_table(META)?.get("bytes")?;
    let bytes = bytes.map_or(0, |bytes| bytes.value());
    let mut cleared = VecDeque::new();
    for row in read.open_table(TENANTS)?.iter()? {
        let (tenant, present) = row?;
        let id = uuid::Uuid::from_slice(tenant.value()).ok();
        if let Some(id) = id.and_then(TenantId::from_uuid) {
            cleared.push_back((id, present.value()));
        }
    }
    Ok((bytes, cleared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::RwLock;
    use std::time::Duration;

    use bytes::Bytes;
    use eonpro_core::digest::Digest;
    use eonpro_core::time::{Clock as _, ManualClock, Timestamp};
    use eonpro_testkit::tenant_id;
    use redb::ReadableTableMetadata as _;
    use redb::backends::InMemoryBackend;

    use crate::generation::Generations;

    const MANY: usize = 3 * SWEEP + 7;

    fn writer(clock: &ManualClock) -> Writer {
        let store = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        mark(&store, false).unwrap();
        Writer {
            store: Arc::new(RwLock::new(Some(store))),
            queue: mpsc::channel(1).1,
            clock: Arc::new(clock.clone()),
            max_bytes: 1 << 30,
            failed: Arc::default(),
            bytes: 0,
            cleared: VecDeque::new(),
            unsynced_commits: 0,
            unsynced_bytes: 0,
        }
    }

    fn puts(tenant: u128, expires: Timestamp) -> Vec<Op> {
        let generations = Generations::new();
        let put = |number: usize| {
            let name = Digest::of(&number.to_le_bytes());
            Op::Put {
                tenant: tenant_id(tenant),
                name: EntryName(*name.as_bytes()),
                entry: SealedEntry {
                    expires,
                    sealed: Bytes::from_static(b"sealed"),
                },
                guard: generations.guard(tenant_id(tenant), &name),
                reply: oneshot::channel().0,
            }
        };
        (0..MANY).map(put).collect()
    }

    fn rows(writer: &Writer) -> (u64, u64) {
        let held = writer.store.read().unwrap();
        let read = held.as_ref().unwrap().begin_read().unwrap();
        let rows = read.open_table(ENTRIES).unwrap().len().unwrap();
        (rows, read.open_table(EXPIRY).unwrap().len().unwrap())
    }

    #[test]
    fn cleared_entries_leave_the_file_batch_by_batch() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let mut writer = writer(&clock);
        let later = clock.wall().plus(Duration::from_secs(9));
        writer.apply(&puts(1, later)).unwrap();
        writer.apply(&puts(2, later)).unwrap();
        let clear = Op::Clear {
            tenant: tenant_id(1),
            reply: oneshot::channel().0,
        };
        writer.apply(&[clear]).unwrap();
        let mut batches = 0;
        while !writer.cleared.is_empty() {
            writer.apply(&[]).unwrap();
            batches += 1;
        }
        assert_eq!(batches, 3);
        assert_eq!(rows(&writer), (MANY as u64, MANY as u64));
    }

    #[test]
    fn expired_entries_leave_the_file_and_the_count_of_bytes() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let mut writer = writer(&clock);
        let soon = clock.wall().plus(Duration::from_secs(1));
        // Twice, so that replacing an entry is counted once.
        for _ in 0..2 {
            writer.apply(&puts(1, soon)).unwrap();
        }
        assert_eq!(rows(&writer), (MANY as u64, MANY as u64));
        clock.advance(Duration::from_secs(1));
        for _ in 0..4 {
            writer.apply(&[]).unwrap();
        }
        assert_eq!(rows(&writer), (0, 0));
        assert_eq!(writer.bytes, 0);
    }
}
