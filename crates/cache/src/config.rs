//! The limits of a cache.

use std::time::Duration;

use crate::error::CacheError;

/// What is given up first when memory is full.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used. Suits charts: used often during a visit, then not for months.
    #[default]
    Lru,
    /// The least frequently used among the recent, with admission (TinyLFU). Suits loops and
    /// scans larger than memory.
    TinyLfu,
}

/// The limits and lifetimes of a cache.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of values and their overhead in memory. Default 64 MiB, at least 64 KiB.
    pub local_bytes: u64,
    /// What is given up first. Default [`Eviction::Lru`].
    pub eviction: Eviction,
    /// Bytes of the largest value that is stored. Default and most 1 MiB.
    pub value_bytes: usize,
    /// The longest time in memory. Default one hour.
    pub max_local_ttl: Duration,
    /// The longest time in memory of a namespace that may hold PHI. Default five minutes.
    pub max_phi_local_ttl: Duration,
    /// The longest time on disk. Default one day.
    pub max_durable_ttl: Duration,
    /// Computations that run at the same time. Default 4,096.
    pub flights: usize,
    /// Values on their way to the durable tier; beyond, they are dropped and counted. Default 256.
    pub durable_writes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            local_bytes: 64 * 1024 * 1024,
            eviction: Eviction::Lru,
            value_bytes: 1024 * 1024,
            max_local_ttl: Duration::from_secs(60 * 60),
            max_phi_local_ttl: Duration::from_secs(5 * 60),
            max_durable_ttl: Duration::from_secs(24 * 60 * 60),
            flights: 4_096,
            durable_writes: 256,
        }
    }
}

impl CacheConfig {
    pub(crate) fn check(&self) -> Result<(), CacheError> {
        if self.local_bytes < 64 * 1024 {
            return Err(CacheError::Config("local_bytes below 64 KiB"));
        }
        if self.value_bytes == 0 || self.value_bytes > 1024 * 1024 {
            return Err(CacheError::Config("value_bytes outside of 1 to 1 MiB"));
        }
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        if self.max_local_ttl.is_zero() || self.max_local_ttl > year {
            return Err(CacheError::Config("max_local_ttl outside of one year"));
        }
        if self.flights == 0 || self.flights > 1 << 20 {
            return Err(CacheError::Config("flights outside of 1 to 2^20"));
        }
        if self.durable_writes == 0 || self.durable_writes > 1 << 16 {
            return Err(CacheError::Config("durable_writes outside of 1 to 2^16"));
        }
        Ok(())
    }
}
