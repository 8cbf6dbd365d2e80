//! What applications see: patients' keys, and the governed way to destroy keys.

use async_trait::async_trait;
use eonpro_core::component::Component;
use eonpro_core::event::Code;
use eonpro_core::id::{SubjectId, TenantId};
use eonpro_core::phi::Phi;
use eonpro_core::port::SealScope;
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, TenantScope};
use uuid::Uuid;

use super::facts::ShredTarget;
use super::hold::LegalHold;
use super::receipt::ShredReceipt;
use super::request::ShredRequest;
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::subject::SubjectCipher;

/// Keys of single patients. Needs a vault that was opened with
/// [`Vault::open_with_epochs`](crate::Vault::open_with_epochs); others answer
/// [`SealError::Unsupported`](crate::SealError::Unsupported).
#[async_trait]
pub trait Subjects: Component {
    /// Makes the patient's key, if there is none. Idempotent. Emits KEY-001.
    ///
    /// Cancel-safe: a dropped call goes on to its end.
    ///
    /// # Errors
    /// [`SealError::Shredded`](crate::SealError::Shredded) if the patient or the tenant was
    /// shredded; [`CryptoError::Unaudited`] if the key stands without its audit entry: repeat the
    /// call, which tells it again; [`CryptoError::ForeignCustody`] if the present epoch's key was made in
    /// another custody than this process has; errors of the store, the root and the custody.
    async fn provision_subject(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
    ) -> Result<(), CryptoError>;

    /// A cipher with the patient's key at hand: synchronous from here on, for one request.
    ///
    /// Cancel-safe, idempotent. Concurrent cold calls for one patient unlock the key once.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`](crate::SealError::UnknownKey) if the patient has no key,
    /// [`SealError::Shredded`](crate::SealError::Shredded) after it was destroyed;
    /// [`CryptoError::EpochGone`] if the record comes from a backup that is older than the end of
    /// its epoch; errors of the store, the root and the custody.
    async fn warm_subject(
        &self,
        scope: &TenantScope,
        subject: SubjectId,
    ) -> Result<SubjectCipher, CryptoError>;
}

/// The governed way to destroy the keys of a tenant or of a patient: a request, two approvals by
/// two persons who did not request it, a deadline, no legal hold. Application code checks who may
/// call what; here the actor of `cx` is who decides.
///
/// Changes are cancel-safe in that a dropped call goes on to its end.
#[async_trait]
pub trait Shredding: Component {
    /// Requests a shred. Not idempotent: a second request for the same target is refused until the
    /// first is over.
    ///
    /// # Errors
    /// [`CryptoError::Refused`]: not a person, or another request stands;
    /// [`SealError::Unsupported`](crate::SealError::Unsupported) for the system's scope; errors of
    /// the store.
    async fn request_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        reason: Code,
    ) -> Result<ShredRequest, CryptoError>;

    /// Approves a request. The second approval sets the deadline.
    ///
    /// # Errors
    /// [`CryptoError::Refused`]: not a person, the requester itself, the same person twice, another
    /// request, or one that is closed; errors of the store.
    async fn approve_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredRequest, CryptoError>;

    /// Takes a request back, at any time before it is carried out.
    ///
    /// # Errors
    /// [`CryptoError::Refused`] if it is over or another one; errors of the store.
    async fn cancel_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredRequest, CryptoError>;

    /// Carries an approved request out and answers with the signed receipt. Idempotent: a repeat
    /// destroys nothing more and gives a fresh receipt, which knows what has happened to the epoch
    /// since.
    ///
    /// KEY-003 (and KEY-004 for a patient) come first: without them nothing is destroyed. In this
    /// process nothing of the target opens from then on.
    ///
    /// # Errors
    /// [`CryptoError::Refused`]: a hold stands (the request is then over), approvals are missing,
    /// or the deadline has not passed. [`CryptoError::Unrecorded`]: nothing was changed.
    /// [`CryptoError::Unsigned`]: the keys are destroyed, repeat for the receipt. Errors of the
    /// store. A tenant's epoch whose key another custody made is none: the receipt names it.
    async fn carry_out_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredReceipt, CryptoError>;

    /// The newest request for `target`.
    ///
    /// # Errors
    /// Errors of the store.
    async fn shred_request(
        &self,
        scope: SealScope,
        target: ShredTarget,
    ) -> Result<Option<ShredRequest>, CryptoError>;

    /// Destroys again what a receipt says was destroyed: after a backup of the key table was
    /// restored that is older than the shred. Needs no approval, since the receipt carries them; a
    /// legal hold refuses it all the same. Idempotent.
    ///
    /// # Errors
    /// [`CryptoError::Receipt`] if this vault's signer did not sign it, or it is another tenant's;
    /// [`CryptoError::Refused`], [`CryptoError::Unrecorded`]; errors of the store.
    async fn honour_receipt(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        receipt: &ShredReceipt,
    ) -> Result<(), CryptoError>;

    /// Sets a legal hold for a case. Idempotent. Emits AUD-010 afterwards; `authority` says who
    /// demands it, and is sealed in the log.
    ///
    /// # Errors
    /// [`CryptoError::Unaudited`] if the hold stands without its entry; errors of the store.
    async fn set_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError>;

    /// Lifts the hold of one case. Idempotent. AUD-010 comes first.
    ///
    /// # Errors
    /// [`CryptoError::Unrecorded`]: the hold stands; errors of the store.
    async fn lift_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError>;

    /// The tenant's legal holds, oldest first.
    ///
    /// # Errors
    /// Errors of the store.
    async fn holds(&self, scope: SealScope) -> Result<Vec<LegalHold>, CryptoError>;

    /// Ends the tenant's shred epoch: a fresh epoch key wraps from now on, every living patient's
    /// key is moved to it and compared, and once none is left under the old key, that is destroyed
    /// (after `epoch_settle`). Repeat it after any error: it goes on where it was.
    ///
    /// Emits KEY-001 of the new epoch key and KEY-003 of the old one, the latter first.
    ///
    /// **A backup of the key table that is older than this cannot give any patient's key back.**
    ///
    /// # Errors
    /// [`CryptoError::Unverified`] if a key did not come back as it went in; [`CryptoError::Conflict`]
    /// if other writers kept winning; [`CryptoError::Unrecorded`]: the old key is still there; errors
    /// of the store and of the custody. [`CryptoError::ForeignCustody`] if the present epoch's key was made in
    /// another custody: nothing was changed. Ended epochs whose keys another custody made are no error but in
    /// [`EpochEnded::foreign`].
    async fn end_shred_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<EpochEnded, CryptoError>;

    /// The tenant's present epoch; `None` if it has none.
    ///
    /// # Errors
    /// Errors of the store.
    async fn shred_epoch(&self, scope: SealScope) -> Result<Option<EpochStatus>, CryptoError>;

    /// The tenants for which [`Self::end_shred_epoch`] has something to do at `now`. For schedulers. A tenant
    /// whose records cannot be read is among them: its end says why, and holds up no other.
    ///
    /// # Errors
    /// Errors of the store, while the tenants are listed.
    async fn shred_epochs_due(&self, now: Timestamp) -> Result<Vec<TenantId>, CryptoError>;
}

/// What the end of an epoch did.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochEnded {
    /// How many living patients' keys were moved to the new epoch by this call.
    pub moved: u64,
    /// How many records lie under an epoch whose key was gone before: they came from a backup. Those under an
    /// epoch that another custody made are not counted: they open where that custody is.
    pub lost: u64,
    /// The epochs whose keys were destroyed by this call.
    pub destroyed: Vec<EpochId>,
    /// How many ended epochs still wait for `epoch_settle`, or stay because records name them.
    pub waiting: usize,
    /// Ended epochs whose time has come and whose keys another custody made: **they are still there**, as far
    /// as is known here. Call it once in a process that has that custody.
    pub foreign: Vec<EpochId>,
}

/// A tenant's present shred epoch.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochStatus {
    /// Its key.
    pub id: EpochId,
    /// Counts from 1.
    pub number: u64,
    /// When it began.
    pub opened: Timestamp,
    /// Its planned end.
    pub ends: Timestamp,
    /// How many patients were shredded under it.
    pub shredded: u64,
    /// Ended epochs whose keys are still there.
    pub pending: Vec<EpochId>,
}
