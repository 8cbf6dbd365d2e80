//! The cache as its users see it.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::Component;
use eonpro_core::{Classify, TenantScope};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::error::{CacheError, WorkError};
use crate::key::Key;

/// A computation that is run at most once for all who wait. `None` says that the thing does not
/// exist, which is remembered for [`EntryOptions::negative_ttl`].
pub type Work =
    Box<dyn FnOnce() -> BoxFuture<'static, Result<Option<Bytes>, WorkError>> + Send + 'static>;

/// How long an entry may be served. The configuration caps each; zero keeps it out of that tier.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryOptions {
    /// In memory. Default one minute.
    pub local_ttl: Duration,
    /// Sealed on disk, if there is a durable tier. Default one hour.
    pub durable_ttl: Duration,
    /// In memory, for the answer that the thing does not exist. Default five seconds.
    pub negative_ttl: Duration,
}

impl Default for EntryOptions {
    fn default() -> Self {
        Self {
            local_ttl: Duration::from_secs(60),
            durable_ttl: Duration::from_secs(60 * 60),
            negative_ttl: Duration::from_secs(5),
        }
    }
}

impl EntryOptions {
    /// With another time in memory.
    #[must_use]
    pub const fn with_local_ttl(mut self, ttl: Duration) -> Self {
        self.local_ttl = ttl;
        self
    }

    /// With another time on disk.
    #[must_use]
    pub const fn with_durable_ttl(mut self, ttl: Duration) -> Self {
        self.durable_ttl = ttl;
        self
    }

    /// With another time for the answer that the thing does not exist.
    #[must_use]
    pub const fn with_negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }
}

/// Where an answer came from.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From memory.
    Local,
    /// From the durable tier.
    Durable,
    /// Computed, by this caller's work.
    Computed,
    /// From the flight of another caller, whatever it had to do.
    Joined,
}

impl Origin {
    /// Whether this caller's work was not needed.
    #[must_use]
    pub const fn is_hit(self) -> bool {
        !matches!(self, Self::Computed)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The value; `None` if the thing is known not to exist.
    pub value: Option<Bytes>,
    /// Where it came from.
    pub origin: Origin,
}

/// What the cache counted since it was opened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answers from memory, negative ones included.
    pub local_hits: u64,
    /// Answers from the durable tier.
    pub durable_hits: u64,
    /// Questions that no tier could answer.
    pub misses: u64,
    /// Computations that were started.
    pub computations: u64,
    /// Callers who waited for the flight of another.
    pub joined: u64,
    /// Results that an invalidation kept from being stored.
    pub outrun: u64,
    /// Values too large to be stored.
    pub oversize: u64,
    /// Values that did not reach the durable tier: it was busy or failed.
    pub durable_dropped: u64,
    /// Durable entries of an unknown version or that did not authenticate; each was deleted.
    pub durable_rejected: u64,
    /// Peeks with a key of another tenant.
    pub foreign_peeks: u64,
}

/// A cache of bytes, by tenant.
#[async_trait]
pub trait Cache: Component {
    /// The value in memory, if it is there and valid. A negative entry, a key of another tenant
    /// (counted) and a closed cache are `None`.
    ///
    /// Synchronous; on a hit it takes no lock of ours and allocates nothing.
    fn peek(&self, scope: &TenantScope, key: &Key) -> Option<Bytes>;

    /// The value in any tier; `None` if it is absent or known not to exist. A durable hit is
    /// brought into memory. Cancel-safe, idempotent.
    ///
    /// A durable tier that fails is a miss, counted.
    ///
    /// # Errors
    /// [`CacheError::TenantMismatch`] for a key of another tenant, after TEN-004 was recorded;
    /// [`CacheError::Closed`].
    async fn get(&self, scope: &TenantScope, key: &Key) -> Result<Option<Bytes>, CacheError>;

    /// The value in any tier, else the result of `work`, which runs once for all who ask for the
    /// key while it runs.
    ///
    /// Whoever asks for the key may get the answer: the key must name everything that the answer
    /// depends on, the rights of the caller included.
    ///
    /// The work runs in a task of its own: cancel-safe, a dropped caller harms nobody. If
    /// [`Self::invalidate`] or [`Self::clear_tenant`] comes while it runs, its result goes to those
    /// who asked before and is not stored; who asks afterwards starts a new flight. Errors are not
    /// stored. The caller waits no longer than the context's deadline; the flight goes on.
    ///
    /// # Errors
    /// As [`Self::get`]; [`CacheError::Work`] with what the work returned, for all who waited;
    /// [`CacheError::WorkLost`] if it panicked; [`CacheError::Overloaded`] beyond the limit of
    /// flights; [`CacheError::Timeout`], [`CacheError::Cancelled`] by the context.
    async fn compute(
        &self,
        scope: &TenantScope,
        key: &Key,
        options: &EntryOptions,
        work: Work,
    ) -> Result<Fetched, CacheError>;

    /// Stores a value, superseding what was there and what is being computed. A value beyond the
    /// limit is not stored, and counted. Runs to its end even if the future is dropped. Idempotent.
    ///
    /// # Errors
    /// As [`Self::invalidate`].
    async fn put(
        &self,
        scope: &TenantScope,
        key: &Key,
        value: Bytes,
        options: &EntryOptions,
    ) -> Result<(), CacheError>;

    /// Removes the entry from all tiers. Once it has returned nobody is served what was computed
    /// before it was called. Runs to its end even if the future is dropped. Idempotent.
    ///
    /// # Errors
    /// As [`Self::get`]; [`CacheError::NotInvalidated`] if the durable tier could not remove the
    /// entry: the tier is then no longer read, by this process or the next.
    async fn invalidate(&self, scope: &TenantScope, key: &Key) -> Result<(), CacheError>;

    /// Removes all entries of the scope's tenant from all tiers, at a cost that does not depend on
    /// their number. Otherwise as [`Self::invalidate`].
    ///
    /// # Errors
    /// As [`Self::invalidate`].
    async fn clear_tenant(&self, scope: &TenantScope) -> Result<(), CacheError>;

    /// What was counted since the cache was opened.
    fn stats(&self) -> CacheStats;
}

/// Generic conveniences of every [`Cache`].
#[async_trait]
pub trait CacheExt: Cache {
    /// [`Cache::compute`] with a closure, whose error keeps its classification.
    ///
    /// # Errors
    /// As [`Cache::compute`].
    async fn get_or_compute<F, Fut, E>(
        &self,
        scope: &TenantScope,
        key: &Key,
        options: &EntryOptions,
        work: F,
    ) -> Result<Fetched, CacheError>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Classify + Send + Sync + 'static,
    {
        let work: Work = Box::new(move || {
            let running = work();
            async move { running.await.map_err(WorkError::of) }.boxed()
        });
        self.compute(scope, key, options, work).await
    }
}

impl<C: Cache + ?Sized> CacheExt for C {}
