//! What every custody of [`EpochKeys`] must do.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_encryption::EpochKeys;
//! use eonpro_testkit::MemoryEpochs;
//! use eonpro_testkit::conformance::{self, epoch_keys::Subject};
//! use futures_util::FutureExt as _;
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() {
//! let report = conformance::epoch_keys(async || {
//!     let custody = MemoryEpochs::new();
//!     let again = custody.clone();
//!     Subject::new(Arc::new(custody), move || {
//!         let custody = Arc::new(again.clone()) as Arc<dyn EpochKeys>;
//!         async move { custody }.boxed()
//!     })
//! })
//! .await;
//! report.assert_conforms();
//! # }
//! ```

mod destruction;
mod life;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_encryption::{EpochId, EpochKeys};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::report::{Mismatch, Report, expect_eq};
use super::wrapping::{Outcome, Wrapper};

/// Opens a custody once more.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn EpochKeys>> + Send + Sync>;

/// A custody without epoch keys, and how to come back to it.
pub struct Subject {
    /// The first handle.
    pub keys: Arc<dyn EpochKeys>,
    /// Opens a second handle on the same custody while the first is in use.
    pub second: Opener,
    /// Opens the same custody again after the handle was closed and dropped.
    pub reopen: Opener,
}

impl Subject {
    /// A custody that `open` opens both a second time and again.
    #[must_use]
    pub fn new(
        keys: Arc<dyn EpochKeys>,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn EpochKeys>> + Send + Sync + 'static,
    ) -> Self {
        let open: Opener = Arc::new(open);
        Self {
            keys,
            second: Arc::clone(&open),
            reopen: open,
        }
    }

    /// The first handle with a fresh epoch.
    async fn wrapper(&self) -> Result<Wrapper, Mismatch> {
        let epoch = self.keys.create().await?;
        Ok(self.at(&epoch))
    }

    /// The first handle with `epoch`.
    fn at(&self, epoch: &EpochId) -> Wrapper {
        Wrapper::Epoch(Arc::clone(&self.keys), epoch.clone())
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

type Check = fn(Subject) -> BoxFuture<'static, Outcome>;

/// Every check, by name.
const CHECKS: &[(&str, Check)] = checks![
    life::a_wrapped_key_comes_back_and_is_short,
    life::a_wrapped_key_is_bound_to_its_context,
    life::a_changed_wrapped_key_is_refused,
    life::several_wraps_of_one_key_all_unwrap,
    life::concurrent_calls_do_not_mix,
    life::dropped_calls_leave_it_usable,
    life::one_epoch_unwraps_nothing_of_another,
    life::concurrent_creates_give_different_epochs,
    life::a_second_handle_uses_every_epoch,
    life::an_epoch_survives_reopening,
    life::exactly_the_living_are_listed,
    life::a_custody_keeps_its_name,
    destruction::a_destroyed_epoch_neither_wraps_nor_unwraps,
    destruction::other_epochs_live_on,
    destruction::a_second_handle_sees_the_destruction,
    destruction::a_destroyed_epoch_is_gone_after_reopening,
    destruction::destroying_again_is_no_error,
    destruction::an_epoch_that_never_was_is_gone,
    destruction::what_cannot_be_its_own_is_not_called_destroyed,
    destruction::an_id_is_never_given_again,
    destruction::a_destruction_ends_what_runs_beside_it,
];

/// The check of all custodies together.
pub(crate) const UNIQUE_NAMES: &str = "life::no_two_custodies_have_one_name";

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    let each = CHECKS.iter().map(|(name, _)| *name);
    each.chain([UNIQUE_NAMES])
}

/// Runs every check, each on an empty custody that `make` has just made.
///
/// Needs a multi-threaded runtime, or concurrency is not tested, and its timers.
pub async fn suite<M>(make: M) -> Report
where
    M: AsyncFn() -> Subject,
{
    suite_with_patience(make, Duration::from_secs(120)).await
}

/// [`suite`], waiting no longer than `patience` for one check.
pub async fn suite_with_patience<M>(make: M, patience: Duration) -> Report
where
    M: AsyncFn() -> Subject,
{
    let mut report = Report::default();
    let mut names = BTreeSet::new();
    for (name, check) in CHECKS {
        let subject = make().await;
        let keys = Arc::clone(&subject.keys);
        names.insert(keys.custody_id().to_owned());
        report.judge(name, patience, check(subject)).await;
        keys.close().await;
    }
    let different = expect_eq(&names.len(), &CHECKS.len(), "names of as many custodies");
    report.add(UNIQUE_NAMES, different);
    report
}

/// Expects that exactly `living` are listed.
async fn expect_living(keys: &dyn EpochKeys, living: &[&EpochId], when: &str) -> Outcome {
    let mut found = keys.epochs().await?;
    found.sort_unstable();
    let mut expected: Vec<EpochId> = living.iter().copied().cloned().collect();
    expected.sort_unstable();
    expect_eq(&found, &expected, &format!("the epochs {when}"))
}
