//! Who is this, are they still signed in, and may they do it?
//!
//! [`Auth`] verifies access tokens (RS256, ES256, EdDSA on ring; HS256 by explicit choice), keeps
//! sessions with an idle and an absolute deadline, proves second factors (TOTP), decides by roles,
//! and slows down whoever guesses. [`EmbeddedAuth`] does it on any `KeyValue`; [`DevIssuer`] stands
//! in for the identity provider where there is none.
//!
//! | module | what it holds |
//! |---|---|
//! | [`token`] | compact JWS, strict JSON, key sets, claim rules, the [`Verifier`](token::Verifier) |
//! | [`Session`], [`SessionPolicy`] | sign-ins that end and stay ended |
//! | [`RoleBook`], [`Permission`] | deny by default, exact names |
//! | [`AuthError`] | one answer outside, the reason inside |
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_auth::{DevIssuer, NewToken, token::{Audience, Issuer}};
//! use eonpro_core::entropy::SystemEntropy;
//! use eonpro_core::id::{ActorId, TenantId};
//! use eonpro_core::time::{Clock, SystemClock};
//!
//! let clock = Arc::new(SystemClock::new());
//! let entropy = Arc::new(SystemEntropy::new());
//! let issuer = DevIssuer::generate(
//!     Issuer::new("https://dev.invalid")?,
//!     Audience::new("https://api.dev.invalid")?,
//!     clock.clone(),
//!     entropy.clone(),
//! )?;
//! let tenant = TenantId::random(&*entropy);
//! let token = issuer.issue(&NewToken::new(ActorId::new("dr.grey")?, tenant))?;
//!
//! let verified = issuer.verifier().verify(token.expose(), clock.wall())?;
//! assert_eq!(verified.claims().subject.as_str(), "dr.grey");
//! assert_eq!(verified.claims().tenant, Some(tenant));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod config;
mod error;
mod events;
mod factor;
mod identity;
mod lockout;
mod password;
mod role;
mod service;
mod session;
mod state;
mod throttle;
pub mod token;
mod totp;

pub use backend::{AuthParts, DevIssuer, EmbeddedAuth, NewToken};
pub use config::{
    AuthConfig, LockoutPolicy, PasswordPolicy, SecondFactor, SessionPolicy, TokenCachePolicy,
};
pub use error::{AuthError, ConfigError};
pub use password::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS};
pub use role::{Decision, DenyReason, MAX_PERMISSIONS, MAX_ROLES, Permission, Resource, RoleBook};
pub use service::{Auth, AuthExt, Revocation, SignedIn};
pub use session::{EndReason, Session};
pub use totp::TotpEnrolment;
