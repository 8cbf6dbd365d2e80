//! How a scope comes by its keys, and how the audit log hears of each.
//!
//! A key is stored as *unannounced* and becomes announced once KEY-001 is recorded; until then each
//! call of `provision` announces it again. So no key stays unrecorded, whatever fails in between. The
//! system's own keys must exist before the audit log does: for them alone a missing log is no error.

use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::event::EmitError;
use eonpro_core::phi::Suite;
use eonpro_core::port::{SealError, SealScope};
use eonpro_core::secret::KeyBytes;
use eonpro_core::task;
use futures_util::future::join_all;

use super::{Inner, MAX_ATTEMPTS};
use crate::alarm::system_context;
use crate::cache::Slot;
use crate::error::CryptoError;
use crate::events;
use crate::key_type::{KeyType, split_role};
use crate::keyset::{AlsoWrapped, KeyId, KeyRole, Keyset, STANDARD, ScopeRecord, StoredKey};
use crate::live::{LiveKeys, Wrapping};
use crate::material::KeyMaterial;
use crate::random::{fill_random, random_key};
use crate::root::{RootKey, WrapContext};
use crate::state::KeyState;

impl Inner {
    /// Creates what is missing of the standard keys, and announces what was not announced.
    pub(super) async fn provision(&self, scope: SealScope) -> Result<(), CryptoError> {
        self.check_open()?;
        let slot = self.cache.slot(scope);
        let _alone = slot.onboarding.lock().await;
        if let Some(live) = slot.fresh(self.now())
            && live.is_complete()
        {
            return Ok(());
        }
        self.ensure(scope, &slot, &STANDARD).await?;
        self.announce(scope, &slot).await
    }

    /// The keys to seal with; a type that has no key yet gets its first.
    pub(super) async fn sealing(
        self: &Arc<Self>,
        scope: SealScope,
        of: KeyType,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let live = self.live(scope).await?;
        if may_seal(&live, scope, of) {
            return self.unworn(scope, of, live).await;
        }
        let this = Arc::clone(self);
        let added = task::outlive(async move { this.add_type(scope, of).await });
        added.await??;
        self.live(scope).await
    }

    async fn add_type(&self, scope: SealScope, of: KeyType) -> Result<(), CryptoError> {
        let slot = self.cache.slot(scope);
        let _alone = slot.onboarding.lock().await;
        if let Some(live) = slot.fresh(self.now())
            && may_seal(&live, scope, of)
        {
            return Ok(());
        }
        self.ensure(scope, &slot, &[&of.role()]).await?;
        self.announce(scope, &slot).await
    }

    async fn ensure(
        &self,
        scope: SealScope,
        slot: &Slot,
        purposes: &[&str],
    ) -> Result<(), CryptoError> {
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let expires = self.lease();
            slot.begin_fetch();
            let (mut keyset, before, kek) = match self.keysets.find(scope).await? {
                None => {
                    let (keyset, kek) = self.fresh_keyset(scope).await?;
                    (keyset, None, kek)
                }
                Some((ScopeRecord::Shredded(_), _)) => return Err(SealError::Shredded.into()),
                Some((ScopeRecord::Live(keyset), version)) => {
                    let kek = self.wrapping_key(scope, &keyset).await?;
                    (keyset, Some(version), kek)
                }
            };
            let missing: Vec<_> = purposes.iter().filter(|name| keyset.lacks(name)).collect();
            let version = match before {
                Some(version) if missing.is_empty() => version,
                _ => {
                    for purpose in missing {
                        let key = self.fresh_data_key(scope, &keyset, &kek, purpose)?;
                        keyset.install(key, KeyState::DecryptOnly)?;
                    }
                    let record = ScopeRecord::Live(keyset.clone());
                    match self.keysets.replace(scope, before, &record).await {
                        Err(CryptoError::Conflict) => continue,
                        other => other?,
                    }
                }
            };
            self.unlock(scope, slot, &keyset, &kek, version, expires)?;
            return Ok(());
        }
        Err(CryptoError::Conflict)
    }

    /// Tells KEY-001 of each key that is not announced yet, all at once so that the log's group
    /// commit takes them together.
    async fn announce(&self, scope: SealScope, slot: &Slot) -> Result<(), CryptoError> {
        let cx = system_context(&self.emitter);
        self.announce_for(&cx, scope, slot).await
    }

    /// As [`Self::announce`], in the name of whoever made the keys.
    pub(super) async fn announce_for(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        slot: &Slot,
    ) -> Result<(), CryptoError> {
        let (keyset, _) = self.keysets.live(scope).await?;
        let pending: Vec<&StoredKey> = keyset
            .keys
            .iter()
            .filter(|key| !key.announced && key.state != KeyState::Destroyed)
            .collect();
        if pending.is_empty() {
            return Ok(());
        }
        let root = self.roots.named(scope, &keyset.root);
        let custody = root.ok_or(CryptoError::RootMismatch)?.name();
        let told = pending
            .iter()
            .map(|key| events::created(&self.emitter, cx, scope, key, custody));
        for outcome in join_all(told).await {
            match outcome {
                Ok(()) => {}
                Err(EmitError::NotAttached) if scope == SealScope::System => return Ok(()),
                Err(error) => return Err(CryptoError::Unaudited(error)),
            }
        }
        let told: Vec<KeyId> = pending.iter().map(|key| key.id).collect();
        self.mark_announced(scope, slot, &told).await
    }

    pub(super) async fn mark_announced(
        &self,
        scope: SealScope,
        slot: &Slot,
        told: &[KeyId],
    ) -> Result<(), CryptoError> {
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let (mut keyset, version) = self.keysets.live(scope).await?;
            for key in &mut keyset.keys {
                key.announced |= told.contains(&key.id);
            }
            let record = ScopeRecord::Live(keyset);
            match self.keysets.replace(scope, Some(version), &record).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    if let Some(live) = slot.get() {
                        live.mark_announced(told);
                    }
                    return Ok(());
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    async fn fresh_keyset(&self, scope: SealScope) -> Result<(Keyset, KeyBytes<32>), CryptoError> {
        let root = self.roots.wrapping(scope);
        let mut keyset = Keyset {
            root: root.id().as_str().into(),
            keys: Vec::new(),
            pruned: Vec::new(),
            also: Vec::new(),
            low_cardinality: Vec::new(),
            indexes: Vec::new(),
        };
        let FreshKek { stored, also, kek } =
            self.fresh_wrapping_key(scope, &*root, &keyset).await?;
        keyset.also = also;
        keyset.install(stored, KeyState::Destroyed)?;
        Ok((keyset, kek))
    }

    /// A fresh key-encryption key, wrapped under `root`, and proven to unwrap.
    pub(super) async fn fresh_wrapping_key(
        &self,
        scope: SealScope,
        root: &dyn RootKey,
        keyset: &Keyset,
    ) -> Result<FreshKek, CryptoError> {
        let id = fresh_id(keyset)?;
        let kek = random_key()?;
        let context = WrapContext { scope, key: id };
        let wrapped = root.wrap(&kek, &context).await?;
        if root.unwrap(&wrapped, &context).await? != kek {
            return Err(CryptoError::Unverified);
        }
        let stored = StoredKey {
            id,
            role: KeyRole::Wrapping,
            epoch: keyset.next_epoch(&KeyRole::Wrapping),
            state: KeyState::Primary,
            created: self.emitter.clock().wall(),
            wrapped,
            announced: false,
        };
        let also = self.roots.wrap_also(root, &kek, &context).await?;
        Ok(FreshKek { stored, also, kek })
    }

    /// A fresh data key of the next epoch, wrapped.
    pub(super) fn fresh_data_key(
        &self,
        scope: SealScope,
        keyset: &Keyset,
        kek: &KeyBytes<32>,
        purpose: &str,
    ) -> Result<StoredKey, CryptoError> {
        let id = fresh_id(keyset)?;
        let role = KeyRole::data(purpose);
        let epoch = keyset.next_epoch(&role);
        let wrapping = Wrapping::new(scope.tenant(), keyset.wrapping()?.id, kek);
        let (_, suite) = split_role(purpose);
        let wrapped = wrapping.wrap(&role, epoch, id, &KeyMaterial::random(suite)?)?;
        Ok(StoredKey {
            id,
            role,
            epoch,
            state: KeyState::Primary,
            created: self.emitter.clock().wall(),
            wrapped,
            announced: false,
        })
    }
}

/// A key-encryption key that was just made.
pub(super) struct FreshKek {
    pub(super) stored: StoredKey,
    pub(super) also: Vec<AlsoWrapped>,
    pub(super) kek: KeyBytes<32>,
}

/// A standard key may seal at once: the scope's onboarding fails if it stays unannounced. A further
/// one seals only once the audit log knows it.
fn may_seal(live: &LiveKeys, scope: SealScope, of: KeyType) -> bool {
    let purpose = of.purpose.as_str();
    let standard = of.suite == Suite::Standard && STANDARD.contains(&purpose);
    live.primary(purpose, of.suite)
        .is_some_and(|key| key.is_announced() || scope == SealScope::System || standard)
}

fn fresh_id(keyset: &Keyset) -> Result<KeyId, CryptoError> {
    loop {
        let mut bytes = [0; 4];
        fill_random(&mut bytes)?;
        let id = KeyId::from_be_bytes(bytes);
        if id != KeyId::AT_HAND && !keyset.has(id) {
            return Ok(id);
        }
    }
}
