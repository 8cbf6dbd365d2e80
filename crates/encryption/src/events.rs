//! What encryption announces: KEY-001 a key was created, KEY-002 a key has a new epoch, KEY-003 a
//! scope's keys are destroyed, KEY-005 something sealed did not open.
//!
//! A key is named `<scope>/<purpose or kek>/<key id>`. No event carries a sealed field, so the audit
//! log never needs a key in order to hear about keys.

use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::key;
use eonpro_core::event::{Code, EmitError, Emitter, Outcome};
use eonpro_core::phi::Cell;
use eonpro_core::port::SealScope;

use crate::cobblestone::Cause;
use crate::keyset::{KeyId, StoredKey};
use crate::service::{KeyTurned, ShredApproval};

pub(crate) const ALGORITHM: Code = Code::constant("cobblestone-256");

pub(crate) fn code(text: String) -> Code {
    Code::new(text).unwrap_or(Code::constant("unnamed"))
}

pub(crate) fn scope_code(scope: SealScope) -> Code {
    match scope.tenant() {
        None => Code::constant("system"),
        Some(tenant) => code(tenant.to_string()),
    }
}

fn key_code(scope: SealScope, role: &str, id: KeyId) -> Code {
    code(format!("{}/{role}/{id}", scope_code(scope)))
}

/// KEY-001: `stored` was created; `custody` is where the scope's root lives.
pub(crate) async fn created(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    stored: &StoredKey,
    custody: &'static str,
) -> Result<(), EmitError> {
    let event = key::Created {
        key_id: key_code(scope, stored.role.name(), stored.id),
        key_purpose: code(stored.role.name().to_owned()),
        algorithm: ALGORITHM,
        custody: code(custody.to_owned()),
    };
    emitter.emit_after(cx, event).await
}

/// KEY-002: a new epoch of `role` seals from now on.
pub(crate) async fn rotated(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    role: &str,
    turned: KeyTurned,
) -> Result<(), EmitError> {
    let event = key::Rotated {
        key_id: key_code(scope, role, turned.new),
        old_version: turned.epoch.saturating_sub(1),
        new_version: turned.epoch,
        last_checkpoint: None,
    };
    emitter.emit_after(cx, event).await
}

/// KEY-003: the scope's key-encryption key, and all keys under it, are about to be destroyed.
pub(crate) async fn destroyed(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    kek: &StoredKey,
    approval: ShredApproval,
) -> Result<(), EmitError> {
    let event = key::Destroyed {
        key_id: key_code(scope, kek.role.name(), kek.id),
        key_version: kek.epoch,
        approver: approval.approver,
        second_approver: approval.second_approver,
        scope: scope_code(scope),
    };
    emitter.emit(cx, event).await
}

/// What did not open, in the terms of KEY-005.
#[derive(Debug)]
pub(crate) struct Refusal(key::CryptoDecryptFailed);

impl Refusal {
    /// `epoch` is that of the key that was named, 0 if there is none. The row is not told: a row
    /// may be named by any bytes.
    pub(crate) fn new(cell: &Cell<'_>, epoch: u64, cause: Cause) -> Self {
        Self(key::CryptoDecryptFailed {
            object: None,
            table: code(cell.table().as_str().to_owned()),
            column: code(cell.column().as_str().to_owned()),
            key_version: epoch,
            cause: Code::constant(match cause {
                Cause::Key => "key",
                Cause::Context => "aad",
                Cause::Tag => "tag",
            }),
        })
    }
}

/// KEY-005.
pub(crate) async fn decrypt_failed(
    emitter: &Emitter,
    cx: &RequestContext,
    refusal: Refusal,
) -> Result<(), EmitError> {
    emitter.emit_as(cx, refusal.0, Outcome::Serious).await
}
