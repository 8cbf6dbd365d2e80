//! The cache itself: memory first, then disk, then the work, with invalidations that win.
//!
//! An invalidation raises the key's generation and empties memory, then removes the durable entry,
//! then raises the generation and empties memory once more: what somebody read from disk in between
//! is neither stored nor left in memory.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::{Component, Durability, Health, Posture};
use eonpro_core::context::with_log_context;
use eonpro_core::event::Emitter;
use eonpro_core::port::{Observer, Operation, Sealer, Timer};
use eonpro_core::time::SharedClock;
use eonpro_core::{RequestContext, TenantScope, task};
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backend::MokaLocal;
use crate::config::CacheConfig;
use crate::durable::{Durable, Found};
use crate::entry::{DurableEntry, LocalEntry, wiped};
use crate::error::CacheError;
use crate::events::Refusals;
use crate::flight::{Arrivals, Boarding, Flights, Landing, Pilot};
use crate::generation::{Generations, Guard};
use crate::key::Key;
use crate::service::{Cache, CacheStats, EntryOptions, Fetched, Origin, Work};
use crate::tally::Tallies;
use crate::tier::DurableTier;

const GET: Operation = Operation::new("cache", "get");
const COMPUTE: Operation = Operation::new("cache", "compute");
const PUT: Operation = Operation::new("cache", "put");
const INVALIDATE: Operation = Operation::new("cache", "invalidate");
const CLEAR: Operation = Operation::new("cache", "clear_tenant");

/// What a cache is made of.
#[derive(Debug, Clone)]
pub struct CacheParts {
    /// Seals what goes to the durable tier, and names it.
    pub sealer: Arc<dyn Sealer>,
    /// The durable tier; without one, memory alone.
    pub durable: Option<Arc<dyn DurableTier>>,
    /// Announces refusals; its clock decides what has expired.
    pub emitter: Emitter,
    /// Takes measurements.
    pub observer: Arc<dyn Observer>,
}

/// The cache of memory and disk tiers. Cheap to clone; all clones are one cache.
#[derive(Debug, Clone)]
pub struct TieredCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: CacheConfig,
    clock: SharedClock,
    observer: Arc<dyn Observer>,
    posture: Posture,
    local: MokaLocal,
    durable: Option<Durable>,
    durable_writes: Arc<Semaphore>,
    generations: Generations,
    flights: Arc<Flights>,
    refusals: Refusals,
    tallies: Tallies,
    closed: AtomicBool,
}

impl TieredCache {
    /// Opens a cache.
    ///
    /// # Errors
    /// [`CacheError::Config`] if a number is out of range.
    pub fn open(parts: CacheParts, config: CacheConfig) -> Result<Self, CacheError> {
        config.check()?;
        let clock = Arc::clone(parts.emitter.clock());
        // A cache may forget everything, so what it loses is no loss.
        let posture = parts.durable.as_ref().map_or(Posture::STRONGEST, |tier| {
            let parts = tier.posture().min(parts.sealer.posture());
            Posture {
                durability: Durability::Stateless,
                ..parts
            }
        });
        let durable = parts
            .durable
            .map(|tier| Durable::new(tier, parts.sealer, Arc::clone(&clock)));
        Ok(Self(Arc::new(Inner {
            clock,
            observer: parts.observer,
            posture,
            local: MokaLocal::new(&config),
            durable,
            durable_writes: Arc::new(Semaphore::new(config.durable_writes)),
            generations: Generations::new(),
            flights: Flights::new(config.flights),
            refusals: Refusals::new(parts.emitter)?,
            tallies: Tallies::default(),
            closed: AtomicBool::new(false),
            config,
        })))
    }

    fn timer(&self, op: Operation) -> Timer<'_> {
        Timer::start(op, &*self.0.clock, &*self.0.observer)
    }
}

impl Inner {
    /// Refuses a closed cache and a key of another tenant.
    async fn admit(&self, scope: &TenantScope, key: &Key) -> Result<(), CacheError> {
        self.admit_open()?;
        if key.tenant() == scope.tenant() {
            return Ok(());
        }
        match self.refusals.foreign_key(scope, key).await {
            Ok(()) => Err(CacheError::TenantMismatch),
            Err(error) => Err(CacheError::Unaudited(Arc::new(error))),
        }
    }

    fn admit_open(&self) -> Result<(), CacheError> {
        if self.closed.load(Ordering::Acquire) {
            Err(CacheError::Closed)
        } else {
            Ok(())
        }
    }

    fn local(&self, key: &Key) -> Option<Arc<LocalEntry>> {
        let entry = self.local.get(key.digest(), self.clock.monotonic())?;
        self.tallies.local_hits.add();
        Some(entry)
    }

    fn guard(&self, key: &Key) -> Guard {
        self.generations.guard(key.tenant(), key.digest())
    }

    fn local_cap(&self, key: &Key) -> Duration {
        if key.namespace().may_hold_phi() {
            self.config.max_phi_local_ttl.min(self.config.max_local_ttl)
        } else {
            self.config.max_local_ttl
        }
    }

    fn local_entry(
        &self,
        key: &Key,
        value: Option<Bytes>,
        ttl: Duration,
        guard: &Guard,
    ) -> LocalEntry {
        let ttl = ttl.min(self.local_cap(key));
        LocalEntry::new(value, self.clock.monotonic().plus(ttl), guard)
    }

    /// Puts `value` into memory unless an invalidation came since `guard`.
    fn keep(&self, key: &Key, value: Option<Bytes>, ttl: Duration, guard: &Guard) -> bool {
        if ttl.is_zero() || self.closed.load(Ordering::Acquire) {
            return guard.holds();
        }
        let entry = self.local_entry(key, value, ttl, guard);
        guard.store(|| self.local.insert(key.digest(), entry))
    }

    /// The value on disk, brought into memory.
    async fn durable(&self, scope: &TenantScope, key: &Key, guard: &Guard) -> Option<Bytes> {
        let durable = self.durable.as_ref()?;
        let entry = match durable.read(scope, key).await {
            Found::Entry(entry) => entry,
            Found::Nothing => return None,
            Found::Rejected => {
                self.tallies.durable_rejected.add();
                return None;
            }
        };
        self.tallies.durable_hits.add();
        // Memory must not serve it beyond the instant that was sealed with it.
        let left = entry.expires.since(self.clock.wall());
        self.keep(
            key,
            Some(entry.value.clone()),
            entry.local_ttl.min(left),
            guard,
        );
        Some(entry.value)
    }

    /// What the leader of a flight does. The permit, if any, is for storing the value on disk.
    async fn find(
        &self,
        scope: &TenantScope,
        key: &Key,
        options: &EntryOptions,
        guard: &Guard,
        work: Work,
    ) -> (Landing, Option<OwnedSemaphorePermit>) {
        // Another flight may have landed between this caller's look and its boarding.
        if let Some(entry) = self.local(key) {
            return (Ok((entry.value().cloned(), Origin::Local)), None);
        }
        if let Some(value) = self.durable(scope, key, guard).await {
            return (Ok((Some(value), Origin::Durable)), None);
        }
        self.tallies.misses.add();
        self.tallies.computations.add();
        let value = match work().await {
            Ok(value) => value,
            Err(error) => return (Err(CacheError::Work(error)), None),
        };
        let Some(value) = value else {
            if !self.keep(key, None, options.negative_ttl, guard) {
                self.tallies.outrun.add();
            }
            return (Ok((None, Origin::Computed)), None);
        };
        if value.len() > self.config.value_bytes {
            self.tallies.oversize.add();
            return (Ok((Some(value), Origin::Computed)), None);
        }
        let value = wiped(&value);
        let permit = if self.keep(key, Some(value.clone()), options.local_ttl, guard) {
            self.permit(options)
        } else {
            self.tallies.outrun.add();
            None
        };
        (Ok((Some(value), Origin::Computed)), permit)
    }

    /// The right to one write on disk, if the value is to go there.
    fn permit(&self, options: &EntryOptions) -> Option<OwnedSemaphorePermit> {
        if self.durable.is_none() || options.durable_ttl.is_zero() {
            return None;
        }
        let permit = Arc::clone(&self.durable_writes).try_acquire_owned().ok();
        if permit.is_none() {
            self.tallies.durable_dropped.add();
        }
        permit
    }

    fn durable_entry(&self, key: &Key, value: Bytes, options: &EntryOptions) -> DurableEntry {
        let ttl = options.durable_ttl.min(self.config.max_durable_ttl);
        DurableEntry {
            expires: self.clock.wall().plus(ttl),
            local_ttl: options.local_ttl.min(self.local_cap(key)),
            value,
        }
    }

    async fn fly(
        self: Arc<Self>,
        scope: TenantScope,
        key: Key,
        options: EntryOptions,
        pilot: Pilot,
        work: Work,
    ) {
        let guard = pilot.guard().clone();
        let (landing, permit) = self.find(&scope, &key, &options, &guard, work).await;
        let value = landing.as_ref().ok().and_then(|(value, _)| value.clone());
        // Those who wait do not wait for the disk.
        pilot.land(landing);
        if let (Some(_permit), Some(durable), Some(value)) = (permit, &self.durable, value) {
            let entry = self.durable_entry(&key, value, &options);
            if durable.write(&scope, &key, &entry, guard).await.is_err() {
                self.tallies.durable_dropped.add();
            }
        }
    }

    async fn get(&self, scope: &TenantScope, key: &Key) -> Result<Option<Bytes>, CacheError> {
        self.admit(scope, key).await?;
        // Before anything is read: an invalidation from here on must keep it out of memory.
        let guard = self.guard(key);
        if let Some(entry) = self.local(key) {
            return Ok(entry.value().cloned());
        }
        let found = self.durable(scope, key, &guard).await;
        if found.is_none() {
            self.tallies.misses.add();
        }
        Ok(found)
    }

    async fn compute(
        self: &Arc<Self>,
        scope: &TenantScope,
        key: &Key,
        options: &EntryOptions,
        work: Work,
    ) -> Result<Fetched, CacheError> {
        self.admit(scope, key).await?;
        if let Some(entry) = self.local(key) {
            return Ok(Fetched {
                value: entry.value().cloned(),
                origin: Origin::Local,
            });
        }
        match self.flights.board(key.digest(), || self.guard(key))? {
            Boarding::Joined(arrivals) => {
                self.tallies.joined.add();
                let (value, _) = self.arrive(scope.cx(), arrivals).await?;
                Ok(Fetched {
                    value,
                    origin: Origin::Joined,
                })
            }
            Boarding::Leading(pilot, arrivals) => {
                let (inner, leader) = (Arc::clone(self), scope.clone());
                let (key, options) = (*key, *options);
                drop(task::start(async move {
                    let cx = leader.cx().clone();
                    with_log_context(&cx, inner.fly(leader, key, options, pilot, work)).await;
                }));
                let (value, origin) = self.arrive(scope.cx(), arrivals).await?;
                Ok(Fetched { value, origin })
            }
        }
    }

    /// Waits for a landing, as long as the context allows.
    async fn arrive(&self, cx: &RequestContext, mut arrivals: Arrivals) -> Landing {
        let landed = pin!(async {
            match arrivals.wait_for(Option::is_some).await {
                Ok(landing) => landing.clone().unwrap_or(Err(CacheError::WorkLost)),
                Err(_) => Err(CacheError::WorkLost),
            }
        });
        let given_up = pin!(async {
            let cancelled = pin!(cx.cancellation().cancelled());
            match select(cancelled, pin!(self.deadline(cx))).await {
                Either::Left(_) => CacheError::Cancelled,
                Either::Right(_) => CacheError::Timeout,
            }
        });
        match select(landed, given_up).await {
            Either::Left((landing, _)) => landing,
            Either::Right((error, _)) => Err(error),
        }
    }

    async fn deadline(&self, cx: &RequestContext) {
        match cx.deadline() {
            Some(deadline) => self.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    fn invalidate_local(&self, key: &Key) {
        self.generations
            .invalidate(key.digest(), || self.local.remove(key.digest()));
    }

    async fn invalidate(&self, scope: &TenantScope, key: &Key) -> Result<(), CacheError> {
        self.invalidate_local(key);
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let removed = durable.remove(scope, key).await;
        self.invalidate_local(key);
        removed.map_err(|error| CacheError::NotInvalidated(Arc::new(error)))
    }

    async fn clear(&self, scope: &TenantScope) -> Result<(), CacheError> {
        self.generations.clear(scope.tenant());
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let cleared = durable.clear(scope).await;
        self.generations.clear(scope.tenant());
        cleared.map_err(|error| CacheError::NotInvalidated(Arc::new(error)))
    }

    async fn put(
        &self,
        scope: &TenantScope,
        key: &Key,
        value: Bytes,
        options: &EntryOptions,
    ) -> Result<(), CacheError> {
        self.invalidate(scope, key).await?;
        if value.len() > self.config.value_bytes {
            self.tallies.oversize.add();
            return Ok(());
        }
        let value = wiped(&value);
        // Superseding makes the guards of earlier puts fail: memory and disk end with the same one.
        let guard = self
            .generations
            .supersede(key.tenant(), key.digest(), |guard| {
                if !options.local_ttl.is_zero() {
                    let entry =
                        self.local_entry(key, Some(value.clone()), options.local_ttl, guard);
                    self.local.insert(key.digest(), entry);
                }
            });
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        if options.durable_ttl.is_zero() {
            return Ok(());
        }
        let entry = self.durable_entry(key, value, options);
        if durable.write(scope, key, &entry, guard).await.is_ok() {
            return Ok(());
        }
        self.tallies.durable_dropped.add();
        // An earlier put may have reached the disk after our invalidation.
        durable
            .remove(scope, key)
            .await
            .map_err(|error| CacheError::NotInvalidated(Arc::new(error)))
    }
}

/// Runs `work` to its end even if the caller goes away.
async fn to_its_end<F>(work: F) -> Result<(), CacheError>
where
    F: Future<Output = Result<(), CacheError>> + Send + 'static,
{
    task::outlive(work)
        .await
        .unwrap_or(Err(CacheError::WorkLost))
}

#[async_trait]
impl Component for TieredCache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn posture(&self) -> Posture {
        self.0.posture
    }

    async fn health(&self) -> Health {
        if self.0.closed.load(Ordering::Acquire) {
            return Health::Unhealthy("closed");
        }
        match &self.0.durable {
            None => Health::Healthy,
            Some(durable) if durable.is_distrusted() => {
                Health::Degraded("durable tier is not read any more")
            }
            Some(durable) => match durable.tier().health().await {
                Health::Healthy => Health::Healthy,
                Health::Degraded(reason) | Health::Unhealthy(reason) => Health::Degraded(reason),
            },
        }
    }

    async fn close(&self) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // Holding all permits means that no value is on its way to the disk; closed, none sets out.
        let all = u32::try_from(self.0.config.durable_writes).unwrap_or(u32::MAX);
        let held = self.0.durable_writes.acquire_many(all).await;
        self.0.durable_writes.close();
        drop(held);
        self.0.local.clear();
        if let Some(durable) = &self.0.durable {
            durable.tier().close().await;
        }
    }
}

#[async_trait]
impl Cache for TieredCache {
    fn peek(&self, scope: &TenantScope, key: &Key) -> Option<Bytes> {
        let inner = &*self.0;
        if key.tenant() != scope.tenant() {
            inner.tallies.foreign_peeks.add();
            return None;
        }
        inner.local(key)?.value().cloned()
    }

    async fn get(&self, scope: &TenantScope, key: &Key) -> Result<Option<Bytes>, CacheError> {
        let timer = self.timer(GET);
        timer.end(self.0.get(scope, key).await)
    }

    async fn compute(
        &self,
        scope: &TenantScope,
        key: &Key,
        options: &EntryOptions,
        work: Work,
    ) -> Result<Fetched, CacheError> {
        let timer = self.timer(COMPUTE);
        timer.end(self.0.compute(scope, key, options, work).await)
    }

    async fn put(
        &self,
        scope: &TenantScope,
        key: &Key,
        value: Bytes,
        options: &EntryOptions,
    ) -> Result<(), CacheError> {
        let timer = self.timer(PUT);
        if let Err(error) = self.0.admit(scope, key).await {
            return timer.end(Err(error));
        }
        let inner = Arc::clone(&self.0);
        let (scope, key, options) = (scope.clone(), *key, *options);
        timer.end(to_its_end(async move { inner.put(&scope, &key, value, &options).await }).await)
    }

    async fn invalidate(&self, scope: &TenantScope, key: &Key) -> Result<(), CacheError> {
        let timer = self.timer(INVALIDATE);
        if let Err(error) = self.0.admit(scope, key).await {
            return timer.end(Err(error));
        }
        let inner = Arc::clone(&self.0);
        let (scope, key) = (scope.clone(), *key);
        timer.end(to_its_end(async move { inner.invalidate(&scope, &key).await }).await)
    }

    async fn clear_tenant(&self, scope: &TenantScope) -> Result<(), CacheError> {
        let timer = self.timer(CLEAR);
        if let Err(error) = self.0.admit_open() {
            return timer.end(Err(error));
        }
        let inner = Arc::clone(&self.0);
        let scope = scope.clone();
        timer.end(to_its_end(async move { inner.clear(&scope).await }).await)
    }

    fn stats(&self) -> CacheStats {
        self.0.tallies.read()
    }
}
