//! What every [`RootKey`] must do.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_encryption::backend::EphemeralRoot;
//! use eonpro_testkit::conformance::{self, root_key::Subject};
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = conformance::root_key(async || {
//!     Subject::volatile(Arc::new(EphemeralRoot::generate().expect("randomness")))
//! })
//! .await;
//! report.assert_conforms();
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::Durability;
use eonpro_encryption::RootKey;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::report::{Report, expect, expect_eq};
use super::wrapping::{self, Outcome, Wrapper, context};

/// Opens a root key once more.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn RootKey>> + Send + Sync>;

/// A root key that no other subject has, and how to come back to it.
pub struct Subject {
    /// The root key.
    pub root: Arc<dyn RootKey>,
    /// Opens the same root key again after it was closed and dropped. Needed to claim
    /// [`Durability::Durable`].
    pub reopen: Option<Opener>,
}

impl Subject {
    /// A root key that nobody can open again.
    #[must_use]
    pub fn volatile(root: Arc<dyn RootKey>) -> Self {
        Self { root, reopen: None }
    }

    /// With a way to open the same root key again.
    #[must_use]
    pub fn reopened_by(
        mut self,
        open: impl Fn() -> BoxFuture<'static, Arc<dyn RootKey>> + Send + Sync + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(open));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// What a check works with: two root keys of one kind.
struct Bed {
    subject: Subject,
    stranger: Arc<dyn RootKey>,
}

impl Bed {
    fn wrapper(&self) -> Wrapper {
        Wrapper::Root(Arc::clone(&self.subject.root))
    }
}

type Check = fn(Bed) -> BoxFuture<'static, Outcome>;

/// Every check, by name.
const CHECKS: &[(&str, Check)] = checks![
    a_wrapped_key_comes_back_and_is_short,
    a_wrapped_key_is_bound_to_its_context,
    a_changed_wrapped_key_is_refused,
    several_wraps_of_one_key_all_unwrap,
    concurrent_calls_do_not_mix,
    dropped_calls_leave_it_usable,
    a_stranger_of_the_same_kind_unwraps_nothing,
    reopened_it_is_the_same,
];

/// The names of all checks.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs every check, each on two root keys that `make` has just made, with fresh keys each.
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
    for (name, check) in CHECKS {
        let bed = Bed {
            subject: make().await,
            stranger: make().await.root,
        };
        let all = [Arc::clone(&bed.subject.root), Arc::clone(&bed.stranger)];
        report.judge(name, patience, check(bed)).await;
        for root in all {
            root.close().await;
        }
    }
    report
}

async fn a_wrapped_key_comes_back_and_is_short(bed: Bed) -> Outcome {
    wrapping::comes_back(&bed.wrapper()).await
}

async fn a_wrapped_key_is_bound_to_its_context(bed: Bed) -> Outcome {
    wrapping::is_bound_to_its_context(&bed.wrapper()).await
}

async fn a_changed_wrapped_key_is_refused(bed: Bed) -> Outcome {
    wrapping::changes_are_refused(&bed.wrapper()).await
}

async fn several_wraps_of_one_key_all_unwrap(bed: Bed) -> Outcome {
    wrapping::several_wraps_stand(&bed.wrapper()).await
}

async fn concurrent_calls_do_not_mix(bed: Bed) -> Outcome {
    wrapping::stands_concurrency(&bed.wrapper()).await
}

async fn dropped_calls_leave_it_usable(bed: Bed) -> Outcome {
    wrapping::survives_dropped_calls(&bed.wrapper()).await
}

async fn a_stranger_of_the_same_kind_unwraps_nothing(bed: Bed) -> Outcome {
    let (own, stranger) = (bed.wrapper(), Wrapper::Root(Arc::clone(&bed.stranger)));
    expect(
        bed.subject.root.id() != bed.stranger.id(),
        "two root keys have one id",
    )?;
    let wrapped = own.wrap_numbered(7).await?;
    let what = "wrapped by one root key, asked of another";
    stranger
        .expect_mismatch(&wrapped, &context(1, 1), what)
        .await
}

async fn reopened_it_is_the_same(bed: Bed) -> Outcome {
    let durable = bed.subject.root.posture().durability == Durability::Durable;
    let Some(reopen) = &bed.subject.reopen else {
        return expect(!durable, "claims to be durable and cannot be reopened");
    };
    let id = bed.subject.root.id().clone();
    let wrapped = bed.wrapper().wrap_numbered(7).await?;
    bed.subject.root.close().await;
    drop(bed.subject.root);
    let root = reopen().await;
    expect_eq(root.id(), &id, "the id after reopening")?;
    let again = Wrapper::Root(Arc::clone(&root));
    let outcome = again
        .expect_numbered(&wrapped, 7, "what was wrapped before reopening")
        .await;
    root.close().await;
    outcome
}
