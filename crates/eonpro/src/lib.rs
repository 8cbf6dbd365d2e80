//! The facade: all eight services composed, checked and shut down in order.
//!
//! A [`Foundation`] is built for a [`Profile`], which refuses parts that are too weak for it. It
//! holds no logic of its own beyond wiring: the [event hub](EventHub), the posture check, health
//! and the ordered shutdown. Nothing is global: the logging layer is handed to the application.
//!
//! ```
//! use eonpro::core::id::{ActorId, RowId};
//! use eonpro::core::phi::Phi;
//! use eonpro::core::purpose::PurposeOfUse;
//! use eonpro::encryption::{EncryptionExt as _, PhiRecord};
//! use eonpro::tenant::{IdempotencyKey, NewTenant, TenantSlug};
//! use eonpro::{Foundation, auth::NewToken, core::event::Code};
//!
//! #[derive(PhiRecord)]
//! #[phi(table = "patients", crate = "eonpro::core")]
//! struct Patient {
//!     #[phi(row)]
//!     id: RowId,
//!     #[phi(seal)]
//!     name: Phi<String>,
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let foundation = Foundation::embedded(dir).records::<(Patient,)>().build().await?;
//!
//! // An operator onboards a clinic.
//! let clinic = NewTenant::new(
//!     TenantSlug::new("clinic-7")?,
//!     Code::new("eu-central")?,
//!     Code::new("baa-2026-7")?,
//! );
//! let once = IdempotencyKey::new("onboard-clinic-7")?;
//! let clinic = foundation.tenants().onboard(&foundation.chore("onboarding"), clinic, once).await?;
//!
//! // A request arrives with a token; here the development issuer made it.
//! let issuer = foundation.issuer().ok_or("no development issuer")?;
//! let token = issuer.issue(&NewToken::new(ActorId::new("dr.grey")?, clinic.id()))?;
//! let peer = "192.0.2.7".parse()?;
//! let cx = foundation.door().admit(token.expose(), peer, PurposeOfUse::Treatment).await?;
//!
//! // With the proof of its tenant the request may touch its data.
//! let scope = cx.tenant_scope()?;
//! let ada = Patient {
//!     id: RowId::random(&**foundation.entropy()),
//!     name: "Ada Lovelace".into(),
//! };
//! let sealed = foundation.encryption().seal_record(&scope, ada).await?;
//! let ada: Patient = foundation.encryption().open_record(&scope, sealed).await?;
//! assert_eq!(ada.name.expose(), "Ada Lovelace");
//!
//! assert!(foundation.shutdown().await.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! # Profiles
//! [`Foundation::embedded`] keeps everything in one directory, keys included, and says so in its
//! log. [`Foundation::builder`] takes an [`AuditSource`] and [`Backends`] of your own; without an
//! audit log it does not compile, and [`Profile::Production`] starts only if every part is durable
//! and fit for production.

mod assembly;
mod builder;
mod chores;
mod config;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod foundation;
mod health;
mod hub;
mod listeners;
pub mod posture;
mod profile;
mod shutdown;
mod source;

pub use builder::{Builder, CompleteBuilder, Missing};
pub use chores::{FailedUpkeep, KeyUpkeep};
pub use config::FoundationConfig;
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedDirectory;
pub use error::FoundationError;
pub use foundation::Foundation;
pub use health::{HealthReport, PartHealth, Weight};
pub use hub::{EventHub, EventListener, Missed};
pub use profile::Profile;
pub use shutdown::{ClosedPart, ShutdownReport, Stage};
pub use source::{
    AuditDirectory, AuditPorts, AuditSource, Backends, Backing, Ground, LogSinks, OpenAudit,
};

pub use eonpro_audit as audit;
pub use eonpro_auth as auth;
pub use eonpro_cache as cache;
pub use eonpro_core as core;
pub use eonpro_encryption as encryption;
pub use eonpro_logger as logger;
pub use eonpro_metrics as metrics;
#[cfg(feature = "embedded")]
pub use eonpro_redb as redb;
pub use eonpro_storage as storage;
pub use eonpro_tenant as tenant;
pub use eonpro_tower as tower;

/// The quickstart of the README, which is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
