//! What authentication established about a caller.

use std::fmt;
use std::sync::Arc;

use crate::id::{ActorId, SessionId, TenantId};
use crate::scope::Authority;
use crate::time::Timestamp;

/// What kind of actor acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A person.
    User,
    /// A program with credentials of its own.
    Service,
    /// A medical or other device.
    Device,
    /// eonpro itself, for a named chore.
    System,
    /// Nobody that is known.
    Anonymous,
}

impl ActorKind {
    /// A stable name for logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Device => "device",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Who acts.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The kind of actor.
    pub kind: ActorKind,
    /// The actor's pseudonym.
    pub id: ActorId,
    /// Role names granted for this request; at most 64.
    pub roles: Arc<[Box<str>]>,
    /// The session, if there is one.
    pub session: Option<SessionId>,
}

/// Authenticator assurance level (NIST SP 800-63B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Aal {
    /// Not authenticated.
    #[default]
    None,
    /// One factor.
    Aal1,
    /// Two factors.
    Aal2,
    /// A hardware-based, phishing-resistant second factor.
    Aal3,
}

/// How sure authentication is.
#[derive(Debug, Clone, Default)]
pub struct Assurance {
    /// The level reached.
    pub aal: Aal,
    /// Authentication methods (RFC 8176), such as `pwd`, `otp`.
    pub amr: Arc<[Box<str>]>,
    /// When the actor last proved a factor.
    pub at: Option<Timestamp>,
}

/// The parts from which [`Authority::vouch`] makes a [`VerifiedIdentity`].
#[derive(Debug, Clone)]
pub struct IdentityClaims {
    /// The issuer of the token.
    pub issuer: Arc<str>,
    /// Who acts.
    pub actor: Actor,
    /// The tenant that the issuer names; resolution decides whether it exists and is active.
    pub tenant: Option<TenantId>,
    /// How sure authentication is.
    pub assurance: Assurance,
    /// When this identity stops being valid.
    pub expires: Timestamp,
}

/// An identity that authentication vouches for. Holds no token.
#[derive(Clone)]
pub struct VerifiedIdentity(Arc<IdentityClaims>);

impl VerifiedIdentity {
    pub(crate) fn vouched(_by: &Authority, claims: IdentityClaims) -> Self {
        Self(Arc::new(claims))
    }

    /// The issuer of the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }

    /// The tenant that the issuer names.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.0.tenant
    }

    /// How sure authentication is.
    #[must_use]
    pub fn assurance(&self) -> &Assurance {
        &self.0.assurance
    }

    /// When this identity stops being valid.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }
}

impl fmt::Debug for VerifiedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedIdentity")
            .field("issuer", &self.0.issuer)
            .field("actor", &self.0.actor.id)
            .field("tenant", &self.0.tenant)
            .field("aal", &self.0.assurance.aal)
            .finish_non_exhaustive()
    }
}
