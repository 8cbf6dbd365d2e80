//! The vault as whoever governs shredding sees it: the trait `Shredding`.

use async_trait::async_trait;
use eonpro_core::RequestContext;
use eonpro_core::event::Code;
use eonpro_core::id::TenantId;
use eonpro_core::phi::Phi;
use eonpro_core::port::SealScope;
use eonpro_core::port::kv::Transaction;
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use super::{Inner, MAX_ATTEMPTS, Vault};
use crate::error::CryptoError;
use crate::shred::wire::Stored as _;
use crate::shred::{
    EpochEnded, EpochStatus, Holds, LegalHold, ShredReceipt, ShredRequest, ShredTarget, Shredding,
    Shreds, events, require,
};

#[async_trait]
impl Shredding for Vault {
    async fn request_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        reason: Code,
    ) -> Result<ShredRequest, CryptoError> {
        let cx = cx.clone();
        self.change("request_shred", |inner| async move {
            inner.request_shred(&cx, scope, target, reason).await
        })
        .await
    }

    async fn approve_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredRequest, CryptoError> {
        let cx = cx.clone();
        self.change("approve_shred", |inner| async move {
            inner.approve_shred(&cx, scope, target, request).await
        })
        .await
    }

    async fn cancel_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredRequest, CryptoError> {
        let cx = cx.clone();
        self.change("cancel_shred", |inner| async move {
            inner.cancel_shred(&cx, scope, target, request).await
        })
        .await
    }

    async fn carry_out_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        request: Uuid,
    ) -> Result<ShredReceipt, CryptoError> {
        let cx = cx.clone();
        self.change("carry_out_shred", |inner| async move {
            inner.carry_out(&cx, scope, target, request).await
        })
        .await
    }

    async fn shred_request(
        &self,
        scope: SealScope,
        target: ShredTarget,
    ) -> Result<Option<ShredRequest>, CryptoError> {
        self.inner.check_open()?;
        let found = self.inner.shreds.request(scope, target).await?;
        Ok(found.map(|found| found.value))
    }

    async fn honour_receipt(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        receipt: &ShredReceipt,
    ) -> Result<(), CryptoError> {
        let (cx, receipt) = (cx.clone(), receipt.clone());
        self.change("honour_receipt", |inner| async move {
            inner.honour(&cx, scope, &receipt).await
        })
        .await
    }

    async fn set_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError> {
        let cx = cx.clone();
        self.change("set_hold", |inner| async move {
            inner.set_hold(&cx, scope, target, case, authority).await
        })
        .await
    }

    async fn lift_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError> {
        let cx = cx.clone();
        self.change("lift_hold", |inner| async move {
            inner.lift_hold(&cx, scope, target, case, authority).await
        })
        .await
    }

    async fn holds(&self, scope: SealScope) -> Result<Vec<LegalHold>, CryptoError> {
        self.inner.check_open()?;
        Ok(self.inner.shreds.holds(scope).await?.value.0)
    }

    async fn end_shred_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<EpochEnded, CryptoError> {
        let cx = cx.clone();
        self.change("end_shred_epoch", |inner| async move {
            inner.end_shred_epoch(&cx, scope).await
        })
        .await
    }

    async fn shred_epoch(&self, scope: SealScope) -> Result<Option<EpochStatus>, CryptoError> {
        self.inner.check_open()?;
        self.inner.shred_epoch(scope).await
    }

    async fn shred_epochs_due(&self, now: Timestamp) -> Result<Vec<TenantId>, CryptoError> {
        let timer = self.inner.timer("shred_epochs_due");
        let due = match self.inner.check_open() {
            Ok(()) => self.inner.shred_epochs_due(now).await,
            Err(closed) => Err(closed),
        };
        timer.end(due)
    }
}

impl Inner {
    async fn set_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        let hold = LegalHold {
            target,
            case,
            by: cx.actor().id.clone(),
            at: self.emitter.clock().wall(),
        };
        self.change_holds(scope, |holds| holds.set(hold.clone()))
            .await?;
        // Also for a hold that stood: its first entry may be missing.
        let event = events::hold_changed(scope, target, "set", authority);
        let told = self.emitter.emit_after(cx, event).await;
        told.map_err(CryptoError::Unaudited)
    }

    async fn lift_hold(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        case: Code,
        authority: Phi<String>,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        if !self.shreds.holds(scope).await?.value.stands(target, &case) {
            return Ok(());
        }
        let event = events::hold_changed(scope, target, "lifted", authority);
        let told = self.emitter.emit(cx, event).await;
        told.map_err(CryptoError::Unrecorded)?;
        self.change_holds(scope, |holds| {
            holds.lift(target, &case);
            Ok(true)
        })
        .await
    }

    async fn change_holds(
        &self,
        scope: SealScope,
        change: impl Fn(&mut Holds) -> Result<bool, CryptoError>,
    ) -> Result<(), CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut found = self.shreds.holds(scope).await?;
            if !change(&mut found.value)? {
                return Ok(());
            }
            let place = Shreds::holds_key()?;
            let tx = require(Transaction::new(), place.clone(), found.version);
            let tx = tx.put(place, found.value.write()?);
            match self.shreds.commit(scope, tx).await {
                Err(CryptoError::Conflict) => {}
                other => return other.map(|_| ()),
            }
        }
        Err(CryptoError::Conflict)
    }
}
