//! What the tests stand on: a cache with its parts at hand, and a durable tier that can be told to
//! wait, to fail, and to mix things up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_cache::{
    Cache as _, CacheConfig, CacheError, CacheExt as _, CacheParts, DurableTier, EntryName,
    EntryOptions, Fetched, Guard, Key, Namespace, SealedEntry, TierError, TieredCache, WorkError,
};
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::id::TenantId;
use eonpro_core::port::NoObserver;
use eonpro_core::task;
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_testkit::{RecordingSink, TestSealer, scope};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

pub(crate) const CHARTS: Namespace = Namespace::new("charts");

/// A cache of tenants 1 and 2, and its parts.
pub(crate) struct Bed {
    pub(crate) cache: TieredCache,
    pub(crate) clock: ManualClock,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) ours: TenantScope,
    pub(crate) theirs: TenantScope,
    pub(crate) computations: Arc<AtomicUsize>,
}

impl Bed {
    pub(crate) fn memory() -> Self {
        Self::with(None, CacheConfig::default())
    }

    pub(crate) fn on(tier: Arc<dyn DurableTier>) -> Self {
        Self::with(Some(tier), CacheConfig::default())
    }

    pub(crate) fn with(durable: Option<Arc<dyn DurableTier>>, config: CacheConfig) -> Self {
        let clock = ManualClock::at(Timestamp::from_seconds(1_790_000_000));
        let (ours, theirs) = (scope(1), scope(2));
        let sealer = TestSealer::ready_for(&[&ours, &theirs]);
        let sink = RecordingSink::new();
        let parts = CacheParts {
            sealer: Arc::<TestSealer>::clone(&sealer),
            durable,
            emitter: sink.emitter(Arc::new(clock.clone())),
            observer: Arc::new(NoObserver),
        };
        Self {
            cache: TieredCache::open(parts, config).unwrap(),
            clock,
            sealer,
            sink,
            ours,
            theirs,
            computations: Arc::default(),
        }
    }

    /// The same parts, with memory empty and another durable tier.
    pub(crate) fn restarted_on(&self, tier: Arc<dyn DurableTier>) -> TieredCache {
        let parts = CacheParts {
            sealer: Arc::<TestSealer>::clone(&self.sealer),
            durable: Some(tier),
            emitter: self.sink.emitter(Arc::new(self.clock.clone())),
            observer: Arc::new(NoObserver),
        };
        TieredCache::open(parts, CacheConfig::default()).unwrap()
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(&self.ours, CHARTS, name.as_bytes()).unwrap()
    }

    pub(crate) fn computations(&self) -> usize {
        self.computations.load(Ordering::SeqCst)
    }

    /// Computes `value` at `name` at once.
    pub(crate) async fn compute(&self, name: &str, value: &str) -> Result<Fetched, CacheError> {
        self.compute_for(name, value, &EntryOptions::default())
            .await
    }

    pub(crate) async fn compute_for(
        &self,
        name: &str,
        value: &str,
        options: &EntryOptions,
    ) -> Result<Fetched, CacheError> {
        let (computations, value) = (Arc::clone(&self.computations), value.to_owned());
        let work = move || async move {
            computations.fetch_add(1, Ordering::SeqCst);
            Ok::<_, WorkError>(Some(Bytes::from(value)))
        };
        self.cache
            .get_or_compute(&self.ours, &self.key(name), options, work)
            .await
    }

    /// Starts to compute `value` at `name` in a task; returns once the work runs. The work ends when
    /// the gate is opened.
    pub(crate) async fn begin(
        &self,
        name: &str,
        value: &str,
    ) -> (JoinHandle<Result<Fetched, CacheError>>, oneshot::Sender<()>) {
        let (open, gate) = oneshot::channel();
        let (begun, has_begun) = oneshot::channel();
        let (computations, value) = (Arc::clone(&self.computations), value.to_owned());
        let work = move || async move {
            computations.fetch_add(1, Ordering::SeqCst);
            begun.send(()).unwrap();
            gate.await.map_err(|lost| {
                WorkError::new(eonpro_core::ErrorKind::Unavailable, lost.to_string())
            })?;
            Ok::<_, WorkError>(Some(Bytes::from(value)))
        };
        let (cache, scope, key) = (self.cache.clone(), self.ours.clone(), self.key(name));
        let running = task::start(async move {
            cache
                .get_or_compute(&scope, &key, &EntryOptions::default(), work)
                .await
        });
        has_begun.await.unwrap();
        (running, open)
    }

    pub(crate) fn peek(&self, name: &str) -> Option<Bytes> {
        self.cache.peek(&self.ours, &self.key(name))
    }

    /// Waits until nothing is on its way to the durable tier, by way of closing.
    pub(crate) async fn close(&self) {
        self.cache.close().await;
    }
}

/// A durable tier in memory that obeys the test.
#[derive(Debug, Default)]
pub(crate) struct ObedientTier {
    pub(crate) entries: Mutex<BTreeMap<(TenantId, EntryName), SealedEntry>>,
    pub(crate) fail_remove: AtomicBool,
    pub(crate) fail_clear: AtomicBool,
    pub(crate) fail_put: AtomicBool,
    /// If set, a read takes its answer, says so, and waits before it returns it.
    pub(crate) hold_reads: AtomicBool,
    pub(crate) reading: Notify,
    pub(crate) release: Notify,
    /// If set, a removal says that it is due, and waits before it happens.
    pub(crate) hold_removals: AtomicBool,
    pub(crate) removing: Notify,
    pub(crate) remove: Notify,
}

impl ObedientTier {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn names(&self) -> Vec<(TenantId, EntryName)> {
        self.entries.lock().unwrap().keys().copied().collect()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut SealedEntry)) {
        change(self.entries.lock().unwrap().values_mut().next().unwrap());
    }

    async fn removal_due(&self) {
        if self.hold_removals.load(Ordering::SeqCst) {
            self.removing.notify_one();
            self.remove.notified().await;
        }
    }
}

fn refuse_if(flag: &AtomicBool) -> Result<(), TierError> {
    if flag.load(Ordering::SeqCst) {
        Err(TierError::Backend("the test refuses".into()))
    } else {
        Ok(())
    }
}

#[async_trait]
impl Component for ObedientTier {
    fn name(&self) -> &'static str {
        "obedient-tier"
    }

    fn posture(&self) -> Posture {
        Posture::STRONGEST
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl DurableTier for ObedientTier {
    async fn get(
        &self,
        scope: &TenantScope,
        name: &EntryName,
    ) -> Result<Option<SealedEntry>, TierError> {
        let place = (scope.tenant(), *name);
        let found = self.entries.lock().unwrap().get(&place).cloned();
        if self.hold_reads.load(Ordering::SeqCst) {
            self.reading.notify_one();
            self.release.notified().await;
        }
        Ok(found)
    }

    async fn put(
        &self,
        scope: &TenantScope,
        name: &EntryName,
        entry: SealedEntry,
        guard: Guard,
    ) -> Result<(), TierError> {
        if guard.holds() {
            let place = (scope.tenant(), *name);
            self.entries.lock().unwrap().insert(place, entry);
        }
        // A write that fails may have happened.
        refuse_if(&self.fail_put)
    }

    async fn remove(&self, scope: &TenantScope, name: &EntryName) -> Result<(), TierError> {
        refuse_if(&self.fail_remove)?;
        self.removal_due().await;
        let place = (scope.tenant(), *name);
        self.entries.lock().unwrap().remove(&place);
        Ok(())
    }

    async fn clear(&self, scope: &TenantScope) -> Result<(), TierError> {
        refuse_if(&self.fail_clear)?;
        self.removal_due().await;
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|(tenant, _), _| *tenant != scope.tenant());
        Ok(())
    }
}
