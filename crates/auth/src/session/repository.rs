//! The session records of a tenant: every write is a compare-and-swap, and none of them inserts
//! but the one that opens.

use eonpro_core::TenantScope;
use eonpro_core::id::{ActorId, PublicId as _, SessionId, TenantId};
use eonpro_core::port::kv::{Key, Transaction, Version};
use eonpro_core::time::Timestamp;

use super::EndReason;
use super::record::{ActorSessions, SessionRecord, SessionState};
use crate::config::SessionPolicy;
use crate::error::AuthError;
use crate::state::{MAX_ATTEMPTS, State, actor_key, encode, key, unchanged};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    state: State,
    policy: SessionPolicy,
}

impl Sessions {
    pub(crate) fn new(state: State, policy: SessionPolicy) -> Self {
        Self { state, policy }
    }

    pub(crate) fn policy(&self) -> &SessionPolicy {
        &self.policy
    }

    /// Opens `record`, in one step with the count of its actor's sessions.
    pub(crate) async fn open(
        &self,
        scope: &TenantScope,
        id: SessionId,
        record: &SessionRecord,
    ) -> Result<(), AuthError> {
        let tenant = scope.tenant();
        let (at, list_at) = (session_key(id)?, actor_key("actor", &record.actor.id)?);
        for _ in 0..MAX_ATTEMPTS {
            let read = self.state.load::<ActorSessions>(tenant, &list_at).await?;
            let (mut list, version) =
                read.map_or_else(Default::default, |(list, at)| (list, Some(at)));
            self.make_room(tenant, &mut list, record.opened).await?;
            list.entries.push((id, record.absolute_until));
            let tx = unchanged(Transaction::new(), &list_at, version)
                .require_absent(at.clone())
                .put_until(at.clone(), encode(record)?, self.keep_until(record))
                .put_until(list_at.clone(), encode(&list)?, self.keep_list_until(&list));
            match self.state.commit(tenant, tx).await {
                Err(AuthError::Contended) => {}
                other => return other.map(|_| ()),
            }
        }
        Err(AuthError::Contended)
    }

    /// Drops what is over from `list` until one more fits.
    async fn make_room(
        &self,
        tenant: TenantId,
        list: &mut ActorSessions,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        list.entries.retain(|(_, until)| now < *until);
        if list.entries.len() < self.policy.per_actor {
            return Ok(());
        }
        let mut alive = Vec::with_capacity(list.entries.len());
        for entry in &list.entries {
            let found = self.load(tenant, entry.0).await?;
            if found.is_some_and(|(record, _)| {
                record.state_at(&self.policy, now) == SessionState::Active
            }) {
                alive.push(*entry);
            }
        }
        if alive.len() >= self.policy.per_actor {
            return Err(AuthError::TooManySessions);
        }
        list.entries = alive;
        Ok(())
    }

    /// The record of `id`, alive or not.
    pub(crate) async fn load(
        &self,
        tenant: TenantId,
        id: SessionId,
    ) -> Result<Option<(SessionRecord, Version)>, AuthError> {
        self.state.load(tenant, &session_key(id)?).await
    }

    /// Replaces the record that was read at `version`; never inserts.
    ///
    /// # Errors
    /// [`AuthError::Contended`] if it has changed or is gone since.
    pub(crate) async fn save(
        &self,
        tenant: TenantId,
        id: SessionId,
        record: &SessionRecord,
        version: Version,
    ) -> Result<(), AuthError> {
        let at = session_key(id)?;
        let tx = Transaction::new().require(at.clone(), version).put_until(
            at,
            encode(record)?,
            self.keep_until(record),
        );
        self.state.commit(tenant, tx).await.map(|_| ())
    }

    /// Ends `id` for `reason`, leaving a tombstone, and hands out what it ended. `None` if there is
    /// no such session, or it was over already.
    pub(crate) async fn end(
        &self,
        tenant: TenantId,
        id: SessionId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, AuthError> {
        let at = session_key(id)?;
        for _ in 0..MAX_ATTEMPTS {
            let Some((record, version)) = self.load(tenant, id).await? else {
                return Ok(None);
            };
            let Some(ended) = record.ended(reason) else {
                return Ok(None);
            };
            let tx = Transaction::new().require(at.clone(), version).put_until(
                at.clone(),
                encode(&ended)?,
                self.keep_until(&ended),
            );
            let tx = self.without(tenant, tx, &record.actor.id, id, now).await?;
            match self.state.commit(tenant, tx).await {
                Err(AuthError::Contended) => {}
                Err(other) => return Err(other),
                Ok(_) => return Ok(Some(ended)),
            }
        }
        Err(AuthError::Contended)
    }

    /// `tx`, also taking `id` off its actor's list.
    async fn without(
        &self,
        tenant: TenantId,
        tx: Transaction,
        actor: &ActorId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Transaction, AuthError> {
        let at = actor_key("actor", actor)?;
        let Some((mut list, version)) = self.state.load::<ActorSessions>(tenant, &at).await? else {
            return Ok(tx);
        };
        list.entries
            .retain(|(other, until)| *other != id && now < *until);
        let tx = tx.require(at.clone(), version);
        if list.entries.is_empty() {
            return Ok(tx.delete(at));
        }
        Ok(tx.put_until(at, encode(&list)?, self.keep_list_until(&list)))
    }

    /// The sessions on the list of `actor`, alive or not; at most the policy's bound.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        actor: &ActorId,
    ) -> Result<Vec<(SessionId, SessionRecord)>, AuthError> {
        let at = actor_key("actor", actor)?;
        let list = self.state.load::<ActorSessions>(tenant, &at).await?;
        let mut out = Vec::new();
        for (id, _) in list.map_or_else(Vec::new, |(list, _)| list.entries) {
            if let Some((record, _)) = self.load(tenant, id).await? {
                out.push((id, record));
            }
        }
        Ok(out)
    }

    // One idle window longer than the session itself, so that a session that was presented too late
    // is known as expired and audited as such.
    fn keep_until(&self, record: &SessionRecord) -> Timestamp {
        record.absolute_until.plus(self.policy.idle)
    }

    fn keep_list_until(&self, list: &ActorSessions) -> Timestamp {
        let last = list.entries.iter().map(|(_, until)| *until).max();
        last.unwrap_or(Timestamp::EPOCH).plus(self.policy.idle)
    }
}

fn session_key(id: SessionId) -> Result<Key, AuthError> {
    key("session", &id.uuid().simple().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use eonpro_core::digest::Digest;
    use eonpro_core::entropy::SeededEntropy;
    use eonpro_core::port::kv::MemoryKeyValue;
    use eonpro_core::time::ManualClock;
    use eonpro_testkit::scope;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn sessions() -> (Sessions, ManualClock) {
        let clock = ManualClock::at(NOW);
        let store = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
        let policy = SessionPolicy::default();
        (Sessions::new(State::new(store), policy), clock)
    }

    fn record(scope: &TenantScope, policy: &SessionPolicy, now: Timestamp) -> SessionRecord {
        let (cx, proof) = (scope.cx(), Digest::of(b"secret"));
        let (actor, assurance) = (cx.actor().clone(), cx.assurance().clone());
        SessionRecord::open(proof, "https://idp", actor, assurance, policy, now)
    }

    async fn opened(sessions: &Sessions, scope: &TenantScope, seed: u64) -> SessionId {
        let id = SessionId::random(&SeededEntropy::new(seed));
        let fresh = record(scope, sessions.policy(), NOW);
        sessions.open(scope, id, &fresh).await.unwrap();
        id
    }

    #[tokio::test]
    async fn a_signed_out_session_stays_signed_out_when_a_late_writer_saves() {
        let ((sessions, _), scope) = (sessions(), scope(1));
        let id = opened(&sessions, &scope, 1).await;
        let (mut late, version) = sessions.load(scope.tenant(), id).await.unwrap().unwrap();
        let ended = sessions
            .end(scope.tenant(), id, EndReason::SignedOut, NOW)
            .await;
        assert!(matches!(ended, Ok(Some(_))));
        late.seen = NOW.plus(Duration::from_secs(60));
        let saved = sessions.save(scope.tenant(), id, &late, version).await;
        assert!(matches!(saved, Err(AuthError::Contended)), "{saved:?}");
        let (found, _) = sessions.load(scope.tenant(), id).await.unwrap().unwrap();
        assert_eq!(found.state, SessionState::Ended(EndReason::SignedOut));
    }

    #[tokio::test]
    async fn a_late_writer_finds_no_free_place_after_the_tombstone_is_gone_either() {
        let ((sessions, clock), scope) = (sessions(), scope(1));
        let id = opened(&sessions, &scope, 1).await;
        let (late, version) = sessions.load(scope.tenant(), id).await.unwrap().unwrap();
        clock.advance(Duration::from_secs(13 * 3600));
        assert!(sessions.load(scope.tenant(), id).await.unwrap().is_none());
        let saved = sessions.save(scope.tenant(), id, &late, version).await;
        assert!(matches!(saved, Err(AuthError::Contended)), "{saved:?}");
    }

    #[tokio::test]
    async fn the_list_of_an_actor_is_bounded_and_makes_room_for_what_is_over() {
        let ((sessions, clock), scope) = (sessions(), scope(1));
        let first = opened(&sessions, &scope, 0).await;
        for seed in 1..16 {
            opened(&sessions, &scope, seed).await;
        }
        let id = SessionId::random(&SeededEntropy::new(99));
        let fresh = record(&scope, sessions.policy(), NOW);
        let refused = sessions.open(&scope, id, &fresh).await;
        assert!(matches!(refused, Err(AuthError::TooManySessions)));
        let tenant = scope.tenant();
        sessions
            .end(tenant, first, EndReason::SignedOut, NOW)
            .await
            .unwrap();
        sessions.open(&scope, id, &fresh).await.unwrap();
        clock.advance(Duration::from_secs(16 * 60));
        let later = record(
            &scope,
            sessions.policy(),
            NOW.plus(Duration::from_secs(16 * 60)),
        );
        let after_idle = SessionId::random(&SeededEntropy::new(100));
        sessions.open(&scope, after_idle, &later).await.unwrap();
        let actor = &scope.cx().actor().id;
        assert_eq!(sessions.list(tenant, actor).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_record_of_an_unknown_version_is_an_error_and_not_absent() {
        let ((sessions, _), scope) = (sessions(), scope(1));
        let id = opened(&sessions, &scope, 1).await;
        let at = session_key(id).unwrap();
        let tx = Transaction::new().put(at, &b"\x02{}"[..]);
        sessions.state.commit(scope.tenant(), tx).await.unwrap();
        let read = sessions.load(scope.tenant(), id).await;
        assert!(matches!(read, Err(AuthError::Record)));
    }
}
