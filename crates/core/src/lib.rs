//! The shared vocabulary of eonpro: context, tenant proof, PHI types, events, errors and ports.
//!
//! Every service crate depends on this crate and on no other service. What one service needs of
//! another is a *port*: a small trait in [`port`]. Who acts, for whom and why travels in a
//! [`RequestContext`]; access to tenant data needs a [`TenantScope`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`context`], [`scope`], [`identity`] | who acts, for which tenant, why, until when |
//! | [`phi`], [`secret`] | types that cannot be printed, logged or serialized by mistake |
//! | [`event`] | the catalogue of audit events and the sink that takes them |
//! | [`port`] | `KeyValue`, `Sealer`, `Signer`, `AlertSink`, `RateLimiter`, `Observer` |
//! | [`time`], [`entropy`] | injected time and randomness |
//! | [`error`] | how every error of every crate is classified |
//! | [`component`] | health and posture of each part |
//! | [`limit`], [`breaker`] | a local rate limiter and a circuit breaker |

pub mod breaker;
pub mod component;
pub mod context;
pub mod digest;
pub mod entropy;
pub mod error;
pub mod event;
pub mod id;
pub mod identity;
pub mod limit;
pub mod pae;
pub mod phi;
pub mod port;
pub mod purpose;
pub mod scope;
pub mod secret;
pub mod task;
pub mod time;
pub mod trace;

pub use context::RequestContext;
pub use error::{Classify, ErrorKind, Status};
pub use identity::VerifiedIdentity;
pub use scope::TenantScope;
