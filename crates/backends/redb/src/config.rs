//! The limits of the store.

/// The limits of the store.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbConfig {
    /// Bytes of redb's page cache. Default 32 MiB.
    pub page_cache_bytes: usize,
    /// Commits that wait for the writer; beyond, callers wait to queue. Default 1,024.
    pub queue: usize,
    /// Changes that a watcher may lag behind before it is told to read again. Default 1,024.
    pub watch_backlog: usize,
}

impl Default for RedbConfig {
    fn default() -> Self {
        Self {
            page_cache_bytes: 32 * 1024 * 1024,
            queue: 1_024,
            watch_backlog: 1_024,
        }
    }
}

impl RedbConfig {
    /// With another page cache.
    #[must_use]
    pub const fn with_page_cache_bytes(mut self, bytes: usize) -> Self {
        self.page_cache_bytes = bytes;
        self
    }
}
