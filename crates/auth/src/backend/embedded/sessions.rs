//! Sessions: looked up, touched, ended.

use eonpro_core::TenantScope;
use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, SessionId};
use eonpro_core::identity::{Actor, ActorKind, Assurance};
use eonpro_core::port::kv::Version;
use eonpro_core::task;
use eonpro_core::time::Timestamp;

use super::Core;
use crate::error::AuthError;
use crate::events;
use crate::identity;
use crate::service::{Revocation, SignedIn};
use crate::session::{
    EndReason, Presented, Session, SessionRecord, SessionSecret, SessionState, split,
};
use crate::state::MAX_ATTEMPTS;

/// Activity is written down at most once per this part of the idle window.
const TOUCHES_PER_IDLE_WINDOW: u32 = 30;

struct Found {
    id: SessionId,
    record: SessionRecord,
    version: Version,
}

impl Core {
    /// Opens a session for `actor`, announced as theirs.
    pub(super) async fn open_session(
        &self,
        scope: &TenantScope,
        actor: Actor,
        assurance: Assurance,
    ) -> Result<SignedIn, AuthError> {
        let now = self.now();
        let id = SessionId::random(&**self.emitter.entropy());
        let secret = SessionSecret::generate()?;
        let record = SessionRecord::open(
            secret.proof(scope.tenant(), id),
            self.verifier.issuer().as_str(),
            actor,
            assurance,
            self.sessions.policy(),
            now,
        );
        self.sessions.open(scope, id, &record).await?;
        let session = record.session(scope, id, self.sessions.policy());
        let cx = identity::identified(scope.cx(), session.identity());
        if let Err(error) = events::signed_in(&self.emitter, &cx, id, session.assurance()).await {
            // Nobody gets this token; a session that cannot be ended now idles out.
            let _ended = self
                .sessions
                .end(scope.tenant(), id, EndReason::Revoked, now)
                .await;
            return Err(error);
        }
        let token = secret.token(&self.tagger, scope, id);
        Ok(SignedIn { session, token })
    }

    pub(super) async fn session_of(
        &self,
        scope: &TenantScope,
        token: &str,
    ) -> Result<Session, AuthError> {
        let found = self.live(scope, token).await?;
        let policy = self.sessions.policy();
        Ok(found.record.session(scope, found.id, policy))
    }

    pub(super) async fn touched(
        &self,
        scope: &TenantScope,
        token: &str,
    ) -> Result<Session, AuthError> {
        let policy = *self.sessions.policy();
        let grain = policy.idle / TOUCHES_PER_IDLE_WINDOW;
        for _ in 0..MAX_ATTEMPTS {
            let Found {
                id,
                mut record,
                version,
            } = self.live(scope, token).await?;
            let now = self.now();
            if now.since(record.seen) < grain {
                return Ok(record.session(scope, id, &policy));
            }
            record.seen = now;
            match self
                .sessions
                .save(scope.tenant(), id, &record, version)
                .await
            {
                // Somebody touched or ended it meanwhile: look again.
                Err(AuthError::Contended) => {}
                Err(other) => return Err(other),
                Ok(()) => return Ok(record.session(scope, id, &policy)),
            }
        }
        Err(AuthError::Contended)
    }

    pub(super) async fn signed_out(
        &self,
        scope: &TenantScope,
        token: &str,
    ) -> Result<(), AuthError> {
        let id = match self.live(scope, token).await {
            Ok(found) => found.id,
            Err(AuthError::SessionEnded(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        let ended = self
            .sessions
            .end(scope.tenant(), id, EndReason::SignedOut, self.now())
            .await?;
        match ended {
            Some(_) => events::signed_out(&self.emitter, scope.cx(), id).await,
            None => Ok(()),
        }
    }

    pub(super) async fn sessions_of(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Vec<Session>, AuthError> {
        let (policy, now) = (self.sessions.policy(), self.now());
        let listed = self.sessions.list(scope.tenant(), actor).await?;
        Ok(listed
            .into_iter()
            .filter(|(_, record)| record.state_at(policy, now) == SessionState::Active)
            .map(|(id, record)| record.session(scope, id, policy))
            .collect())
    }

    pub(super) async fn revoked(
        &self,
        scope: &TenantScope,
        which: &Revocation,
        reason: Code,
    ) -> Result<usize, AuthError> {
        let targets: Vec<SessionId> = match which {
            Revocation::One(id) => vec![*id],
            Revocation::AllOf(actor) => self.ids_of(scope, actor).await?,
            Revocation::AllOfBut(actor, kept) => {
                let mut ids = self.ids_of(scope, actor).await?;
                ids.retain(|id| id != kept);
                ids
            }
        };
        let mut count = 0;
        for id in targets {
            let ended = self
                .sessions
                .end(scope.tenant(), id, EndReason::Revoked, self.now())
                .await?;
            if let Some(record) = ended {
                count += 1;
                let target = record.actor.id;
                let (emitter, cx) = (&self.emitter, scope.cx());
                events::session_revoked(emitter, cx, id, target, reason.clone()).await?;
            }
        }
        Ok(count)
    }

    async fn ids_of(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Vec<SessionId>, AuthError> {
        let listed = self.sessions.list(scope.tenant(), actor).await?;
        Ok(listed.into_iter().map(|(id, _)| id).collect())
    }

    /// The session that `token` proves, if it is alive and the scope's actor's own.
    async fn live(&self, scope: &TenantScope, token: &str) -> Result<Found, AuthError> {
        let (id, secret) = match split(&self.tagger, scope, token) {
            Presented::Ours(id, secret) => (id, secret),
            Presented::Malformed => return Err(AuthError::SessionUnknown),
            Presented::Foreign(claimed) => {
                events::foreign_session(&self.emitter, scope, claimed).await?;
                return Err(AuthError::TenantMismatch);
            }
        };
        let found = self.sessions.load(scope.tenant(), id).await?;
        let (record, version) = found.ok_or(AuthError::SessionUnknown)?;
        if !record.proves(&secret.proof(scope.tenant(), id)) || !is_own(scope, &record) {
            return Err(AuthError::SessionUnknown);
        }
        let now = self.now();
        match record.state_at(self.sessions.policy(), now) {
            SessionState::Active => Ok(Found {
                id,
                record,
                version,
            }),
            SessionState::Ended(reason) => {
                self.note_expiry(scope, id, &record, reason, now).await?;
                Err(AuthError::SessionEnded(reason))
            }
        }
    }

    /// Writes down that a deadline ended the session, and announces it once.
    async fn note_expiry(
        &self,
        scope: &TenantScope,
        id: SessionId,
        record: &SessionRecord,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        if record.state != SessionState::Active {
            return Ok(());
        }
        let (sessions, emitter) = (self.sessions.clone(), self.emitter.clone());
        let scope = scope.clone();
        let noted = task::outlive(async move {
            let ended = sessions.end(scope.tenant(), id, reason, now).await?;
            match ended {
                Some(record) => {
                    let target = record.actor.id;
                    events::session_expired(&emitter, scope.cx(), id, target, reason).await
                }
                None => Ok(()),
            }
        });
        noted.await.map_err(|_| AuthError::Lost)?
    }
}

// A session is its actor's own; an anonymous caller has nothing but the session to show.
fn is_own(scope: &TenantScope, record: &SessionRecord) -> bool {
    let actor = scope.cx().actor();
    actor.kind == ActorKind::Anonymous || actor.id == record.actor.id
}
