//! The vault as applications see it: the service trait `Encryption`.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::phi::{Column, IndexDef, Table};
use eonpro_core::port::{DestroyedScope, SealScope};
use eonpro_core::{RequestContext, TenantScope, task};

use super::indexing::Move;
use super::{Inner, Vault};
use crate::cipher::TenantCipher;
use crate::error::CryptoError;
use crate::index_status::{IndexScan, IndexStatus};
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyState};
use crate::primitives::CryptoProfile;
use crate::service::{Encryption, KeyStatus, KeyTurned, ShredApproval};
use crate::state::Means;

impl Vault {
    /// Runs a change of keys to its end and reports it, even if the caller goes away.
    pub(super) async fn change<T, F>(
        &self,
        name: &'static str,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T, CryptoError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CryptoError>> + Send + 'static,
    {
        let timer = self.inner.timer(name);
        let done = task::outlive(work(Arc::clone(&self.inner))).await;
        timer.end(done.unwrap_or_else(|lost| Err(lost.into())))
    }
}

#[async_trait]
impl Encryption for Vault {
    async fn warm(&self, scope: &TenantScope) -> Result<TenantCipher, CryptoError> {
        let timer = self.inner.timer("warm");
        let live = timer.end(self.inner.rested(SealScope::from(scope)).await)?;
        Ok(self.inner.cipher(scope, live))
    }

    async fn warm_for(
        &self,
        scope: &TenantScope,
        types: &[KeyType],
    ) -> Result<TenantCipher, CryptoError> {
        let timer = self.inner.timer("warm");
        let live = self.inner.live_for(SealScope::from(scope), types).await;
        Ok(self.inner.cipher(scope, timer.end(live)?))
    }

    async fn allow_low_cardinality(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        table: Table,
        column: Column,
    ) -> Result<(), CryptoError> {
        let cx = cx.clone();
        self.change("allow_low_cardinality", |inner| async move {
            inner.allow_low_cardinality(&cx, scope, table, column).await
        })
        .await
    }

    fn profile(&self) -> CryptoProfile {
        self.inner.config.primitives.profile()
    }

    async fn turn_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
    ) -> Result<KeyTurned, CryptoError> {
        let cx = cx.clone();
        self.change("turn_epoch", |inner| async move {
            inner.turn_epoch(&cx, scope, of).await
        })
        .await
    }

    async fn rewrap_keys(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<KeyTurned, CryptoError> {
        let cx = cx.clone();
        self.change("rewrap_keys", |inner| async move {
            inner.rewrap_keys(&cx, scope).await
        })
        .await
    }

    async fn shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        approval: ShredApproval,
    ) -> Result<DestroyedScope, CryptoError> {
        let cx = cx.clone();
        self.change("shred", |inner| async move {
            inner.shred(&cx, scope, approval).await
        })
        .await
    }

    async fn set_key_state(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        key: KeyId,
        to: KeyState,
    ) -> Result<KeyState, CryptoError> {
        let cx = cx.clone();
        self.change("set_key_state", |inner| async move {
            inner.set_key_state(&cx, scope, key, to, Means::Call).await
        })
        .await
    }

    async fn destroy_key(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        key: KeyId,
        approval: ShredApproval,
    ) -> Result<(), CryptoError> {
        let cx = cx.clone();
        self.change("destroy_key", |inner| async move {
            inner.destroy_key(&cx, scope, key, approval).await
        })
        .await
    }

    fn is_stale(&self, scope: SealScope, sealed: &[u8]) -> bool {
        let fresh = self.inner.cache.slot(scope).fresh(self.inner.now());
        fresh.is_some_and(|live| live.is_stale(sealed))
    }

    async fn keys(&self, scope: SealScope) -> Result<Vec<KeyStatus>, CryptoError> {
        let timer = self.inner.timer("keys");
        let found = match self.inner.check_open() {
            Ok(()) => self.inner.keysets.live(scope).await,
            Err(closed) => Err(closed),
        };
        let (keyset, _) = timer.end(found)?;
        let status = keyset.keys.into_iter().map(|key| KeyStatus {
            id: key.id,
            role: key.role,
            epoch: key.epoch,
            state: key.state,
            created: key.created,
        });
        Ok(status.collect())
    }
    async fn index_status(
        &self,
        scope: SealScope,
        index: &IndexDef,
    ) -> Result<IndexStatus, CryptoError> {
        let timer = self.inner.timer("index_status");
        let found = match self.inner.check_open() {
            Ok(()) => self.inner.keysets.live(scope).await,
            Err(closed) => Err(closed),
        };
        let (keyset, _) = timer.end(found)?;
        Ok(keyset.index_status(index))
    }

    async fn begin_index_rotation(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
    ) -> Result<IndexStatus, CryptoError> {
        let (cx, index) = (cx.clone(), *index);
        self.change("begin_index_rotation", |inner| async move {
            inner.move_index(&cx, scope, &index, Move::Begin).await
        })
        .await
    }

    async fn finish_index_rotation(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
        scan: IndexScan,
    ) -> Result<IndexStatus, CryptoError> {
        let (cx, index) = (cx.clone(), *index);
        self.change("finish_index_rotation", |inner| async move {
            inner
                .move_index(&cx, scope, &index, Move::Finish(scan))
                .await
        })
        .await
    }

    async fn retire_index_version(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
        scan: IndexScan,
    ) -> Result<IndexStatus, CryptoError> {
        let (cx, index) = (cx.clone(), *index);
        self.change("retire_index_version", |inner| async move {
            inner
                .move_index(&cx, scope, &index, Move::Retire(scan))
                .await
        })
        .await
    }
}
