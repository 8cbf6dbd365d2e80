//! How long entries live, and what is not stored at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use eonpro_cache::{
    Cache as _, CacheConfig, CacheError, CacheExt as _, CacheParts, EntryOptions, Key, Namespace,
    Origin, TieredCache, WorkError,
};
use eonpro_core::component::Component as _;
use eonpro_core::port::{Observer, Operation, Verdict};
use eonpro_core::time::SystemClock;
use eonpro_testkit::{RecordingSink, TestSealer, scope};

use crate::bed::{Bed, ObedientTier};

const NANO: Duration = Duration::from_nanos(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn an_entry_in_memory_ends_with_its_time() {
    let bed = Bed::memory();
    let options = EntryOptions::default().with_local_ttl(seconds(10));
    bed.compute_for("a", "value", &options).await.unwrap();
    bed.clock.advance(seconds(10) - NANO);
    assert!(bed.peek("a").is_some());
    bed.clock.advance(NANO);
    assert_eq!(bed.peek("a"), None);
}

#[tokio::test]
async fn memory_keeps_phi_for_five_minutes_and_other_things_for_an_hour() {
    let bed = Bed::memory();
    let options = EntryOptions::default().with_local_ttl(Duration::MAX);
    bed.compute_for("a", "phi", &options).await.unwrap();
    let public = Namespace::without_phi("codes");
    let public = Key::new(&bed.ours, public, b"a").unwrap();
    let value = Bytes::from_static(b"code");
    bed.cache
        .put(&bed.ours, &public, value, &options)
        .await
        .unwrap();
    bed.clock.advance(seconds(300));
    assert_eq!(bed.peek("a"), None);
    assert!(bed.cache.peek(&bed.ours, &public).is_some());
    bed.clock.advance(seconds(3_300));
    assert_eq!(bed.cache.peek(&bed.ours, &public), None);
}

#[tokio::test]
async fn an_entry_on_disk_outlives_memory_and_ends_with_its_time() {
    let bed = Bed::on(ObedientTier::new());
    let options = EntryOptions::default()
        .with_local_ttl(seconds(10))
        .with_durable_ttl(seconds(100));
    bed.compute_for("a", "value", &options).await.unwrap();
    while bed.cache.stats().durable_dropped == 0 && bed.computations() == 1 {
        bed.clock.advance(seconds(10));
        let again = bed.compute_for("a", "newer", &options).await.unwrap();
        if again.origin == Origin::Computed {
            break;
        }
        assert_eq!(again.origin, Origin::Durable);
        assert_eq!(again.value.as_deref(), Some(b"value".as_slice()));
    }
    assert_eq!(bed.computations(), 2);
}

#[tokio::test]
async fn what_comes_from_disk_does_not_live_longer_in_memory_than_on_disk() {
    let bed = Bed::on(ObedientTier::new());
    let options = EntryOptions::default()
        .with_local_ttl(seconds(10))
        .with_durable_ttl(seconds(15));
    let (key, value) = (bed.key("a"), Bytes::from_static(b"value"));
    bed.cache
        .put(&bed.ours, &key, value, &options)
        .await
        .unwrap();
    bed.clock.advance(seconds(12));
    assert!(bed.cache.get(&bed.ours, &key).await.unwrap().is_some());
    bed.clock.advance(seconds(3) - NANO);
    assert!(bed.peek("a").is_some());
    bed.clock.advance(NANO);
    assert_eq!(bed.peek("a"), None);
    assert_eq!(bed.cache.get(&bed.ours, &key).await.unwrap(), None);
}

#[tokio::test]
async fn absence_is_remembered_for_its_own_time() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let options = EntryOptions::default().with_negative_ttl(seconds(2));
    let key = bed.key("a");
    let nothing = || async { Ok::<_, WorkError>(None) };
    let never = || async { panic!("this work must not run") as Result<_, WorkError> };
    let fetched = bed.cache.get_or_compute(&bed.ours, &key, &options, nothing);
    assert_eq!(fetched.await.unwrap().value, None);
    let fetched = bed.cache.get_or_compute(&bed.ours, &key, &options, never);
    let fetched = fetched.await.unwrap();
    assert_eq!((fetched.value, fetched.origin), (None, Origin::Local));
    assert_eq!(bed.peek("a"), None);
    bed.clock.advance(seconds(2));
    let fetched = bed.compute_for("a", "value", &options).await.unwrap();
    assert_eq!(fetched.origin, Origin::Computed);
}

#[tokio::test]
async fn a_time_of_zero_keeps_an_entry_out_of_that_tier() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let value = Bytes::from_static(b"value");
    let disk_only = EntryOptions::default().with_local_ttl(Duration::ZERO);
    let memory_only = EntryOptions::default().with_durable_ttl(Duration::ZERO);
    for (name, options) in [("disk", disk_only), ("memory", memory_only)] {
        let key = bed.key(name);
        bed.cache
            .put(&bed.ours, &key, value.clone(), &options)
            .await
            .unwrap();
    }
    assert_eq!(bed.peek("disk"), None);
    assert!(bed.peek("memory").is_some());
    assert_eq!(tier.names().len(), 1);
    bed.compute_for("none", "value", &memory_only.with_local_ttl(Duration::ZERO))
        .await
        .unwrap();
    bed.close().await;
    assert_eq!(tier.names().len(), 1);
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_returned_and_not_stored() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let large = "x".repeat(1024 * 1024 + 1);
    let fetched = bed.compute("a", &large).await.unwrap();
    assert_eq!(fetched.value.unwrap().len(), large.len());
    assert_eq!(bed.peek("a"), None);
    let options = EntryOptions::default();
    let small = Bytes::from_static(b"small");
    let key = bed.key("b");
    bed.cache
        .put(&bed.ours, &key, small, &options)
        .await
        .unwrap();
    // A put that is not stored still supersedes.
    bed.cache
        .put(&bed.ours, &key, Bytes::from(large), &options)
        .await
        .unwrap();
    assert_eq!(bed.peek("b"), None);
    assert_eq!(tier.names(), []);
    assert_eq!(bed.cache.stats().oversize, 2);
}

#[tokio::test]
async fn a_cached_value_holds_on_to_its_own_bytes_only() {
    let bed = Bed::memory();
    let big = Bytes::from(vec![7; 1024 * 1024]);
    let slice = big.slice(..10);
    let options = EntryOptions::default();
    bed.cache
        .put(&bed.ours, &bed.key("a"), slice.clone(), &options)
        .await
        .unwrap();
    let cached = bed.peek("a").unwrap();
    assert_eq!(cached, slice);
    assert_ne!(cached.as_ptr(), slice.as_ptr());
}

#[tokio::test]
async fn a_closed_cache_serves_nothing() {
    let bed = Bed::memory();
    bed.compute("a", "value").await.unwrap();
    let (running, open) = bed.begin("b", "late").await;
    bed.close().await;
    bed.close().await;
    assert_eq!(bed.peek("a"), None);
    let refused = bed.cache.get(&bed.ours, &bed.key("a")).await;
    assert!(matches!(refused, Err(CacheError::Closed)));
    // What was running ends, and is not stored.
    open.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(bed.peek("b"), None);
}

#[test]
fn a_configuration_out_of_range_is_refused() {
    let ours = scope(1);
    let cases: [fn(&mut CacheConfig); 5] = [
        |config| config.local_bytes = 0,
        |config| config.value_bytes = 2 * 1024 * 1024,
        |config| config.flights = 0,
        |config| config.durable_writes = 0,
        |config| config.max_local_ttl = Duration::MAX,
    ];
    for case in cases {
        let mut config = CacheConfig::default();
        case(&mut config);
        let parts = CacheParts {
            sealer: TestSealer::ready_for(&[&ours]),
            durable: None,
            emitter: RecordingSink::new().emitter(Arc::new(SystemClock::new())),
            observer: Arc::new(eonpro_core::port::NoObserver),
        };
        let refused = TieredCache::open(parts, config);
        assert!(matches!(refused, Err(CacheError::Config(_))));
    }
}

#[derive(Debug, Default)]
struct Measured(Mutex<Vec<(&'static str, Verdict)>>);

impl Observer for Measured {
    fn observe(&self, op: Operation, verdict: Verdict, _: Duration) {
        assert_eq!(op.service, "cache");
        self.0.lock().unwrap().push((op.name, verdict));
    }
}

#[tokio::test]
async fn every_operation_is_measured_once() {
    let ours = scope(1);
    let measured = Arc::new(Measured::default());
    let parts = CacheParts {
        sealer: TestSealer::ready_for(&[&ours]),
        durable: None,
        emitter: RecordingSink::new().emitter(Arc::new(SystemClock::new())),
        observer: Arc::<Measured>::clone(&measured),
    };
    let cache = TieredCache::open(parts, CacheConfig::default()).unwrap();
    let key = Key::new(&ours, Namespace::new("charts"), b"a").unwrap();
    let options = EntryOptions::default();
    cache.get(&ours, &key).await.unwrap();
    let work = || async { Ok::<_, WorkError>(None) };
    cache
        .get_or_compute(&ours, &key, &options, work)
        .await
        .unwrap();
    cache
        .put(&ours, &key, Bytes::new(), &options)
        .await
        .unwrap();
    cache.invalidate(&ours, &key).await.unwrap();
    cache.clear_tenant(&ours).await.unwrap();
    cache.close().await;
    cache.clear_tenant(&ours).await.unwrap_err();
    let names = measured.0.lock().unwrap().clone();
    let failed = Verdict::Failed(eonpro_core::ErrorKind::Unavailable);
    assert_eq!(
        names,
        [
            ("get", Verdict::Ok),
            ("compute", Verdict::Ok),
            ("put", Verdict::Ok),
            ("invalidate", Verdict::Ok),
            ("clear_tenant", Verdict::Ok),
            ("clear_tenant", failed),
        ]
    );
}
