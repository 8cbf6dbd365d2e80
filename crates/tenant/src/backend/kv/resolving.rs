//! From a verified identity to a context that is bound to its tenant.

use eonpro_core::context::TenantBinding;
use eonpro_core::id::TenantId;
use eonpro_core::scope::Standing;
use eonpro_core::{RequestContext, VerifiedIdentity};

use super::{AUTHORITY, KvTenants};
use crate::error::TenantError;
use crate::events;
use crate::resolution::Hints;

impl KvTenants {
    pub(super) async fn resolved(
        &self,
        cx: RequestContext,
        identity: &VerifiedIdentity,
        hints: &Hints,
    ) -> Result<RequestContext, TenantError> {
        let id = identity.tenant().ok_or(TenantError::Unresolved)?;
        let tenant = self.directory.load(id).await?.record;
        let binding = TenantBinding {
            id,
            standing: tenant.standing(),
            epoch: tenant.epoch(),
        };
        // Bound before it is judged, so that a refusal is recorded in the tenant's own log.
        let cx = AUTHORITY.bind(AUTHORITY.identify(cx, identity), binding);
        if !hints.agree_with(&tenant) {
            let hinted = self.hinted(id, hints).await;
            events::resolution_conflict(&self.emitter, &cx, id, hinted).await?;
            return Err(TenantError::ResolutionConflict);
        }
        if tenant.standing() != Standing::Active {
            return Err(TenantError::NotInService(tenant.standing()));
        }
        if !tenant.network().admits(cx.client()) {
            events::network_denied(&self.emitter, &cx, id).await?;
            return Err(TenantError::NetworkDenied);
        }
        Ok(cx)
    }

    /// The other tenant that the hints mean, if they mean one. For the record only.
    async fn hinted(&self, claimed: TenantId, hints: &Hints) -> Option<TenantId> {
        if let Some(id) = hints.id.filter(|id| *id != claimed) {
            return Some(id);
        }
        let slug = hints.slug.as_ref()?;
        let found = self.directory.by_slug(slug).await.ok()?;
        Some(found.record.id()).filter(|id| *id != claimed)
    }
}
