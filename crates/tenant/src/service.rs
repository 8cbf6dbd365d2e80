//! The tenant service: who the tenants are, and whether a request may act for one.

use std::future::Future;

use async_trait::async_trait;
use eonpro_core::component::Component;
use eonpro_core::event::{Code, Digest, ObjectRef};
use eonpro_core::id::{IdError, IdTagger, PublicId, TenantId};
use eonpro_core::{RequestContext, TenantScope, VerifiedIdentity};
use uuid::Uuid;

use crate::config::MAX_PAGE;
use crate::error::TenantError;
use crate::idempotency::IdempotencyKey;
use crate::record::{Command, NewTenant, RecordVersion, TenantRecord};
use crate::resolution::Hints;
use crate::slug::TenantSlug;

/// Which part of the directory to list.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// After this tenant, in the order of ids; `None` begins at the start.
    pub after: Option<TenantId>,
    /// At most so many, and never more than [`MAX_PAGE`].
    pub limit: usize,
}

impl Page {
    /// The page after that tenant.
    #[must_use]
    pub fn after(tenant: TenantId) -> Self {
        Self {
            after: Some(tenant),
            ..Self::default()
        }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: None,
            limit: MAX_PAGE,
        }
    }
}

/// What was left to do when a tenant was shredded, and what was done.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The tombstone.
    pub record: TenantRecord,
    /// How many keys this call destroyed; 0 if an earlier call had done it.
    pub keys: u64,
    /// How long another process may still hold an unwrapped key.
    pub exposure: std::time::Duration,
}

/// The directory of tenants, their lifecycle, and the resolution of requests.
///
/// Who may order what is authorization's matter: this service records the actor of the context
/// and trusts that the caller was allowed to call. It checks by itself only what must hold
/// whoever calls: the lifecycle, holds, approvals, versions.
///
/// All methods may fail with [`TenantError::Directory`], [`TenantError::Damaged`] and
/// [`TenantError::UnknownFormat`], and with [`TenantError::Closed`] after [`Component::close`].
#[async_trait]
pub trait Tenants: Component {
    /// Creates a tenant, its keys and its database, and puts it into service. Emits TEN-001 just
    /// before it becomes active: no tenant is ever active without its entry.
    ///
    /// Idempotent on `idem`: a repeat returns the first result, or goes on where the first call
    /// stopped (TEN-001 may then be recorded twice). Cancel-safe in that sense: repeat it.
    ///
    /// # Errors
    /// [`TenantError::SlugTaken`]; [`TenantError::IdempotencyMismatch`];
    /// [`TenantError::Provisioning`] and [`TenantError::Unaudited`], after which the tenant waits
    /// for the repeat.
    async fn onboard(
        &self,
        cx: &RequestContext,
        new: NewTenant,
        idem: IdempotencyKey,
    ) -> Result<TenantRecord, TenantError>;

    /// The record of a tenant, a tombstone included. Cancel-safe.
    ///
    /// # Errors
    /// [`TenantError::Unknown`].
    async fn get(&self, cx: &RequestContext, id: TenantId) -> Result<TenantRecord, TenantError>;

    /// The record of the tenant that holds or held that slug. Cancel-safe.
    ///
    /// # Errors
    /// [`TenantError::Unknown`].
    async fn by_slug(
        &self,
        cx: &RequestContext,
        slug: &TenantSlug,
    ) -> Result<TenantRecord, TenantError>;

    /// One page of records, tombstones included, in the order of ids; empty at the end.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Those of every method.
    async fn list(&self, cx: &RequestContext, page: Page)
    -> Result<Vec<TenantRecord>, TenantError>;

    /// Changes the tenant, if it still is at version `expected`. Emits TEN-002 for a suspension.
    ///
    /// Idempotent on `idem` for that tenant: a repeat returns the first result, whatever changed
    /// since, and records an event that could not be recorded. Not cancel-safe: repeat it. A
    /// change bites from the moment it returns: calls that were already running finish.
    ///
    /// # Errors
    /// [`TenantError::Unknown`]; [`TenantError::VersionConflict`]; [`TenantError::Lifecycle`];
    /// [`TenantError::IdempotencyMismatch`]; [`TenantError::Unaudited`]: the change stands.
    async fn apply(
        &self,
        cx: &RequestContext,
        id: TenantId,
        command: Command,
        expected: RecordVersion,
        idem: IdempotencyKey,
    ) -> Result<TenantRecord, TenantError>;

    /// Puts the identity and its tenant into the context: the tenant that the identity's issuer
    /// names, if it exists, is active, agrees with every hint, and admits the client's address.
    ///
    /// Emits TEN-005 when the address is refused, and TEN-004 (layer `resolution`) when a hint
    /// names another tenant. Idempotent, cancel-safe.
    ///
    /// # Errors
    /// [`TenantError::Unresolved`]; [`TenantError::Unknown`]; [`TenantError::ResolutionConflict`];
    /// [`TenantError::NotInService`]; [`TenantError::NetworkDenied`];
    /// [`TenantError::Unaudited`]: refused, and the refusal could not be recorded.
    async fn resolve(
        &self,
        cx: RequestContext,
        identity: &VerifiedIdentity,
        hints: &Hints,
    ) -> Result<RequestContext, TenantError>;

    /// Freezes a tenant and begins its export. Idempotent while it is exporting; repeat it if the
    /// future was dropped.
    ///
    /// # Errors
    /// [`TenantError::Unknown`]; [`TenantError::Lifecycle`].
    async fn begin_offboarding(
        &self,
        cx: &RequestContext,
        id: TenantId,
    ) -> Result<TenantRecord, TenantError>;

    /// The proof with which the export of a frozen tenant is read; its database is read-only under
    /// it. The only scope of a tenant that is not active. Cancel-safe.
    ///
    /// # Errors
    /// [`TenantError::NotInService`] unless the tenant is exporting.
    async fn export_scope(
        &self,
        cx: RequestContext,
        id: TenantId,
    ) -> Result<TenantScope, TenantError>;

    /// Records what was exported. Another digest than before voids approvals. Idempotent; repeat
    /// it if the future was dropped.
    ///
    /// # Errors
    /// [`TenantError::Lifecycle`] unless the tenant is exporting or in its grace period.
    async fn record_export(
        &self,
        cx: &RequestContext,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError>;

    /// The context's actor approves the destruction after that export. Idempotent: an actor counts
    /// once. Repeat it if the future was dropped.
    ///
    /// # Errors
    /// [`TenantError::NotAPerson`]; [`TenantError::Lifecycle`], also for another export than the
    /// recorded one.
    async fn approve(
        &self,
        cx: &RequestContext,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError>;

    /// Destroys an exported, approved tenant: TEN-003 (`log_size` is the size of its audit log),
    /// then its keys, then its database files, then only a tombstone is left. What other services
    /// store was sealed with those keys and is unreadable from then on; they may free the space
    /// when they hear TEN-003.
    ///
    /// Idempotent and resumable: each step is marked, a repeat goes on after the last marked one.
    ///
    /// # Errors
    /// [`TenantError::Lifecycle`] without an export, without two approvers, before the end of the
    /// grace period, or under a hold; [`TenantError::Unaudited`], [`TenantError::Sealing`],
    /// [`TenantError::Database`]: repeat it.
    async fn shred(
        &self,
        cx: &RequestContext,
        id: TenantId,
        log_size: u64,
    ) -> Result<Erasure, TenantError>;

    /// Records that something reached for another tenant's `object` and that `layer` stopped it:
    /// TEN-004. Whoever refuses calls this before it answers.
    ///
    /// # Errors
    /// [`TenantError::Unaudited`].
    async fn violation(
        &self,
        scope: &TenantScope,
        object: ObjectRef,
        layer: Code,
    ) -> Result<(), TenantError>;

    /// What tags and checks the ids that leave the system.
    fn tagger(&self) -> &IdTagger;
}

/// Conveniences on every [`Tenants`].
pub trait TenantsExt: Tenants {
    /// The tagged form of `id`, to be handed out.
    fn claim<I: PublicId>(&self, scope: &TenantScope, id: I) -> String {
        self.tagger().tag(scope, id)
    }

    /// Takes back a tagged id that came from outside, if it was minted for the scope's tenant.
    /// Another tenant's id, or a forged one, is recorded as TEN-004 before it is refused.
    ///
    /// Costs one MAC when it succeeds. Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`TenantError::MalformedId`]; [`TenantError::TenantMismatch`], which outsiders read as
    /// "not found"; [`TenantError::Unaudited`].
    fn admit<'a, I: PublicId>(
        &'a self,
        scope: &'a TenantScope,
        text: &'a str,
        layer: Code,
    ) -> impl Future<Output = Result<I, TenantError>> + Send + 'a {
        async move {
            match self.tagger().open::<I>(scope, text) {
                Ok(id) => Ok(id),
                Err(IdError::TenantMismatch) => {
                    self.violation(scope, claimed::<I>(text), layer).await?;
                    Err(TenantError::TenantMismatch)
                }
                Err(_) => Err(TenantError::MalformedId),
            }
        }
    }
}

impl<T: Tenants + ?Sized> TenantsExt for T {}

/// The object that a refused id claims to be.
fn claimed<I: PublicId>(text: &str) -> ObjectRef {
    let bits = text
        .rsplit('_')
        .nth(1)
        .and_then(|id| Uuid::try_parse(id).ok())
        .unwrap_or_default();
    ObjectRef {
        kind: Code::new(I::KIND).unwrap_or(Code::constant("thing")),
        id: bits,
        version: None,
    }
}
