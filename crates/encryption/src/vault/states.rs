//! One data key put into another state, or destroyed: each a compare-and-swap of the scope's keyset. And the
//! keys at hand after a change, which stands whatever becomes of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use eonpro_core::port::kv::Version;
use eonpro_core::port::{SealError, SealScope};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::Monotonic;
use eonpro_core::{RequestContext, task};

use super::{Inner, MAX_ATTEMPTS};
use crate::cache::Slot;
use crate::error::CryptoError;
use crate::events;
use crate::keyset::{KeyId, KeyRole, Keyset, ScopeRecord, StoredKey};
use crate::service::ShredApproval;
use crate::shred::ShredTarget;
use crate::state::{KeyState, Means};
use crate::subject::{SUBJECT, SubjectRecord};

impl Inner {
    /// Puts a data key into another state by the means at hand. Returns the state from before.
    pub(crate) async fn set_key_state(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        id: KeyId,
        to: KeyState,
        means: Means,
    ) -> Result<KeyState, CryptoError> {
        self.check_open()?;
        if to == KeyState::Drained {
            let (keyset, _) = self.keysets.live(scope).await?;
            if let Some(stored) = keyset.keys.iter().find(|key| key.id == id) {
                self.check_subjects_elsewhere(scope, stored).await?;
            }
        }
        let (from, now) = self.commit_state(scope, id, to, means).await?;
        // Told also where nothing changed: the call that changed it may have died before it told.
        if !to.opens() {
            self.tell_others(scope, ShredTarget::Tenant).await;
        }
        if let Some(now) = now
            && to.comes_by(means)
        {
            events::state_changed(&self.emitter, cx, scope, &now, from)
                .await
                .map_err(CryptoError::Unaudited)?;
        }
        Ok(from)
    }

    pub(super) async fn destroy_key(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        id: KeyId,
        approval: ShredApproval,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        self.check_approvers(&approval)?;
        let (keyset, _) = self.keysets.live(scope).await?;
        if is_destroyed(&keyset, id)? {
            // The call that destroyed it may have died before it told.
            self.tell_others(scope, ShredTarget::Tenant).await;
            return Ok(());
        }
        let stored = data_key(&keyset, id)?;
        allow(stored, KeyState::Destroyed, Means::Approval)?;
        // A hold keeps what only this key still opens, in backups, too.
        self.check_unheld(scope, ShredTarget::Tenant).await?;
        self.check_subjects_elsewhere(scope, stored).await?;
        events::key_destroyed(&self.emitter, cx, scope, stored, approval)
            .await
            .map_err(CryptoError::Unrecorded)?;
        self.commit_state(scope, id, KeyState::Destroyed, Means::Approval)
            .await?;
        self.tell_others(scope, ShredTarget::Tenant).await;
        Ok(())
    }

    /// The key of purpose `subject` seals no values but patients' keys, which no scan of tables sees.
    async fn check_subjects_elsewhere(
        &self,
        scope: SealScope,
        stored: &StoredKey,
    ) -> Result<(), CryptoError> {
        if stored.role.name() != SUBJECT.as_str() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.shreds.subjects(scope, after).await?;
            let Some((last, ..)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            let lies_under = |record: &SubjectRecord| matches!(record, SubjectRecord::Live(key) if key.locked.dek == stored.id);
            if page.iter().any(|(_, record, _)| lies_under(record)) {
                return Err(CryptoError::KeyInUse);
            }
        }
    }

    /// As [`Self::unlock`], after a commit, which stands whatever comes of it: whoever fetches the keys next
    /// sees the same failure.
    pub(super) fn put_at_hand(
        &self,
        scope: SealScope,
        slot: &Slot,
        keyset: &Keyset,
        kek: &KeyBytes<32>,
        version: Version,
        expires: Monotonic,
    ) {
        if let Err(error) = self.unlock(scope, slot, keyset, kek, version, expires) {
            tracing::warn!(%error, "the keys at hand are those from before the change");
            slot.suspect();
        }
    }

    /// Fetches the keys behind the caller's back if those at hand are outdated, once at a time. Until then,
    /// and if their root key cannot be had, the keys at hand go on where they may.
    pub(super) fn replace_outdated(&self, scope: SealScope, slot: &Arc<Slot>) {
        let is_outdated = |slot: &Slot| slot.get().is_some_and(|live| live.is_outdated());
        if !is_outdated(slot) {
            return;
        }
        if slot.renewing.swap(true, Ordering::AcqRel) {
            // Whoever renews may have read the record from before.
            slot.suspect();
            return;
        }
        let Some(this) = self.me.get().and_then(Weak::upgrade) else {
            return;
        };
        let slot = Arc::clone(slot);
        let _detached = task::start(async move {
            let _gate = slot.gate.lock().await;
            if is_outdated(&slot)
                && this.check_open().is_ok()
                && this.fetch(scope, &slot).await.is_err()
            {
                // The next who asks tries again.
                slot.suspect();
            }
            slot.renewing.store(false, Ordering::Release);
        });
    }

    /// The state from before, and the key as it is now, unless it was pruned. Whoever holds the key here goes
    /// by its new state from then on. Needs no root key: what is committed can be told.
    async fn commit_state(
        &self,
        scope: SealScope,
        id: KeyId,
        to: KeyState,
        means: Means,
    ) -> Result<(KeyState, Option<StoredKey>), CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let (mut keyset, before) = self.keysets.live(scope).await?;
            if keyset.was_pruned(id) {
                let from = KeyState::Destroyed;
                return match to {
                    KeyState::Destroyed => Ok((from, None)),
                    _ => Err(CryptoError::KeyState { from, to }),
                };
            }
            let stored = data_key(&keyset, id)?;
            let from = stored.state;
            if from == to {
                slot.states.learn(&keyset, before);
                return Ok((from, Some(stored.clone())));
            }
            allow(stored, to, means)?;
            let now = change(&mut keyset, id, to)?;
            let version = match self.commit_keyset(scope, before, &keyset).await {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            };
            slot.states.learn(&keyset, version);
            self.replace_outdated(scope, &slot);
            return Ok((from, Some(now)));
        }
        Err(CryptoError::Conflict)
    }

    async fn commit_keyset(
        &self,
        scope: SealScope,
        before: Version,
        keyset: &Keyset,
    ) -> Result<Version, CryptoError> {
        let record = ScopeRecord::Live(keyset.clone());
        self.keysets.replace(scope, Some(before), &record).await
    }
}

fn data_key(keyset: &Keyset, id: KeyId) -> Result<&StoredKey, CryptoError> {
    let found = keyset.keys.iter().find(|key| key.id == id);
    found.ok_or_else(|| SealError::UnknownKey.into())
}

fn is_destroyed(keyset: &Keyset, id: KeyId) -> Result<bool, CryptoError> {
    Ok(keyset.was_pruned(id) || data_key(keyset, id)?.state == KeyState::Destroyed)
}

fn allow(stored: &StoredKey, to: KeyState, means: Means) -> Result<(), CryptoError> {
    let is_data = matches!(stored.role, KeyRole::Data(_));
    if is_data && stored.state.means(to) == Some(means) {
        return Ok(());
    }
    Err(CryptoError::KeyState {
        from: stored.state,
        to,
    })
}

fn change(keyset: &mut Keyset, id: KeyId, to: KeyState) -> Result<StoredKey, CryptoError> {
    let found = keyset.keys.iter_mut().find(|key| key.id == id);
    let key = found.ok_or(SealError::UnknownKey)?;
    key.state = to;
    if to == KeyState::Destroyed {
        key.wrapped.clear();
    }
    let now = key.clone();
    keyset.check()?;
    Ok(now)
}
