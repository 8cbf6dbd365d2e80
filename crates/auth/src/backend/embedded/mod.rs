//! Auth on the store at hand.
//!
//! The pure parts decide; this shell gives them the time and the records, announces what happened
//! and measures how long it took.

mod factors;
mod logins;
mod sessions;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::digest::Digest;
use eonpro_core::event::{Code, Emitter};
use eonpro_core::id::{ActorId, IdTagger};
use eonpro_core::identity::ActorKind;
use eonpro_core::port::{KeyValue, Observer, Operation, RateLimiter, SealScope, Sealer, Timer};
use eonpro_core::secret::SecretText;
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope, VerifiedIdentity};
use ring::hmac;

use self::tokens::TokenCache;
use crate::config::AuthConfig;
use crate::error::AuthError;
use crate::events;
use crate::factor::Factors;
use crate::password::Passwords;
use crate::role::{Decision, Permission, Resource, RoleBook};
use crate::service::{Auth, Revocation, SignedIn};
use crate::session::{Session, Sessions};
use crate::state::State;
use crate::throttle::Throttle;
use crate::token::Verifier;
use crate::totp::TotpEnrolment;

/// What [`EmbeddedAuth`] is made of.
#[derive(Debug)]
pub struct AuthParts {
    /// Where sessions, factors, passwords and lockouts are kept.
    pub state: Arc<dyn KeyValue>,
    /// What seals the secrets of factors.
    pub sealer: Arc<dyn Sealer>,
    /// What counts attempts.
    pub limiter: Arc<dyn RateLimiter>,
    /// What announces events; its clock and entropy are auth's too.
    pub emitter: Emitter,
    /// What measures.
    pub observer: Arc<dyn Observer>,
    /// What tags session ids with their tenant.
    pub tagger: Arc<IdTagger>,
    /// What verifies access tokens.
    pub verifier: Verifier,
    /// Which role may do what.
    pub roles: RoleBook,
}

/// See the [module](self).
#[derive(Debug)]
pub struct EmbeddedAuth {
    state: State,
    sealer: Arc<dyn Sealer>,
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    tagger: Arc<IdTagger>,
    verifier: Verifier,
    roles: RoleBook,
    config: AuthConfig,
    cache: TokenCache,
    sessions: Sessions,
    factors: Factors,
    passwords: Passwords,
    throttle: Throttle,
    closed: AtomicBool,
}

impl EmbeddedAuth {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`AuthError::Config`] for settings that make no sense.
    pub fn open(parts: AuthParts, config: AuthConfig) -> Result<Self, AuthError> {
        config.check()?;
        let state = State::new(parts.state);
        Ok(Self {
            cache: TokenCache::new(&config.token_cache),
            sessions: Sessions::new(state.clone(), config.sessions),
            factors: Factors::new(state.clone(), Arc::clone(&parts.sealer)),
            passwords: Passwords::new(state.clone(), config.passwords),
            throttle: Throttle::new(state.clone(), parts.limiter, config.lockout),
            state,
            sealer: parts.sealer,
            emitter: parts.emitter,
            observer: parts.observer,
            tagger: parts.tagger,
            verifier: parts.verifier,
            roles: parts.roles,
            config,
            closed: AtomicBool::new(false),
        })
    }

    fn now(&self) -> Timestamp {
        self.emitter.clock().wall()
    }

    /// Measures `work` as operation `name`, unless the service is closed.
    async fn measured<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, AuthError>> + Send,
    ) -> Result<T, AuthError> {
        let timer = Timer::start(
            Operation::new("auth", name),
            &**self.emitter.clock(),
            &*self.observer,
        );
        if self.is_closed() {
            return timer.end(Err(AuthError::Closed));
        }
        timer.end(work.await)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The keyed hash of a name that somebody typed in: the name itself may be a password.
    async fn claimed(&self, scope: &TenantScope, actor: &ActorId) -> Result<Digest, AuthError> {
        let key = self
            .sealer
            .mac_key(SealScope::from(scope), "auth.claimed-actor")
            .await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let tag = hmac::sign(&key, actor.as_str().as_bytes());
        let bytes = tag.as_ref().try_into().map_err(|_| AuthError::Record)?;
        Ok(Digest::from_bytes(bytes))
    }
}

/// The actor of `scope`, who must be somebody.
fn somebody(scope: &TenantScope) -> Result<&ActorId, AuthError> {
    let actor = scope.cx().actor();
    match actor.kind {
        ActorKind::User | ActorKind::Service | ActorKind::Device => Ok(&actor.id),
        ActorKind::System | ActorKind::Anonymous => Err(AuthError::NoActor),
    }
}

#[async_trait]
impl Component for EmbeddedAuth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn posture(&self) -> Posture {
        let own = Posture {
            durability: Durability::Stateless,
            crypto: Validation::NotValidated,
            fitness: Fitness::Production,
        };
        own.min(self.state.store().posture())
            .min(self.verifier.posture())
    }

    async fn health(&self) -> Health {
        if self.is_closed() {
            return Health::Unhealthy("closed");
        }
        match self.verifier.keys().health().await {
            Health::Healthy => self.state.store().health().await,
            // Sessions go on without keys; new tokens do not.
            Health::Degraded(reason) | Health::Unhealthy(reason) => Health::Degraded(reason),
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.cache.clear();
        self.verifier.keys().close().await;
    }
}

#[async_trait]
impl Auth for EmbeddedAuth {
    fn verify_cached(&self, token: &str) -> Option<Result<VerifiedIdentity, AuthError>> {
        self.token_cached(token)
    }

    async fn verify(
        &self,
        cx: &RequestContext,
        token: &str,
    ) -> Result<VerifiedIdentity, AuthError> {
        self.measured("verify", self.token_verified(cx, token))
            .await
    }

    async fn sign_in(
        &self,
        scope: &TenantScope,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        self.measured("sign_in", self.signed_in(scope, otp)).await
    }

    async fn sign_in_with_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        let work = self.signed_in_with_password(scope, actor, password, otp);
        self.measured("sign_in_with_password", work).await
    }

    async fn session(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError> {
        self.measured("session", self.session_of(scope, token))
            .await
    }

    async fn touch(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError> {
        self.measured("touch", self.touched(scope, token)).await
    }

    async fn sign_out(&self, scope: &TenantScope, token: &str) -> Result<(), AuthError> {
        self.measured("sign_out", self.signed_out(scope, token))
            .await
    }

    async fn sessions(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Vec<Session>, AuthError> {
        self.measured("sessions", self.sessions_of(scope, actor))
            .await
    }

    async fn revoke(
        &self,
        scope: &TenantScope,
        which: &Revocation,
        reason: Code,
    ) -> Result<usize, AuthError> {
        self.measured("revoke", self.revoked(scope, which, reason))
            .await
    }

    async fn enrol_totp(&self, scope: &TenantScope) -> Result<TotpEnrolment, AuthError> {
        self.measured("enrol_totp", self.totp_enrolled(scope)).await
    }

    async fn confirm_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        self.measured("confirm_totp", self.totp_confirmed(scope, code))
            .await
    }

    async fn verify_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        self.measured("verify_totp", self.totp_verified(scope, code))
            .await
    }

    async fn remove_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        self.measured("remove_totp", self.totp_removed(scope, code))
            .await
    }

    async fn set_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
    ) -> Result<(), AuthError> {
        let work = async {
            self.passwords.set(scope, actor, password).await?;
            events::password_set(&self.emitter, scope.cx(), actor.clone()).await
        };
        self.measured("set_password", work).await
    }

    fn decide(&self, scope: &TenantScope, permission: &Permission) -> Decision {
        self.roles.decide(&scope.cx().actor().roles, permission)
    }

    async fn authorize(
        &self,
        scope: &TenantScope,
        permission: &Permission,
        resource: &Resource,
    ) -> Result<Decision, AuthError> {
        let work = async {
            let decision = self.decide(scope, permission);
            if let Decision::Deny(reason) = decision {
                let (emitter, cx) = (&self.emitter, scope.cx());
                events::denied(emitter, cx, permission, reason, resource).await?;
            }
            Ok(decision)
        };
        self.measured("authorize", work).await
    }
}
