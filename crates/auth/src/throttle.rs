//! Slowing down whoever guesses: per address and per actor by rate, per actor by failures in a row.
//!
//! Every attempt takes a permit; a failure takes more of its address, so guessing one code of many
//! actors from one place runs dry soon while a busy clinic behind one address does not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::port::kv::{Transaction, Version};
use eonpro_core::port::{LimitKey, RateDecision, RateLimiter};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::LockoutPolicy;
use crate::error::AuthError;
use crate::lockout::Lockout;
use crate::state::{MAX_ATTEMPTS, State, Wire, actor_key, encode, unchanged};

const KIND: &str = "lockout";
/// How many permits of its address a failed attempt takes beside its own.
const FAILURE_SURCHARGE: usize = 9;

/// Whether an attempt may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// The actor is locked.
    Locked,
    /// The actor makes too many attempts.
    ActorLimited,
    /// The address makes too many attempts.
    AddressLimited(Duration),
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Throttle {
    state: State,
    limiter: Arc<dyn RateLimiter>,
    policy: LockoutPolicy,
}

impl Throttle {
    pub(crate) fn new(state: State, limiter: Arc<dyn RateLimiter>, policy: LockoutPolicy) -> Self {
        Self {
            state,
            limiter,
            policy,
        }
    }

    /// Takes the permits of one attempt.
    pub(crate) async fn admit(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        now: Timestamp,
    ) -> Result<Admission, AuthError> {
        if let Some(client) = scope.cx().client() {
            let key = address_key(client);
            let decision = self.limiter.check(&key, self.policy.per_address).await?;
            if let RateDecision::Limited { retry_after } = decision {
                return Ok(Admission::AddressLimited(retry_after));
            }
        }
        let tenant = scope.tenant();
        let parts: [&[u8]; 2] = [tenant.as_bytes(), actor.as_str().as_bytes()];
        let key = LimitKey::new("auth.login.actor", &parts);
        let decision = self.limiter.check(&key, self.policy.per_actor).await?;
        if matches!(decision, RateDecision::Limited { .. }) {
            return Ok(Admission::ActorLimited);
        }
        let found = self.load(scope.tenant(), actor).await?;
        if found.is_some_and(|(lockout, _)| lockout.is_locked(now)) {
            return Ok(Admission::Locked);
        }
        Ok(Admission::Open)
    }

    /// Counts a failure. Until when it locked the actor, if it did.
    pub(crate) async fn failed(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, AuthError> {
        if let Some(client) = scope.cx().client() {
            let key = address_key(client);
            for _ in 0..FAILURE_SURCHARGE {
                self.limiter.check(&key, self.policy.per_address).await?;
            }
        }
        let at = actor_key(KIND, actor)?;
        for _ in 0..MAX_ATTEMPTS {
            let read = self.load(scope.tenant(), actor).await?;
            let (before, version) =
                read.map_or_else(Default::default, |(state, at)| (state, Some(at)));
            let after = before.after_failure(&self.policy, now);
            let tx = unchanged(Transaction::new(), &at, version).put_until(
                at.clone(),
                encode(&after)?,
                now.plus(self.policy.forget),
            );
            match self.state.commit(scope.tenant(), tx).await {
                Err(AuthError::Contended) => {}
                Err(other) => return Err(other),
                Ok(_) => return Ok(after.until),
            }
        }
        Err(AuthError::Contended)
    }

    /// Forgets the failures of an actor who succeeded.
    pub(crate) async fn succeeded(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<(), AuthError> {
        let Some((_, version)) = self.load(scope.tenant(), actor).await? else {
            return Ok(());
        };
        let at = actor_key(KIND, actor)?;
        let tx = Transaction::new().require(at.clone(), version).delete(at);
        match self.state.commit(scope.tenant(), tx).await {
            // A failure that came in between counts.
            Ok(_) | Err(AuthError::Contended) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn load(
        &self,
        tenant: TenantId,
        actor: &ActorId,
    ) -> Result<Option<(Lockout, Version)>, AuthError> {
        self.state.load(tenant, &actor_key(KIND, actor)?).await
    }
}

/// One IPv4 address, or one IPv6 /64: a single customer holds that many IPv6 addresses.
fn address_key(client: IpAddr) -> LimitKey {
    match client.to_canonical() {
        IpAddr::V4(address) => LimitKey::new("auth.login.address", &[&address.octets()]),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64;
            LimitKey::new("auth.login.address", &[&prefix.to_be_bytes()])
        }
    }
}

/// Format version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockoutWire {
    failures: u32,
    last: Option<i64>,
    until: Option<i64>,
}

impl Wire for Lockout {
    type Form = LockoutWire;
    const VERSION: u8 = 1;

    fn to_form(&self) -> LockoutWire {
        LockoutWire {
            failures: self.failures,
            last: self.last.map(Timestamp::nanos),
            until: self.until.map(Timestamp::nanos),
        }
    }

    fn from_form(form: LockoutWire) -> Option<Self> {
        Some(Self {
            failures: form.failures,
            last: form.last.map(Timestamp::from_nanos),
            until: form.until.map(Timestamp::from_nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_one_ipv6_customer_are_one() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
