//! From an event and its request to the leaf that the log stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::RequestContext;
use eonpro_core::context::TenantBinding;
use eonpro_core::event::{Event, FieldValue, ObjectRef};
use eonpro_core::id::TenantId;
use eonpro_core::identity::Aal;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::{KeyPurpose, KeyValue, Sealer};
use eonpro_core::scope::{Authority, Standing};
use eonpro_core::time::SharedClock;

use crate::commitment::{self, Salted};
use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::log_id::LogId;
use crate::segment::MAX_PAYLOAD;
use crate::subjects::{Known, Naming, SubjectVault};
use crate::wire::{self, Entry, EntryActor, EntryValue, HEAD_BYTES};

const TABLE: Table = Table::new("audit");

/// Builds leaves; seals what must be sealed under the key of the one patient concerned, or else under the
/// keys of the entry's log.
#[derive(Debug)]
pub struct LeafBuilder {
    pub(crate) subjects: SubjectVault,
}

impl LeafBuilder {
    /// Seals through `sealer`, for tenants whatever their standing by `authority`. `state` knows the patients:
    /// every process that appends to the same log must share it.
    #[must_use]
    pub fn new(
        sealer: Arc<dyn Sealer>,
        authority: Authority,
        state: Arc<dyn KeyValue>,
        clock: SharedClock,
        config: &AuditConfig,
    ) -> Self {
        Self {
            subjects: SubjectVault::new(sealer, authority, state, clock, config),
        }
    }

    /// `cx` bound to `tenant`, to record an event of audit's own there. It yields no scope.
    #[must_use]
    pub fn bound(&self, cx: RequestContext, tenant: TenantId) -> RequestContext {
        let binding = TenantBinding {
            id: tenant,
            standing: Standing::Suspended,
            epoch: 0,
        };
        self.subjects.authority.bind(cx, binding)
    }

    /// The leaf of `event` without its head.
    ///
    /// # Errors
    /// [`AuditError::TooLarge`], [`AuditError::Seal`], [`AuditError::Subject`], [`AuditError::FieldName`].
    /// Cancel-safe.
    pub async fn tail(
        &self,
        log: &LogId,
        cx: &RequestContext,
        event: &Event,
    ) -> Result<Vec<u8>, AuditError> {
        let naming = self.subjects.naming(log, event).await?;
        let mut entry = describe(cx, event, &naming);
        let only = naming.only();
        for (name, value) in event.sealed_fields() {
            let salted = Salted::new(value.expose())?;
            let sealed = self.seal(log, event, name, only, &salted).await?;
            entry.sealed.insert((*name).to_owned(), sealed);
            let commitment = commitment::written(&salted.commitment(name));
            entry.commit.insert((*name).to_owned(), commitment);
        }
        if !entry.sealed.is_empty() {
            entry.subject = only.map(|known| known.pseudonym.to_string());
        }
        let tail = wire::tail(&entry).map_err(|_| AuditError::FieldName)?;
        if HEAD_BYTES + tail.len() > MAX_PAYLOAD {
            return Err(AuditError::TooLarge);
        }
        Ok(tail)
    }

    async fn seal(
        &self,
        log: &LogId,
        event: &Event,
        name: &'static str,
        only: Option<&Known>,
        salted: &Salted,
    ) -> Result<String, AuditError> {
        let id = event.id().uuid();
        let cell = cell(name, id.as_bytes())?;
        let plaintext = salted.plaintext();
        let sealed = match only {
            Some(known) => known.key.seal(&cell, &plaintext)?,
            None => {
                let (sealer, scope) = (&self.subjects.sealer, self.subjects.scope(log));
                let sealing = sealer.seal(scope, KeyPurpose::AUDIT, &cell, &plaintext);
                sealing.await?
            }
        };
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }
}

/// Where the sealed field `name` of the event `id` belongs.
pub(crate) fn cell<'a>(name: &'static str, id: &'a [u8; 16]) -> Result<Cell<'a>, AuditError> {
    let plain = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !plain || name.is_empty() || name.len() > 64 {
        return Err(AuditError::FieldName);
    }
    let row = Row::named(id).ok_or(AuditError::FieldName)?;
    Ok(Cell::new(TABLE, Column::new(name), row))
}

fn describe(cx: &RequestContext, event: &Event, naming: &Naming) -> Entry {
    let kind = event.kind();
    let actor = cx.actor();
    Entry {
        id: event.id().to_string(),
        code: kind.code.to_owned(),
        name: kind.name.to_owned(),
        occurred: event.occurred().to_string(),
        outcome: event.outcome().code(),
        tenant: cx.tenant().map(|tenant| tenant.id.to_string()),
        actor: EntryActor {
            kind: actor.kind.as_str().to_owned(),
            // A patient may act, in a portal.
            id: naming.of(actor.id.to_string()),
            roles: actor.roles.iter().map(|role| role.to_string()).collect(),
            session: actor.session.map(|session| session.to_string()),
        },
        aal: match cx.assurance().aal {
            Aal::None => 0,
            Aal::Aal1 => 1,
            Aal::Aal2 => 2,
            Aal::Aal3 => 3,
        },
        request: cx.request_id().to_string(),
        trace: cx.trace().trace_id().to_string(),
        client: cx.client().map(|client| client.to_string()),
        purpose: cx.purpose().map(|purpose| purpose.code().to_owned()),
        fields: event
            .fields()
            .iter()
            .map(|(name, value)| ((*name).to_owned(), clear(value, naming)))
            .collect(),
        subject: None,
        sealed: BTreeMap::new(),
        commit: BTreeMap::new(),
    }
}

fn clear(value: &FieldValue, naming: &Naming) -> EntryValue {
    let named = |text: &dyn std::fmt::Display| naming.of(text.to_string());
    let text = |text: &dyn std::fmt::Display| EntryValue::Text(named(text));
    match value {
        FieldValue::Subject(id) => text(id),
        FieldValue::Actor(id) => text(id),
        FieldValue::Tenant(id) => text(id),
        FieldValue::Uuid(id) => text(id),
        FieldValue::Code(code) => text(code),
        FieldValue::Instant(at) => text(at),
        FieldValue::Digest(digest) => text(digest),
        FieldValue::Address(address) => text(address),
        FieldValue::Codes(codes) => {
            EntryValue::Texts(codes.iter().map(|code| named(code)).collect())
        }
        FieldValue::Count(count) => EntryValue::Count(*count),
        FieldValue::Flag(flag) => EntryValue::Flag(*flag),
        FieldValue::Object(object) => EntryValue::Object(parts(object, naming)),
    }
}

fn parts(object: &ObjectRef, naming: &Naming) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("kind".to_owned(), naming.of(object.kind.to_string())),
        ("id".to_owned(), naming.of(object.id.to_string())),
    ]);
    if let Some(version) = object.version {
        parts.insert("version".to_owned(), naming.of(version.to_string()));
    }
    parts
}
