//! The two locks on a subject's key.
//!
//! Two plain layers of authenticated encryption, one inside the other, each under a key of its own:
//! either key alone is worth nothing, and no assumption is needed beyond that of the suite itself.
//! Only the small blob in the key table depends on epoch and data key, so neither turning touches
//! what the subject's key sealed.

use eonpro_core::id::{PublicId as _, SubjectId};
use eonpro_core::pae;
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;

use super::Locked;
use crate::cobblestone::InputKey;
use crate::envelope::scope_bytes;
use crate::epoch::{EpochId, EpochKeys};
use crate::error::CryptoError;
use crate::keyset::KeyId;
use crate::random::random_key;
use crate::root::WrapContext;

/// Whose key it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) scope: SealScope,
    pub(crate) subject: SubjectId,
    pub(crate) id: KeyId,
}

impl Owner {
    fn wrap_context(&self) -> WrapContext {
        WrapContext {
            scope: self.scope,
            key: self.id,
        }
    }

    /// `PAE("eonpro/subject-key/v1", scope, subject, key id, epoch id, data key id)`, numbers big
    /// endian: the context of both layers.
    fn context(&self, epoch: &EpochId, dek: KeyId) -> Vec<u8> {
        pae::encode(&[
            b"eonpro/subject-key/v1",
            scope_bytes(&self.scope.tenant()),
            self.subject.uuid().as_bytes(),
            &self.id.to_be_bytes(),
            epoch.as_str().as_bytes(),
            &dek.to_be_bytes(),
        ])
    }
}

/// Locks `key` under a data key of the tenant and, by way of a fresh wrapping secret, under `epoch`.
pub(crate) async fn lock(
    owner: &Owner,
    custody: &dyn EpochKeys,
    epoch: &EpochId,
    (dek, tenant_key): (KeyId, &InputKey),
    key: &KeyBytes<32>,
) -> Result<Locked, CryptoError> {
    let secret = random_key()?;
    let wrapped = custody.wrap(epoch, &secret, &owner.wrap_context()).await?;
    let context = owner.context(epoch, dek);
    let inner = tenant_key.seal(&[&context], key.expose())?;
    let outer = InputKey::new(&secret).seal(&[&context], &inner)?;
    Ok(Locked {
        epoch: epoch.clone(),
        dek,
        secret: wrapped,
        key: outer,
    })
}

/// Opens both locks.
pub(crate) async fn unlock(
    owner: &Owner,
    custody: &dyn EpochKeys,
    tenant_key: &InputKey,
    locked: &Locked,
) -> Result<KeyBytes<32>, CryptoError> {
    const WRONG: CryptoError = CryptoError::Record("subject key does not unlock");
    let secret = custody
        .unwrap(&locked.epoch, &locked.secret, &owner.wrap_context())
        .await?;
    let context = owner.context(&locked.epoch, locked.dek);
    let inner = InputKey::new(&secret)
        .open(&[&context], &locked.key)
        .map_err(|_| WRONG)?;
    let key = tenant_key.open(&[&context], &inner).map_err(|_| WRONG)?;
    KeyBytes::copy_from(&key).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::EphemeralEpochs;
    use eonpro_testkit::scope;
    use uuid::Uuid;

    fn owner(subject: u128) -> Owner {
        Owner {
            scope: SealScope::from(&scope(1)),
            subject: SubjectId::from_uuid(Uuid::from_u128(subject)),
            id: KeyId::from_be_bytes([0, 0, 0, 5]),
        }
    }

    #[tokio::test]
    async fn neither_lock_opens_without_the_other() {
        let (custody, stranger) = (EphemeralEpochs::new(), EphemeralEpochs::new());
        let epoch = custody.create().await.unwrap();
        let other = custody.create().await.unwrap();
        let dek = KeyId::from_be_bytes([0, 0, 0, 6]);
        let ours = InputKey::new(&random_key().unwrap());
        let theirs = InputKey::new(&random_key().unwrap());
        let key = random_key().unwrap();
        let locked = lock(&owner(1), &custody, &epoch, (dek, &ours), &key).await;
        let locked = locked.unwrap();

        let opened = unlock(&owner(1), &custody, &ours, &locked).await.unwrap();
        assert!(opened == key);
        let elsewhere = Locked {
            epoch: other.clone(),
            ..locked.clone()
        };
        for refused in [
            unlock(&owner(1), &custody, &theirs, &locked).await,
            unlock(&owner(1), &stranger, &ours, &locked).await,
            unlock(&owner(2), &custody, &ours, &locked).await,
            unlock(&owner(1), &custody, &ours, &elsewhere).await,
        ] {
            assert!(refused.is_err());
        }
        custody.destroy(&epoch).await.unwrap();
        assert!(custody.is_wiped(&epoch) && !custody.is_wiped(&other));
        let gone = unlock(&owner(1), &custody, &ours, &locked).await;
        assert!(matches!(gone, Err(CryptoError::EpochGone)));
    }
}
