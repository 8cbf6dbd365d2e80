//! A tiered cache whose invalidations always win.
//!
//! Values live in memory (moka) and, sealed, in a durable tier on disk (redb). Keys belong to one
//! tenant; a key of another tenant is refused and audited. [`Cache::compute`] runs one computation
//! for all who wait, and an invalidation that comes while it runs wins: the result goes to those
//! who asked before it and is stored nowhere.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use eonpro_cache::{
//!     Cache, CacheConfig, CacheExt as _, CacheParts, EntryOptions, Key, Namespace, Origin,
//!     TieredCache, WorkError,
//! };
//! use eonpro_core::port::NoObserver;
//! use eonpro_core::time::SystemClock;
//! use eonpro_testkit::{RecordingSink, TestSealer, scope};
//!
//! const CHARTS: Namespace = Namespace::new("charts");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), eonpro_cache::CacheError> {
//! let ours = scope(1);
//! let cache = TieredCache::open(
//!     CacheParts {
//!         sealer: TestSealer::ready_for(&[&ours]),
//!         durable: None,
//!         emitter: RecordingSink::new().emitter(Arc::new(SystemClock::new())),
//!         observer: Arc::new(NoObserver),
//!     },
//!     CacheConfig::default(),
//! )?;
//!
//! let key = Key::new(&ours, CHARTS, b"chart-7")?;
//! let work = || async { Ok::<_, WorkError>(Some(Bytes::from_static(b"the chart"))) };
//! let first = cache.get_or_compute(&ours, &key, &EntryOptions::default(), work).await?;
//! assert_eq!(first.origin, Origin::Computed);
//! assert_eq!(cache.peek(&ours, &key).as_deref(), Some(b"the chart".as_slice()));
//!
//! cache.invalidate(&ours, &key).await?;
//! assert_eq!(cache.peek(&ours, &key), None);
//! # Ok(())
//! # }
//! ```

pub mod backend;
mod config;
mod durable;
mod entry;
mod error;
mod events;
mod flight;
mod generation;
mod key;
mod service;
mod tally;
mod tier;
mod tiered;

pub use backend::{RedbTier, RedbTierConfig};
pub use config::{CacheConfig, Eviction};
pub use error::{CacheError, TierError, WorkError};
pub use generation::Guard;
pub use key::{Key, MAX_KEY_BYTES, Namespace};
pub use service::{Cache, CacheExt, CacheStats, EntryOptions, Fetched, Origin, Work};
pub use tier::{DurableTier, EntryName, SealedEntry};
pub use tiered::{CacheParts, TieredCache};
