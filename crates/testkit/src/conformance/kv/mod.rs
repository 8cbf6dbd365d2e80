//! What every [`KeyValue`] backend must do.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_core::port::kv::MemoryKeyValue;
//! use eonpro_testkit::conformance::kv::{Subject, suite};
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() {
//! let report = suite(async |clock| Subject::volatile(Arc::new(MemoryKeyValue::new(clock)))).await;
//! report.assert_conforms();
//! # }
//! ```

mod basics;
mod concurrency;
mod durability;
mod expiry;
mod scans;
mod transactions;
mod watches;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::kv::{Key, KeyValue, KvError, Partition, Transaction, Version};
use eonpro_core::task;
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::report::{Mismatch, Report};
use crate::tenant_id;

/// Opens a store once more.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn KeyValue>> + Send + Sync>;

/// A fresh, empty store, and how to come back to it.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn KeyValue>,
    /// Opens the same state again after the store was closed and dropped. Needed to claim
    /// `durable`.
    pub reopen: Option<Opener>,
    /// Opens a second handle on the same state while the first is in use. Needed to claim `shared`.
    pub second: Option<Opener>,
}

impl Subject {
    /// A store that nobody can open again.
    #[must_use]
    pub fn volatile(store: Arc<dyn KeyValue>) -> Self {
        Self {
            store,
            reopen: None,
            second: None,
        }
    }

    /// With a way to open the same state again.
    #[must_use]
    pub fn reopened_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn KeyValue>> + Send + Sync + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(open));
        self
    }

    /// With a way to open a second handle.
    #[must_use]
    pub fn shared_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn KeyValue>> + Send + Sync + 'static,
    ) -> Self {
        self.second = Some(Box::new(open));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What a check works with.
pub(crate) struct Bed {
    pub(crate) subject: Subject,
    pub(crate) clock: ManualClock,
    /// How long a hint may take; only a failing check waits that long.
    pub(crate) patience: Duration,
}

type Outcome = Result<(), Mismatch>;
type Check = fn(Bed) -> BoxFuture<'static, Outcome>;

/// Every check, by name.
const CHECKS: &[(&str, Check)] = checks![
    basics::a_value_is_read_back_with_its_version,
    basics::a_deleted_key_is_absent,
    basics::partitions_are_isolated,
    basics::limits_hold,
    basics::a_closed_store_refuses,
    transactions::preconditions_decide,
    transactions::a_refused_commit_writes_nothing,
    transactions::a_commit_writes_everything,
    transactions::versions_only_grow,
    transactions::an_empty_commit_tells_the_counter,
    expiry::an_expired_entry_is_absent,
    expiry::a_key_lives_again_after_expiry,
    expiry::a_later_write_decides_the_expiry,
    scans::keys_come_in_byte_order,
    scans::prefix_after_and_limit_select,
    scans::pages_cover_everything_once,
    watches::a_change_gives_a_hint,
    watches::a_flood_is_heard_or_announced_as_lagged,
    concurrency::counters_lose_no_increment,
    concurrency::histories_are_linearizable,
    concurrency::a_scan_is_one_snapshot,
    durability::durable_means_it_survives_reopening,
    durability::shared_means_a_second_handle_sees_it,
];

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs every check, each on a store that `make` has just made for the given clock.
///
/// Needs a multi-threaded runtime, or concurrency is not tested.
pub async fn suite<M>(make: M) -> Report
where
    M: AsyncFn(SharedClock) -> Subject,
{
    suite_with_patience(make, Duration::from_secs(10)).await
}

/// [`suite`], waiting no longer than `patience` for the hint of a watch.
pub async fn suite_with_patience<M>(make: M, patience: Duration) -> Report
where
    M: AsyncFn(SharedClock) -> Subject,
{
    let mut report = Report::default();
    for (name, check) in CHECKS {
        let clock = ManualClock::at(Timestamp::from_seconds(1_790_000_000));
        let bed = Bed {
            subject: make(Arc::new(clock.clone())).await,
            clock,
            patience,
        };
        let store = Arc::clone(&bed.subject.store);
        let outcome = match task::outlive(check(bed)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Mismatch("the store panicked".to_owned())),
        };
        store.close().await;
        report.add(name, outcome);
    }
    report
}

/// A partition of tenant `tenant`.
fn partition(tenant: u128) -> Partition {
    Partition::tenant(tenant_id(tenant), "conformance")
}

fn key(name: &str) -> Result<Key, KvError> {
    Key::new(name.to_owned())
}

fn put(name: &str, value: &str) -> Result<Transaction, KvError> {
    Ok(Transaction::new().put(key(name)?, value.to_owned()))
}

/// The value at a key, as text.
async fn text(store: &dyn KeyValue, at: &Partition, name: &str) -> Result<Option<String>, KvError> {
    let found = store.get(at, &key(name)?).await?;
    Ok(found.map(|found| String::from_utf8_lossy(&found.value).into_owned()))
}

/// The version of a key; zero, which no commit has, if it is absent.
async fn version(store: &dyn KeyValue, at: &Partition, name: &str) -> Result<Version, KvError> {
    let found = store.get(at, &key(name)?).await?;
    Ok(found.map_or(Version(0), |found| found.version))
}
