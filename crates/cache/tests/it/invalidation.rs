//! An invalidation wins over whatever was on its way.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use eonpro_cache::{Cache as _, CacheError, EntryOptions, Origin};
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
