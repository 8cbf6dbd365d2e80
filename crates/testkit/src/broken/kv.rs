//! `KeyValue` stores with one defect each, around the sound one in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, KvError, MemoryKeyValue, Partition, Precondition,
    Transaction, Version, Versioned, Write,
};
use eonpro_core::time::SharedClock;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::gap::Gap;

/// What is wrong with the store.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvDefect {
    /// Acknowledges every third commit without applying it.
    LosesWrites,
    /// Applies only the first write of a commit.
    TearsTransactions,
    /// Applies commits whose preconditions fail.
    IgnoresPreconditions,
    /// Judges preconditions first and writes later, with a gap in between.
    RacesCompareAndSwap,
    /// Counts versions anew when a key is deleted.
    ResetsVersions,
    /// Keeps entries for ever.
    IgnoresExpiry,
    /// Reads what the key held one read ago.
    ReadsStale,
    /// Has one space of keys for all partitions.
    LeaksPartitions,
    /// Returns scans in descending order.
    ScansBackwards,
    /// Returns everything, whatever the limit.
    ScansUnbounded,
    /// Returns all keys, whatever the prefix.
    IgnoresPrefix,
    /// Never hints at a change.
    WatchesSilently,
    /// Accepts what is beyond the limits.
    IgnoresLimits,
    /// Claims to be durable and is not.
    ClaimsDurability,
    /// Claims that other processes see its data, which they do not.
    ClaimsSharing,
    /// Answers after it was closed.
    IgnoresClose,
}

impl KvDefect {
    /// Every defect.
    pub const ALL: [Self; 16] = [
        Self::LosesWrites,
        Self::TearsTransactions,
        Self::IgnoresPreconditions,
        Self::RacesCompareAndSwap,
        Self::ResetsVersions,
        Self::IgnoresExpiry,
        Self::ReadsStale,
        Self::LeaksPartitions,
        Self::ScansBackwards,
        Self::ScansUnbounded,
        Self::IgnoresPrefix,
        Self::WatchesSilently,
        Self::IgnoresLimits,
        Self::ClaimsDurability,
        Self::ClaimsSharing,
        Self::IgnoresClose,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::LosesWrites => "basics::a_value_is_read_back_with_its_version",
            Self::TearsTransactions => "transactions::a_commit_writes_everything",
            Self::IgnoresPreconditions => "transactions::preconditions_decide",
            Self::RacesCompareAndSwap => "concurrency::counters_lose_no_increment",
            Self::ResetsVersions => "transactions::versions_only_grow",
            Self::IgnoresExpiry => "expiry::an_expired_entry_is_absent",
            Self::ReadsStale => "concurrency::histories_are_linearizable",
            Self::LeaksPartitions => "basics::partitions_are_isolated",
            Self::ScansBackwards => "scans::keys_come_in_byte_order",
            Self::ScansUnbounded => "scans::pages_cover_everything_once",
            Self::IgnoresPrefix => "scans::prefix_after_and_limit_select",
            Self::WatchesSilently => "watches::a_change_gives_a_hint",
            Self::IgnoresLimits => "basics::limits_hold",
            Self::ClaimsDurability => "durability::durable_means_it_survives_reopening",
            Self::ClaimsSharing => "durability::shared_means_a_second_handle_sees_it",
            Self::IgnoresClose => "basics::a_closed_store_refuses",
        }
    }
}

/// A store with one [`KvDefect`].
#[derive(Debug)]
pub struct BrokenKeyValue {
    defect: KvDefect,
    sound: MemoryKeyValue,
    state: Mutex<State>,
    gap: Gap,
}

#[derive(Debug, Default)]
struct State {
    commits: u64,
    // By key: the real version, and the one that is shown instead.
    shown: HashMap<(Partition, Key), (Version, Version)>,
    remembered: HashMap<(Partition, Key), Option<Versioned>>,
}

impl BrokenKeyValue {
    /// An empty store with that defect.
    #[must_use]
    pub fn new(defect: KvDefect, clock: SharedClock) -> Self {
        Self {
            defect,
            sound: MemoryKeyValue::new(clock),
            state: Mutex::default(),
            gap: Gap::default(),
        }
    }

    fn has(&self, defect: KvDefect) -> bool {
        self.defect == defect
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, partition: &Partition) -> Partition {
        if self.has(KvDefect::LeaksPartitions) {
            Partition::system("everything")
        } else {
            *partition
        }
    }

    async fn holds(&self, at: &Partition, tx: &Transaction) -> Result<bool, KvError> {
        for precondition in tx.preconditions() {
            let held = match precondition {
                Precondition::Absent(key) => self.sound.get(at, key).await?.is_none(),
                Precondition::At(key, version) => self
                    .get(at, key)
                    .await?
                    .is_some_and(|found| found.version == *version),
            };
            if !held {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn commit_resetting(&self, at: &Partition, tx: Transaction) -> Result<Version, KvError> {
        if !self.holds(at, &tx).await? {
            return Err(KvError::Conflict);
        }
        let writes = tx.writes().to_vec();
        let real = self.sound.commit(at, without_preconditions(&tx)).await?;
        let mut state = self.state();
        let mut last = real;
        for write in writes {
            let (Write::Put { key, .. } | Write::Delete(key)) = &write;
            let place = (*at, key.clone());
            let old = state.shown.get(&place).map_or(0, |(_, shown)| shown.0);
            last = Version(old + 1);
            if matches!(write, Write::Put { .. }) {
                state.shown.insert(place, (real, last));
            } else {
                state.shown.remove(&place);
            }
        }
        Ok(last)
    }

    fn shown(&self, at: &Partition, key: &Key, mut found: Versioned) -> Versioned {
        if let Some((_, shown)) = self.state().shown.get(&(*at, key.clone())) {
            found.version = *shown;
        }
        found
    }
}

fn rebuilt(writes: &[Write]) -> Transaction {
    writes
        .iter()
        .fold(Transaction::new(), |tx, write| match write {
            Write::Put {
                key,
                value,
                expires: Some(expires),
            } => tx.put_until(key.clone(), value.clone(), *expires),
            Write::Put { key, value, .. } => tx.put(key.clone(), value.clone()),
            Write::Delete(key) => tx.delete(key.clone()),
        })
}

fn without_preconditions(tx: &Transaction) -> Transaction {
    rebuilt(tx.writes())
}

fn with_preconditions(preconditions: &[Precondition], tx: Transaction) -> Transaction {
    preconditions
        .iter()
        .fold(tx, |tx, precondition| match precondition {
            Precondition::At(key, version) => tx.require(key.clone(), *version),
            Precondition::Absent(key) => tx.require_absent(key.clone()),
        })
}

fn torn(tx: &Transaction) -> Transaction {
    let first = tx.writes().get(..1).unwrap_or_default();
    with_preconditions(tx.preconditions(), rebuilt(first))
}

fn everlasting(tx: &Transaction) -> Transaction {
    let writes: Vec<_> = tx
        .writes()
        .iter()
        .cloned()
        .map(|write| match write {
            Write::Put { key, value, .. } => Write::Put {
                key,
                value,
                expires: None,
            },
            delete @ Write::Delete(_) => delete,
        })
        .collect();
    with_preconditions(tx.preconditions(), rebuilt(&writes))
}

#[async_trait]
impl Component for BrokenKeyValue {
    fn name(&self) -> &'static str {
        "broken-kv"
    }

    fn posture(&self) -> Posture {
        let mut posture = self.sound.posture();
        posture.fitness = eonpro_core::component::Fitness::TestOnly;
        posture
    }

    async fn health(&self) -> Health {
        self.sound.health().await
    }

    async fn close(&self) {
        if !self.has(KvDefect::IgnoresClose) {
            self.sound.close().await;
        }
    }
}

#[async_trait]
impl KeyValue for BrokenKeyValue {
    fn capabilities(&self) -> KvCapabilities {
        KvCapabilities::new(
            self.has(KvDefect::ClaimsDurability),
            self.has(KvDefect::ClaimsSharing),
        )
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        let at = self.place(partition);
        let found = self.sound.get(&at, key).await?;
        match self.defect {
            KvDefect::ReadsStale => {
                let place = (at, key.clone());
                let before = self.state().remembered.insert(place, found.clone());
                Ok(before.unwrap_or(found))
            }
            KvDefect::ResetsVersions => Ok(found.map(|found| self.shown(&at, key, found))),
            _ => Ok(found),
        }
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        let at = self.place(partition);
        let prefix = if self.has(KvDefect::IgnoresPrefix) {
            b""
        } else {
            prefix
        };
        let mut entries = self.sound.scan(&at, prefix, after, limit).await?;
        if self.has(KvDefect::ScansUnbounded) {
            while let Some(last) = entries.last().map(|entry| entry.key.clone()) {
                let more = self
                    .sound
                    .scan(&at, prefix, Some(&last), usize::MAX)
                    .await?;
                if more.is_empty() {
                    break;
                }
                entries.extend(more);
            }
        }
        if self.has(KvDefect::ScansBackwards) {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        let at = self.place(partition);
        match self.defect {
            KvDefect::LosesWrites => {
                let commits = {
                    let mut state = self.state();
                    state.commits += 1;
                    state.commits
                };
                if commits.is_multiple_of(3) {
                    return Ok(Version(commits));
                }
                self.sound.commit(&at, tx).await
            }
            KvDefect::TearsTransactions => self.sound.commit(&at, torn(&tx)).await,
            KvDefect::IgnoresPreconditions => {
                self.sound.commit(&at, without_preconditions(&tx)).await
            }
            KvDefect::RacesCompareAndSwap => {
                if !self.holds(&at, &tx).await? {
                    return Err(KvError::Conflict);
                }
                self.gap.pass().await;
                self.sound.commit(&at, without_preconditions(&tx)).await
            }
            KvDefect::ResetsVersions => self.commit_resetting(&at, tx).await,
            KvDefect::IgnoresExpiry => self.sound.commit(&at, everlasting(&tx)).await,
            KvDefect::IgnoresLimits if tx.check().is_err() => Ok(Version(1)),
            _ => self.sound.commit(&at, tx).await,
        }
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        let at = self.place(partition);
        let hints = self.sound.watch(&at, prefix).await?;
        if self.has(KvDefect::WatchesSilently) {
            Ok(futures_util::stream::pending().boxed())
        } else {
            Ok(hints)
        }
    }
}
