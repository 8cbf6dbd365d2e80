//! Signing in: throttled before anything is looked at, one answer for every refusal.

use eonpro_core::TenantScope;
use eonpro_core::id::ActorId;
use eonpro_core::identity::{Aal, Actor, ActorKind, Assurance};
use eonpro_core::secret::SecretText;

use super::{Core, somebody};
use crate::config::SecondFactor;
use crate::error::AuthError;
use crate::events::{self, Refusal};
use crate::factor::OnAccept;
use crate::identity::with_method;
use crate::service::SignedIn;
use crate::throttle::Admission;

impl Core {
    pub(super) async fn signed_in(
        &self,
        scope: &TenantScope,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        let actor = somebody(scope)?;
        self.attempt(scope, actor).await?;
        let assurance = scope.cx().assurance().clone();
        let assurance = self.second_factor(scope, actor, assurance, otp).await?;
        let actor = Actor {
            session: None,
            ..scope.cx().actor().clone()
        };
        self.open_session(scope, actor, assurance).await
    }

    pub(super) async fn signed_in_with_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        self.attempt(scope, actor).await?;
        if !self.passwords.check(scope, actor, password).await? {
            self.count_failure(scope, actor).await?;
            return self.refuse(scope, actor, Refusal::WrongPassword).await;
        }
        let known = Assurance {
            aal: Aal::Aal1,
            amr: std::sync::Arc::from(["pwd".into()]),
            at: Some(self.now()),
        };
        let assurance = self.second_factor(scope, actor, known, otp).await?;
        self.throttle.succeeded(scope, actor).await?;
        let actor = Actor {
            kind: ActorKind::User,
            id: actor.clone(),
            roles: std::sync::Arc::from([]),
            session: None,
        };
        self.open_session(scope, actor, assurance).await
    }

    /// The assurance after the second factor, where one is needed.
    async fn second_factor(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        assurance: Assurance,
        otp: Option<&SecretText>,
    ) -> Result<Assurance, AuthError> {
        let factor = self.factors.load(scope, actor).await?;
        let enrolled = factor.is_some_and(|(factor, _)| factor.is_confirmed());
        let needed = enrolled || self.config.second_factor == SecondFactor::Always;
        let code = match (needed, otp) {
            (false, None) => return Ok(assurance),
            (true, None) => return Err(AuthError::SecondFactorRequired),
            (_, Some(code)) => code,
        };
        if !enrolled {
            return self.refuse(scope, actor, Refusal::NoFactor).await;
        }
        match self.prove(scope, actor, code, OnAccept::Keep).await {
            Ok(()) => Ok(with_method(&assurance, "otp", self.now())),
            Err(AuthError::SignInRefused) => self.refuse(scope, actor, Refusal::SecondFactor).await,
            Err(other) => Err(other),
        }
    }

    /// Admits one attempt of `actor`, or refuses it unseen.
    pub(super) async fn attempt(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<(), AuthError> {
        match self.throttle.admit(scope, actor, self.now()).await? {
            Admission::Open => Ok(()),
            Admission::Locked => self.refuse(scope, actor, Refusal::Locked).await,
            Admission::ActorLimited => self.refuse(scope, actor, Refusal::Throttled).await,
            Admission::AddressLimited(retry_after) => Err(AuthError::Throttled { retry_after }),
        }
    }

    /// Counts a failure of `actor`, and announces the lock if it brought one.
    pub(super) async fn count_failure(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<(), AuthError> {
        match self.throttle.failed(scope, actor, self.now()).await? {
            Some(until) => events::locked(&self.emitter, scope.cx(), actor.clone(), until).await,
            None => Ok(()),
        }
    }

    async fn refuse<T>(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        refusal: Refusal,
    ) -> Result<T, AuthError> {
        let claimed = self.claimed(scope, actor).await?;
        events::sign_in_failed(&self.emitter, scope.cx(), claimed, refusal).await?;
        Err(AuthError::SignInRefused)
    }
}
