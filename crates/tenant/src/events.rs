//! What this crate announces: TEN-001 to TEN-005. Holds and network rules are configuration; the
//! application announces their change.
//!
//! TEN-001 comes before the tenant is active, TEN-003 before anything is destroyed, TEN-002 after
//! the suspension, in a task that outlives the caller.

use std::net::IpAddr;

use eonpro_core::event::catalogue::tenant;
use eonpro_core::event::{Code, Digest, EmitError, Emitter, ObjectRef, Outcome};
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::{RequestContext, TenantScope};

use crate::lifecycle::SuspendReason;
use crate::record::TenantRecord;

/// The layer of a conflict between a token and a request's hints.
pub(crate) const RESOLUTION: Code = Code::constant("resolution");
const ALLOW_LIST: Code = Code::constant("allow-list");
const NO_ADDRESS: Code = Code::constant("address-unknown");

/// TEN-001.
pub(crate) async fn created(
    emitter: &Emitter,
    cx: &RequestContext,
    record: &TenantRecord,
) -> Result<(), EmitError> {
    let event = tenant::Created {
        tenant: record.id(),
        region: record.region().clone(),
        agreement: record.agreement().clone(),
        log_origin: log_origin(record.id()),
    };
    emitter.emit_after(cx, event).await
}

/// TEN-002.
pub(crate) async fn suspended(
    emitter: &Emitter,
    cx: &RequestContext,
    id: TenantId,
    reason: SuspendReason,
) -> Result<(), EmitError> {
    let event = tenant::Suspended {
        tenant: id,
        by: cx.actor().id.clone(),
        reason: Code::constant(reason.as_str()),
    };
    emitter.emit_after(cx, event).await
}

/// TEN-003. The entry precedes the deed, so no key is destroyed yet: KEY-003 tells how many were.
pub(crate) async fn deleted(
    emitter: &Emitter,
    cx: &RequestContext,
    id: TenantId,
    export: Digest,
    (approver, second): (&ActorId, &ActorId),
    log_size: u64,
) -> Result<(), EmitError> {
    let event = tenant::Deleted {
        tenant: id,
        export,
        keys_destroyed: 0,
        log_size,
        approver: approver.clone(),
        second_approver: second.clone(),
    };
    emitter.emit(cx, event).await
}

/// TEN-004, for something whose owner is not known.
pub(crate) async fn violation(
    emitter: &Emitter,
    scope: &TenantScope,
    object: ObjectRef,
    layer: Code,
) -> Result<(), EmitError> {
    let event = tenant::IsolationViolationBlocked {
        actor_tenant: scope.tenant(),
        target_tenant: None,
        object,
        layer,
    };
    emitter.emit_as(scope.cx(), event, Outcome::Minor).await
}

/// TEN-004, for a request whose hints name another tenant than its token.
pub(crate) async fn resolution_conflict(
    emitter: &Emitter,
    cx: &RequestContext,
    claimed: TenantId,
    hinted: Option<TenantId>,
) -> Result<(), EmitError> {
    let event = tenant::IsolationViolationBlocked {
        actor_tenant: claimed,
        target_tenant: hinted,
        object: ObjectRef {
            kind: Code::constant("tenant"),
            id: hinted.map(TenantId::uuid).unwrap_or_default(),
            version: None,
        },
        layer: RESOLUTION,
    };
    emitter.emit_as(cx, event, Outcome::Minor).await
}

/// TEN-005.
pub(crate) async fn network_denied(
    emitter: &Emitter,
    cx: &RequestContext,
    id: TenantId,
) -> Result<(), EmitError> {
    let event = tenant::NetworkAccessDenied {
        tenant: id,
        address: cx
            .client()
            .unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        rule: if cx.client().is_some() {
            ALLOW_LIST
        } else {
            NO_ADDRESS
        },
    };
    emitter.emit_as(cx, event, Outcome::Minor).await
}

/// The origin line of a tenant's log, as audit writes it.
fn log_origin(id: TenantId) -> Code {
    Code::new(format!("eonpro/audit/{id}")).unwrap_or(Code::constant("eonpro/audit"))
}
