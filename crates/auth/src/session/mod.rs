//! Sessions: one sign-in of one actor in one tenant, with an idle and an absolute deadline.
//!
//! `Active -> {SignedOut, Revoked, Idle, Absolute}`; the right-hand states are absorbing. The
//! secret is handed out once and only its digest is kept. An ended session stays on record until
//! after its absolute deadline, so whoever writes late finds a tombstone and not a free place.

mod record;
mod repository;
mod token;

pub(crate) use record::{SessionRecord, SessionState};
pub(crate) use repository::Sessions;
pub(crate) use token::{Presented, SessionSecret, split};

use std::fmt;

use eonpro_core::VerifiedIdentity;
use eonpro_core::id::{ActorId, SessionId, TenantId};
use eonpro_core::identity::{Actor, Assurance, IdentityClaims};
use eonpro_core::time::Timestamp;

use crate::identity::vouch;

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its actor signed out.
    SignedOut,
    /// Somebody ended it.
    Revoked,
    /// Its actor was idle for too long.
    Idle,
    /// Its time was up.
    Absolute,
}

impl EndReason {
    /// A stable name for events and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::Idle => "idle",
            Self::Absolute => "absolute",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A live session, as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct Session {
    id: SessionId,
    tenant: TenantId,
    identity: VerifiedIdentity,
    opened: Timestamp,
    idle_until: Timestamp,
    absolute_until: Timestamp,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        tenant: TenantId,
        identity: VerifiedIdentity,
        opened: Timestamp,
        idle_until: Timestamp,
        absolute_until: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            identity,
            opened,
            idle_until,
            absolute_until,
        }
    }

    /// Its id: not a secret, fit for events and lists.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The tenant in which it was opened.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Whose it is, with the roles and the assurance of the sign-in.
    #[must_use]
    pub fn identity(&self) -> &VerifiedIdentity {
        &self.identity
    }

    /// The identity of a request that presents both a token and this session: the token's roles,
    /// which are fresher, and the session's assurance, which is higher. `None` if the two are not
    /// one actor's, in one tenant.
    #[must_use]
    pub fn join(&self, token: &VerifiedIdentity) -> Option<VerifiedIdentity> {
        let one = token.actor().id == *self.actor() && token.tenant() == Some(self.tenant);
        one.then(|| {
            vouch(IdentityClaims {
                issuer: token.issuer().into(),
                actor: Actor {
                    session: Some(self.id),
                    ..token.actor().clone()
                },
                tenant: token.tenant(),
                assurance: self.assurance().clone(),
                expires: token.expires().min(self.absolute_until),
            })
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.identity.actor().id
    }

    /// How sure authentication was when it was opened.
    #[must_use]
    pub fn assurance(&self) -> &Assurance {
        self.identity.assurance()
    }

    /// When it was opened.
    #[must_use]
    pub fn opened(&self) -> Timestamp {
        self.opened
    }

    /// When it ends unless it is touched.
    #[must_use]
    pub fn idle_until(&self) -> Timestamp {
        self.idle_until
    }

    /// When it ends, touched or not.
    #[must_use]
    pub fn absolute_until(&self) -> Timestamp {
        self.absolute_until
    }
}
