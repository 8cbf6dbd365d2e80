//! What a rotation needs of the vault beyond what applications get.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::RequestContext;
use eonpro_core::port::SealScope;
use eonpro_core::port::kv::KeyValue;
use eonpro_core::time::SharedClock;

use super::Vault;
use crate::error::CryptoError;
use crate::events::Refusal;
use crate::keyset::{KeyId, KeyState};
use crate::live::LiveKeys;
use crate::state::Means;

impl Vault {
    pub(crate) fn clock(&self) -> &SharedClock {
        self.inner.emitter.clock()
    }

    pub(crate) fn state(&self) -> &dyn KeyValue {
        self.inner.keysets.state()
    }

    pub(crate) fn cache_ttl(&self) -> Duration {
        self.inner.config.cache_ttl
    }

    pub(crate) fn raise(&self, cx: &RequestContext, refusal: Refusal) {
        self.inner.alarms.raise(Some(cx.clone()), refusal);
    }

    /// The scope's keys as the store has them now.
    pub(crate) async fn current_keys(
        &self,
        scope: SealScope,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        self.inner.check_open()?;
        let slot = self.inner.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        self.inner.catch_up(scope, &slot).await
    }

    /// The scope's keys, perhaps from the cache.
    pub(crate) async fn keys_at_hand(
        &self,
        scope: SealScope,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        self.inner.rested(scope).await
    }

    /// Marks a key drained. The caller has the proof.
    pub(crate) async fn mark_drained(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        key: KeyId,
    ) -> Result<(), CryptoError> {
        let cx = cx.clone();
        self.change("mark_drained", |inner| async move {
            let to = KeyState::Drained;
            inner
                .set_key_state(&cx, scope, key, to, Means::Proof)
                .await?;
            Ok(())
        })
        .await
    }
}
