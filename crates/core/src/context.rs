//! Who asks, for which tenant, why, until when, under which trace.
//!
//! A [`RequestContext`] is immutable, costs one reference count to clone, and holds no token, key
//! or PHI. It is the first argument of every operation. It is passed, never looked up: the
//! task-local mirror at the end of this file exists for log fields alone.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::entropy::Entropy;
use crate::id::{ActorId, RequestId, TenantId};
use crate::identity::{Actor, ActorKind, Assurance, VerifiedIdentity};
use crate::purpose::PurposeOfUse;
use crate::scope::{Authority, ScopeError, Standing, TenantScope};
use crate::time::{Clock, Monotonic};
use crate::trace::TraceContext;

/// The tenant of a request as resolution found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantBinding {
    /// The tenant.
    pub id: TenantId,
    /// Its standing when the request was admitted.
    pub standing: Standing,
    /// Its epoch when the request was admitted: any lifecycle change raises it.
    pub epoch: u64,
}

/// See the [module](self).
#[derive(Clone)]
pub struct RequestContext(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    request: RequestId,
    trace: TraceContext,
    tenant: Option<TenantBinding>,
    actor: Actor,
    assurance: Assurance,
    client: Option<IpAddr>,
    purpose: Option<PurposeOfUse>,
    deadline: Option<Monotonic>,
    cancellation: CancellationToken,
}

impl RequestContext {
    /// The context of a caller that nobody has authenticated yet.
    #[must_use]
    pub fn anonymous(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        Self::new(ActorKind::Anonymous, None, clock, entropy)
    }

    /// The context of a chore that eonpro runs by itself; `chore` is a short name such as
    /// `key-rotation` and becomes the actor. A name that is no valid [`ActorId`] becomes
    /// `anonymous`.
    #[must_use]
    pub fn system(chore: &'static str, clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        Self::new(ActorKind::System, ActorId::new(chore).ok(), clock, entropy)
            .with_purpose(PurposeOfUse::SystemAdministration)
    }

    fn new(kind: ActorKind, id: Option<ActorId>, clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let id = id.unwrap_or_else(ActorId::anonymous);
        Self(Arc::new(Inner {
            request: RequestId::fresh(clock, entropy),
            trace: TraceContext::root(entropy),
            tenant: None,
            actor: Actor {
                kind,
                id,
                roles: Arc::from([]),
                session: None,
            },
            assurance: Assurance::default(),
            client: None,
            purpose: None,
            deadline: None,
            cancellation: CancellationToken::new(),
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Continues the caller's trace.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        self.with(|inner| inner.trace = trace)
    }

    /// Names the client's address, after the trusted-proxy rule. IPv4-mapped IPv6 becomes IPv4.
    #[must_use]
    pub fn with_client(self, client: IpAddr) -> Self {
        self.with(|inner| inner.client = Some(client.to_canonical()))
    }

    /// Declares why the data is used.
    #[must_use]
    pub fn with_purpose(self, purpose: PurposeOfUse) -> Self {
        self.with(|inner| inner.purpose = Some(purpose))
    }

    /// Sets the deadline; it can only come nearer.
    #[must_use]
    pub fn with_deadline(self, deadline: Monotonic) -> Self {
        self.with(|inner| {
            inner.deadline = Some(inner.deadline.map_or(deadline, |old| old.min(deadline)));
        })
    }

    /// Lets `token` cancel the request.
    #[must_use]
    pub fn with_cancellation(self, token: CancellationToken) -> Self {
        self.with(|inner| inner.cancellation = token)
    }

    pub(crate) fn identified(self, _by: &Authority, identity: &VerifiedIdentity) -> Self {
        self.with(|inner| {
            inner.actor = identity.actor().clone();
            inner.assurance = identity.assurance().clone();
        })
    }

    pub(crate) fn bound(self, _by: &Authority, tenant: TenantBinding) -> Self {
        self.with(|inner| inner.tenant = Some(tenant))
    }

    /// The proof that this request may touch its tenant's data.
    ///
    /// # Errors
    /// [`ScopeError`] if no tenant is bound, or the tenant is not active.
    pub fn tenant_scope(&self) -> Result<TenantScope, ScopeError> {
        TenantScope::prove(self)
    }

    /// This request.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.0.request
    }

    /// The distributed trace.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.0.trace
    }

    /// The tenant, if resolution bound one. This is no permission: see [`Self::tenant_scope`].
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantBinding> {
        self.0.tenant.as_ref()
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// How sure authentication is.
    #[must_use]
    pub fn assurance(&self) -> &Assurance {
        &self.0.assurance
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    /// Why the data is used.
    #[must_use]
    pub fn purpose(&self) -> Option<PurposeOfUse> {
        self.0.purpose
    }

    /// Until when the caller waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.0.deadline
    }

    /// Time left, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self, clock: &dyn Clock) -> Option<Duration> {
        self.0
            .deadline
            .map(|deadline| deadline.since(clock.monotonic()))
    }

    /// The token that cancels this request.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.cancellation
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("request", &self.0.request)
            .field("trace", &self.0.trace)
            .field("tenant", &self.0.tenant.map(|tenant| tenant.id))
            .field("actor", &self.0.actor.id)
            .field("purpose", &self.0.purpose)
            .finish_non_exhaustive()
    }
}

tokio::task_local! {
    static LOG_CONTEXT: RequestContext;
}

/// Runs `work` with `cx` visible to log layers. Not inherited by tasks that `work` starts.
pub async fn with_log_context<F: Future>(cx: &RequestContext, work: F) -> F::Output {
    LOG_CONTEXT.scope(cx.clone(), work).await
}

/// The context whose ids log lines should carry. For log layers only.
pub fn log_context<R>(read: impl FnOnce(&RequestContext) -> R) -> Option<R> {
    LOG_CONTEXT.try_with(read).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::time::{ManualClock, Timestamp};

    fn fresh() -> (RequestContext, ManualClock) {
        let clock = ManualClock::at(Timestamp::EPOCH);
        (
            RequestContext::anonymous(&clock, &SeededEntropy::new(1)),
            clock,
        )
    }

    #[test]
    fn a_deadline_can_only_come_nearer() {
        let (cx, clock) = fresh();
        let cx = cx
            .with_deadline(Monotonic::from_nanos(10))
            .with_deadline(Monotonic::from_nanos(50));
        assert_eq!(cx.remaining(&clock), Some(Duration::from_nanos(10)));
    }

    #[test]
    fn changing_a_clone_leaves_the_original_alone() {
        let (cx, _) = fresh();
        let changed = cx.clone().with_purpose(PurposeOfUse::Treatment);
        assert_eq!(cx.purpose(), None);
        assert_eq!(changed.purpose(), Some(PurposeOfUse::Treatment));
        assert_eq!(cx.request_id(), changed.request_id());
    }

    #[test]
    fn a_mapped_client_address_becomes_plain() {
        let (cx, _) = fresh();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let plain: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(cx.with_client(mapped).client(), Some(plain));
    }

    #[tokio::test]
    async fn the_log_mirror_is_visible_inside_only() {
        let (cx, _) = fresh();
        let seen = with_log_context(&cx, async { log_context(RequestContext::request_id) }).await;
        assert_eq!(seen, Some(cx.request_id()));
        assert_eq!(log_context(RequestContext::request_id), None);
    }
}
