//! A session as the store keeps it: its state, its deadlines, and a digest of its secret.

use eonpro_core::digest::Digest;
use eonpro_core::id::{ActorId, PublicId as _, SessionId};
use eonpro_core::identity::{Aal, Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::time::Timestamp;
use eonpro_core::{TenantScope, VerifiedIdentity};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::{EndReason, Session};
use crate::config::SessionPolicy;
use crate::identity::vouch;
use crate::state::Wire;

/// Whether a session is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    Active,
    Ended(EndReason),
}

/// One session on record.
#[derive(Debug, Clone)]
pub(crate) struct SessionRecord {
    pub(crate) proof: Digest,
    pub(crate) state: SessionState,
    pub(crate) issuer: Box<str>,
    pub(crate) actor: Actor,
    pub(crate) assurance: Assurance,
    pub(crate) opened: Timestamp,
    pub(crate) seen: Timestamp,
    pub(crate) absolute_until: Timestamp,
}

impl SessionRecord {
    /// A fresh session of `actor`.
    pub(crate) fn open(
        proof: Digest,
        issuer: &str,
        actor: Actor,
        assurance: Assurance,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Self {
        Self {
            proof,
            state: SessionState::Active,
            issuer: issuer.into(),
            actor,
            assurance,
            opened: now,
            seen: now,
            absolute_until: now.plus(policy.absolute),
        }
    }

    /// Whether `proof` is that of its secret, in constant time.
    pub(crate) fn proves(&self, proof: &Digest) -> bool {
        self.proof.as_bytes().ct_eq(proof.as_bytes()).into()
    }

    /// Its state at `now`: a deadline ends it whether or not anybody wrote so.
    pub(crate) fn state_at(&self, policy: &SessionPolicy, now: Timestamp) -> SessionState {
        match self.state {
            SessionState::Ended(_) => self.state,
            SessionState::Active if now >= self.absolute_until => {
                SessionState::Ended(EndReason::Absolute)
            }
            SessionState::Active if now >= self.idle_until(policy) => {
                SessionState::Ended(EndReason::Idle)
            }
            SessionState::Active => SessionState::Active,
        }
    }

    pub(crate) fn idle_until(&self, policy: &SessionPolicy) -> Timestamp {
        self.seen.plus(policy.idle).min(self.absolute_until)
    }

    /// The session it stands for, which `state_at` has found alive.
    pub(crate) fn session(
        &self,
        scope: &TenantScope,
        id: SessionId,
        policy: &SessionPolicy,
    ) -> Session {
        let identity = self.identity(scope, id);
        Session::new(
            id,
            scope.tenant(),
            identity,
            self.opened,
            self.idle_until(policy),
            self.absolute_until,
        )
    }

    /// The same session, over for `reason`; `None` if it was over already.
    pub(crate) fn ended(&self, reason: EndReason) -> Option<Self> {
        (self.state == SessionState::Active).then(|| Self {
            state: SessionState::Ended(reason),
            ..self.clone()
        })
    }

    fn identity(&self, scope: &TenantScope, id: SessionId) -> VerifiedIdentity {
        vouch(IdentityClaims {
            issuer: (&*self.issuer).into(),
            actor: Actor {
                session: Some(id),
                ..self.actor.clone()
            },
            tenant: Some(scope.tenant()),
            assurance: self.assurance.clone(),
            expires: self.absolute_until,
        })
    }
}

/// Format version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionWire {
    proof: String,
    ended: Option<String>,
    issuer: String,
    kind: String,
    actor: String,
    roles: Vec<String>,
    aal: u8,
    amr: Vec<String>,
    proven: Option<i64>,
    opened: i64,
    seen: i64,
    absolute: i64,
}

impl Wire for SessionRecord {
    type Form = SessionWire;
    const VERSION: u8 = 1;

    fn to_form(&self) -> SessionWire {
        let texts = |list: &[Box<str>]| list.iter().map(|text| text.to_string()).collect();
        SessionWire {
            proof: self.proof.to_string(),
            ended: match self.state {
                SessionState::Active => None,
                SessionState::Ended(reason) => Some(reason.as_str().to_owned()),
            },
            issuer: self.issuer.to_string(),
            kind: self.actor.kind.as_str().to_owned(),
            actor: self.actor.id.as_str().to_owned(),
            roles: texts(&self.actor.roles),
            aal: match self.assurance.aal {
                Aal::None => 0,
                Aal::Aal1 => 1,
                Aal::Aal2 => 2,
                Aal::Aal3 => 3,
            },
            amr: texts(&self.assurance.amr),
            proven: self.assurance.at.map(Timestamp::nanos),
            opened: self.opened.nanos(),
            seen: self.seen.nanos(),
            absolute: self.absolute_until.nanos(),
        }
    }

    fn from_form(form: SessionWire) -> Option<Self> {
        let texts = |list: Vec<String>| list.into_iter().map(Into::into).collect();
        Some(Self {
            proof: Digest::parse_hex(&form.proof)?,
            state: match form.ended.as_deref() {
                None => SessionState::Active,
                Some("signed_out") => SessionState::Ended(EndReason::SignedOut),
                Some("revoked") => SessionState::Ended(EndReason::Revoked),
                Some("idle") => SessionState::Ended(EndReason::Idle),
                Some("absolute") => SessionState::Ended(EndReason::Absolute),
                Some(_) => return None,
            },
            issuer: form.issuer.into(),
            actor: Actor {
                kind: match form.kind.as_str() {
                    "user" => ActorKind::User,
                    "service" => ActorKind::Service,
                    "device" => ActorKind::Device,
                    _ => return None,
                },
                id: ActorId::new(&form.actor).ok()?,
                roles: texts(form.roles),
                session: None,
            },
            assurance: Assurance {
                aal: match form.aal {
                    0 => Aal::None,
                    1 => Aal::Aal1,
                    2 => Aal::Aal2,
                    3 => Aal::Aal3,
                    _ => return None,
                },
                amr: texts(form.amr),
                at: form.proven.map(Timestamp::from_nanos),
            },
            opened: Timestamp::from_nanos(form.opened),
            seen: Timestamp::from_nanos(form.seen),
            absolute_until: Timestamp::from_nanos(form.absolute),
        })
    }
}

/// Which sessions an actor has: format version 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct ActorSessions {
    pub(crate) entries: Vec<(SessionId, Timestamp)>,
}

/// Format version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActorSessionsWire {
    sessions: Vec<(String, i64)>,
}

impl Wire for ActorSessions {
    type Form = ActorSessionsWire;
    const VERSION: u8 = 1;

    fn to_form(&self) -> ActorSessionsWire {
        let sessions = self.entries.iter();
        ActorSessionsWire {
            sessions: sessions
                .map(|(id, until)| (id.uuid().simple().to_string(), until.nanos()))
                .collect(),
        }
    }

    fn from_form(form: ActorSessionsWire) -> Option<Self> {
        let entry = |(id, until): (String, i64)| {
            let id = SessionId::from_uuid(Uuid::try_parse(&id).ok()?);
            Some((id, Timestamp::from_nanos(until)))
        };
        Some(Self {
            entries: form
                .sessions
                .into_iter()
                .map(entry)
                .collect::<Option<_>>()?,
        })
    }
}
