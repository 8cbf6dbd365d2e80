//! A value peeked at in the cache, against moka's own `get`.
//!
//! Both hold the same number of entries of the same size under 32-byte keys, within the same
//! bytes, with the same eviction and time to live, and both hand out a clone of the same kind of
//! buffer. The keys exist beforehand: ours would cost a SHA-256 more, the peer's nothing. What the
//! difference buys: the tenant is compared, the expiry is judged by the injected clock, an
//! invalidation that runs meanwhile wins, and the hit is counted.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use eonpro_cache::{
    Cache as _, CacheConfig, CacheParts, EntryOptions, Key, Namespace, TieredCache,
};
use eonpro_core::TenantScope;
use eonpro_core::port::NoObserver;
use eonpro_core::time::SystemClock;
use eonpro_testkit::{RecordingSink, TestSealer};

const CHARTS: Namespace = Namespace::without_phi("charts");
const ENTRIES: u64 = 4_096;
const SIZES: [usize; 2] = [64, 4 * 1024];

fn peek(c: &mut Criterion) {
    let scope = eonpro_testkit::scope(1);
    let mut group = c.benchmark_group("peek");
    for size in SIZES {
        let (cache, keys) = eonpro(&scope, size);
        let mut turn = keys.iter().cycle();
        group.bench_function(BenchmarkId::new("eonpro", size), |b| {
            b.iter(|| {
                let key = turn.next().unwrap();
                cache.peek(&scope, black_box(key)).unwrap()
            });
        });
        let (cache, keys) = raw_moka(size);
        let mut turn = keys.iter().cycle();
        group.bench_function(BenchmarkId::new("moka", size), |b| {
            b.iter(|| {
                let key = turn.next().unwrap();
                cache.get(black_box(key)).unwrap()
            });
        });
    }
    group.finish();
}

fn eonpro(scope: &TenantScope, size: usize) -> (TieredCache, Vec<Key>) {
    let parts = CacheParts {
        sealer: TestSealer::ready_for(&[scope]),
        durable: None,
        emitter: RecordingSink::new().emitter(Arc::new(SystemClock::new())),
        observer: Arc::new(NoObserver),
    };
    let cache = TieredCache::open(parts, CacheConfig::default()).unwrap();
    let keys: Vec<Key> = (0..ENTRIES)
        .map(|number| Key::new(scope, CHARTS, &number.to_le_bytes()).unwrap())
        .collect();
    let options = EntryOptions::default().with_local_ttl(CacheConfig::default().max_local_ttl);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for key in &keys {
            let value = Bytes::from(vec![7; size]);
            cache.put(scope, key, value, &options).await.unwrap();
        }
    });
    (cache, keys)
}

type Moka = moka::sync::Cache<[u8; 32], Bytes>;

fn raw_moka(size: usize) -> (Moka, Vec<[u8; 32]>) {
    let config = CacheConfig::default();
    let cache = Moka::builder()
        .max_capacity(config.local_bytes)
        .weigher(|_, value: &Bytes| u32::try_from(256 + value.len()).unwrap())
        .time_to_live(config.max_local_ttl)
        .eviction_policy(moka::policy::EvictionPolicy::lru())
        .build();
    let keys: Vec<[u8; 32]> = (0..ENTRIES)
        .map(|number| {
            let digest = ring::digest::digest(&ring::digest::SHA256, &number.to_le_bytes());
            digest.as_ref().try_into().unwrap()
        })
        .collect();
    for key in &keys {
        cache.insert(*key, Bytes::from(vec![7; size]));
    }
    cache.run_pending_tasks();
    (cache, keys)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = peek
}
criterion_main!(benches);
