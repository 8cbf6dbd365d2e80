//! What shredding announces: KEY-001 and KEY-003 of subject and epoch keys, KEY-004 of a patient,
//! AUD-010 of a hold. A shred that a hold stopped after its entry is told again as a failure.

use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::{audit, key};
use eonpro_core::event::{Code, EmitError, Emitter, Outcome};
use eonpro_core::id::{ActorId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::SealScope;

use super::facts::ShredTarget;
use crate::epoch::EpochId;
use crate::events::{code, scope_code};
use crate::keyset::KeyId;

fn subject_key_code(scope: SealScope, id: KeyId) -> Code {
    code(format!("{}/subject/{id}", scope_code(scope)))
}

fn epoch_code(scope: SealScope, id: &EpochId) -> Code {
    code(format!("{}/epoch/{id}", scope_code(scope)))
}

fn target_code(scope: SealScope, target: ShredTarget) -> Code {
    match target {
        ShredTarget::Tenant => scope_code(scope),
        ShredTarget::Subject(subject) => code(format!("{}/subject/{subject}", scope_code(scope))),
    }
}

/// KEY-001 of a patient's key.
pub(crate) async fn subject_created(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    id: KeyId,
    custody: &'static str,
) -> Result<(), EmitError> {
    let event = key::Created {
        key_id: subject_key_code(scope, id),
        key_purpose: Code::constant("subject"),
        algorithm: crate::events::algorithm("subject"),
        custody: code(custody.to_owned()),
    };
    emitter.emit_after(cx, event).await
}

/// KEY-001 of an epoch's key.
pub(crate) async fn epoch_created(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    id: &EpochId,
    custody: &'static str,
) -> Result<(), EmitError> {
    let event = key::Created {
        key_id: epoch_code(scope, id),
        key_purpose: Code::constant("shred-epoch"),
        algorithm: Code::constant("custody"),
        custody: code(custody.to_owned()),
    };
    emitter.emit_after(cx, event).await
}

/// KEY-003: an epoch's key is about to be destroyed; `by` ended the epoch.
pub(crate) async fn epoch_destroyed(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    (id, number): (&EpochId, u64),
) -> Result<(), EmitError> {
    let event = key::Destroyed {
        key_id: epoch_code(scope, id),
        key_version: number,
        approver: cx.actor().id.clone(),
        second_approver: None,
        scope: scope_code(scope),
    };
    emitter.emit(cx, event).await
}

/// A patient's shred, as the log hears of it.
pub(crate) struct SubjectShred<'a> {
    pub(crate) scope: SealScope,
    pub(crate) subject: SubjectId,
    pub(crate) id: Option<KeyId>,
    pub(crate) approvers: (&'a ActorId, &'a ActorId),
    pub(crate) reason: &'a Code,
}

impl SubjectShred<'_> {
    /// KEY-003 with the approvers, then KEY-004 with the patient.
    pub(crate) async fn emit(
        &self,
        emitter: &Emitter,
        cx: &RequestContext,
        outcome: Outcome,
    ) -> Result<(), EmitError> {
        if let Some(id) = self.id {
            let event = key::Destroyed {
                key_id: subject_key_code(self.scope, id),
                key_version: 1,
                approver: self.approvers.0.clone(),
                second_approver: Some(self.approvers.1.clone()),
                scope: target_code(self.scope, ShredTarget::Subject(self.subject)),
            };
            emitter.emit_as(cx, event, outcome).await?;
        }
        let event = key::SubjectShredded {
            patient: self.subject,
            legal_basis: self.reason.clone(),
            retention_check: Code::constant(match outcome {
                Outcome::Success => "no-hold",
                _ => "legal-hold",
            }),
        };
        emitter.emit_as(cx, event, outcome).await
    }
}

/// KEY-003 of a tenant.
pub(crate) async fn tenant_destroyed(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    (kek, epoch): (KeyId, u64),
    approvers: (&ActorId, &ActorId),
    outcome: Outcome,
) -> Result<(), EmitError> {
    let event = key::Destroyed {
        key_id: code(format!("{}/kek/{kek}", scope_code(scope))),
        key_version: epoch,
        approver: approvers.0.clone(),
        second_approver: Some(approvers.1.clone()),
        scope: scope_code(scope),
    };
    emitter.emit_as(cx, event, outcome).await
}

/// AUD-010.
pub(crate) fn hold_changed(
    scope: SealScope,
    target: ShredTarget,
    change: &'static str,
    authority: Phi<String>,
) -> audit::LegalHoldChanged {
    audit::LegalHoldChanged {
        scope: target_code(scope, target),
        patient: target.subject(),
        change: Code::constant(change),
        authority,
    }
}
