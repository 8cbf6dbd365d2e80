//! The Door: the one place where a stranger becomes somebody, in a tenant, for a purpose.
//!
//! The cheapest refusal comes first. The peer's rate token is taken before any signature is
//! checked, so a flood of junk tokens costs neither cryptography nor audit entries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use eonpro_auth::{Auth, AuthExt as _};
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::port::{LimitKey, Observer, Operation, Rate, RateDecision, RateLimiter, Timer};
use eonpro_core::purpose::PurposeOfUse;
use eonpro_core::scope::Authority;
use eonpro_core::time::{Monotonic, SharedClock};
use eonpro_core::trace::TraceContext;
use eonpro_core::{RequestContext, VerifiedIdentity};
use eonpro_tenant::{Hints, Tenants};

use crate::error::{DoorError, Refusal};

/// What a [`Door`] is made of.
#[derive(Debug)]
pub struct DoorParts {
    /// What verifies tokens and sessions.
    pub auth: Arc<dyn Auth>,
    /// What resolves tenants.
    pub tenants: Arc<dyn Tenants>,
    /// What counts requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// What dates requests.
    pub clock: SharedClock,
    /// What names requests.
    pub entropy: SharedEntropy,
    /// What measures.
    pub observer: Arc<dyn Observer>,
}

/// The settings of a [`Door`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorConfig {
    /// Requests of one actor in one tenant. Default 1,000 at once, whole again in 10 seconds.
    pub per_actor: Rate,
    /// Requests of one peer (IPv6: one /64), which may be a whole clinic behind one address.
    /// Default 10,000 at once, whole again in 10 seconds.
    pub per_peer: Rate,
    /// How long a request may take unless it says less. Default 30 seconds.
    pub deadline: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        let period = Duration::from_secs(10);
        Self {
            per_actor: Rate {
                burst: 1_000,
                period,
            },
            per_peer: Rate {
                burst: 10_000,
                period,
            },
            deadline: Duration::from_secs(30),
        }
    }
}

/// What a transport knows about a request beside its token.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who is at the other end, after the trusted-proxy rule.
    pub peer: IpAddr,
    /// Why the data is used.
    pub purpose: PurposeOfUse,
    /// What the request says about its tenant beside its token.
    pub hints: Hints,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
    /// Until when the caller waits, if that is sooner than the Door's own deadline.
    pub deadline: Option<Monotonic>,
}

impl Arrival {
    /// A request from `peer` for `purpose` that says nothing more.
    #[must_use]
    pub fn new(peer: IpAddr, purpose: PurposeOfUse) -> Self {
        Self {
            peer: peer.to_canonical(),
            purpose,
            hints: Hints::none(),
            trace: None,
            deadline: None,
        }
    }

    /// The same, with what it says about its tenant.
    #[must_use]
    pub fn with_hints(self, hints: Hints) -> Self {
        Self { hints, ..self }
    }

    /// The same, continuing the caller's trace.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        Self {
            trace: Some(trace),
            ..self
        }
    }

    /// The same, with the caller's deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Monotonic) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }
}

/// The one place where a stranger becomes somebody, in a tenant, for a purpose.
#[derive(Debug)]
pub struct Door {
    parts: DoorParts,
    config: DoorConfig,
}

impl Door {
    /// A door of these parts.
    #[must_use]
    pub fn new(parts: DoorParts, config: DoorConfig) -> Self {
        Self { parts, config }
    }

    /// Lets the bearer of an access token in: the context of a request from `peer` for `purpose`,
    /// in the token's tenant. Cancel-safe, idempotent but for the rate tokens.
    ///
    /// # Errors
    /// [`DoorError`]; show it through [`DoorError::problem`].
    pub async fn admit(
        &self,
        token: &str,
        peer: IpAddr,
        purpose: PurposeOfUse,
    ) -> Result<RequestContext, DoorError> {
        self.admit_arrival(token, Arrival::new(peer, purpose)).await
    }

    /// As [`Self::admit`], with all that the transport knows.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn admit_arrival(
        &self,
        token: &str,
        arrival: Arrival,
    ) -> Result<RequestContext, DoorError> {
        let timer = self.timer("admit");
        let stranger = self.stranger(&arrival);
        let request = stranger.request_id();
        let admitted = self.enter(stranger, token, &arrival).await;
        timer.end(
            admitted
                .map(|(cx, _)| cx)
                .map_err(|why| DoorError::new(request, why)),
        )
    }

    /// As [`Self::admit_arrival`], for a request that also presents a session: the session counts
    /// as used, and the context carries it and its assurance.
    ///
    /// # Errors
    /// As [`Self::admit`]; those of [`Auth::touch`]; [`Refusal::SessionMismatch`].
    pub async fn admit_in_session(
        &self,
        token: &str,
        session: &str,
        arrival: Arrival,
    ) -> Result<RequestContext, DoorError> {
        let timer = self.timer("admit_in_session");
        let stranger = self.stranger(&arrival);
        let request = stranger.request_id();
        let admitted = self
            .enter_in_session(stranger, token, session, &arrival)
            .await;
        timer.end(admitted.map_err(|why| DoorError::new(request, why)))
    }

    async fn enter(
        &self,
        cx: RequestContext,
        token: &str,
        arrival: &Arrival,
    ) -> Result<(RequestContext, VerifiedIdentity), Refusal> {
        self.take(&peer_key(arrival.peer), self.config.per_peer)
            .await?;
        let identity = self.parts.auth.identify(&cx, token).await?;
        let cx = self
            .parts
            .tenants
            .resolve(cx, &identity, &arrival.hints)
            .await?;
        let tenant = cx.tenant_scope()?.tenant();
        let who: [&[u8]; 2] = [tenant.as_bytes(), identity.actor().id.as_str().as_bytes()];
        self.take(&LimitKey::new("door.actor", &who), self.config.per_actor)
            .await?;
        Ok((cx, identity))
    }

    async fn enter_in_session(
        &self,
        cx: RequestContext,
        token: &str,
        session: &str,
        arrival: &Arrival,
    ) -> Result<RequestContext, Refusal> {
        let (cx, identity) = self.enter(cx, token, arrival).await?;
        let scope = cx.tenant_scope()?;
        let session = self.parts.auth.touch(&scope, session).await?;
        let joined = session.join(&identity).ok_or(Refusal::SessionMismatch)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "token and session were verified as one actor's"
        )]
        let authority = Authority::assume("the door joins a token with its session");
        Ok(authority.identify(cx, &joined))
    }

    fn stranger(&self, arrival: &Arrival) -> RequestContext {
        let clock = &*self.parts.clock;
        let mut cx = RequestContext::anonymous(clock, &*self.parts.entropy)
            .with_client(arrival.peer)
            .with_purpose(arrival.purpose)
            .with_deadline(clock.monotonic().plus(self.config.deadline));
        if let Some(trace) = arrival.trace {
            cx = cx.with_trace(trace);
        }
        if let Some(deadline) = arrival.deadline {
            cx = cx.with_deadline(deadline);
        }
        cx
    }

    async fn take(&self, key: &LimitKey, rate: Rate) -> Result<(), Refusal> {
        match self.parts.limiter.check(key, rate).await? {
            RateDecision::Allowed { .. } => Ok(()),
            RateDecision::Limited { retry_after } => Err(Refusal::Limited { retry_after }),
        }
    }

    fn timer(&self, name: &'static str) -> Timer<'_> {
        Timer::start(
            Operation::new("door", name),
            &*self.parts.clock,
            &*self.parts.observer,
        )
    }
}

/// One IPv4 address, or one IPv6 /64: a single customer holds that many IPv6 addresses.
fn peer_key(peer: IpAddr) -> LimitKey {
    match peer.to_canonical() {
        IpAddr::V4(address) => LimitKey::new("door.peer", &[&address.octets()]),
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64;
            LimitKey::new("door.peer", &[&prefix.to_be_bytes()])
        }
    }
}
