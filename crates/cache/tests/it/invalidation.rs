//! An invalidation wins over whatever was on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use eonpro_cache::{
    Cache as _, CacheError, CacheExt as _, EntryOptions, Origin, RedbTier, RedbTierConfig,
    WorkError,
};
use eonpro_core::component::{Component as _, Health};
use eonpro_core::task;

use crate::bed::{Bed, ObedientTier};

#[tokio::test]
async fn an_invalidation_during_the_computation_wins_in_both_tiers() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let (running, open) = bed.begin("a", "old").await;
    bed.cache
        .invalidate(&bed.ours, &bed.key("a"))
        .await
        .unwrap();
    open.send(()).unwrap();
    // Who asked before is answered.
    let fetched = running.await.unwrap().unwrap();
    assert_eq!(fetched.value.as_deref(), Some(b"old".as_slice()));
    assert_eq!(bed.peek("a"), None);
    assert_eq!(bed.cache.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    bed.close().await;
    assert_eq!(tier.names(), []);
    assert_eq!(bed.cache.stats().outrun, 1);
}

#[tokio::test]
async fn who_comes_after_an_invalidation_does_not_get_what_was_begun_before() {
    let bed = Bed::memory();
    let (running, open) = bed.begin("a", "old").await;
    bed.cache
        .invalidate(&bed.ours, &bed.key("a"))
        .await
        .unwrap();
    let after = bed.compute("a", "new").await.unwrap();
    assert_eq!(after.value.as_deref(), Some(b"new".as_slice()));
    assert_eq!(after.origin, Origin::Computed);
    open.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(bed.peek("a").as_deref(), Some(b"new".as_slice()));
}

#[tokio::test]
async fn clearing_the_tenant_during_the_computation_wins_in_both_tiers() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let (running, open) = bed.begin("a", "old").await;
    bed.cache.clear_tenant(&bed.ours).await.unwrap();
    open.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(bed.peek("a"), None);
    bed.close().await;
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn an_invalidation_during_a_read_from_disk_keeps_it_out_of_memory() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    bed.compute("a", "old").await.unwrap();
    bed.close().await;
    assert_eq!(tier.names().len(), 1);
    for clears in [false, true] {
        let again = bed.restarted_on(tier.clone());
        let kept = tier.entries.lock().unwrap().clone();
        tier.hold_reads.store(true, Ordering::SeqCst);
        let reading = {
            let (cache, scope, key) = (again.clone(), bed.ours.clone(), bed.key("a"));
            task::start(async move { cache.get(&scope, &key).await })
        };
        tier.reading.notified().await;
        if clears {
            again.clear_tenant(&bed.ours).await.unwrap();
        } else {
            again.invalidate(&bed.ours, &bed.key("a")).await.unwrap();
        }
        tier.hold_reads.store(false, Ordering::SeqCst);
        tier.release.notify_one();
        // It asked before the invalidation, so it may see the old value.
        let found = reading.await.unwrap().unwrap();
        assert_eq!(found.as_deref(), Some(b"old".as_slice()));
        assert_eq!(again.peek(&bed.ours, &bed.key("a")), None);
        let found = again.get(&bed.ours, &bed.key("a")).await.unwrap();
        assert_eq!(found, None);
        *tier.entries.lock().unwrap() = kept;
    }
}

#[tokio::test]
async fn a_read_that_overtakes_the_removal_on_disk_leaves_nothing_in_memory() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    bed.compute("a", "old").await.unwrap();
    bed.close().await;
    for clears in [false, true] {
        let again = bed.restarted_on(tier.clone());
        let kept = tier.entries.lock().unwrap().clone();
        tier.hold_removals.store(true, Ordering::SeqCst);
        let invalidating = {
            let (cache, scope, key) = (again.clone(), bed.ours.clone(), bed.key("a"));
            task::start(async move {
                if clears {
                    cache.clear_tenant(&scope).await
                } else {
                    cache.invalidate(&scope, &key).await
                }
            })
        };
        tier.removing.notified().await;
        tier.hold_reads.store(true, Ordering::SeqCst);
        let reading = {
            let (cache, scope, key) = (again.clone(), bed.ours.clone(), bed.key("a"));
            task::start(async move { cache.get(&scope, &key).await })
        };
        tier.reading.notified().await;
        tier.hold_removals.store(false, Ordering::SeqCst);
        tier.hold_reads.store(false, Ordering::SeqCst);
        tier.remove.notify_one();
        invalidating.await.unwrap().unwrap();
        tier.release.notify_one();
        let found = reading.await.unwrap().unwrap();
        assert_eq!(found.as_deref(), Some(b"old".as_slice()));
        assert_eq!(again.peek(&bed.ours, &bed.key("a")), None);
        *tier.entries.lock().unwrap() = kept;
    }
}

#[tokio::test]
async fn a_put_wins_over_a_computation_begun_before_it() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let (running, open) = bed.begin("a", "computed").await;
    let options = EntryOptions::default();
    let value = Bytes::from_static(b"put");
    bed.cache
        .put(&bed.ours, &bed.key("a"), value.clone(), &options)
        .await
        .unwrap();
    open.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(bed.peek("a"), Some(value.clone()));
    bed.close().await;
    let again = bed.restarted_on(tier);
    let found = again.get(&bed.ours, &bed.key("a")).await.unwrap();
    assert_eq!(found, Some(value));
}

#[tokio::test]
async fn a_put_that_does_not_reach_the_disk_leaves_no_older_value_there() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let options = EntryOptions::default();
    let (key, old) = (bed.key("a"), Bytes::from_static(b"old"));
    bed.cache.put(&bed.ours, &key, old, &options).await.unwrap();
    tier.fail_put.store(true, Ordering::SeqCst);
    let new = Bytes::from_static(b"new");
    bed.cache
        .put(&bed.ours, &key, new.clone(), &options)
        .await
        .unwrap();
    assert_eq!(bed.peek("a"), Some(new));
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn a_removal_that_fails_clears_the_tenant_instead() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    for name in ["a", "b"] {
        let value = Bytes::from_static(b"value");
        let options = EntryOptions::default();
        bed.cache
            .put(&bed.ours, &bed.key(name), value, &options)
            .await
            .unwrap();
    }
    tier.fail_remove.store(true, Ordering::SeqCst);
    bed.cache
        .invalidate(&bed.ours, &bed.key("a"))
        .await
        .unwrap();
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn keys_out_of_reach_do_not_keep_an_entry_alive() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    bed.compute("a", "old").await.unwrap();
    bed.close().await;
    let again = bed.restarted_on(tier.clone());
    bed.sealer.fail_next(1);
    again.invalidate(&bed.ours, &bed.key("a")).await.unwrap();
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn a_tier_that_cannot_forget_is_not_read_any_more() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    bed.compute("a", "old").await.unwrap();
    bed.close().await;
    let again = bed.restarted_on(tier.clone());
    tier.fail_remove.store(true, Ordering::SeqCst);
    tier.fail_clear.store(true, Ordering::SeqCst);
    let failed = again.invalidate(&bed.ours, &bed.key("a")).await;
    assert!(matches!(failed, Err(CacheError::NotInvalidated(_))));
    assert_eq!(tier.names().len(), 1);
    let found = again.get(&bed.ours, &bed.key("a")).await.unwrap();
    assert_eq!(found, None);
    assert!(matches!(again.health().await, Health::Degraded(_)));
}

#[tokio::test]
async fn an_invalidation_goes_on_after_its_caller_is_dropped() {
    use futures_util::FutureExt as _;
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    bed.compute("a", "old").await.unwrap();
    while tier.names().is_empty() {
        tokio::task::yield_now().await;
    }
    let key = bed.key("a");
    assert!(
        bed.cache
            .invalidate(&bed.ours, &key)
            .now_or_never()
            .is_none()
    );
    while !tier.names().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.peek("a"), None);
}

/// A truth that changes, a writer who invalidates after each change, and readers who must never see
/// less than what was in force when they asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_what_was_invalidated_before_they_asked() {
    const CHANGES: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::memory();
    let path = folder.path().join("cache.redb");
    let clock = Arc::new(bed.clock.clone());
    let tier = RedbTier::open(&path, clock, RedbTierConfig::default()).unwrap();
    let cache = bed.restarted_on(Arc::new(tier));
    let truth = Arc::new(AtomicU64::new(0));
    let in_force = Arc::new(AtomicU64::new(0));
    let readers = (0..3).map(|_| {
        let (cache, scope, key) = (cache.clone(), bed.ours.clone(), bed.key("a"));
        let (truth, in_force) = (Arc::clone(&truth), Arc::clone(&in_force));
        task::start(async move {
            loop {
                let floor = in_force.load(Ordering::SeqCst);
                let truth = Arc::clone(&truth);
                let work = move || async move {
                    let seen = truth.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, WorkError>(Some(Bytes::copy_from_slice(&seen.to_be_bytes())))
                };
                let options = EntryOptions::default();
                let fetched = cache.get_or_compute(&scope, &key, &options, work).await;
                let value = fetched.unwrap().value.unwrap();
                let seen = u64::from_be_bytes(value.as_ref().try_into().unwrap());
                assert!(floor <= seen, "asked at {floor}, saw {seen}");
                if floor == CHANGES {
                    return;
                }
                // From disk too, where memory would otherwise answer.
                let floor = in_force.load(Ordering::SeqCst);
                if let Some(value) = cache.get(&scope, &key).await.unwrap() {
                    let seen = u64::from_be_bytes(value.as_ref().try_into().unwrap());
                    assert!(floor <= seen, "asked at {floor}, got {seen}");
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for change in 1..=CHANGES {
        truth.store(change, Ordering::SeqCst);
        if change % 10 == 0 {
            cache.clear_tenant(&bed.ours).await.unwrap();
        } else {
            cache.invalidate(&bed.ours, &bed.key("a")).await.unwrap();
        }
        in_force.store(change, Ordering::SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
    cache.close().await;
}
