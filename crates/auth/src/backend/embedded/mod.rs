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
use eonpro_core::task;
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

/// Auth on the store at hand.
///
/// Whatever changes something runs in a task that outlives its caller, so an effect is announced
/// even if the caller goes away between the two.
#[derive(Debug)]
pub struct EmbeddedAuth(Arc<Core>);

#[derive(Debug)]
struct Core {
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
        Ok(Self(Arc::new(Core {
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
        })))
    }

    /// Measures `work` as operation `name` and runs it to its end, whoever waits for it.
    async fn lasting<T, F>(
        &self,
        name: &'static str,
        work: impl FnOnce(Arc<Core>) -> F + Send,
    ) -> Result<T, AuthError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AuthError>> + Send + 'static,
    {
        let running = task::outlive(work(Arc::clone(&self.0)));
        self.0
            .measured(name, async { running.await.map_err(|_| AuthError::Lost)? })
            .await
    }
}

impl Core {
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

    fn decided(&self, scope: &TenantScope, permission: &Permission) -> Decision {
        self.roles.decide(&scope.cx().actor().roles, permission)
    }

    async fn authorized(
        &self,
        scope: &TenantScope,
        permission: &Permission,
        resource: &Resource,
    ) -> Result<Decision, AuthError> {
        let decision = self.decided(scope, permission);
        if let Decision::Deny(reason) = decision {
            let (emitter, cx) = (&self.emitter, scope.cx());
            events::denied(emitter, cx, permission, reason, resource).await?;
        }
        Ok(decision)
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
        own.min(self.0.state.store().posture())
            .min(self.0.verifier.posture())
    }

    async fn health(&self) -> Health {
        if self.0.is_closed() {
            return Health::Unhealthy("closed");
        }
        match self.0.verifier.keys().health().await {
            Health::Healthy => self.0.state.store().health().await,
            // Sessions go on without keys; new tokens do not.
            Health::Degraded(reason) | Health::Unhealthy(reason) => Health::Degraded(reason),
        }
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.cache.clear();
        self.0.verifier.keys().close().await;
    }
}

#[async_trait]
impl Auth for EmbeddedAuth {
    fn verify_cached(&self, token: &str) -> Option<Result<VerifiedIdentity, AuthError>> {
        self.0.token_cached(token)
    }

    async fn verify(
        &self,
        cx: &RequestContext,
        token: &str,
    ) -> Result<VerifiedIdentity, AuthError> {
        let work = self.0.token_verified(cx, token);
        self.0.measured("verify", work).await
    }

    async fn sign_in(
        &self,
        scope: &TenantScope,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        let (scope, otp) = (scope.clone(), otp.cloned());
        let work = |core: Arc<Core>| async move { core.signed_in(&scope, otp.as_ref()).await };
        self.lasting("sign_in", work).await
    }

    async fn sign_in_with_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError> {
        let (scope, actor) = (scope.clone(), actor.clone());
        let (password, otp) = (password.clone(), otp.cloned());
        let work = |core: Arc<Core>| async move {
            core.signed_in_with_password(&scope, &actor, &password, otp.as_ref())
                .await
        };
        self.lasting("sign_in_with_password", work).await
    }

    async fn session(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError> {
        let work = self.0.session_of(scope, token);
        self.0.measured("session", work).await
    }

    async fn touch(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError> {
        let work = self.0.touched(scope, token);
        self.0.measured("touch", work).await
    }

    async fn sign_out(&self, scope: &TenantScope, token: &str) -> Result<(), AuthError> {
        let (scope, token) = (scope.clone(), SecretText::new(token.to_owned()));
        let work = |core: Arc<Core>| async move { core.signed_out(&scope, token.expose()).await };
        self.lasting("sign_out", work).await
    }

    async fn sessions(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Vec<Session>, AuthError> {
        let work = self.0.sessions_of(scope, actor);
        self.0.measured("sessions", work).await
    }

    async fn revoke(
        &self,
        scope: &TenantScope,
        which: &Revocation,
        reason: Code,
    ) -> Result<usize, AuthError> {
        let (scope, which) = (scope.clone(), which.clone());
        let work = |core: Arc<Core>| async move { core.revoked(&scope, &which, reason).await };
        self.lasting("revoke", work).await
    }

    async fn enrol_totp(&self, scope: &TenantScope) -> Result<TotpEnrolment, AuthError> {
        let work = self.0.totp_enrolled(scope);
        self.0.measured("enrol_totp", work).await
    }

    async fn confirm_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        let (scope, code) = (scope.clone(), code.clone());
        let work = |core: Arc<Core>| async move { core.totp_confirmed(&scope, &code).await };
        self.lasting("confirm_totp", work).await
    }

    async fn verify_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        let (scope, code) = (scope.clone(), code.clone());
        let work = |core: Arc<Core>| async move { core.totp_verified(&scope, &code).await };
        self.lasting("verify_totp", work).await
    }

    async fn remove_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError> {
        let (scope, code) = (scope.clone(), code.clone());
        let work = |core: Arc<Core>| async move { core.totp_removed(&scope, &code).await };
        self.lasting("remove_totp", work).await
    }

    async fn set_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
    ) -> Result<(), AuthError> {
        let (scope, actor, password) = (scope.clone(), actor.clone(), password.clone());
        let work = |core: Arc<Core>| async move {
            core.passwords.set(&scope, &actor, &password).await?;
            events::password_set(&core.emitter, scope.cx(), actor).await
        };
        self.lasting("set_password", work).await
    }

    fn decide(&self, scope: &TenantScope, permission: &Permission) -> Decision {
        self.0.decided(scope, permission)
    }

    async fn authorize(
        &self,
        scope: &TenantScope,
        permission: &Permission,
        resource: &Resource,
    ) -> Result<Decision, AuthError> {
        let work = self.0.authorized(scope, permission, resource);
        self.0.measured("authorize", work).await
    }
}
