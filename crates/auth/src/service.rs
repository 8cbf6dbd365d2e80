//! The service: who is this, are they still signed in, and may they do it?

use async_trait::async_trait;
use eonpro_core::component::Component;
use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, SessionId};
use eonpro_core::secret::SecretText;
use eonpro_core::{RequestContext, TenantScope, VerifiedIdentity};

use crate::error::AuthError;
use crate::role::{Decision, Permission, Resource};
use crate::session::Session;
use crate::totp::TotpEnrolment;

/// A fresh session and its token, which is handed out this once.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Session,
    /// What the client presents from now on. Only a digest of it is kept.
    pub token: SecretText,
}

/// Which sessions are to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// One session.
    One(SessionId),
    /// All sessions of an actor: after a disabled account, a changed role, a lost device.
    AllOf(ActorId),
    /// All sessions of an actor but one: "sign me out everywhere else".
    AllOfBut(ActorId, SessionId),
}

/// Authentication and authorization.
///
/// All methods but [`Self::verify`] and [`Self::verify_cached`] act for the actor of the scope's
/// context, in the scope's tenant. Every asynchronous method is cancel-safe: if its future is
/// dropped, what it began happens whole, with its event, or not at all. Refusals are of kind `Unauthenticated`
/// or `PermissionDenied`; a store, sealer or audit log that is down is `Unavailable`.
#[async_trait]
pub trait Auth: Component {
    /// The identity of a token that was verified lately, without waiting; `None` if it must be
    /// verified (again). Asks its expiry and the generation of the keys anew each time.
    ///
    /// # Errors
    /// [`AuthError::Closed`].
    fn verify_cached(&self, token: &str) -> Option<Result<VerifiedIdentity, AuthError>>;

    /// Verifies an access token. A refusal is recorded as AUTH-011. Idempotent.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`]; [`AuthError::Keys`] if the keys are out of reach.
    async fn verify(&self, cx: &RequestContext, token: &str)
    -> Result<VerifiedIdentity, AuthError>;

    /// Opens a session for the scope's actor, who proves the second factor with `otp` where one is
    /// enrolled or required. Recorded as AUTH-001; a failure as AUTH-002 (and AUTH-006). Not
    /// idempotent: each call opens a session and uses its code up.
    ///
    /// # Errors
    /// [`AuthError::SecondFactorRequired`] without a code where one is needed;
    /// [`AuthError::SignInRefused`] for a wrong, used or needless code and while locked;
    /// [`AuthError::Throttled`] by address; [`AuthError::TooManySessions`].
    async fn sign_in(
        &self,
        scope: &TenantScope,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError>;

    /// As [`Self::sign_in`], for an actor who proves a password first; the scope's context may be
    /// anonymous. An unknown actor costs the same work and gets the same answer as a wrong
    /// password. The session has no roles: those come with tokens.
    ///
    /// # Errors
    /// As [`Self::sign_in`].
    async fn sign_in_with_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
        otp: Option<&SecretText>,
    ) -> Result<SignedIn, AuthError>;

    /// The session of `token`, without counting as activity. Idempotent.
    ///
    /// # Errors
    /// [`AuthError::SessionUnknown`], also for another actor's session;
    /// [`AuthError::SessionEnded`], recorded as AUTH-004 when a deadline ended it;
    /// [`AuthError::TenantMismatch`] for a session of another tenant, recorded as TEN-004.
    async fn session(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError>;

    /// The session of `token`, counting as activity. Activity is written down at most once per
    /// 1/30 of the idle window, so a session may end that much too early, never too late.
    ///
    /// # Errors
    /// As [`Self::session`].
    async fn touch(&self, scope: &TenantScope, token: &str) -> Result<Session, AuthError>;

    /// Ends the session of `token`; it never comes back. Recorded as AUTH-003. Idempotent.
    ///
    /// # Errors
    /// As [`Self::session`], but a session that is over already is no error.
    async fn sign_out(&self, scope: &TenantScope, token: &str) -> Result<(), AuthError>;

    /// The live sessions of `actor`, at most as many as the policy allows. Whether the caller may
    /// ask is the caller's to decide.
    ///
    /// # Errors
    /// A store that is down.
    async fn sessions(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Vec<Session>, AuthError>;

    /// Ends sessions and says how many it ended, each recorded as AUTH-005. Idempotent. Whether the
    /// caller may do so is the caller's to decide.
    ///
    /// # Errors
    /// A store that is down; some sessions may then have ended: repeat the call.
    async fn revoke(
        &self,
        scope: &TenantScope,
        which: &Revocation,
        reason: Code,
    ) -> Result<usize, AuthError>;

    /// Begins to enrol a TOTP authenticator, in the place of an unconfirmed one. Shown once; it
    /// counts for nothing until it is confirmed.
    ///
    /// # Errors
    /// [`AuthError::FactorExists`] if a confirmed one must be removed first.
    async fn enrol_totp(&self, scope: &TenantScope) -> Result<TotpEnrolment, AuthError>;

    /// Confirms the enrolled authenticator with its first code, which is used up. Recorded as
    /// AUTH-007.
    ///
    /// # Errors
    /// [`AuthError::SignInRefused`] for a wrong code, recorded as AUTH-006;
    /// [`AuthError::FactorUnknown`], [`AuthError::FactorExists`].
    async fn confirm_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError>;

    /// Proves the authenticator anew, as for a step-up. Each code is accepted once.
    ///
    /// # Errors
    /// [`AuthError::SignInRefused`] for a wrong or used code, recorded as AUTH-006;
    /// [`AuthError::FactorUnknown`].
    async fn verify_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError>;

    /// Removes the authenticator, proven by a last code. Recorded as AUTH-007.
    ///
    /// # Errors
    /// As [`Self::verify_totp`].
    async fn remove_totp(&self, scope: &TenantScope, code: &SecretText) -> Result<(), AuthError>;

    /// Sets the password of `actor`. Recorded as AUTH-008, `changed` by the actor or `reset` by
    /// somebody else. Whether the caller may do so is the caller's to decide. A changed password
    /// ends no session by itself: see [`Self::revoke`].
    ///
    /// # Errors
    /// [`AuthError::WeakPassword`] outside of 12 to 256 characters.
    async fn set_password(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        password: &SecretText,
    ) -> Result<(), AuthError>;

    /// May the scope's actor do `permission`? For hot paths and for what is only shown or hidden:
    /// a denial is not recorded.
    fn decide(&self, scope: &TenantScope, permission: &Permission) -> Decision;

    /// May the scope's actor do `permission` to `resource`? A denial is recorded as AUTHZ-001.
    ///
    /// # Errors
    /// An audit log that is down, and then nothing is permitted.
    async fn authorize(
        &self,
        scope: &TenantScope,
        permission: &Permission,
        resource: &Resource,
    ) -> Result<Decision, AuthError>;
}

/// Conveniences on any [`Auth`].
#[async_trait]
pub trait AuthExt: Auth {
    /// The identity of `token`, from memory if it is there.
    ///
    /// # Errors
    /// As [`Auth::verify`].
    async fn identify(
        &self,
        cx: &RequestContext,
        token: &str,
    ) -> Result<VerifiedIdentity, AuthError> {
        match self.verify_cached(token) {
            Some(known) => known,
            None => self.verify(cx, token).await,
        }
    }

    /// Goes on only if `permission` is granted.
    ///
    /// # Errors
    /// [`AuthError::NotPermitted`], and as [`Auth::authorize`].
    async fn require(
        &self,
        scope: &TenantScope,
        permission: &Permission,
        resource: &Resource,
    ) -> Result<(), AuthError> {
        match self.authorize(scope, permission, resource).await? {
            Decision::Permit => Ok(()),
            Decision::Deny(_) => Err(AuthError::NotPermitted),
        }
    }
}

impl<A: Auth + ?Sized> AuthExt for A {}
