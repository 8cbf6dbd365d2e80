//! Scopes and contexts for tests, minted without a directory or a token.

use eonpro_core::context::TenantBinding;
use eonpro_core::entropy::{Entropy, SeededEntropy};
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::identity::{Aal, Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::purpose::PurposeOfUse;
use eonpro_core::scope::{Authority, Standing};
use eonpro_core::time::{Clock, ManualClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope};
use std::sync::Arc;
use uuid::Uuid;

/// Who acts in a minted context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actors {
    /// A user who proved two factors, with role `clinician`.
    #[default]
    Clinician,
    /// A user who proved two factors, with role `admin`.
    Admin,
    /// Nobody that is known.
    Anonymous,
}

/// The authority that parts under test are handed where the facade would hand them its own.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "testkit vouches for test tenants"
)]
pub fn authority() -> Authority {
    Authority::assume("testkit")
}

/// The tenant numbered `tenant`; zero, which would be the nil UUID, becomes tenant `u128::MAX`.
#[must_use]
pub fn tenant_id(tenant: u128) -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(tenant)).unwrap_or_else(|| tenant_id(u128::MAX))
}

/// A scope for the active tenant numbered `tenant`: a clinician, purpose treatment, time zero.
#[must_use]
pub fn scope(tenant: u128) -> TenantScope {
    let entropy = SeededEntropy::new(Uuid::from_u128(tenant).as_u64_pair().1);
    scope_at(tenant, &ManualClock::at(Timestamp::EPOCH), &entropy)
}

/// [`scope`] with a clock and a source of entropy.
#[must_use]
pub fn scope_at(tenant: u128, clock: &dyn Clock, entropy: &dyn Entropy) -> TenantScope {
    scope_with(context(tenant, Actors::Clinician, clock, entropy))
}

/// The scope of a context that was made by [`context`], perhaps changed since.
///
/// # Panics
/// If no active tenant is bound to `cx`.
#[must_use]
#[expect(clippy::panic, reason = "a test's own mistake ends the test")]
pub fn scope_with(cx: RequestContext) -> TenantScope {
    match cx.tenant_scope() {
        Ok(scope) => scope,
        Err(error) => panic!("the test bound no active tenant: {error}"),
    }
}

/// A context bound to the active tenant numbered `tenant`.
#[must_use]
pub fn context(
    tenant: u128,
    actors: Actors,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> RequestContext {
    standing_context(tenant, Standing::Active, actors, clock, entropy)
}

/// A context bound to a tenant of any standing, to test what is refused.
#[must_use]
pub fn standing_context(
    tenant: u128,
    standing: Standing,
    actors: Actors,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> RequestContext {
    let authority = authority();
    let mut cx = RequestContext::anonymous(clock, entropy).with_purpose(PurposeOfUse::Treatment);
    let named = match actors {
        Actors::Clinician => Some(("clinician-1", "clinician")),
        Actors::Admin => Some(("admin-1", "admin")),
        Actors::Anonymous => None,
    };
    if let Some((name, role)) = named {
        let claims = IdentityClaims {
            issuer: Arc::from("https://issuer.test"),
            actor: Actor {
                kind: ActorKind::User,
                id: ActorId::new(name).unwrap_or_else(|_| ActorId::anonymous()),
                roles: Arc::from([role.into()]),
                session: None,
            },
            tenant: Some(tenant_id(tenant)),
            assurance: Assurance {
                aal: Aal::Aal2,
                amr: Arc::from(["pwd".into(), "otp".into()]),
                at: Some(clock.wall()),
            },
            expires: Timestamp::from_nanos(i64::MAX),
        };
        cx = authority.identify(cx, &authority.vouch(claims));
    }
    let binding = TenantBinding {
        id: tenant_id(tenant),
        standing,
        epoch: 1,
    };
    authority.bind(cx, binding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_scope_names_its_tenant_and_a_clinician() {
        let minted = scope(7);
        assert_eq!(minted.tenant(), tenant_id(7));
        assert_eq!(minted.cx().actor().id.as_str(), "clinician-1");
        assert_ne!(scope(8).tenant(), minted.tenant());
    }

    #[test]
    fn a_suspended_tenant_yields_no_scope() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let entropy = SeededEntropy::new(1);
        let cx = standing_context(1, Standing::Suspended, Actors::Admin, &clock, &entropy);
        assert!(cx.tenant_scope().is_err());
    }
}
