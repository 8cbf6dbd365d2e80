//! What encryption announces: KEY-001 a key was created, KEY-002 a key has a new epoch, KEY-003 a
//! scope's keys, or one key, are destroyed, KEY-005 something sealed did not open, KEY-006 a key has
//! another state, a column of few distinct values may be sealed deterministically, or keys leave the
//! vault in clear.
//!
//! A key is named `<scope>/<purpose or kek>/<key id>`. No event carries a sealed field, so the audit
//! log never needs a key in order to hear about keys.

use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::key;
use eonpro_core::event::{Code, EmitError, Emitter, Outcome};
use eonpro_core::phi::{Column, IndexDef, Suite, Table};
use eonpro_core::port::SealScope;

use crate::cobblestone::Cause;
use crate::index_status::IndexStatus;
use crate::key_type::split_role;
use crate::keyset::{KeyId, StoredKey};
use crate::service::{KeyTurned, ShredApproval};
use crate::state::KeyState;

/// The algorithm of a role's keys; key-encryption keys are of the standard suite.
pub(crate) fn algorithm(role: &str) -> Code {
    Code::constant(match split_role(role).1 {
        Suite::Standard => "cobblestone-256",
        Suite::Compact => "xaes-256-gcm",
        Suite::Deterministic => "aes-siv",
    })
}

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
        algorithm: algorithm(stored.role.name()),
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

/// KEY-002: a blind index moved to the phase `status` of the rotation from version `old` to `new`.
/// Its key is named `<scope>/search/<table>.<column>.<index>/<phase>`, that of a compound without the
/// column; one whose names are too long for a code by the phase alone.
pub(crate) async fn index_moved(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    index: &IndexDef,
    status: IndexStatus,
    (old, new): (u8, u8),
) -> Result<(), EmitError> {
    let (scope, phase) = (scope_code(scope), status.name());
    let names = [
        Some(index.table.as_str()),
        index.column().map(|column| column.as_str()),
        Some(index.name),
    ];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    let named = Code::new(format!("{scope}/search/{}/{phase}", names.join(".")));
    let event = key::Rotated {
        key_id: named.unwrap_or_else(|_| code(format!("{scope}/search/{phase}"))),
        old_version: u64::from(old),
        new_version: u64::from(new),
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

/// KEY-006: a column of few distinct values is about to be allowed deterministic sealing.
pub(crate) async fn low_cardinality_allowed(
    emitter: &Emitter,
    cx: &RequestContext,
    part: Code,
) -> Result<(), EmitError> {
    let event = key::CryptoEncryptionStatusChanged {
        scope: part,
        old_status: Code::constant("randomized"),
        new_status: Code::constant("deterministic-low-cardinality"),
    };
    emitter.emit(cx, event).await
}

/// KEY-006: the keys of a type are about to leave the vault in clear. The catalogue has no code of its
/// own for that; this one tells that a part of the system is no longer protected as it was.
pub(crate) async fn exported(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    role: &str,
) -> Result<(), EmitError> {
    let event = key::CryptoEncryptionStatusChanged {
        scope: code(format!("{}/{role}", scope_code(scope))),
        old_status: Code::constant("keys-wrapped"),
        new_status: Code::constant("keys-exported-in-clear"),
    };
    emitter.emit(cx, event).await
}

/// How KEY-006 names a column; `None` if the names are too long for a code.
pub(crate) fn column_code(scope: SealScope, table: Table, column: Column) -> Option<Code> {
    let (table, column) = (table.as_str(), column.as_str());
    Code::new(format!("{}/{table}/{column}", scope_code(scope))).ok()
}

/// KEY-003: that one data key is about to be destroyed.
pub(crate) async fn key_destroyed(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    stored: &StoredKey,
    approval: ShredApproval,
) -> Result<(), EmitError> {
    let named = key_code(scope, stored.role.name(), stored.id);
    let event = key::Destroyed {
        key_id: named.clone(),
        key_version: stored.epoch,
        approver: approval.approver,
        second_approver: approval.second_approver,
        scope: named,
    };
    emitter.emit(cx, event).await
}

/// KEY-006: what that data key may do has changed.
pub(crate) async fn state_changed(
    emitter: &Emitter,
    cx: &RequestContext,
    scope: SealScope,
    stored: &StoredKey,
    from: KeyState,
) -> Result<(), EmitError> {
    let event = key::CryptoEncryptionStatusChanged {
        scope: key_code(scope, stored.role.name(), stored.id),
        old_status: Code::constant(from.name()),
        new_status: Code::constant(stored.state.name()),
    };
    emitter.emit_after(cx, event).await
}

/// What did not open, in the terms of KEY-005.
#[derive(Debug)]
pub(crate) struct Refusal(key::CryptoDecryptFailed);

impl Refusal {
    /// `epoch` is that of the key that was named, 0 if there is none. A record as a whole has no
    /// column. The row is not told: a row may be named by any bytes.
    pub(crate) fn new(table: Table, column: Option<Column>, epoch: u64, cause: Cause) -> Self {
        Self(key::CryptoDecryptFailed {
            object: None,
            table: code(table.as_str().to_owned()),
            column: match column {
                Some(column) => code(column.as_str().to_owned()),
                None => Code::constant("record"),
            },
            key_version: epoch,
            cause: Code::constant(match cause {
                Cause::Key | Cause::Held => "key",
                // Never told: the value opened.
                Cause::Unindexable => "tag",
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
