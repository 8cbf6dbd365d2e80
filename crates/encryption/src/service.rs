//! The encryption service: records sealed and searched, keys turned, rewrapped and destroyed.

use std::future::Future;

use async_trait::async_trait;
use eonpro_core::id::{ActorId, SubjectId};
use eonpro_core::phi::{Cell, IndexDef, IndexToken, Phi, PhiRecord, PhiValue, Sealed};
use eonpro_core::port::{DestroyedScope, KeyPurpose, SealError, SealScope, Sealer};
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope};
use zeroize::Zeroizing;

use crate::cipher::TenantCipher;
use crate::error::CryptoError;
use crate::keyset::{KeyId, KeyRole, KeyState};
use crate::shred::{Shredding, Subjects};

/// Seals PHI and keeps its keys. The port [`Sealer`] is what other services use of it.
#[async_trait]
pub trait Encryption: Sealer + Subjects + Shredding {
    /// A cipher with the tenant's keys at hand: synchronous from here on, for one request.
    ///
    /// Cancel-safe, idempotent. Concurrent cold calls for one tenant unwrap its keys once.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] if the tenant was not provisioned, [`SealError::Shredded`] after its
    /// keys were destroyed; errors of the store and of the root key.
    async fn warm(&self, scope: &TenantScope) -> Result<TenantCipher, CryptoError>;

    /// Begins a new epoch: a fresh key seals from now on, the one before opens only.
    ///
    /// Not idempotent: each call makes one epoch. Cancel-safe: a dropped call goes on to its end.
    /// Emits KEY-002 afterwards.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] for [`KeyPurpose::SEARCH`] and for the MAC key, whose results must
    /// stay stable: raise an index's version instead. [`CryptoError::Conflict`] if other writers
    /// kept winning; [`CryptoError::Unaudited`] if the new epoch stands without its audit entry.
    async fn turn_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        purpose: KeyPurpose,
    ) -> Result<KeyTurned, CryptoError>;

    /// Wraps all data keys of the scope under a fresh key-encryption key. No sealed value changes.
    ///
    /// Each new wrapping is unwrapped and compared with the original before anything is committed,
    /// and one commit replaces all of them or none. A dropped call goes on to its end; a repeat
    /// makes one more key-encryption key. Emits KEY-002 afterwards.
    ///
    /// # Errors
    /// [`CryptoError::Unverified`] if a key did not come back as it went in: nothing was changed;
    /// [`CryptoError::Conflict`], [`CryptoError::Unaudited`] as above.
    async fn rewrap_keys(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<KeyTurned, CryptoError>;

    /// Destroys all keys of the scope: nothing sealed in it opens again. Other scopes are not
    /// touched. The tenant's shred epochs are destroyed with it.
    ///
    /// For callers that did their governance elsewhere, as the offboarding of a tenant does: it
    /// knows no request and no deadline. All others take [`Shredding::request_shred`]. A legal hold
    /// of the tenant, or of any of its patients, refuses both.
    ///
    /// KEY-003 comes first: without its entry nothing is destroyed. Idempotent; a repeat destroys
    /// no key and says so, and a scope that never had keys can get none afterwards. A dropped call
    /// goes on to its end; if it failed after the entry, repeat it. The answer states how long
    /// another process may still hold unwrapped keys.
    ///
    /// # Errors
    /// [`CryptoError::Unrecorded`] if the entry could not be written, [`CryptoError::Conflict`];
    /// [`CryptoError::Refused`] if a hold stands, or [`Approvers::Two`](crate::Approvers::Two) is
    /// configured and `approval` does not name two; errors of the store.
    async fn shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        approval: ShredApproval,
    ) -> Result<DestroyedScope, CryptoError>;

    /// The scope's keys and their states, oldest first. Unwraps nothing. Cancel-safe.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Shredded`]; errors of the store.
    async fn keys(&self, scope: SealScope) -> Result<Vec<KeyStatus>, CryptoError>;
}

/// Who approved the destruction of a scope's keys.
#[derive(Debug, Clone)]
pub struct ShredApproval {
    /// Who approved it.
    pub approver: ActorId,
    /// Who approved it as well, where the policy wants four eyes.
    pub second_approver: Option<ActorId>,
}

/// A key that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTurned {
    /// The key from before.
    pub old: KeyId,
    /// The key from now on.
    pub new: KeyId,
    /// The new epoch; the first is 1.
    pub epoch: u64,
}

/// One key of a scope.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its id, unique in its scope.
    pub id: KeyId,
    /// What it does.
    pub role: KeyRole,
    /// Its epoch among the keys of its role; the first is 1.
    pub epoch: u64,
    /// Its state.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
}

/// Conveniences over typed values and records, for every [`Encryption`].
pub trait EncryptionExt: Encryption {
    /// Seals `record` into its twin, under the tenant's present [`KeyPurpose::RECORDS`] key.
    ///
    /// # Errors
    /// As [`Encryption::warm`] and [`Sealer::seal`].
    fn seal_record<R: PhiRecord>(
        &self,
        scope: &TenantScope,
        record: R,
    ) -> impl Future<Output = Result<R::Sealed, CryptoError>> + Send {
        async move {
            let mut cipher = self.warm(scope).await?;
            Ok(record.seal_fields(&mut cipher)?)
        }
    }

    /// Opens a twin.
    ///
    /// # Errors
    /// [`SealError::Authentication`] if a field does not belong where the twin says.
    fn open_record<R: PhiRecord>(
        &self,
        scope: &TenantScope,
        sealed: R::Sealed,
    ) -> impl Future<Output = Result<R, CryptoError>> + Send {
        async move {
            let mut cipher = self.warm(scope).await?;
            Ok(R::open_fields(sealed, &mut cipher)?)
        }
    }

    /// Seals `record` into its twin under the patient's own key, which is made if there is none.
    /// Its index tokens are the tenant's.
    ///
    /// # Errors
    /// As [`Subjects::provision_subject`], [`Subjects::warm_subject`] and [`Sealer::seal`].
    fn seal_record_for<R: PhiRecord>(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
        record: R,
    ) -> impl Future<Output = Result<R::Sealed, CryptoError>> + Send {
        async move {
            self.provision_subject(scope, subject).await?;
            let mut cipher = self.warm_subject(scope, subject).await?;
            Ok(record.seal_fields(&mut cipher)?)
        }
    }

    /// Opens a twin that was sealed for the patient.
    ///
    /// # Errors
    /// As [`Subjects::warm_subject`]; [`SealError::Authentication`] if a field does not belong where
    /// the twin says, or to another patient.
    fn open_record_for<R: PhiRecord>(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
        sealed: R::Sealed,
    ) -> impl Future<Output = Result<R, CryptoError>> + Send {
        async move {
            let mut cipher = self.warm_subject(scope, subject).await?;
            Ok(R::open_fields(sealed, &mut cipher)?)
        }
    }

    /// Seals one value for its cell.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    fn seal_value<T: PhiValue + Sync>(
        &self,
        scope: &TenantScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        value: &Phi<T>,
    ) -> impl Future<Output = Result<Sealed<T>, CryptoError>> + Send {
        async move {
            let mut plain = Zeroizing::new(Vec::new());
            value.expose().write(&mut plain);
            let sealed = self.seal(SealScope::from(scope), purpose, cell, &plain);
            Ok(Sealed::from_bytes(sealed.await?))
        }
    }

    /// Opens one value from its cell.
    ///
    /// # Errors
    /// As [`Sealer::open`]; [`SealError::Value`] if the bytes are no `T`.
    fn open_value<T: PhiValue>(
        &self,
        scope: &TenantScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &Sealed<T>,
    ) -> impl Future<Output = Result<Phi<T>, CryptoError>> + Send {
        let bytes = sealed.as_bytes();
        async move {
            let plain = self.open(SealScope::from(scope), purpose, cell, bytes);
            let value = T::read(&plain.await?).map_err(SealError::Value)?;
            Ok(Phi::new(value))
        }
    }

    /// The token to look for `text` by. Hits are candidates: open them and compare.
    ///
    /// # Errors
    /// As [`Encryption::warm`]; [`SealError::Unsupported`] for an impossible index,
    /// [`SealError::LimitExceeded`] for a text that is too long.
    fn query_token(
        &self,
        scope: &TenantScope,
        index: &IndexDef,
        text: &Phi<String>,
    ) -> impl Future<Output = Result<IndexToken, CryptoError>> + Send {
        async move {
            let cipher = self.warm(scope).await?;
            Ok(cipher.index(index, text.expose())?)
        }
    }
}

impl<E: Encryption + ?Sized> EncryptionExt for E {}
