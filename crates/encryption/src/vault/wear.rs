//! Epochs that turn because they are old or have sealed enough.
//!
//! Invariant: nothing that seals ever waits for the audit log here, because the log itself seals. The
//! entry of an epoch that turned by itself is made in a task of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eonpro_core::RequestContext;
use eonpro_core::phi::Suite;
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::task;
use futures_util::{Stream, StreamExt as _};

use super::turning::may_turn;
use super::{Inner, Vault};
use crate::alarm::system_context;
use crate::error::CryptoError;
use crate::events;
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyRole, StoredKey};
use crate::live::LiveKeys;
use crate::service::KeyTurned;
use crate::state::KeyState;
use crate::usage::Wear;

impl Vault {
    /// Begins a new epoch for every purpose of the scope whose key is as old as
    /// [`max_key_age`](crate::EncryptionConfig::max_key_age), or has sealed nearly what it may. For a
    /// scheduler: call it for each scope once a day or so. Search and MAC keys never turn.
    ///
    /// Of several processes one turns each key, the others find nothing due. A dropped call goes on to
    /// its end. Emits KEY-002 for each.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Shredded`]; [`CryptoError::Unaudited`] if an epoch
    /// stands without its entry, which the next [`provision`](eonpro_core::port::Sealer::provision)
    /// makes up for; errors of the store and of the root key.
    pub async fn turn_due(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<Vec<KeyTurned>, CryptoError> {
        let timer = self.inner.timer("turn_due");
        let (inner, cx) = (Arc::clone(&self.inner), cx.clone());
        let done = task::outlive(async move { inner.turn_due(&cx, scope).await }).await;
        timer.end(done.unwrap_or_else(|lost| Err(lost.into())))
    }

    /// [`Self::turn_due`] for each of `scopes`, one after another; returns how many epochs began and in
    /// how many scopes the call failed. The vault does not know which scopes exist: the directory of
    /// tenants does. Dropped, it stops between two scopes.
    pub async fn turn_due_all(
        &self,
        cx: &RequestContext,
        scopes: impl Stream<Item = SealScope> + Send,
    ) -> (usize, usize) {
        let mut scopes = std::pin::pin!(scopes);
        let (mut turned, mut failed) = (0, 0);
        while let Some(scope) = scopes.next().await {
            match self.turn_due(cx, scope).await {
                Ok(some) => turned += some.len(),
                Err(_) => failed += 1,
            }
        }
        (turned, failed)
    }
}

impl Inner {
    /// The scope's keys, after a purpose whose key is used up got another one where it can.
    pub(super) async fn rested(
        self: &Arc<Self>,
        scope: SealScope,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let mut live = self.live(scope).await?;
        // A cipher seals records; whatever else it seals turns through `Sealer::seal`.
        for suite in Suite::ALL {
            let of = KeyType {
                purpose: KeyPurpose::RECORDS,
                suite,
            };
            live = self.unworn(scope, of, live).await?;
        }
        Ok(live)
    }

    /// `live`, or newer keys if the purpose's key has sealed what it may.
    pub(super) async fn unworn(
        self: &Arc<Self>,
        scope: SealScope,
        of: KeyType,
        live: Arc<LiveKeys>,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let Some(key) = live.primary(of.purpose.as_str(), of.suite) else {
            return Ok(live);
        };
        match key.usage.wear() {
            Wear::Fresh => return Ok(live),
            _ if !may_turn(&of.role()) => return Ok(live),
            Wear::Due => {
                self.turn_in_background(scope, of, key.id);
                return Ok(live);
            }
            Wear::Spent => {}
        }
        let (this, old) = (Arc::clone(self), key.id);
        let turned = task::outlive(async move { this.turn_worn(scope, of, old).await }).await;
        // Whoever was quicker, or the store in the way: what is at hand now decides.
        match turned {
            Ok(Ok(())) => self.live(scope).await,
            Ok(Err(_)) | Err(_) => Err(SealError::LimitExceeded.into()),
        }
    }

    fn turn_in_background(self: &Arc<Self>, scope: SealScope, of: KeyType, old: KeyId) {
        let slot = self.cache.slot(scope);
        if slot.turning.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        let _detached = task::start(async move {
            // A failure shows at the bound itself, where it is an error of the one who seals.
            let _tried_again_later = this.turn_worn(scope, of, old).await;
            slot.turning.store(false, Ordering::Release);
        });
    }

    async fn turn_worn(
        self: &Arc<Self>,
        scope: SealScope,
        of: KeyType,
        old: KeyId,
    ) -> Result<(), CryptoError> {
        let role = of.role();
        let turned = self.commit_epoch(scope, &role, Some(old)).await?;
        if let Some(turned) = turned {
            let this = Arc::clone(self);
            let _detached = task::start(async move {
                let cx = system_context(&this.emitter);
                if this.tell_turned(&cx, scope, &role, turned).await.is_err() {
                    this.alarms.count_lost();
                }
            });
        }
        Ok(())
    }

    async fn turn_due(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<Vec<KeyTurned>, CryptoError> {
        self.check_open()?;
        let (keyset, _) = self.keysets.live(scope).await?;
        let usages = &self.cache.slot(scope);
        let live = usages.get();
        let is_worn = |key: &StoredKey| {
            let known = live.as_ref().and_then(|live| live.key(key.id));
            known.is_some_and(|key| key.usage.wear() != Wear::Fresh)
        };
        let now = self.emitter.clock().wall();
        let is_old = |key: &StoredKey| now.since(key.created) >= self.config.max_key_age;
        let mut all = Vec::new();
        for key in &keyset.keys {
            let KeyRole::Data(role) = &key.role else {
                continue;
            };
            let seals = key.state == KeyState::Primary && may_turn(role);
            if !seals || !(is_old(key) || is_worn(key)) {
                continue;
            }
            if let Some(turned) = self.commit_epoch(scope, role, Some(key.id)).await? {
                self.tell_turned(cx, scope, role, turned).await?;
                all.push(turned);
            }
        }
        Ok(all)
    }

    /// KEY-002, and a note that it was told.
    async fn tell_turned(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        role: &str,
        turned: KeyTurned,
    ) -> Result<(), CryptoError> {
        events::rotated(&self.emitter, cx, scope, role, turned)
            .await
            .map_err(CryptoError::Unaudited)?;
        let slot = self.cache.slot(scope);
        self.mark_announced(scope, &slot, &[turned.new]).await
    }
}
