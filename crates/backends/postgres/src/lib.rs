//! The shared backends on PostgreSQL 15 or later: [`PgKeyValue`] for state, [`PgAudit`] for the audit log.
//!
//! Every operation on state is one statement in one round trip. A commit runs in a function on the server: it
//! locks the partition's counter, judges the preconditions by what is committed then, and writes. So
//! a future that is dropped leaves no transaction open, and its connection is thrown away.
//!
//! ```no_run
//! use std::sync::Arc;
//! use eonpro_core::secret::SecretText;
//! use eonpro_core::time::SystemClock;
//! use eonpro_postgres::{PgConfig, PgKeyValue, PgServer, PgTls, migrate};
//!
//! # async fn open(password: SecretText, roots: String) -> Result<(), eonpro_postgres::PgError> {
//! let config = PgConfig {
//!     servers: vec![PgServer::Tcp { host: "db.example".to_owned(), port: 5432 }],
//!     database: "clinic".to_owned(),
//!     user: "clinic".to_owned(),
//!     password,
//!     tls: PgTls::Verified { roots },
//!     ..PgConfig::default()
//! };
//! migrate(&config).await?; // as the owner of the tables, when a version is deployed
//! let store = PgKeyValue::open(&config, Arc::new(SystemClock::new())).await?;
//! # let _ = store;
//! # Ok(())
//! # }
//! ```

mod audit;
mod config;
mod connect;
mod error;
mod migration;
mod pool;
mod store;
mod watch;

pub use audit::{PgAudit, StagedEntry};
pub use config::{PgConfig, PgServer, PgTls};
pub use error::PgError;
pub use migration::migrate;
pub use store::PgKeyValue;
