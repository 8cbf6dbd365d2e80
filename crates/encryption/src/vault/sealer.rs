//! The vault as the other services see it: the port `Sealer`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::id::ActorId;
use eonpro_core::phi::{Cell, Suite};
use eonpro_core::port::{
    DataKey, DestroyedScope, KeyPurpose, SealError, SealScope, Sealer, WrappedKey,
};
use eonpro_core::secret::{KeyBytes, SecretBytes};
use eonpro_core::task;

use super::{Inner, Vault};
use crate::alarm::{Alarms, CHORE, system_context};
use crate::cache::Slot;
use crate::cobblestone::{Cause, InputKey};
use crate::envelope::{self, Content, KeyContext, Place};
use crate::error::CryptoError;
use crate::events::Refusal;
use crate::key_type::KeyType;
use crate::keyset::KeyId;
use crate::random::{fresh_salt, random_key};
use crate::sealing_key::SealingKey;
use crate::service::ShredApproval;

#[async_trait]
impl Sealer for Vault {
    async fn provision(&self, scope: SealScope) -> Result<(), SealError> {
        let timer = self.inner.timer("provision");
        let inner = Arc::clone(&self.inner);
        let done = task::outlive(async move { inner.provision(scope).await }).await;
        timer.end(
            done.unwrap_or_else(|lost| Err(lost.into()))
                .map_err(SealError::from),
        )
    }

    async fn seal(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let timer = self.inner.timer("seal");
        let sealed = self
            .inner
            .seal(Content::Value, scope, purpose, cell, plaintext)
            .await;
        timer.end(sealed.map_err(SealError::from))
    }

    async fn open(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        let timer = self.inner.timer("open");
        let opened = self
            .inner
            .open(Content::Value, scope, purpose, cell, sealed)
            .await;
        timer.end(opened.map_err(SealError::from))
    }

    async fn data_key(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
    ) -> Result<(Arc<dyn DataKey>, WrappedKey), SealError> {
        let timer = self.inner.timer("data_key");
        timer.end(self.inner.data_key(scope, purpose, cell).await)
    }

    async fn unwrap(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<Arc<dyn DataKey>, SealError> {
        let timer = self.inner.timer("unwrap");
        let key = self.inner.unwrap(scope, purpose, cell, wrapped).await;
        timer.end(key.map(|key| self.inner.at_hand(scope, &key)))
    }

    async fn rewrap(
        &self,
        scope: SealScope,
        from: KeyPurpose,
        to: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, SealError> {
        let timer = self.inner.timer("rewrap");
        let moved = self.inner.rewrap(scope, from, to, cell, wrapped).await;
        timer.end(moved)
    }

    async fn mac_key(
        &self,
        scope: SealScope,
        label: &'static str,
    ) -> Result<KeyBytes<32>, SealError> {
        let timer = self.inner.timer("mac_key");
        let live = self.inner.live(scope).await.map_err(SealError::from);
        timer.end(live.and_then(|live| live.mac_key(label)))
    }

    async fn destroy_scope(&self, scope: SealScope) -> Result<DestroyedScope, SealError> {
        let timer = self.inner.timer("shred");
        let inner = Arc::clone(&self.inner);
        // The caller's own event names who approved it; here the service itself answers.
        let approval = ShredApproval {
            approver: ActorId::new(CHORE).unwrap_or_else(|_| ActorId::anonymous()),
            second_approver: None,
        };
        let done = task::outlive(async move {
            let cx = system_context(&inner.emitter);
            inner.shred(&cx, scope, approval).await
        });
        let done = done.await.unwrap_or_else(|lost| Err(lost.into()));
        timer.end(done.map_err(SealError::from))
    }
}

impl Inner {
    async fn seal(
        self: &Arc<Self>,
        content: Content,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.check_plain(plaintext)?;
        let of = KeyType::from(purpose);
        let live = self.sealing(scope, of).await?;
        let mut out = Vec::new();
        live.seal(content, of, cell, fresh_salt, plaintext, &mut out)?;
        Ok(out)
    }

    async fn data_key(
        self: &Arc<Self>,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
    ) -> Result<(Arc<dyn DataKey>, WrappedKey), SealError> {
        let key = random_key()?;
        let wrapped = self.wrap(scope, purpose, cell, &key).await?;
        Ok((self.at_hand(scope, &key), wrapped))
    }

    async fn wrap(
        self: &Arc<Self>,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        key: &KeyBytes<32>,
    ) -> Result<WrappedKey, SealError> {
        let sealed = self
            .seal(Content::WrappedKey, scope, purpose, cell, key.expose())
            .await?;
        Ok(WrappedKey(sealed))
    }

    async fn unwrap(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<KeyBytes<32>, SealError> {
        let bytes = self
            .open(Content::WrappedKey, scope, purpose, cell, &wrapped.0)
            .await?;
        KeyBytes::copy_from(&bytes).ok_or(SealError::Authentication)
    }

    async fn rewrap(
        self: &Arc<Self>,
        scope: SealScope,
        from: KeyPurpose,
        to: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, SealError> {
        let key = self.unwrap(scope, from, cell, wrapped).await?;
        let moved = self.wrap(scope, to, cell, &key).await?;
        // The caller may now forget the old form: it must not be the only one that unwraps.
        if self.unwrap(scope, to, cell, &moved).await? != key {
            return Err(CryptoError::Unverified.into());
        }
        Ok(moved)
    }

    fn at_hand(&self, scope: SealScope, key: &KeyBytes<32>) -> Arc<dyn DataKey> {
        Arc::new(DataKeyAtHand {
            context: KeyContext::new(Suite::Standard, KeyId::AT_HAND, &scope.tenant(), ""),
            key: SealingKey::Standard(InputKey::with(self.config.primitives, key)),
            slot: self.cache.slot(scope),
            max_message: self.config.max_message_bytes,
            alarms: self.alarms.clone(),
        })
    }
}

/// An unwrapped data key. Its parts name key id 0 and are bound to their scope and cell.
struct DataKeyAtHand {
    context: KeyContext,
    key: SealingKey,
    /// Where a shred, and the close of the vault, is noticed.
    slot: Arc<Slot>,
    max_message: usize,
    alarms: Alarms,
}

impl DataKeyAtHand {
    fn place<'a>(&'a self, cell: &'a Cell<'a>) -> Place<'a> {
        Place::new(Content::Part, &self.context, cell)
    }
}

impl DataKey for DataKeyAtHand {
    fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > self.max_message {
            return Err(SealError::LimitExceeded);
        }
        self.slot.usable()?;
        let (place, id) = (self.place(cell), KeyId::AT_HAND);
        let mut out = Vec::new();
        self.key.seal(&place, id, fresh_salt, plaintext, &mut out)?;
        Ok(out)
    }

    fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        self.slot.usable()?;
        let opened = match envelope::split(sealed) {
            Some((KeyId::AT_HAND, message)) => self.key.open(&self.place(cell), message),
            Some(_) => Err(Cause::Key),
            None => Err(Cause::Tag),
        };
        opened.map_err(|cause| {
            self.alarms.raise(
                None,
                Refusal::new(cell.table(), Some(cell.column()), 0, cause),
            );
            SealError::from(cause)
        })
    }
}

impl fmt::Debug for DataKeyAtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKeyAtHand")
    }
}
