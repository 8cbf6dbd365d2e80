//! The encryption service: records sealed and searched, keys turned, rewrapped and destroyed.

use std::future::Future;

use async_trait::async_trait;
use eonpro_core::id::{ActorId, SubjectId};
use eonpro_core::phi::{
    Cell, Column, IndexDef, IndexSlots, Phi, PhiRecord, PhiSchema, PhiValue, Sealed, Suite, Table,
};
use eonpro_core::port::{DestroyedScope, KeyPurpose, SealError, SealScope, Sealer};
use eonpro_core::secret::SecretBytes;
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope};

use crate::cipher::TenantCipher;
use crate::error::CryptoError;
use crate::index_status::{IndexScan, IndexStatus};
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyRole, KeyState};
use crate::primitives::CryptoProfile;
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

    /// As [`Self::warm`], with a primary key of each of `types` at hand: those that the scope lacks are
    /// made, and emit KEY-001 first.
    ///
    /// Idempotent. Making keys goes on to its end if the call is dropped.
    ///
    /// # Errors
    /// As [`Self::warm`]; [`CryptoError::Unaudited`] if a new key is not on record.
    async fn warm_for(
        &self,
        scope: &TenantScope,
        types: &[KeyType],
    ) -> Result<TenantCipher, CryptoError>;

    /// Lets a column be sealed deterministically although it has fewer than
    /// [`MIN_CARDINALITY`](eonpro_core::phi::FieldSealing::MIN_CARDINALITY) distinct values: who sees its ciphertexts can then count
    /// equal ones, and guess the values by how frequent they are (Naveed, Kamara and Wright, CCS
    /// 2015). Emits KEY-006 first. Idempotent; a dropped call goes on to its end. There is no way
    /// back, for what was sealed stays as it is.
    ///
    /// # Errors
    /// [`CryptoError::Unrecorded`] if the event could not be recorded: nothing was changed;
    /// [`CryptoError::Conflict`]; [`SealError::LimitExceeded`] beyond 64 columns, or for
    /// names of together more than 90 characters; errors of the store.
    async fn allow_low_cardinality(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        table: Table,
        column: Column,
    ) -> Result<(), CryptoError>;

    /// Which cryptography is at work, and what certificate covers it.
    fn profile(&self) -> CryptoProfile;

    /// Begins a new epoch: a fresh key seals from now on, the one before opens only.
    ///
    /// Not idempotent: each call makes one epoch. Cancel-safe: a dropped call goes on to its end.
    /// Emits KEY-002 afterwards.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] for [`KeyPurpose::SEARCH`], for the MAC key and for deterministic
    /// keys, whose results must stay stable: [`Self::begin_index_rotation`] is for indexes.
    /// [`CryptoError::Conflict`] if other writers
    /// kept winning; [`CryptoError::Unaudited`] if the new epoch stands without its audit entry.
    async fn turn_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        of: KeyType,
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

    /// Changes what one data key may do: suspends it, lets it open again, declares it compromised, or
    /// takes back that it is drained. Returns the state from before.
    ///
    /// One compare-and-swap of the scope's keys. Here the new state holds on return; another process may
    /// go by the old one for at most [`cache_ttl`](crate::EncryptionConfig::cache_ttl). Idempotent: a key
    /// that is in that state already stays there, and KEY-006 is emitted once more, with the same state before and
    /// after, because the call that changed it may have died before its event. A dropped call goes on to its
    /// end. Emits KEY-006 afterwards. Needs no root key.
    ///
    /// A primary key must first be replaced ([`Self::turn_epoch`]); [`KeyState::Drained`] comes only from
    /// a rotation's proof, [`KeyState::Destroyed`] only from [`Self::destroy_key`].
    ///
    /// # Errors
    /// [`CryptoError::KeyState`] for a change that is not allowed, also for every change of a
    /// key-encryption key; [`SealError::UnknownKey`]; [`CryptoError::Conflict`],
    /// [`CryptoError::Unaudited`] as above.
    async fn set_key_state(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        key: KeyId,
        to: KeyState,
    ) -> Result<KeyState, CryptoError>;

    /// Destroys one data key that a rotation has proven drained: what may still be sealed under it, in a
    /// backup or in a place that the rotation did not know, never opens again.
    ///
    /// KEY-003 comes first: without its entry nothing is destroyed. Idempotent: a destroyed key stays so
    /// without a second entry. A dropped call goes on to its end.
    ///
    /// # Errors
    /// [`CryptoError::KeyState`] for a key that is not [`KeyState::Drained`]; [`SealError::UnknownKey`];
    /// [`CryptoError::Refused`] if a hold of the tenant or of any of its patients stands, or
    /// [`Approvers::Two`](crate::Approvers::Two) is configured and `approval` does not name two;
    /// [`CryptoError::KeyInUse`] while a patient's key lies under it; [`CryptoError::Unrecorded`],
    /// [`CryptoError::Conflict`]; errors of the store.
    async fn destroy_key(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        key: KeyId,
        approval: ShredApproval,
    ) -> Result<(), CryptoError>;

    /// Whether `sealed` was sealed in an earlier epoch of the scope. Synchronous: it goes by the keys at
    /// hand, and says `false` if there are none or if they do not have the named key.
    fn is_stale(&self, scope: SealScope, sealed: &[u8]) -> bool;

    /// The scope's keys and their states, oldest first. Unwraps nothing. Cancel-safe.
    ///
    /// Of a scope with [`MAX_KEYS`](crate::MAX_KEYS) keys the destroyed ones are no longer listed once it
    /// gets another. For all else such a key stays destroyed, and its id is not given again.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Shredded`]; errors of the store.
    async fn keys(&self, scope: SealScope) -> Result<Vec<KeyStatus>, CryptoError>;

    /// Where a blind index stands in the scope, by the store and not by a cache. Cancel-safe.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Shredded`]; errors of the store.
    async fn index_status(
        &self,
        scope: SealScope,
        index: &IndexDef,
    ) -> Result<IndexStatus, CryptoError>;

    /// Begins to rotate a blind index: adds its next version, whose key shares nothing with the one
    /// before. From [`IndexStatus::settled_at`] on every writer writes both versions; a backfill must
    /// not start before. `docs/search.md` has the whole rotation step by step.
    ///
    /// Not idempotent: a repeat is refused while the rotation lasts. A dropped call goes on to its
    /// end. Emits KEY-002 afterwards.
    ///
    /// # Errors
    /// [`CryptoError::IndexPhase`] unless the index is stable; [`CryptoError::Conflict`] if other
    /// writers kept winning; [`CryptoError::Unaudited`] if the phase stands without its audit entry;
    /// [`SealError::Unsupported`] for an impossible index.
    async fn begin_index_rotation(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
    ) -> Result<IndexStatus, CryptoError>;

    /// Ends the writing of the old version, because `scan` showed that every row has the new one.
    /// From [`IndexStatus::settled_at`] on nobody writes or asks for the old one, and its slots may
    /// be emptied.
    ///
    /// As [`Self::begin_index_rotation`] in all else.
    ///
    /// # Errors
    /// [`CryptoError::IndexUnsettled`] before the phase is settled, [`CryptoError::IndexScan`] for a
    /// scan that began before or found rows without the new version.
    async fn finish_index_rotation(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
        scan: IndexScan,
    ) -> Result<IndexStatus, CryptoError>;

    /// Forgets the old version, because `scan` showed that no row has it any more. The index is
    /// stable again, and can be rotated once more.
    ///
    /// As [`Self::begin_index_rotation`] in all else.
    ///
    /// # Errors
    /// [`CryptoError::IndexUnsettled`] before the phase is settled, [`CryptoError::IndexScan`] for a
    /// scan that began before or found rows with the old version.
    async fn retire_index_version(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
        scan: IndexScan,
    ) -> Result<IndexStatus, CryptoError>;
}

/// Who approved the destruction of a scope's keys, or of one of them.
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
            let mut cipher = self.warm_for(scope, &key_types(R::SCHEMA)).await?;
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
    /// Its index tokens are the tenant's. A patient's key is of the standard suite, in which compact fields
    /// are sealed as well.
    ///
    /// # Errors
    /// [`SealError::Unsupported`] for a record with a deterministic field, before any key is made: equal
    /// values of two patients have nothing in common. As [`Subjects::provision_subject`], [`Subjects::warm_subject`] and [`Sealer::seal`].
    fn seal_record_for<R: PhiRecord>(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
        record: R,
    ) -> impl Future<Output = Result<R::Sealed, CryptoError>> + Send {
        async move {
            let sealings = R::SCHEMA.fields.iter().filter_map(|field| field.sealing);
            if sealings
                .into_iter()
                .any(|of| of.suite == Suite::Deterministic)
            {
                return Err(SealError::Unsupported.into());
            }
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
            let mut plain = SecretBytes::default();
            value.expose().write(&mut plain);
            let sealed = self.seal(SealScope::from(scope), purpose, cell, &plain);
            Ok(Sealed::from_bytes(sealed.await?))
        }
    }

    /// Opens one value from its cell, as [`Self::seal_value`] sealed it. A field of a record that is padded,
    /// bound to its column or part of a whole record does not open here and counts as a failure:
    /// [`TenantCipher::open_field`] is for those.
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

    /// The tokens to look for `text` by, one for each live version of the index: a row is a candidate
    /// if either slot is equal. Open it and compare.
    ///
    /// # Errors
    /// As [`Encryption::warm`] and [`TenantCipher::query`].
    fn query_slots(
        &self,
        scope: &TenantScope,
        index: &IndexDef,
        text: &Phi<String>,
    ) -> impl Future<Output = Result<IndexSlots, CryptoError>> + Send {
        self.query_value(scope, index, text)
    }

    /// As [`Self::query_slots`], for a value of another type, such as a number.
    ///
    /// # Errors
    /// As [`Self::query_slots`]; [`SealError::Unsupported`] for a type that is not searchable.
    fn query_value<T: PhiValue + Sync>(
        &self,
        scope: &TenantScope,
        index: &IndexDef,
        value: &Phi<T>,
    ) -> impl Future<Output = Result<IndexSlots, CryptoError>> + Send {
        async move {
            let cipher = self.warm(scope).await?;
            let text = value.expose().search_text();
            let text = text.ok_or(SealError::Unsupported)?;
            Ok(cipher.query(index, &[&text])?)
        }
    }

    /// As [`Self::query_slots`], for a compound index: one text for each part, in its order.
    ///
    /// # Errors
    /// As [`Self::query_slots`]; [`SealError::Unsupported`] for another number of texts.
    fn query_compound(
        &self,
        scope: &TenantScope,
        index: &IndexDef,
        texts: &[&Phi<String>],
    ) -> impl Future<Output = Result<IndexSlots, CryptoError>> + Send {
        async move {
            let cipher = self.warm(scope).await?;
            let texts: Vec<&str> = texts.iter().map(|text| text.expose().as_str()).collect();
            Ok(cipher.query(index, &texts)?)
        }
    }
}

impl<E: Encryption + ?Sized> EncryptionExt for E {}

/// The types of the keys that a record's fields are sealed under, each once.
fn key_types(schema: &PhiSchema) -> Vec<KeyType> {
    let mut types = Vec::new();
    for sealing in schema.fields.iter().filter_map(|field| field.sealing) {
        let of = KeyType {
            purpose: KeyPurpose::RECORDS,
            suite: sealing.suite,
        };
        if !types.contains(&of) {
            types.push(of);
        }
    }
    types
}
