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
use eonpro_core::port::{KeyPurpose, SealScope, Sealer};
use eonpro_core::scope::{Authority, Standing};

use crate::error::AuditError;
use crate::log_id::LogId;
use crate::segment::MAX_PAYLOAD;
use crate::wire::{self, Entry, EntryActor, EntryValue, HEAD_BYTES};

const TABLE: Table = Table::new("audit");

/// Builds leaves; seals what must be sealed under the keys of the entry's log.
#[derive(Debug)]
pub struct LeafBuilder {
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) authority: Authority,
}

impl LeafBuilder {
    /// Seals through `sealer`, for tenants whatever their standing by `authority`.
    #[must_use]
    pub fn new(sealer: Arc<dyn Sealer>, authority: Authority) -> Self {
        Self { sealer, authority }
    }

    /// `cx` bound to `tenant`, to record an event of audit's own there. It yields no scope.
    #[must_use]
    pub fn bound(&self, cx: RequestContext, tenant: TenantId) -> RequestContext {
        let binding = TenantBinding {
            id: tenant,
            standing: Standing::Suspended,
            epoch: 0,
        };
        self.authority.bind(cx, binding)
    }

    /// The leaf of `event` without its head.
    ///
    /// # Errors
    /// [`AuditError::TooLarge`], [`AuditError::Seal`], [`AuditError::FieldName`]. Cancel-safe.
    pub async fn tail(
        &self,
        log: &LogId,
        cx: &RequestContext,
        event: &Event,
    ) -> Result<Vec<u8>, AuditError> {
        let mut entry = describe(cx, event);
        for (name, value) in event.sealed_fields() {
            let sealed = self.seal(log, event, name, value.expose()).await?;
            entry.sealed.insert((*name).to_owned(), sealed);
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
        value: &str,
    ) -> Result<String, AuditError> {
        let plain = name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        let id = event.id().uuid();
        let row = Row::named(id.as_bytes()).ok_or(AuditError::FieldName)?;
        if !plain || name.is_empty() || name.len() > 64 {
            return Err(AuditError::FieldName);
        }
        let cell = Cell::new(TABLE, Column::new(name), row);
        let scope = match log {
            LogId::Tenant(tenant) => SealScope::of_tenant(&self.authority, *tenant),
            LogId::System | LogId::Directory => SealScope::System,
        };
        let sealed = self
            .sealer
            .seal(scope, KeyPurpose::AUDIT, &cell, value.as_bytes())
            .await?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }
}

fn describe(cx: &RequestContext, event: &Event) -> Entry {
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
            id: actor.id.to_string(),
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
            .map(|(name, value)| ((*name).to_owned(), clear(value)))
            .collect(),
        sealed: BTreeMap::new(),
    }
}

fn clear(value: &FieldValue) -> EntryValue {
    let text = |text: &dyn std::fmt::Display| EntryValue::Text(text.to_string());
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
            EntryValue::Texts(codes.iter().map(ToString::to_string).collect())
        }
        FieldValue::Count(count) => EntryValue::Count(*count),
        FieldValue::Flag(flag) => EntryValue::Flag(*flag),
        FieldValue::Object(object) => EntryValue::Object(parts(object)),
    }
}

fn parts(object: &ObjectRef) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("kind".to_owned(), object.kind.to_string()),
        ("id".to_owned(), object.id.to_string()),
    ]);
    if let Some(version) = object.version {
        parts.insert("version".to_owned(), version.to_string());
    }
    parts
}
