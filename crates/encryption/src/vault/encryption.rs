//! The vault as applications see it: the service trait `Encryption`.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::port::{DestroyedScope, KeyPurpose, SealScope};
use eonpro_core::{RequestContext, TenantScope, task};

use super::{Inner, Vault};
use crate::cipher::TenantCipher;
use crate::error::CryptoError;
use crate::service::{Encryption, KeyStatus, KeyTurned, ShredApproval};

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

impl Inner {
    pub(super) async fn warm(&self, scope: &TenantScope) -> Result<TenantCipher, CryptoError> {
        let live = self.live(SealScope::from(scope)).await?;
        Ok(TenantCipher {
            live,
            slot: self.cache.slot(SealScope::from(scope)),
            scope: SealScope::from(scope),
            cx: scope.cx().clone(),
            clock: Arc::clone(self.emitter.clock()),
            alarms: self.alarms.clone(),
            max_message: self.config.max_message_bytes,
        })
    }
}

#[async_trait]
impl Encryption for Vault {
    async fn warm(&self, scope: &TenantScope) -> Result<TenantCipher, CryptoError> {
        let timer = self.inner.timer("warm");
        timer.end(self.inner.warm(scope).await)
    }

    async fn turn_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        purpose: KeyPurpose,
    ) -> Result<KeyTurned, CryptoError> {
        let cx = cx.clone();
        self.change("turn_epoch", |inner| async move {
            inner.turn_epoch(&cx, scope, purpose).await
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
            inner.check_approvers(&approval)?;
            inner.shred(&cx, scope, approval).await
        })
        .await
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
}
