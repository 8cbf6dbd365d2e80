//! A `KeyValue` in memory: for tests, and for state that may be lost.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::broadcast;

use super::{
    Change, Entry, Key, KeyValue, KvCapabilities, KvError, MAX_SCAN, Partition, Precondition,
    Transaction, Version, Versioned, Write,
};
use crate::component::{Component, Durability, Fitness, Health, Posture, Validation};
use crate::time::{SharedClock, Timestamp};

const WATCH_CAPACITY: usize = 1024;

/// The volatile backend: a map behind a lock.
#[derive(Debug)]
pub struct MemoryKeyValue {
    clock: SharedClock,
    state: Mutex<State>,
    changes: broadcast::Sender<(Partition, Key)>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    partitions: BTreeMap<Partition, Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    commits: u64,
    entries: BTreeMap<Key, Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    versioned: Versioned,
    expires: Option<Timestamp>,
}

impl Stored {
    fn live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl MemoryKeyValue {
    /// An empty store whose entries expire by `clock`.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let (changes, _) = broadcast::channel(WATCH_CAPACITY);
        Self {
            clock,
            state: Mutex::default(),
            changes,
        }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, KvError> {
        // Nothing panics while it holds the lock, so a poisoned state is still consistent.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            Err(KvError::Closed)
        } else {
            Ok(state)
        }
    }
}

impl Contents {
    fn live(&self, key: &Key, now: Timestamp) -> Option<&Stored> {
        self.entries.get(key).filter(|stored| stored.live(now))
    }

    fn holds(&self, precondition: &Precondition, now: Timestamp) -> bool {
        match precondition {
            Precondition::Absent(key) => self.live(key, now).is_none(),
            Precondition::At(key, version) => self
                .live(key, now)
                .is_some_and(|stored| stored.versioned.version == *version),
        }
    }

    fn apply(&mut self, write: &Write, version: Version) {
        match write {
            Write::Put {
                key,
                value,
                expires,
            } => {
                let versioned = Versioned {
                    value: value.clone(),
                    version,
                };
                self.entries.insert(
                    key.clone(),
                    Stored {
                        versioned,
                        expires: *expires,
                    },
                );
            }
            Write::Delete(key) => {
                self.entries.remove(key);
            }
        }
    }
}

#[async_trait]
impl Component for MemoryKeyValue {
    fn name(&self) -> &'static str {
        "memory-kv"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Volatile,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        match self.open() {
            Ok(_) => Health::Healthy,
            Err(_) => Health::Unhealthy("closed"),
        }
    }

    async fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
    }
}

#[async_trait]
impl KeyValue for MemoryKeyValue {
    fn capabilities(&self) -> KvCapabilities {
        KvCapabilities {
            durable: false,
            shared: false,
        }
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        let now = self.clock.wall();
        let state = self.open()?;
        let found = state
            .partitions
            .get(partition)
            .and_then(|contents| contents.live(key, now));
        Ok(found.map(|stored| stored.versioned.clone()))
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        let now = self.clock.wall();
        let state = self.open()?;
        let Some(contents) = state.partitions.get(partition) else {
            return Ok(Vec::new());
        };
        let first = Key::new(Bytes::copy_from_slice(prefix)).ok();
        let start = match (&first, after) {
            (Some(first), Some(after)) if after < first => Bound::Included(first),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(first), None) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let entries = contents
            .entries
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_bytes().starts_with(prefix))
            .filter(|(_, stored)| stored.live(now))
            .take(limit.min(MAX_SCAN))
            .map(|(key, stored)| Entry {
                key: key.clone(),
                versioned: stored.versioned.clone(),
            });
        Ok(entries.collect())
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        tx.check()?;
        let now = self.clock.wall();
        let mut state = self.open()?;
        let contents = state.partitions.entry(*partition).or_default();
        if !tx
            .preconditions()
            .iter()
            .all(|required| contents.holds(required, now))
        {
            return Err(KvError::Conflict);
        }
        if tx.writes().is_empty() {
            return Ok(Version(contents.commits));
        }
        contents.commits += 1;
        let version = Version(contents.commits);
        for write in tx.writes() {
            contents.apply(write, version);
        }
        drop(state);
        for write in tx.writes() {
            let (Write::Put { key, .. } | Write::Delete(key)) = write;
            // No watcher is no error.
            let _ = self.changes.send((*partition, key.clone()));
        }
        Ok(version)
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        drop(self.open()?);
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
