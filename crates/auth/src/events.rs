//! What auth announces: AUTH-001 to AUTH-009 and AUTH-011, AUTHZ-001, and TEN-004 for a session of
//! another tenant.
//!
//! Effects are announced after the deed in a task that outlives the caller; refusals before the
//! answer. AUTH-010 (token issued) is not among them: the development issuer is no issuer of record.

use eonpro_core::digest::Digest;
use eonpro_core::event::catalogue::{auth, authz, tenant};
use eonpro_core::event::{Code, Emitter, ObjectRef, Outcome};
use eonpro_core::id::{ActorId, PublicId as _, SessionId};
use eonpro_core::identity::{Aal, Assurance};
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope};
use uuid::Uuid;

use crate::error::AuthError;
use crate::role::{DenyReason, Permission, Resource};
use crate::session::EndReason;
use crate::token::{CompactJws, Reject};

const TOTP: Code = Code::constant("totp");

/// Why a sign-in was refused: told to the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongPassword,
    WrongCode,
    ReplayedCode,
    NoFactor,
    SecondFactor,
    Locked,
    Throttled,
}

impl Refusal {
    const fn code(self) -> Code {
        Code::constant(match self {
            Self::WrongPassword => "wrong_password",
            Self::WrongCode => "wrong_code",
            Self::ReplayedCode => "replayed_code",
            Self::NoFactor => "no_factor",
            Self::SecondFactor => "second_factor",
            Self::Locked => "locked",
            Self::Throttled => "throttled",
        })
    }
}

/// AUTH-001.
pub(crate) async fn signed_in(
    emitter: &Emitter,
    cx: &RequestContext,
    session: SessionId,
    assurance: &Assurance,
) -> Result<(), AuthError> {
    let methods = assurance.amr.iter();
    let data = auth::LoginSucceeded {
        session: Some(session.uuid()),
        amr: methods
            .filter_map(|method| Code::new(&**method).ok())
            .collect(),
        acr: Code::constant(match assurance.aal {
            Aal::None => "none",
            Aal::Aal1 => "aal1",
            Aal::Aal2 => "aal2",
            Aal::Aal3 => "aal3",
        }),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-002.
pub(crate) async fn sign_in_failed(
    emitter: &Emitter,
    cx: &RequestContext,
    claimed_actor: Digest,
    refusal: Refusal,
) -> Result<(), AuthError> {
    let data = auth::LoginFailed {
        claimed_actor,
        reason: refusal.code(),
    };
    refused(emitter, cx, data).await
}

/// AUTH-003.
pub(crate) async fn signed_out(
    emitter: &Emitter,
    cx: &RequestContext,
    session: SessionId,
) -> Result<(), AuthError> {
    let data = auth::Logout {
        session: session.uuid(),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-004.
pub(crate) async fn session_expired(
    emitter: &Emitter,
    cx: &RequestContext,
    session: SessionId,
    target: ActorId,
    limit: EndReason,
) -> Result<(), AuthError> {
    let data = auth::SessionExpired {
        session: session.uuid(),
        target,
        limit: Code::constant(limit.as_str()),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-005.
pub(crate) async fn session_revoked(
    emitter: &Emitter,
    cx: &RequestContext,
    session: SessionId,
    target: ActorId,
    reason: Code,
) -> Result<(), AuthError> {
    let data = auth::SessionRevoked {
        session: session.uuid(),
        target,
        by: cx.actor().id.clone(),
        reason,
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-006.
pub(crate) async fn factor_failed(
    emitter: &Emitter,
    cx: &RequestContext,
    refusal: Refusal,
) -> Result<(), AuthError> {
    let data = auth::MfaFailed {
        factor: TOTP,
        reason: refusal.code(),
    };
    refused(emitter, cx, data).await
}

/// AUTH-007, `added` or `removed`.
pub(crate) async fn factor_changed(
    emitter: &Emitter,
    cx: &RequestContext,
    target: ActorId,
    change: &'static str,
) -> Result<(), AuthError> {
    let data = auth::MfaFactorChanged {
        target,
        factor: TOTP,
        change: Code::constant(change),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-008.
pub(crate) async fn password_set(
    emitter: &Emitter,
    cx: &RequestContext,
    target: ActorId,
) -> Result<(), AuthError> {
    let own = cx.actor().id == target;
    let data = auth::CredentialChanged {
        target,
        change: Code::constant(if own { "changed" } else { "reset" }),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-009.
pub(crate) async fn locked(
    emitter: &Emitter,
    cx: &RequestContext,
    target: ActorId,
    until: Timestamp,
) -> Result<(), AuthError> {
    let data = auth::AccountLocked {
        target,
        trigger: Code::constant("failures_in_a_row"),
        until: Some(until),
    };
    emitter
        .emit_after(cx, data)
        .await
        .map_err(AuthError::Unaudited)
}

/// AUTH-011. The token itself never leaves; its key id does, if it is one.
pub(crate) async fn token_rejected(
    emitter: &Emitter,
    cx: &RequestContext,
    token: &str,
    reject: Reject,
) -> Result<(), AuthError> {
    let named = CompactJws::parse(token).ok();
    let data = auth::TokenRejected {
        kid: named
            .and_then(|jws| jws.header().kid.clone())
            .and_then(|kid| Code::new(kid.into_string()).ok()),
        reason: Code::constant(reject.as_str()),
        client: None,
    };
    refused(emitter, cx, data).await
}

/// AUTHZ-001.
pub(crate) async fn denied(
    emitter: &Emitter,
    cx: &RequestContext,
    permission: &Permission,
    reason: DenyReason,
    resource: &Resource,
) -> Result<(), AuthError> {
    let data = authz::AccessDenied {
        resource: resource.object.clone(),
        rule: Code::new(permission.as_str()).map_err(|_| AuthError::Record)?,
        reason: Code::constant(reason.as_str()),
        patient: resource.patient,
    };
    refused(emitter, cx, data).await
}

/// TEN-004: a session of another tenant, or a forged one.
pub(crate) async fn foreign_session(
    emitter: &Emitter,
    scope: &TenantScope,
    claimed: Uuid,
) -> Result<(), AuthError> {
    let data = tenant::IsolationViolationBlocked {
        actor_tenant: scope.tenant(),
        target_tenant: None,
        object: ObjectRef::new(Code::constant("session"), SessionId::from_uuid(claimed)),
        layer: Code::constant("id"),
    };
    refused(emitter, scope.cx(), data).await
}

async fn refused<E: eonpro_core::event::EventData>(
    emitter: &Emitter,
    cx: &RequestContext,
    data: E,
) -> Result<(), AuthError> {
    emitter
        .emit_as(cx, data, Outcome::Minor)
        .await
        .map_err(AuthError::Audit)
}
