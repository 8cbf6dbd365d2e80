//! Access tokens: verified, and remembered for a short while.

use std::sync::Arc;

use eonpro_core::digest::Digest;
use eonpro_core::time::Monotonic;
use eonpro_core::{RequestContext, VerifiedIdentity};

use super::Core;
use crate::config::TokenCachePolicy;
use crate::error::AuthError;
use crate::events;
use crate::identity;
use crate::token::{Reject, Verified};

/// Longer tokens are verified each time.
const MAX_CACHED_TOKEN_BYTES: usize = 8 * 1024;

/// Verified tokens, found by the digest of their text and never by the text.
#[derive(Debug)]
pub(super) struct TokenCache {
    entries: moka::sync::Cache<Digest, Arc<Known>>,
    ttl: std::time::Duration,
}

#[derive(Debug)]
struct Known {
    verified: Verified,
    identity: VerifiedIdentity,
    since: Monotonic,
}

impl TokenCache {
    pub(super) fn new(policy: &TokenCachePolicy) -> Self {
        Self {
            entries: moka::sync::Cache::new(policy.entries),
            ttl: policy.ttl,
        }
    }

    pub(super) fn clear(&self) {
        self.entries.invalidate_all();
    }
}

impl Core {
    pub(super) fn token_cached(&self, token: &str) -> Option<Result<VerifiedIdentity, AuthError>> {
        if self.is_closed() {
            return Some(Err(AuthError::Closed));
        }
        if token.len() > MAX_CACHED_TOKEN_BYTES {
            return None;
        }
        let key = Digest::of(token.as_bytes());
        let known = self.cache.entries.get(&key)?;
        let clock = self.emitter.clock();
        let fresh = clock.monotonic().since(known.since) < self.cache.ttl
            && known.verified.generation() == self.verifier.keys().current().generation()
            && known.verified.in_time(clock.wall());
        if fresh {
            return Some(Ok(known.identity.clone()));
        }
        // Verified anew, so that a refusal is recorded like any other.
        self.cache.entries.invalidate(&key);
        None
    }

    pub(super) async fn token_verified(
        &self,
        cx: &RequestContext,
        token: &str,
    ) -> Result<VerifiedIdentity, AuthError> {
        let verified = match self.verifier.verify(token, self.now()) {
            Err(Reject::KidUnknown) => {
                let keys = self.verifier.keys().on_unknown_kid().await?;
                self.verifier.verify_with(&keys, token, self.now())
            }
            other => other,
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(reject) => {
                events::token_rejected(&self.emitter, cx, token, reject).await?;
                return Err(AuthError::InvalidToken(reject));
            }
        };
        let identity = identity::from_token(self.verifier.issuer(), verified.claims());
        if token.len() <= MAX_CACHED_TOKEN_BYTES {
            let known = Known {
                verified,
                identity: identity.clone(),
                since: self.emitter.clock().monotonic(),
            };
            let key = Digest::of(token.as_bytes());
            self.cache.entries.insert(key, Arc::new(known));
        }
        Ok(identity)
    }
}
