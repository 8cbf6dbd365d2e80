//! Patients' keys: made, unlocked, kept at hand, told to the log.

use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::id::SubjectId;
use eonpro_core::phi::Suite;
use eonpro_core::port::kv::Transaction;
use eonpro_core::port::{SealError, SealScope};
use eonpro_core::{RequestContext, TenantScope};

use super::{Inner, MAX_ATTEMPTS, ShredParts, Vault};
use crate::cobblestone::{Cause, InputKey};
use crate::envelope::KeyContext;
use crate::error::CryptoError;
use crate::keyset::KeyId;
use crate::live::{LiveKeys, Reader};
use crate::random::{fill_random, random_key};
use crate::sealing_key::SealingKey;
use crate::shred::{Shreds, Subjects, events, require};
use crate::subject::{
    self, LiveSubject, Locked, Owner, SUBJECT, SubjectCipher, SubjectKey, SubjectRecord,
    SubjectSlot,
};

#[async_trait]
impl Subjects for Vault {
    async fn provision_subject(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
    ) -> Result<(), CryptoError> {
        let (seal_scope, cx) = (SealScope::from(scope), scope.cx().clone());
        self.change("provision_subject", |inner| async move {
            inner.provision_subject(&cx, seal_scope, subject).await
        })
        .await
    }

    async fn warm_subject(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
    ) -> Result<SubjectCipher, CryptoError> {
        let timer = self.inner.timer("warm_subject");
        timer.end(self.inner.warm_subject(scope, subject).await)
    }
}

impl Inner {
    /// The custody of the epochs, if this vault has one.
    pub(super) fn custody(&self) -> Result<&ShredParts, CryptoError> {
        let custody = self.custody.as_ref();
        custody.ok_or_else(|| SealError::Unsupported.into())
    }

    pub(super) fn close_subjects(&self) {
        for (_, slot) in self.subjects.matching(|_| true) {
            slot.close();
        }
        self.subjects.clear();
    }

    async fn provision_subject(
        self: &Arc<Self>,
        cx: &RequestContext,
        scope: SealScope,
        subject: SubjectId,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        self.custody()?;
        let slot = self.subjects.slot((scope, subject));
        slot.usable()?;
        if slot.fresh(self.now()).is_some_and(|live| live.announced) {
            return Ok(());
        }
        self.sealing(scope, SUBJECT.into()).await?;
        let gate = slot.gate.lock().await;
        let key = self.ensure_subject(cx, scope, subject, &slot).await?;
        drop(gate);
        if key.announced {
            return Ok(());
        }
        self.announce_subject(cx, scope, subject, key).await
    }

    async fn ensure_subject(
        self: &Arc<Self>,
        cx: &RequestContext,
        scope: SealScope,
        subject: SubjectId,
        slot: &SubjectSlot,
    ) -> Result<SubjectKey, CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.shreds.subject(scope, subject).await?;
            match found.value {
                Some(SubjectRecord::Live(key)) => return Ok(key),
                Some(SubjectRecord::Shredded { .. }) => {
                    slot.bury();
                    return Err(SealError::Shredded.into());
                }
                None => {}
            }
            match self.make_subject(cx, scope, subject).await {
                Err(CryptoError::Conflict) => {}
                // The epoch's key is gone: the record of the epochs came from a backup.
                Err(CryptoError::EpochGone) => self.replace_lost_epoch(cx, scope).await?,
                other => return other,
            }
        }
        Err(CryptoError::Conflict)
    }

    /// One commit makes the key, and fails if the epoch under which it lies has ended by then: so
    /// whoever ends an epoch and sees no living subject under it can rely on that.
    async fn make_subject(
        self: &Arc<Self>,
        cx: &RequestContext,
        scope: SealScope,
        subject: SubjectId,
    ) -> Result<SubjectKey, CryptoError> {
        let (epoch, version) = self.present_epoch(cx, scope).await?;
        let tenant = self.sealing(scope, SUBJECT.into()).await?;
        let owner = Owner {
            scope,
            subject,
            id: fresh_id()?,
        };
        let key = SubjectKey {
            id: owner.id,
            created: self.emitter.clock().wall(),
            announced: false,
            locked: self
                .lock_subject(&owner, &epoch, &tenant, &random_key()?)
                .await?,
        };
        let place = Shreds::subject_key(subject)?;
        let bytes = subject::encode(&SubjectRecord::Live(key.clone()))?;
        let tx = Transaction::new().require_absent(place.clone());
        let tx = require(tx, Shreds::epochs_key()?, version).put(place, bytes);
        self.shreds.commit(scope, tx).await?;
        Ok(key)
    }

    /// Locks `key`, and proves that it unlocks.
    pub(super) async fn lock_subject(
        &self,
        owner: &Owner,
        epoch: &crate::epoch::EpochId,
        tenant: &LiveKeys,
        key: &eonpro_core::secret::KeyBytes<32>,
    ) -> Result<Locked, CryptoError> {
        let custody = &*self.custody()?.epochs;
        let (live, dek) = tenant.standard(SUBJECT.as_str())?;
        let locked = subject::lock(owner, custody, epoch, (live.id, dek), key).await?;
        if subject::unlock(owner, custody, dek, &locked).await? != *key {
            return Err(CryptoError::Unverified);
        }
        Ok(locked)
    }

    /// Unlocks a stored key with the tenant's data key that it names.
    pub(super) async fn unlock_subject(
        &self,
        reader: Reader,
        owner: &Owner,
        locked: &Locked,
    ) -> Result<eonpro_core::secret::KeyBytes<32>, CryptoError> {
        let custody = &*self.custody()?.epochs;
        let mut tenant = self.live(owner.scope).await?;
        if tenant.key(locked.dek).is_none() {
            tenant = self.look_for(owner.scope, locked.dek, tenant).await?;
        }
        let dek = tenant
            .opening(reader, locked.dek, SUBJECT)
            .map_err(|cause| match cause {
                Cause::Held => SealError::Disabled,
                _ => SealError::UnknownKey,
            })?;
        let dek = dek.key.standard().ok_or(SealError::UnknownKey)?;
        subject::unlock(owner, custody, dek, locked).await
    }

    async fn announce_subject(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        subject: SubjectId,
        mut key: SubjectKey,
    ) -> Result<(), CryptoError> {
        let custody = self.custody()?.epochs.name();
        events::subject_created(&self.emitter, cx, scope, key.id, custody)
            .await
            .map_err(CryptoError::Unaudited)?;
        for _ in 0..MAX_ATTEMPTS {
            let found = self.shreds.subject(scope, subject).await?;
            let (Some(SubjectRecord::Live(stored)), Some(version)) = (found.value, found.version)
            else {
                return Err(SealError::Shredded.into());
            };
            key = SubjectKey {
                announced: true,
                ..stored
            };
            let place = Shreds::subject_key(subject)?;
            let bytes = subject::encode(&SubjectRecord::Live(key))?;
            let tx = Transaction::new().require(place.clone(), version);
            match self.shreds.commit(scope, tx.put(place, bytes)).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    self.subjects.slot((scope, subject)).forget();
                    return Ok(());
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    async fn warm_subject(
        self: &Arc<Self>,
        scope: &TenantScope,
        subject: SubjectId,
    ) -> Result<SubjectCipher, CryptoError> {
        self.check_open()?;
        let seal_scope = SealScope::from(scope);
        let tenant = self.warm(scope).await?;
        let slot = self.subjects.slot((seal_scope, subject));
        slot.usable()?;
        let at_hand = || {
            let live = slot.fresh(self.now())?;
            let lock = tenant.keys().ok()?.key(live.dek)?.shared_state();
            lock.get().opens().then_some((live, lock))
        };
        let (live, lock) = match at_hand() {
            Some(found) => found,
            None => {
                let _gate = slot.gate.lock().await;
                match at_hand() {
                    Some(found) => found,
                    None => {
                        // What lies there may no longer be opened, or its lease is over.
                        slot.forget();
                        self.fetch_subject(seal_scope, subject, &slot).await?;
                        slot.usable()?;
                        tenant.keys()?;
                        at_hand().ok_or(SealError::Disabled)?
                    }
                }
            }
        };
        Ok(SubjectCipher {
            live,
            slot: Arc::clone(&slot),
            tenant,
            lock,
        })
    }

    /// Fetches and unlocks. The gate is held.
    async fn fetch_subject(
        &self,
        scope: SealScope,
        subject: SubjectId,
        slot: &SubjectSlot,
    ) -> Result<Arc<LiveSubject>, CryptoError> {
        slot.usable()?;
        // The lease begins before the key is read.
        let expires = self.lease();
        let key = match self.shreds.subject(scope, subject).await?.value {
            None => return Err(SealError::UnknownKey.into()),
            Some(SubjectRecord::Shredded { .. }) => {
                slot.bury();
                return Err(SealError::Shredded.into());
            }
            Some(SubjectRecord::Live(key)) => key,
        };
        let owner = Owner {
            scope,
            subject,
            id: key.id,
        };
        let unlocked = self
            .unlock_subject(Reader::Anyone, &owner, &key.locked)
            .await?;
        let live = Arc::new(LiveSubject {
            id: key.id,
            context: KeyContext::new(Suite::Standard, key.id, &scope.tenant(), SUBJECT.as_str()),
            key: SealingKey::Standard(InputKey::with(self.config.primitives, &unlocked)),
            dek: key.locked.dek,
            announced: key.announced,
            expires,
        });
        slot.put(Arc::clone(&live))?;
        self.check_open().inspect_err(|_| slot.close())?;
        Ok(live)
    }
}

fn fresh_id() -> Result<KeyId, CryptoError> {
    loop {
        let mut bytes = [0; 4];
        fill_random(&mut bytes)?;
        let id = KeyId::from_be_bytes(bytes);
        if id != KeyId::AT_HAND {
            return Ok(id);
        }
    }
}
