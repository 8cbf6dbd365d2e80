//! Rate limiting: may this caller do this now?

use std::time::Duration;

use async_trait::async_trait;

use crate::digest::Digest;
use crate::error::{Classify, ErrorKind, Source};
use crate::pae;

/// Whom a limit counts. A digest, so that no user name or address is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey(Digest);

impl LimitKey {
    /// The key of `who` under the limit `name`.
    #[must_use]
    pub fn new(name: &'static str, who: &[&[u8]]) -> Self {
        let mut parts: Vec<&[u8]> = vec![b"eonpro/limit/v1", name.as_bytes()];
        parts.extend_from_slice(who);
        Self(Digest::of(&pae::encode(&parts)))
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

/// How often: `burst` at once, and one more each `period / burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many are allowed at once; at least 1.
    pub burst: u32,
    /// In how long a spent burst is whole again; longer than zero.
    pub period: Duration,
}

/// What the limiter decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateDecision {
    /// Go on; so many are left at once.
    Allowed {
        /// How many more are allowed now.
        remaining: u32,
    },
    /// Not now.
    Limited {
        /// When one will be allowed again.
        retry_after: Duration,
    },
}

/// Counts and decides.
#[async_trait]
pub trait RateLimiter: std::fmt::Debug + Send + Sync + 'static {
    /// Takes one permit of `key` under `rate`, if there is one. A refusal takes none. Cancel-safe:
    /// a dropped future may have taken the permit.
    ///
    /// # Errors
    /// [`LimitError`] if the counter is out of reach; the caller decides whether to fail open.
    async fn check(&self, key: &LimitKey, rate: Rate) -> Result<RateDecision, LimitError>;
}

/// The counter is out of reach.
#[derive(Debug, thiserror::Error)]
#[error("rate limiter is out of reach")]
pub struct LimitError(#[source] pub Source);

impl Classify for LimitError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}
