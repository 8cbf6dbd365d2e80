//! The proof that an operation may touch one tenant's data.
//!
//! A [`TenantScope`] comes only from a [`RequestContext`] to which a tenant was bound, and a tenant
//! is bound only through an [`Authority`]. `disallowed-methods` refuses [`Authority::assume`]
//! outside auth, tenant, tower, the facade and testkit. So application code that forgets the
//! tenant, or mixes two, does not compile.

use crate::context::{RequestContext, TenantBinding};
use crate::error::{Classify, ErrorKind};
use crate::id::TenantId;
use crate::identity::{IdentityClaims, VerifiedIdentity};

/// What a tenant's lifecycle allows.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Being set up.
    Provisioning,
    /// In service.
    Active,
    /// Out of service for now.
    Suspended,
    /// Leaving; its data awaits export or destruction.
    Offboarding,
    /// Gone for ever.
    Erased,
}

/// Why there is no scope.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The request has no tenant.
    #[error("request has no tenant")]
    Unbound,
    /// The tenant is not in service.
    #[error("tenant is not active")]
    NotActive(Standing),
}

impl Classify for ScopeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::PermissionDenied
    }
}

/// One active tenant, and the request that acts for it. First argument wherever tenant data is
/// touched.
#[derive(Debug, Clone)]
pub struct TenantScope {
    tenant: TenantId,
    epoch: u64,
    cx: RequestContext,
}

impl TenantScope {
    pub(crate) fn prove(cx: &RequestContext) -> Result<Self, ScopeError> {
        match cx.tenant() {
            None => Err(ScopeError::Unbound),
            Some(TenantBinding {
                id,
                standing: Standing::Active,
                epoch,
            }) => Ok(Self {
                tenant: *id,
                epoch: *epoch,
                cx: cx.clone(),
            }),
            Some(TenantBinding { standing, .. }) => Err(ScopeError::NotActive(*standing)),
        }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The tenant's epoch when the request was admitted.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The request.
    #[must_use]
    pub fn cx(&self) -> &RequestContext {
        &self.cx
    }
}

/// The right to vouch for identities and to bind tenants. Holding one is a matter of code review.
#[derive(Debug)]
pub struct Authority {
    reason: &'static str,
}

impl Authority {
    /// Assumes the authority, saying why. Refused by clippy outside the crates named above.
    #[must_use]
    pub const fn assume(reason: &'static str) -> Self {
        Self { reason }
    }

    /// Why it was assumed.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Vouches for an identity whose token was verified.
    #[must_use]
    pub fn vouch(&self, claims: IdentityClaims) -> VerifiedIdentity {
        VerifiedIdentity::vouched(self, claims)
    }

    /// Puts a verified identity into a context.
    #[must_use]
    pub fn identify(&self, cx: RequestContext, identity: &VerifiedIdentity) -> RequestContext {
        cx.identified(self, identity)
    }

    /// Binds a resolved tenant to a context.
    #[must_use]
    pub fn bind(&self, cx: RequestContext, tenant: TenantBinding) -> RequestContext {
        cx.bound(self, tenant)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests of the proof itself")]
pub(crate) fn test_scope(tenant: u128) -> TenantScope {
    use crate::entropy::SeededEntropy;
    use crate::time::{ManualClock, Timestamp};
    let clock = ManualClock::at(Timestamp::EPOCH);
    let cx = RequestContext::anonymous(&clock, &SeededEntropy::new(1));
    let id = TenantId::from_uuid(uuid::Uuid::from_u128(tenant)).unwrap();
    let binding = TenantBinding {
        id,
        standing: Standing::Active,
        epoch: 1,
    };
    Authority::assume("test")
        .bind(cx, binding)
        .tenant_scope()
        .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::time::{ManualClock, Timestamp};

    fn context() -> RequestContext {
        RequestContext::anonymous(&ManualClock::at(Timestamp::EPOCH), &SeededEntropy::new(1))
    }

    #[test]
    fn a_context_without_a_tenant_yields_no_scope() {
        assert_eq!(context().tenant_scope().unwrap_err(), ScopeError::Unbound);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "tests of the proof itself")]
    fn only_an_active_tenant_yields_a_scope() {
        let id = TenantId::from_uuid(uuid::Uuid::from_u128(1)).unwrap();
        for standing in [
            Standing::Provisioning,
            Standing::Suspended,
            Standing::Offboarding,
            Standing::Erased,
        ] {
            let binding = TenantBinding {
                id,
                standing,
                epoch: 1,
            };
            let cx = Authority::assume("test").bind(context(), binding);
            assert_eq!(
                cx.tenant_scope().unwrap_err(),
                ScopeError::NotActive(standing)
            );
        }
        assert_eq!(test_scope(1).tenant(), id);
    }
}
