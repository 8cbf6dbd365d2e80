//! The embedded `KeyValue` backend: one redb file, nothing to install.
//!
//! An acknowledged commit is on stable storage. Commits that wait at the same time share one sync
//! (group commit), so throughput grows with concurrency while each stays durable.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction};
//! use eonpro_core::component::Component as _;
//! use eonpro_core::time::SystemClock;
//! use eonpro_redb::RedbKeyValue;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("state.redb");
//! let store = RedbKeyValue::open(&path, Arc::new(SystemClock::new()))?;
//! let jobs = Partition::system("jobs");
//! let key = Key::new("cursor")?;
//! let tx = Transaction::new().require_absent(key.clone()).put(key.clone(), "41");
//! let version = store.commit(&jobs, tx).await?;
//! assert_eq!(store.get(&jobs, &key).await?.map(|found| found.version), Some(version));
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod config;
mod file;
mod row;
mod store;
mod writer;

pub use config::RedbConfig;
pub use store::RedbKeyValue;
