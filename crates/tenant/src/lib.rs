//! Tenants: the directory and lifecycle, the resolution of requests, and isolated databases.
//!
//! [`Tenants`] says who the tenants are and turns a verified identity into a context for its
//! tenant; [`KvTenants`] keeps the directory in a `KeyValue`. [`SqliteTenants`] gives each tenant a
//! SQLite file of its own, which SQL cannot leave. A tenant leaves by export, two approvals and
//! the destruction of its keys; a legal hold stops that.
//!
//! ```
//! use eonpro_tenant::{NetworkList, NetworkRule, TenantSlug};
//!
//! let slug = TenantSlug::new("clinic-7")?;
//! let rule = NetworkRule::Only(NetworkList::parse(["192.0.2.0/24", "2001:db8::/32"])?);
//! assert!(rule.admits(Some("::ffff:192.0.2.9".parse()?)));
//! assert!(!rule.admits(None));
//! assert_eq!(slug.as_str(), "clinic-7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A service that keeps things for a tenant needs no call from here when the tenant is erased:
//! what it keeps is sealed with keys that no longer exist, and TEN-003 on the event hub tells it to
//! drop caches and free space.

mod backend;
mod config;
mod directory;
mod error;
mod events;
mod idempotency;
mod lifecycle;
mod network;
mod record;
mod resolution;
mod service;
mod slug;
mod wire;

pub use backend::kv::{KvTenants, TenantParts};
pub use backend::sqlite::{
    DbError, Migration, Row, RowIds, SqlValue, SqliteParts, SqliteRotation, SqliteTenants, TenantDb,
};
pub use config::{
    APPROVALS_NEEDED, MAX_APPROVERS, MAX_HOLDS, MAX_PAGE, MAX_PREFIXES, SqliteConfig, TenantConfig,
};
pub use error::TenantError;
pub use idempotency::IdempotencyKey;
pub use lifecycle::{Hold, Lifecycle, Refusal, Stage, State, SuspendReason, Transition};
pub use network::{NetworkError, NetworkList, NetworkRule};
pub use record::{Command, NewTenant, RecordVersion, StorageId, TenantRecord};
pub use resolution::Hints;
pub use service::{Erasure, Page, Tenants, TenantsExt};
pub use slug::{NameError, TenantName, TenantSlug};
