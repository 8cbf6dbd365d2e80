//! Second factors: enrolled, confirmed, proven, removed, with every failure counted.

use eonpro_core::TenantScope;
use eonpro_core::id::ActorId;
use eonpro_core::secret::SecretText;

use super::{Core, somebody};
use crate::error::AuthError;
use crate::events::{self, Refusal};
use crate::factor::{CodeVerdict, OnAccept};
use crate::totp::{TotpEnrolment, TotpSecret};

impl Core {
    pub(super) async fn totp_enrolled(
        &self,
        scope: &TenantScope,
    ) -> Result<TotpEnrolment, AuthError> {
        let actor = somebody(scope)?;
        let secret = TotpSecret::generate()?;
        self.factors.enrol(scope, actor, &secret).await?;
        Ok(TotpEnrolment::new(secret, actor.as_str()))
    }

    pub(super) async fn totp_confirmed(
        &self,
        scope: &TenantScope,
        code: &SecretText,
    ) -> Result<(), AuthError> {
        let actor = somebody(scope)?;
        self.attempt(scope, actor).await?;
        self.prove(scope, actor, code, OnAccept::Confirm).await?;
        events::factor_changed(&self.emitter, scope.cx(), actor.clone(), "added").await
    }

    pub(super) async fn totp_verified(
        &self,
        scope: &TenantScope,
        code: &SecretText,
    ) -> Result<(), AuthError> {
        let actor = somebody(scope)?;
        self.attempt(scope, actor).await?;
        self.prove(scope, actor, code, OnAccept::Keep).await
    }

    pub(super) async fn totp_removed(
        &self,
        scope: &TenantScope,
        code: &SecretText,
    ) -> Result<(), AuthError> {
        let actor = somebody(scope)?;
        self.attempt(scope, actor).await?;
        self.prove(scope, actor, code, OnAccept::Remove).await?;
        events::factor_changed(&self.emitter, scope.cx(), actor.clone(), "removed").await
    }

    /// Checks `code` and counts the outcome. The attempt itself was admitted before.
    pub(super) async fn prove(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        code: &SecretText,
        then: OnAccept,
    ) -> Result<(), AuthError> {
        let verdict = self
            .factors
            .prove(scope, actor, code.expose(), then, self.now())
            .await?;
        let refusal = match verdict {
            CodeVerdict::Accepted => return self.throttle.succeeded(scope, actor).await,
            CodeVerdict::Wrong => Refusal::WrongCode,
            CodeVerdict::Replayed => Refusal::ReplayedCode,
        };
        events::factor_failed(&self.emitter, scope.cx(), refusal).await?;
        self.count_failure(scope, actor).await?;
        Err(AuthError::SignInRefused)
    }
}
