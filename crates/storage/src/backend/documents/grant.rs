//! What leaves the system and comes back: signed URLs and tagged ids.

use std::time::Duration;

use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::id::{DocumentId, IdError, PublicId as _, RowId};
use eonpro_core::port::SealScope;
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use super::{Inner, read};
use crate::error::StorageError;
use crate::events;
use crate::layout;
use crate::service::{DocumentRef, Redeemed};
use crate::signed_url::{Claimed, GrantSpec, KEY_LABEL, Method, SignedUrl, Terms, UrlKeys, Uses};

const SHORTEST: Duration = Duration::from_secs(1);

impl Inner {
    async fn url_keys(&self, scope: &TenantScope) -> Result<UrlKeys, StorageError> {
        let key = self
            .sealer
            .mac_key(SealScope::from(scope), KEY_LABEL)
            .await?;
        Ok(UrlKeys::at(&key, events::now(&self.emitter)))
    }
}

pub(super) async fn grant(
    inner: &Inner,
    scope: &TenantScope,
    at: &DocumentRef,
    spec: GrantSpec,
) -> Result<SignedUrl, StorageError> {
    let info = read::readable(inner, scope, at).await?;
    let policy = inner.config.policy.of(info.category)?;
    let limit = policy.url_lifetime;
    let lifetime = spec.lifetime.unwrap_or(limit);
    if !(SHORTEST..=limit).contains(&lifetime) {
        return Err(StorageError::UrlLifetime { limit });
    }
    let once = policy.url_single_use || spec.uses == Uses::Once;
    let terms = Terms {
        tenant: inner.tag(scope),
        document: info.document,
        version: info.version,
        expires: events::now(&inner.emitter).plus(lifetime).seconds(),
        purpose: spec.purpose,
        method: spec.method,
        uses: if once { Uses::Once } else { Uses::Many },
        grant: RowId::random(&**inner.emitter.entropy()).uuid(),
    };
    let url = inner.url_keys(scope).await?.sign(&terms);
    events::issued(&inner.emitter, scope, &info, spec.purpose, &url).await?;
    Ok(url)
}

pub(super) async fn redeem(
    inner: &Inner,
    scope: &TenantScope,
    url: &str,
    method: Method,
) -> Result<Redeemed, StorageError> {
    let claimed = Claimed::parse(url)?;
    let tag = inner.tag(scope);
    if claimed.terms.tenant != tag {
        let (document, version) = (claimed.terms.document, claimed.terms.version);
        events::foreign(&inner.emitter, scope, document.uuid(), Some(version.uuid())).await?;
        return Err(StorageError::TenantMismatch);
    }
    let terms = inner.url_keys(scope).await?.verify(&claimed, method)?;
    if terms.uses == Uses::Once {
        let mark = layout::used_grant(&tag, terms.grant);
        match inner.objects.create_once(&mark, &Bytes::new()).await {
            Ok(()) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Err(StorageError::UrlRefused),
            Err(other) => return Err(other.into()),
        }
    }
    let mut at = DocumentRef::current(terms.document).version(terms.version);
    at.grant = Some(terms.grant);
    Ok(Redeemed {
        purpose: terms.purpose,
        at,
        expires: Timestamp::from_seconds(terms.expires),
    })
}

pub(super) async fn admit(
    inner: &Inner,
    scope: &TenantScope,
    text: &str,
) -> Result<DocumentId, StorageError> {
    match inner.tagger.open::<DocumentId>(scope, text) {
        Err(IdError::TenantMismatch) => {
            events::foreign(&inner.emitter, scope, claimed_id(text), None).await?;
            Err(StorageError::TenantMismatch)
        }
        other => Ok(other?),
    }
}

/// The id that a well-formed tagged id claims; nil if there is none.
fn claimed_id(text: &str) -> Uuid {
    let id = text.split('_').nth(1).unwrap_or_default();
    Uuid::try_parse(id).unwrap_or_default()
}
