//! Which events a document store announces, and when.
//!
//! | event | when |
//! |---|---|
//! | FILE-001 `file.uploaded` | after a version was stored without an infection, or restored |
//! | FILE-002 `file.downloaded` | before the first byte is handed out |
//! | FILE-003 `file.deleted` | before the delete marker is written |
//! | FILE-004 `file.presigned_url.issued` | before the URL is handed out |
//! | FILE-005 `file.malware.detected` | after an infected version was locked away, instead of FILE-001 |
//! | AUD-010 `audit.legal_hold.changed` | after a hold was set or cleared |
//! | TEN-004 `tenant.isolation.violation_blocked` | before a foreign id or URL is refused |
//!
//! The digest in them is that of the newest sealed manifest record, never of the plaintext: with it
//! the audit log anchors the chain, so that cutting off its end is detectable, and confirms to
//! nobody which document it is.

use eonpro_core::TenantScope;
use eonpro_core::event::catalogue::{audit, file, tenant};
use eonpro_core::event::{Code, Emitter, ObjectRef};
use eonpro_core::id::{DocumentId, PublicId as _, VersionId};
use eonpro_core::phi::Phi;
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use crate::error::StorageError;
use crate::scan::ScannerId;
use crate::service::VersionInfo;
use crate::signed_url::{SignedUrl, UrlPurpose};

const KIND: Code = Code::constant("document");
const LAYER: Code = Code::constant("storage");

fn object(document: DocumentId, version: Option<VersionId>) -> ObjectRef {
    ObjectRef {
        kind: KIND,
        id: document.uuid(),
        version: version.map(VersionId::uuid),
    }
}

pub(crate) async fn uploaded(
    emitter: &Emitter,
    scope: &TenantScope,
    info: &VersionInfo,
) -> Result<(), StorageError> {
    let event = file::Uploaded {
        file: object(info.document, Some(info.version)),
        category: Code::constant(info.category.as_str()),
        digest: info.head.digest,
        patient: info.subject,
    };
    let done = emitter.emit_after(scope.cx(), event).await;
    done.map_err(StorageError::Unaudited)
}

pub(crate) async fn downloaded(
    emitter: &Emitter,
    scope: &TenantScope,
    info: &VersionInfo,
    grant: Option<Uuid>,
) -> Result<(), StorageError> {
    let event = file::Downloaded {
        file: object(info.document, Some(info.version)),
        digest: info.head.digest,
        grant,
        patient: info.subject,
    };
    let recorded = emitter.emit(scope.cx(), event).await;
    recorded.map_err(StorageError::Audit)
}

pub(crate) async fn deleted(
    emitter: &Emitter,
    scope: &TenantScope,
    event: file::Deleted,
) -> Result<(), StorageError> {
    let recorded = emitter.emit(scope.cx(), event).await;
    recorded.map_err(StorageError::Audit)
}

/// What FILE-003 says; the versions' ids are named up to `most`.
pub(crate) fn deletion(
    info: &VersionInfo,
    versions: impl Iterator<Item = VersionId>,
    most: usize,
    authority: Code,
) -> file::Deleted {
    let named = versions.filter_map(|version| Code::new(version.uuid().to_string()).ok());
    file::Deleted {
        file: object(info.document, None),
        versions: named.take(most).collect(),
        digest: info.head.digest,
        authority,
        patient: info.subject,
    }
}

pub(crate) async fn issued(
    emitter: &Emitter,
    scope: &TenantScope,
    info: &VersionInfo,
    purpose: UrlPurpose,
    url: &SignedUrl,
) -> Result<(), StorageError> {
    let event = file::PresignedUrlIssued {
        file: object(info.document, Some(info.version)),
        grant: url.grant,
        verb: Code::constant(purpose.as_str()),
        expires_at: url.expires,
        recipient: scope.cx().actor().id.clone(),
    };
    let recorded = emitter.emit(scope.cx(), event).await;
    recorded.map_err(StorageError::Audit)
}

pub(crate) async fn infected(
    emitter: &Emitter,
    scope: &TenantScope,
    info: &VersionInfo,
    signature: Code,
    scanner: &ScannerId,
) -> Result<(), StorageError> {
    let event = file::MalwareDetected {
        file: object(info.document, Some(info.version)),
        digest: info.head.digest,
        signature,
        engine: scanner.engine.clone(),
        quarantined: true,
    };
    let done = emitter.emit_after(scope.cx(), event).await;
    done.map_err(StorageError::Unaudited)
}

pub(crate) async fn hold_changed(
    emitter: &Emitter,
    scope: &TenantScope,
    info: &VersionInfo,
    change: Code,
    name: &Code,
) -> Result<(), StorageError> {
    let held = format!("document/{}", info.document.uuid());
    let event = audit::LegalHoldChanged {
        scope: Code::new(held).unwrap_or(KIND),
        patient: info.subject,
        change,
        authority: Phi::new(name.as_str().to_owned()),
    };
    let done = emitter.emit_after(scope.cx(), event).await;
    done.map_err(StorageError::Unaudited)
}

pub(crate) async fn foreign(
    emitter: &Emitter,
    scope: &TenantScope,
    document: Uuid,
    version: Option<Uuid>,
) -> Result<(), StorageError> {
    let event = tenant::IsolationViolationBlocked {
        actor_tenant: scope.tenant(),
        // The id tells that it is another's, not whose.
        target_tenant: None,
        object: ObjectRef {
            kind: KIND,
            id: document,
            version,
        },
        layer: LAYER,
    };
    let recorded = emitter
        .emit_as(scope.cx(), event, eonpro_core::event::Outcome::Serious)
        .await;
    recorded.map_err(StorageError::Audit)
}

/// The present time, by the clock that dates the events.
pub(crate) fn now(emitter: &Emitter) -> Timestamp {
    emitter.clock().wall()
}
