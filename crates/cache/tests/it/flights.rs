//! One computation for all who wait.

use std::time::Duration;

use bytes::Bytes;
use eonpro_cache::{
    Cache as _, CacheConfig, CacheError, CacheExt as _, EntryOptions, Origin, WorkError,
};
use eonpro_core::time::{Clock as _, Monotonic};
use eonpro_core::{Classify as _, ErrorKind, task};
use eonpro_testkit::scope_with;
use futures_util::FutureExt as _;

use crate::bed::Bed;

async fn never() -> Result<Option<Bytes>, WorkError> {
    panic!("this work must not run")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_share_one_computation() {
    let bed = Bed::memory();
    let (leader, open) = bed.begin("a", "value").await;
    let callers = (0..99).map(|_| {
        let (cache, scope, key) = (bed.cache.clone(), bed.ours.clone(), bed.key("a"));
        task::start(async move {
            let options = EntryOptions::default();
            cache.get_or_compute(&scope, &key, &options, never).await
        })
    });
    let callers: Vec<_> = callers.collect();
    while bed.cache.stats().joined < 99 {
        tokio::task::yield_now().await;
    }
    open.send(()).unwrap();
    assert_eq!(leader.await.unwrap().unwrap().origin, Origin::Computed);
    for caller in callers {
        let fetched = caller.await.unwrap().unwrap();
        assert_eq!(fetched.value.as_deref(), Some(b"value".as_slice()));
        assert_eq!(fetched.origin, Origin::Joined);
    }
    assert_eq!(bed.computations(), 1);
    let again = bed.compute("a", "other").await.unwrap();
    assert_eq!(again.origin, Origin::Local);
    assert_eq!(bed.computations(), 1);
}

#[tokio::test]
async fn a_leader_who_goes_away_leaves_the_others_their_result() {
    let bed = Bed::memory();
    let (leader, open) = bed.begin("a", "value").await;
    let key = bed.key("a");
    let options = EntryOptions::default();
    let mut follower = Box::pin(bed.cache.get_or_compute(&bed.ours, &key, &options, never));
    assert!((&mut follower).now_or_never().is_none());
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    open.send(()).unwrap();
    let fetched = follower.await.unwrap();
    assert_eq!(fetched.value.as_deref(), Some(b"value".as_slice()));
    assert_eq!(bed.peek("a").as_deref(), Some(b"value".as_slice()));
}

#[tokio::test]
async fn a_panic_in_the_work_fails_those_who_waited_and_nobody_after_them() {
    let bed = Bed::memory();
    let options = EntryOptions::default();
    let lost = bed
        .cache
        .get_or_compute(&bed.ours, &bed.key("a"), &options, never)
        .await;
    assert!(matches!(lost, Err(CacheError::WorkLost)));
    let after = bed.compute("a", "value").await.unwrap();
    assert_eq!(after.origin, Origin::Computed);
}

#[tokio::test]
async fn an_error_keeps_its_kind_and_is_not_stored() {
    let bed = Bed::memory();
    let options = EntryOptions::default();
    let work = || async { Err::<Option<Bytes>, _>(eonpro_core::port::KvError::Conflict) };
    let failed = bed
        .cache
        .get_or_compute(&bed.ours, &bed.key("a"), &options, work)
        .await
        .unwrap_err();
    assert!(matches!(failed, CacheError::Work(_)));
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    let after = bed.compute("a", "value").await.unwrap();
    assert_eq!(after.origin, Origin::Computed);
}

#[tokio::test]
async fn a_caller_waits_until_its_deadline_and_the_flight_goes_on() {
    let bed = Bed::memory();
    let (leader, open) = bed.begin("a", "value").await;
    let deadline = bed.clock.monotonic().plus(Duration::from_secs(1));
    let hasty = scope_with(bed.ours.cx().clone().with_deadline(deadline));
    let (key, options) = (bed.key("a"), EntryOptions::default());
    let waiting = bed.cache.get_or_compute(&hasty, &key, &options, never);
    let (waited, ()) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        bed.clock.advance(Duration::from_secs(1));
    });
    assert!(matches!(waited, Err(CacheError::Timeout)));
    assert!(deadline > Monotonic::from_nanos(0));
    open.send(()).unwrap();
    assert!(leader.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_cancelled_caller_is_answered_at_once() {
    let bed = Bed::memory();
    let (leader, open) = bed.begin("a", "value").await;
    bed.ours.cx().cancellation().cancel();
    assert!(matches!(leader.await.unwrap(), Err(CacheError::Cancelled)));
    open.send(()).unwrap();
}

#[tokio::test]
async fn a_cache_behind_a_trait_object_computes_too() {
    let bed = Bed::memory();
    let cache: &dyn eonpro_cache::Cache = &bed.cache;
    let (key, options) = (bed.key("a"), EntryOptions::default());
    let work = || async { Ok::<_, WorkError>(Some(Bytes::from_static(b"value"))) };
    let fetched = cache.get_or_compute(&bed.ours, &key, &options, work).await;
    assert_eq!(fetched.unwrap().origin, Origin::Computed);
}

#[tokio::test]
async fn flights_are_limited() {
    let mut config = CacheConfig::default();
    config.flights = 1;
    let bed = Bed::with(None, config);
    let (leader, open) = bed.begin("a", "value").await;
    let refused = bed.compute("b", "value").await;
    assert!(matches!(refused, Err(CacheError::Overloaded)));
    open.send(()).unwrap();
    leader.await.unwrap().unwrap();
    assert!(bed.compute("b", "value").await.is_ok());
}

#[tokio::test]
async fn work_runs_with_the_log_context_of_its_leader() {
    let bed = Bed::memory();
    let request = bed.ours.cx().request_id();
    let work = move || async move {
        let seen = eonpro_core::context::log_context(eonpro_core::RequestContext::request_id);
        assert_eq!(seen, Some(request));
        Ok::<_, WorkError>(None)
    };
    let (key, options) = (bed.key("a"), EntryOptions::default());
    let fetched = bed
        .cache
        .get_or_compute(&bed.ours, &key, &options, work)
        .await;
    assert!(fetched.is_ok());
}
