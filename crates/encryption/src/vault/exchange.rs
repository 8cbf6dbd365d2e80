//! Data keys in and out, as Tink keysets.

use eonpro_core::RequestContext;
use eonpro_core::phi::Suite;
use eonpro_core::port::{KeyPurpose, SealError, SealScope};
use eonpro_core::secret::{KeyBytes, SecretText};

use super::{Inner, MAX_ATTEMPTS, Vault};
use crate::error::CryptoError;
use crate::events;
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyRole, Keyset, MAC, ScopeRecord, StoredKey};
use crate::live::Wrapping;
use crate::state::KeyState;
use crate::tink::{self, KeyExport, TinkKey};

impl Vault {
    /// The scope's data keys of the type `of`, oldest epoch first, as a Tink keyset: JSON, in clear.
    ///
    /// Compact keys are of Tink's type `XAesGcmKey` and deterministic ones of `AesSivKey`, so every
    /// Tink library opens values with them; keys of the standard suite are of a type of ours. The
    /// associated data is what `docs/formats/encryption.md` calls the context. Keys that are suspended
    /// or compromised are disabled in it. Emits KEY-006 first:
    /// without its entry no key leaves. Changes nothing; a dropped call may have left the entry.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] for [`KeyPurpose::SEARCH`] and the MAC key, which seal nothing:
    /// they derive keys, and Tink has no type for that; [`SealError::UnknownKey`] if the scope has no
    /// key of the type; [`CryptoError::Unrecorded`] if the event could not be recorded; errors of the
    /// store and of the root key.
    pub async fn export_tink_keyset(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
        access: KeyExport,
    ) -> Result<SecretText, CryptoError> {
        let cx = cx.clone();
        self.change("export_tink_keyset", |inner| async move {
            inner.export_tink(&cx, scope, of, &access).await
        })
        .await
    }

    /// Takes the keys of a Tink keyset, as [`Self::export_tink_keyset`] and Tink's libraries write
    /// it, into the scope's keys of the type `of`. Its primary seals from now on, the others open, and
    /// disabled ones are suspended; each is of an epoch of its own, in the order of the keyset and the primary last.
    ///
    /// All keys or none, in one commit; afterwards emits KEY-001 for each. A repeat is refused, for
    /// the ids are taken. A dropped call goes on to its end. Answers with the ids, in the order of
    /// the keyset.
    ///
    /// The bytes of these keys were somebody else's before: what is sealed under them is as secret
    /// as the keyset was kept.
    ///
    /// # Errors
    /// [`CryptoError::Tink`] and [`CryptoError::TinkType`] if it is no keyset of that type;
    /// [`CryptoError::KeyIdTaken`]; [`SealError::Unsupported`] for [`KeyPurpose::SEARCH`], for the MAC
    /// key, and for deterministic keys where the scope has one already, because equal values would
    /// cease to have equal ciphertexts; [`SealError::LimitExceeded`] beyond
    /// [`MAX_TINK_KEYSET`](crate::MAX_TINK_KEYSET) bytes or [`MAX_KEYS`](crate::MAX_KEYS) keys;
    /// [`SealError::UnknownKey`] for a scope that was not provisioned; [`CryptoError::Conflict`];
    /// [`CryptoError::Unaudited`] if the keys stand without their audit entries, which the next
    /// `provision` of the scope makes up for; errors of the store and of the root key.
    pub async fn import_tink_keyset(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
        keyset: &SecretText,
    ) -> Result<Vec<KeyId>, CryptoError> {
        check_type(of)?;
        let keys = tink::read(of.suite, keyset)?;
        let cx = cx.clone();
        self.change("import_tink_keyset", |inner| async move {
            inner.import_tink(&cx, scope, of, keys).await
        })
        .await
    }
}

/// Keys that seal nothing are not exchanged.
fn check_type(of: KeyType) -> Result<(), CryptoError> {
    if of.purpose == KeyPurpose::SEARCH || of.purpose.as_str() == MAC {
        return Err(SealError::Unsupported.into());
    }
    Ok(())
}

impl Inner {
    async fn export_tink(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
        _: &KeyExport,
    ) -> Result<SecretText, CryptoError> {
        self.check_open()?;
        check_type(of)?;
        let (keyset, _) = self.keysets.live(scope).await?;
        let role = of.role();
        if keyset.lacks(&role) {
            return Err(SealError::UnknownKey.into());
        }
        let kek = self.wrapping_key(scope, &keyset).await?;
        let wrapping = Wrapping::new(scope.tenant(), keyset.wrapping()?.id, &kek);
        let text = tink::write(of.suite, &exported(&keyset, &role, &wrapping)?)?;
        // Nothing has left yet.
        events::exported(&self.emitter, cx, scope, &role)
            .await
            .map_err(CryptoError::Unrecorded)?;
        Ok(text)
    }

    async fn import_tink(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
        keys: Vec<TinkKey>,
    ) -> Result<Vec<KeyId>, CryptoError> {
        self.check_open()?;
        let slot = self.cache.slot(scope);
        let _alone = slot.onboarding.lock().await;
        self.commit_import(scope, of, &keys).await?;
        self.announce_for(cx, scope, &slot).await?;
        Ok(keys.iter().map(|key| key.id).collect())
    }

    async fn commit_import(
        &self,
        scope: SealScope,
        of: KeyType,
        keys: &[TinkKey],
    ) -> Result<(), CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let expires = self.lease();
            slot.begin_fetch();
            let (mut keyset, version) = self.keysets.live(scope).await?;
            let kek = self.wrapping_key(scope, &keyset).await?;
            self.take_in(scope, &mut keyset, &kek, of, keys)?;
            let record = ScopeRecord::Live(keyset.clone());
            let version = match self.keysets.replace(scope, Some(version), &record).await {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            };
            self.put_at_hand(scope, &slot, &keyset, &kek, version, expires);
            return Ok(());
        }
        Err(CryptoError::Conflict)
    }

    /// Wraps `keys` and adds them to `keyset`, the primary last.
    fn take_in(
        &self,
        scope: SealScope,
        keyset: &mut Keyset,
        kek: &KeyBytes<32>,
        of: KeyType,
        keys: &[TinkKey],
    ) -> Result<(), CryptoError> {
        let role = KeyRole::data(&of.role());
        if of.suite == Suite::Deterministic && !keyset.lacks(role.name()) {
            return Err(SealError::Unsupported.into());
        }
        keyset.make_room(keys.len());
        if keyset.keys.len().saturating_add(keys.len()) > crate::MAX_KEYS {
            return Err(SealError::LimitExceeded.into());
        }
        let wrapping = Wrapping::new(scope.tenant(), keyset.wrapping()?.id, kek);
        let (primary, others): (Vec<&TinkKey>, Vec<&TinkKey>) =
            keys.iter().partition(|key| key.state == KeyState::Primary);
        for key in others.into_iter().chain(primary) {
            if keyset.has(key.id) {
                return Err(CryptoError::KeyIdTaken(key.id));
            }
            let epoch = keyset.next_epoch(&role);
            let wrapped = match &key.material {
                Some(material) => wrapping.wrap(&role, epoch, key.id, material)?,
                None => Vec::new(),
            };
            let stored = StoredKey {
                id: key.id,
                role: role.clone(),
                epoch,
                state: key.state,
                created: self.emitter.clock().wall(),
                wrapped,
                announced: false,
            };
            match key.state {
                KeyState::Primary => {
                    keyset.install(stored, KeyState::DecryptOnly)?;
                }
                _ => keyset.keys.push(stored),
            }
        }
        Ok(())
    }
}

/// The keys of `role`, oldest epoch first.
fn exported(keyset: &Keyset, role: &str, wrapping: &Wrapping) -> Result<Vec<TinkKey>, CryptoError> {
    let role = KeyRole::data(role);
    let mut stored: Vec<&StoredKey> = keyset.keys.iter().filter(|key| key.role == role).collect();
    stored.sort_by_key(|key| key.epoch);
    let keys = stored.into_iter().map(|key| {
        let material = match key.state {
            KeyState::Destroyed => None,
            _ => Some(wrapping.unwrap(key)?),
        };
        Ok(TinkKey {
            id: key.id,
            state: key.state,
            material,
        })
    });
    keys.collect()
}
