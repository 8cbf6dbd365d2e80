//! Keys turned, rewrapped and destroyed.
//!
//! Each change is one compare-and-swap of the scope's keyset, tried again when another writer wins.

use eonpro_core::RequestContext;
#[cfg(feature = "recovery")]
use eonpro_core::event::EmitError;
use eonpro_core::phi::Suite;
use eonpro_core::port::{DestroyedScope, KeyPurpose, SealError, SealScope};

use eonpro_core::secret::KeyBytes;
use futures_util::{Stream, StreamExt as _};

use super::{Inner, MAX_ATTEMPTS, Vault};
use crate::error::CryptoError;
use crate::events;
use crate::key_type::{KeyType, split_role};
use crate::keyset::{KeyId, KeyRole, Keyset, MAC, ScopeRecord, StoredKey};
use crate::live::Wrapping;
use crate::record;
use crate::service::{Encryption, KeyTurned, ShredApproval};
use crate::shred::ShredTarget;
use crate::state::KeyState;

/// Gets the key-encryption key of a keyset from elsewhere than a root.
pub(super) type Recovered<'a> =
    &'a (dyn Fn(&Keyset) -> Result<KeyBytes<32>, CryptoError> + Send + Sync);

/// The most failures that one [`Rewraps`] names.
const MAX_NAMED: usize = 64;

/// What [`Vault::rewrap_all`] did.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Rewraps {
    /// How many scopes have a fresh key-encryption key.
    pub rewrapped: usize,
    /// How many scopes have no keys any more, because they were shredded.
    pub shredded: usize,
    /// How many scopes failed. Their keys are wrapped as before, unless the error is
    /// [`CryptoError::Unaudited`].
    pub failures: usize,
    /// The first of them, at most 64.
    pub failed: Vec<(SealScope, CryptoError)>,
}

impl Vault {
    /// [`rewrap_keys`](Encryption::rewrap_keys) for each of `scopes`, one after another: a fresh
    /// key-encryption key wraps the data keys, which stay the same, and it is wrapped by the present root,
    /// standbys and recipients. So all keys move to another root, or come to know a new standby.
    ///
    /// One scope's failure holds up no other. Dropped, it stops between two scopes; a repeat begins anew.
    /// Two calls to the root for each scope, and more for standbys. Emits KEY-002 for each.
    pub async fn rewrap_all(
        &self,
        cx: &RequestContext,
        scopes: impl Stream<Item = SealScope> + Send,
    ) -> Rewraps {
        let mut scopes = std::pin::pin!(scopes);
        let mut done = Rewraps::default();
        while let Some(scope) = scopes.next().await {
            match self.rewrap_keys(cx, scope).await {
                Ok(_) => done.rewrapped = done.rewrapped.saturating_add(1),
                Err(CryptoError::Seal(SealError::Shredded)) => {
                    done.shredded = done.shredded.saturating_add(1);
                }
                Err(error) => {
                    done.failures = done.failures.saturating_add(1);
                    if done.failed.len() < MAX_NAMED {
                        done.failed.push((scope, error));
                    }
                }
            }
        }
        done
    }
}

impl Inner {
    pub(super) async fn turn_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
    ) -> Result<KeyTurned, CryptoError> {
        self.check_open()?;
        let role = of.role();
        if !may_turn(&role) {
            return Err(SealError::Unsupported.into());
        }
        let turned = self.commit_epoch(scope, &role, None).await?;
        let turned = turned.ok_or(CryptoError::Conflict)?;
        events::rotated(&self.emitter, cx, scope, &role, turned)
            .await
            .map_err(CryptoError::Unaudited)?;
        Ok(turned)
    }

    /// Commits a new epoch. With `only_if`, only while that key is the primary: `None` if another writer
    /// was quicker, whose keys are then at hand. Such an epoch is stored as not announced, so that
    /// its audit entry is made up for by `provision` if this process does not live to make it.
    pub(super) async fn commit_epoch(
        &self,
        scope: SealScope,
        role: &str,
        only_if: Option<KeyId>,
    ) -> Result<Option<KeyTurned>, CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let expires = self.lease();
            slot.begin_fetch();
            let (mut keyset, version) = self.keysets.live(scope).await?;
            let present = keyset.primary(&KeyRole::data(role)).map(|key| key.id);
            if present.is_none() {
                return Err(SealError::UnknownKey.into());
            }
            let kek = self.wrapping_key(scope, &keyset).await?;
            if only_if.is_some() && only_if != present {
                self.unlock(scope, &slot, &keyset, &kek, version, expires)?;
                return Ok(None);
            }
            let mut key = self.fresh_data_key(scope, &keyset, &kek, role)?;
            // KEY-002 tells of it.
            key.announced = only_if.is_none();
            let turned = install(&mut keyset, key, KeyState::DecryptOnly)?;
            let record = ScopeRecord::Live(keyset.clone());
            let version = match self.keysets.replace(scope, Some(version), &record).await {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            };
            self.put_at_hand(scope, &slot, &keyset, &kek, version, expires);
            return Ok(Some(turned));
        }
        Err(CryptoError::Conflict)
    }

    /// Rewraps a scope whose root is lost. `false` if the present root opens it: it is back already.
    #[cfg(feature = "recovery")]
    pub(crate) async fn recover(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        identity: &crate::recovery::RecoveryIdentity,
    ) -> Result<bool, CryptoError> {
        let (keyset, _) = self.keysets.live(scope).await?;
        if self.wrapping_key(scope, &keyset).await.is_ok() {
            return Ok(false);
        }
        let unwrap = |keyset: &Keyset| identity.unwrap(scope, keyset);
        let turned = self.commit_rewrap(scope, Some(&unwrap)).await?;
        let told = events::rotated(&self.emitter, cx, scope, KeyRole::Wrapping.name(), turned);
        match told.await {
            Ok(()) => Ok(true),
            // The log needs the system's keys before it can be there.
            Err(EmitError::NotAttached) if scope == SealScope::System => Ok(true),
            Err(error) => Err(CryptoError::Unaudited(error)),
        }
    }

    pub(super) async fn rewrap_keys(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<KeyTurned, CryptoError> {
        self.check_open()?;
        let turned = self.commit_rewrap(scope, None).await?;
        events::rotated(&self.emitter, cx, scope, KeyRole::Wrapping.name(), turned)
            .await
            .map_err(CryptoError::Unaudited)?;
        Ok(turned)
    }

    /// With `recovered`, the old key-encryption key comes from there and not from a root.
    pub(super) async fn commit_rewrap(
        &self,
        scope: SealScope,
        recovered: Option<Recovered<'_>>,
    ) -> Result<KeyTurned, CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let expires = self.lease();
            slot.begin_fetch();
            let (before, version) = self.keysets.live(scope).await?;
            let old_kek = match recovered {
                Some(recovered) => recovered(&before)?,
                None => self.wrapping_key(scope, &before).await?,
            };
            let root = self.roots.wrapping(scope);
            let fresh = self.fresh_wrapping_key(scope, &*root, &before).await?;
            let (mut new_key, new_kek) = (fresh.stored, fresh.kek);
            new_key.announced = true;

            let old = Wrapping::new(scope.tenant(), before.wrapping()?.id, &old_kek);
            let new = Wrapping::new(scope.tenant(), new_key.id, &new_kek);
            let mut after = before.clone();
            let turned = install(&mut after, new_key, KeyState::Destroyed)?;
            after.root = root.id().as_str().into();
            after.also = fresh.also;
            for stored in after.data_keys_mut() {
                let key = old.unwrap(stored)?;
                stored.wrapped = new.wrap(&stored.role, stored.epoch, stored.id, &key)?;
            }
            let bytes = record::encode(&ScopeRecord::Live(after))?;
            let proven = self.prove_rewrapped(scope, &before, &old, &bytes).await?;
            let version = match self
                .keysets
                .replace_bytes(scope, Some(version), bytes)
                .await
            {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            };
            self.put_at_hand(scope, &slot, &proven, &new_kek, version, expires);
            return Ok(turned);
        }
        Err(CryptoError::Conflict)
    }

    /// Reads the very bytes that will be committed, unwraps every key from them by way of the root,
    /// and compares it in constant time with what the old wrapping gives.
    async fn prove_rewrapped(
        &self,
        scope: SealScope,
        before: &Keyset,
        old: &Wrapping,
        bytes: &[u8],
    ) -> Result<Keyset, CryptoError> {
        let ScopeRecord::Live(after) = record::decode(bytes)? else {
            return Err(CryptoError::Unverified);
        };
        let new_kek = self.wrapping_key(scope, &after).await?;
        let new = Wrapping::new(scope.tenant(), after.wrapping()?.id, &new_kek);
        let mut proven = 0;
        for was in before.data_keys() {
            let is = after.data_keys().find(|key| key.id == was.id);
            let is = is.ok_or(CryptoError::Unverified)?;
            let same = old.unwrap(was)? == new.unwrap(is)?;
            if !same || is.state != was.state || is.role != was.role {
                return Err(CryptoError::Unverified);
            }
            proven += 1;
        }
        if proven != after.data_keys().count()
            || after.indexes != before.indexes
            || !before.keys.iter().all(|key| after.has(key.id))
        {
            return Err(CryptoError::Unverified);
        }
        Ok(after)
    }

    pub(super) async fn shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        approval: ShredApproval,
    ) -> Result<DestroyedScope, CryptoError> {
        self.check_open()?;
        self.check_unheld(scope, ShredTarget::Tenant).await?;
        if let Some((ScopeRecord::Live(keyset), _)) = self.keysets.find(scope).await? {
            events::destroyed(&self.emitter, cx, scope, keyset.wrapping()?, approval)
                .await
                .map_err(CryptoError::Unrecorded)?;
        }
        let keys = self.bury_scope(scope, None).await?.len() as u64;
        self.tell_others(scope, ShredTarget::Tenant).await;
        self.close_epochs(cx, scope).await?;
        Ok(DestroyedScope {
            keys,
            exposure: self.config.cache_ttl,
        })
    }
}

/// Whether a purpose's key may have a second epoch. The results of search and MAC keys are stored and
/// compared: a new epoch would lose every hit.
pub(super) fn may_turn(role: &str) -> bool {
    let (purpose, suite) = split_role(role);
    purpose != KeyPurpose::SEARCH.as_str() && purpose != MAC && suite != Suite::Deterministic
}

fn install(
    keyset: &mut Keyset,
    key: StoredKey,
    retired: KeyState,
) -> Result<KeyTurned, CryptoError> {
    let (new, epoch): (KeyId, u64) = (key.id, key.epoch);
    let old = keyset.install(key, retired)?;
    let old = old.ok_or(CryptoError::Record("no key to turn"))?;
    Ok(KeyTurned { old, new, epoch })
}
