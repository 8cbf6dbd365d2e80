//! The one thread that writes: whatever waits becomes one redb transaction with one sync.
//!
//! Each transaction of the batch is judged against the state that the ones before it left. Nobody is
//! answered before the batch is durable, not even with a conflict, since that conflict may rest on
//! a write of the same batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use eonpro_core::port::KvError;
use eonpro_core::port::kv::{Key, Partition, Precondition, Transaction, Version, Write};
use eonpro_core::time::{SharedClock, Timestamp};
use redb::{Database, Durability, ReadableTable as _, Table, WriteTransaction};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::file::{COUNTERS, ENTRIES, EXPIRY, backend};
use crate::row::{Prefix, Row, instant_bytes};
use crate::store::{Store, with_store};

/// Commits of one batch.
const BATCH: usize = 512;
/// Bytes of values after which a batch is closed.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Expired entries that one batch sweeps.
const SWEEP: usize = 64;

type Answer = Result<Version, KvError>;

pub(crate) enum Op {
    Commit {
        partition: Partition,
        place: Prefix,
        tx: Transaction,
        reply: oneshot::Sender<Answer>,
    },
    Close(oneshot::Sender<()>),
}

/// A commit failed with its batch; the source is shared by all commits of the batch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("batch of commits failed")]
struct BatchFailed(#[source] Arc<KvError>);

pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) queue: mpsc::Receiver<Op>,
    pub(crate) clock: SharedClock,
    pub(crate) changes: broadcast::Sender<(Partition, Key)>,
    pub(crate) failed: Arc<AtomicBool>,
}

struct Pending {
    partition: Partition,
    place: Prefix,
    tx: Transaction,
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Batch {
    commits: Vec<Pending>,
    closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(crate) fn start(self) -> Result<JoinHandle<()>, KvError> {
        thread::Builder::new()
            .name("redb-writer".to_owned())
            .spawn(move || self.run())
            .map_err(backend)
    }

    fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let batch = self.batch(first);
            if !batch.commits.is_empty() {
                self.write(batch.commits);
            }
            if let Some(closing) = batch.closing {
                self.queue.close();
                let _ = closing.send(());
                return;
            }
        }
    }

    /// `first` and whatever else waits, up to the limits or a close.
    fn batch(&mut self, first: Op) -> Batch {
        let (mut batch, mut bytes, mut next) = (Batch::default(), 0, Some(first));
        while let Some(op) = next {
            match op {
                Op::Commit {
                    partition,
                    place,
                    tx,
                    reply,
                } => {
                    bytes += size(&tx);
                    batch.commits.push(Pending {
                        partition,
                        place,
                        tx,
                        reply,
                    });
                }
                Op::Close(reply) => {
                    batch.closing = Some(reply);
                    return batch;
                }
            }
            if batch.commits.len() >= BATCH || bytes >= BATCH_BYTES {
                return batch;
            }
            next = self.queue.try_recv().ok();
        }
        batch
    }

    fn write(&self, commits: Vec<Pending>) {
        let now = self.clock.wall();
        let applied = with_store(&self.store, |store| apply(store, &commits, now));
        match applied {
            Ok(answers) => {
                for (commit, answer) in commits.into_iter().zip(answers) {
                    if answer.is_ok() {
                        self.announce(&commit);
                    }
                    // The caller may have gone away, which is no error.
                    let _ = commit.reply.send(answer);
                }
            }
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                let failed = BatchFailed(Arc::new(error));
                for commit in commits {
                    let _ = commit.reply.send(Err(backend(failed.clone())));
                }
            }
        }
    }

    fn announce(&self, commit: &Pending) {
        for write in commit.tx.writes() {
            let (Write::Put { key, .. } | Write::Delete(key)) = write;
            // No watcher is no error.
            let _ = self.changes.send((commit.partition, key.clone()));
        }
    }
}

fn size(tx: &Transaction) -> usize {
    let value = |write: &Write| match write {
        Write::Put { value, .. } => value.len(),
        Write::Delete(_) => 0,
    };
    tx.writes().iter().map(value).sum()
}

/// Applies the batch and makes it durable. Without any write nothing is synced.
fn apply(store: &Database, commits: &[Pending], now: Timestamp) -> Result<Vec<Answer>, KvError> {
    let mut write = store.begin_write().map_err(backend)?;
    write
        .set_durability(Durability::Immediate)
        .map_err(backend)?;
    let (answers, wrote) = {
        let mut tables = Tables::open(&write)?;
        let answers = commits
            .iter()
            .map(|commit| tables.judge_and_write(commit, now))
            .collect::<Result<Vec<_>, _>>()?;
        if tables.wrote {
            tables.sweep(now)?;
        }
        (answers, tables.wrote)
    };
    if wrote {
        write.commit().map_err(backend)?;
    } else {
        write.abort().map_err(backend)?;
    }
    Ok(answers)
}

struct Tables<'txn> {
    entries: Table<'txn, &'static [u8], &'static [u8]>,
    counters: Table<'txn, &'static [u8], u64>,
    expiry: Table<'txn, &'static [u8], ()>,
    wrote: bool,
}

impl<'txn> Tables<'txn> {
    fn open(write: &'txn WriteTransaction) -> Result<Self, KvError> {
        Ok(Self {
            entries: write.open_table(ENTRIES).map_err(backend)?,
            counters: write.open_table(COUNTERS).map_err(backend)?,
            expiry: write.open_table(EXPIRY).map_err(backend)?,
            wrote: false,
        })
    }

    /// The outer error is the store's and ends the batch; the inner one is the commit's own.
    fn judge_and_write(&mut self, commit: &Pending, now: Timestamp) -> Result<Answer, KvError> {
        for precondition in commit.tx.preconditions() {
            if !self.holds(&commit.place, precondition, now)? {
                return Ok(Err(KvError::Conflict));
            }
        }
        let counter = self
            .counters
            .get(commit.place.as_bytes())
            .map_err(backend)?
            .map_or(0, |counter| counter.value());
        if commit.tx.writes().is_empty() {
            return Ok(Ok(Version(counter)));
        }
        let version = Version(counter + 1);
        self.counters
            .insert(commit.place.as_bytes(), version.0)
            .map_err(backend)?;
        for write in commit.tx.writes() {
            self.write(&commit.place, write, version)?;
        }
        self.wrote = true;
        Ok(Ok(version))
    }

    fn holds(
        &self,
        place: &Prefix,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<bool, KvError> {
        let (Precondition::At(key, _) | Precondition::Absent(key)) = precondition;
        let found = self
            .entries
            .get(place.join(key.as_bytes()).as_slice())
            .map_err(backend)?;
        let live = match &found {
            Some(row) => Some(Row::decode(row.value())?).filter(|row| row.is_live(now)),
            None => None,
        };
        Ok(match precondition {
            Precondition::At(_, version) => live.is_some_and(|row| row.version == *version),
            Precondition::Absent(_) => live.is_none(),
        })
    }

    fn write(&mut self, place: &Prefix, write: &Write, version: Version) -> Result<(), KvError> {
        let (Write::Put { key, .. } | Write::Delete(key)) = write;
        let at = place.join(key.as_bytes());
        self.remove(&at)?;
        if let Write::Put { value, expires, .. } = write {
            let row = Row {
                version,
                expires: *expires,
                value,
            };
            self.entries
                .insert(at.as_slice(), row.encode().as_slice())
                .map_err(backend)?;
            if let Some(expires) = expires {
                self.expiry
                    .insert(due(*expires, &at).as_slice(), ())
                    .map_err(backend)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, at: &[u8]) -> Result<(), KvError> {
        let expires = match self.entries.remove(at).map_err(backend)? {
            Some(old) => Row::decode(old.value())?.expires,
            None => None,
        };
        if let Some(expires) = expires {
            self.expiry
                .remove(due(expires, at).as_slice())
                .map_err(backend)?;
        }
        Ok(())
    }

    /// Removes a few entries that have expired. The counters stay, so no version comes twice.
    fn sweep(&mut self, now: Timestamp) -> Result<(), KvError> {
        let now = instant_bytes(now);
        for _ in 0..SWEEP {
            let first = self
                .expiry
                .first()
                .map_err(backend)?
                .map(|(due, _)| due.value().to_vec());
            let expired = |due: &Vec<u8>| due.get(..8).is_some_and(|at| at <= now.as_slice());
            let Some(first) = first.filter(expired) else {
                break;
            };
            self.expiry.remove(first.as_slice()).map_err(backend)?;
            let at = first.get(8..).unwrap_or_default();
            self.entries.remove(at).map_err(backend)?;
        }
        Ok(())
    }
}

fn due(expires: Timestamp, at: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + at.len());
    out.extend_from_slice(&instant_bytes(expires));
    out.extend_from_slice(at);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::RwLock;

    use eonpro_core::time::ManualClock;

    const AT: Partition = Partition::system("test");

    fn op(value: usize) -> (Op, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let key = Key::new("k").unwrap();
        let op = Op::Commit {
            partition: AT,
            place: Prefix::of(&AT).unwrap(),
            tx: Transaction::new().put(key, vec![0; value]),
            reply,
        };
        (op, answer)
    }

    fn writer() -> (Writer, mpsc::Sender<Op>) {
        let (ops, queue) = mpsc::channel(2 * BATCH);
        let writer = Writer {
            store: Arc::new(RwLock::new(None)),
            queue,
            clock: Arc::new(ManualClock::at(Timestamp::EPOCH)),
            changes: broadcast::channel(1).0,
            failed: Arc::default(),
        };
        (writer, ops)
    }

    #[test]
    fn whatever_waits_shares_one_batch_up_to_its_limits() {
        let (mut writer, ops) = writer();
        for _ in 0..BATCH + 5 {
            assert!(ops.try_send(op(0).0).is_ok());
        }
        let first = writer.queue.try_recv().unwrap();
        assert_eq!(writer.batch(first).commits.len(), BATCH);
        let first = writer.queue.try_recv().unwrap();
        assert_eq!(writer.batch(first).commits.len(), 5);
        for _ in 0..3 {
            assert!(ops.try_send(op(BATCH_BYTES / 2).0).is_ok());
        }
        let first = writer.queue.try_recv().unwrap();
        assert_eq!(writer.batch(first).commits.len(), 2);
    }

    #[test]
    fn a_close_ends_its_batch_and_refuses_what_comes_after() {
        let (mut writer, ops) = writer();
        let (before, _) = op(0);
        let (after, mut answer) = op(0);
        let (closed, mut done) = oneshot::channel();
        for op in [before, Op::Close(closed), after] {
            assert!(ops.try_send(op).is_ok());
        }
        let first = writer.queue.try_recv().unwrap();
        let batch = writer.batch(first);
        assert_eq!(batch.commits.len(), 1);
        assert!(batch.closing.is_some());
        drop((batch, writer));
        assert!(done.try_recv().is_err());
        assert!(answer.try_recv().is_err());
    }
}
