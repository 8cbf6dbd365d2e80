//! Requests, holds and the commit that shreds.

use eonpro_core::RequestContext;
use eonpro_core::event::{Code, EmitError, Outcome};
use eonpro_core::id::{ActorId, SubjectId, TenantId};
use eonpro_core::identity::ActorKind;
use eonpro_core::port::kv::{Transaction, Version};
use eonpro_core::port::{SealError, SealScope};
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use super::{Inner, MAX_ATTEMPTS};
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::keyset::{KeyId, KeyState, Keyset, ScopeRecord, Tombstone};
use crate::record;
use crate::repository::replacing;
use crate::service::ShredApproval;
use crate::shred::events::{self, SubjectShred};
use crate::shred::wire::Stored as _;
use crate::shred::{
    Approvers, BackupExposure, Decision, Found, ShredFacts, ShredReceipt, ShredRefusal,
    ShredRequest, ShredState, ShredTarget, Shreds, require,
};
use crate::subject::{self, SubjectRecord};

/// A request that is being carried out, as it was read.
pub(super) type Step<'a> = Option<(&'a ShredRequest, Option<Version>)>;

impl Inner {
    pub(super) fn check_approvers(&self, approval: &ShredApproval) -> Result<(), CryptoError> {
        if self.config.shred.direct_approvers == Approvers::One {
            return Ok(());
        }
        match &approval.second_approver {
            None => Err(ShredRefusal::TooFewApprovals.into()),
            Some(second) if *second == approval.approver => Err(ShredRefusal::SameApprover.into()),
            Some(_) => Ok(()),
        }
    }

    pub(super) async fn check_unheld(
        &self,
        scope: SealScope,
        target: ShredTarget,
    ) -> Result<(), CryptoError> {
        if self.shreds.holds(scope).await?.value.hold(target) {
            return Err(ShredRefusal::Held.into());
        }
        Ok(())
    }

    pub(super) async fn request_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        reason: Code,
    ) -> Result<ShredRequest, CryptoError> {
        self.check_open()?;
        self.governed(scope)?;
        let version = match self.shreds.request(scope, target).await? {
            None => None,
            Some(found) => match found.value.state {
                ShredState::Cancelled(_) | ShredState::Refused { .. } => found.version,
                _ => return Err(ShredRefusal::AlreadyRequested.into()),
            },
        };
        let mut id = [0; 16];
        self.emitter.entropy().fill(&mut id);
        let request = ShredRequest {
            id: uuid::Builder::from_random_bytes(id).into_uuid(),
            target,
            reason,
            requested: self.decision(cx)?,
            approvals: Vec::new(),
            state: ShredState::Requested,
        };
        self.replace_request(scope, version, &request).await?;
        Ok(request)
    }

    pub(super) async fn approve_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<ShredRequest, CryptoError> {
        let by = self.decision(cx)?;
        let delay = match target {
            ShredTarget::Tenant => self.config.shred.tenant_delay,
            ShredTarget::Subject(_) => self.config.shred.subject_delay,
        };
        self.step(scope, target, id, |request| {
            request.approve(by.clone(), delay)
        })
        .await
    }

    pub(super) async fn cancel_shred(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<ShredRequest, CryptoError> {
        let by = self.decision(cx)?;
        self.step(scope, target, id, |request| request.cancel(by.clone()))
            .await
    }

    async fn step(
        &self,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
        change: impl Fn(&mut ShredRequest) -> Result<(), ShredRefusal>,
    ) -> Result<ShredRequest, CryptoError> {
        self.check_open()?;
        for _ in 0..MAX_ATTEMPTS {
            let Found {
                value: mut request,
                version,
            } = self.named_request(scope, target, id).await?;
            change(&mut request)?;
            match self.replace_request(scope, version, &request).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    return Ok(request);
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    async fn named_request(
        &self,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<Found<ShredRequest>, CryptoError> {
        let found = self.shreds.request(scope, target).await?;
        let found = found.filter(|found| found.value.id == id && found.value.target == target);
        found.ok_or_else(|| ShredRefusal::NotRequested.into())
    }

    async fn replace_request(
        &self,
        scope: SealScope,
        version: Option<Version>,
        request: &ShredRequest,
    ) -> Result<(), CryptoError> {
        let place = Shreds::request_key(request.target)?;
        let tx = require(Transaction::new(), place.clone(), version);
        let tx = tx.put(place, request.write()?);
        self.shreds.commit(scope, tx).await?;
        Ok(())
    }

    /// Who decides: a person, as the context of the call proves.
    fn decision(&self, cx: &RequestContext) -> Result<Decision, ShredRefusal> {
        if cx.actor().kind != ActorKind::User {
            return Err(ShredRefusal::NotAPerson);
        }
        Ok(Decision {
            by: cx.actor().id.clone(),
            at: self.emitter.clock().wall(),
        })
    }

    fn governed(&self, scope: SealScope) -> Result<(), CryptoError> {
        self.custody()?;
        match scope {
            SealScope::System => Err(SealError::Unsupported.into()),
            SealScope::Tenant(_) => Ok(()),
        }
    }

    pub(super) async fn carry_out(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<ShredReceipt, CryptoError> {
        self.check_open()?;
        self.governed(scope)?;
        let found = self.named_request(scope, target, id).await?;
        if !matches!(found.value.state, ShredState::Shredded(_)) {
            let now = self.emitter.clock().wall();
            let approvers = found.value.ready(now)?;
            if self.shreds.holds(scope).await?.value.hold(target) {
                return self.refuse(scope, target, id).await;
            }
            let reason = &found.value.reason;
            self.tell(cx, scope, target, approvers, reason, Outcome::Success)
                .await
                .map_err(CryptoError::Unrecorded)?;
            if let Err(error) = self.bury_requested(scope, target, id).await {
                if let CryptoError::Refused(_) = error {
                    // The entry says that it happened; this one says that it did not.
                    self.tell(cx, scope, target, approvers, reason, Outcome::Minor)
                        .await
                        .map_err(CryptoError::Unaudited)?;
                }
                return match error {
                    CryptoError::Refused(ShredRefusal::Held) => {
                        self.refuse(scope, target, id).await
                    }
                    other => Err(other),
                };
            }
        }
        // Also on a repeat: the commit may have been in doubt, or another process's.
        self.close_here(scope, target);
        self.tell_others(scope, target).await;
        let mut not_ended = Vec::new();
        if target == ShredTarget::Tenant {
            not_ended = self.close_epochs(cx, scope).await?.foreign;
        }
        self.receipt(scope, target, id, not_ended).await
    }

    /// Ends the request because a hold stands.
    async fn refuse<T>(
        &self,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<T, CryptoError> {
        let at = self.emitter.clock().wall();
        self.step(scope, target, id, |request| {
            if request.is_over() {
                return Err(ShredRefusal::Closed);
            }
            request.state = ShredState::Refused { at };
            Ok(())
        })
        .await?;
        Err(ShredRefusal::Held.into())
    }

    async fn tell(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        target: ShredTarget,
        approvers: (&ActorId, &ActorId),
        reason: &Code,
        outcome: Outcome,
    ) -> Result<(), EmitError> {
        let unknown = |error: CryptoError| EmitError::NotWritten(Box::new(error));
        match target {
            ShredTarget::Tenant => {
                let found = self.keysets.find(scope).await.map_err(unknown)?;
                let Some((ScopeRecord::Live(keyset), _)) = found else {
                    return Ok(());
                };
                let kek = keyset.wrapping().map_err(unknown)?;
                let kek = (kek.id, kek.epoch);
                events::tenant_destroyed(&self.emitter, cx, scope, kek, approvers, outcome).await
            }
            ShredTarget::Subject(subject) => {
                let found = self.shreds.subject(scope, subject).await.map_err(unknown)?;
                let id = match found.value {
                    Some(SubjectRecord::Live(key)) => Some(key.id),
                    _ => None,
                };
                let shred = SubjectShred {
                    scope,
                    subject,
                    id,
                    approvers,
                    reason,
                };
                shred.emit(&self.emitter, cx, outcome).await
            }
        }
    }

    /// Carries the request out, as long as it stands: its approvals, its deadline and the holds are
    /// judged once more from what the commit requires to be unchanged.
    async fn bury_requested(
        &self,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
    ) -> Result<(), CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.named_request(scope, target, id).await?;
            if matches!(found.value.state, ShredState::Shredded(_)) {
                return Ok(());
            }
            found.value.ready(self.emitter.clock().wall())?;
            let step = Some((&found.value, found.version));
            let done = match target {
                ShredTarget::Tenant => self.bury_scope(scope, step).await.map(|_| ()),
                ShredTarget::Subject(subject) => self.bury_subject(scope, subject, step).await,
            };
            match done {
                Err(CryptoError::Conflict) => {}
                other => return other,
            }
        }
        Err(CryptoError::Conflict)
    }

    /// Puts a tombstone in place of the scope's keyset, and takes the keys from all who hold them
    /// here.
    pub(super) async fn bury_scope(
        &self,
        scope: SealScope,
        step: Step<'_>,
    ) -> Result<Vec<KeyId>, CryptoError> {
        if let Some(tenant) = scope.tenant()
            && self.custody.is_some()
        {
            self.shreds.look_after(tenant).await?;
        }
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        let keys = self.commit_tombstone(scope, step).await?;
        self.close_here(scope, ShredTarget::Tenant);
        Ok(keys)
    }

    /// Takes the target's keys from all who hold them in this process, for ever.
    pub(super) fn close_here(&self, scope: SealScope, target: ShredTarget) {
        if target == ShredTarget::Tenant {
            self.cache.slot(scope).bury();
        }
        let meant = |subject: SubjectId| match target {
            ShredTarget::Tenant => true,
            ShredTarget::Subject(shredded) => subject == shredded,
        };
        let held = self
            .subjects
            .matching(|(owner, subject)| *owner == scope && meant(*subject));
        for (place, slot) in held {
            slot.bury();
            self.subjects.evict(&place);
        }
    }

    async fn commit_tombstone(
        &self,
        scope: SealScope,
        step: Step<'_>,
    ) -> Result<Vec<KeyId>, CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut custody = self.roots.own().name();
            let (keys, count, before) = match self.keysets.find(scope).await? {
                Some((ScopeRecord::Shredded(_), _)) if step.is_none() => return Ok(Vec::new()),
                Some((ScopeRecord::Shredded(was), version)) => {
                    (Vec::new(), was.keys, Some(version))
                }
                Some((ScopeRecord::Live(keyset), version)) => {
                    if let Some(root) = self.roots.named(scope, &keyset.root) {
                        custody = root.name();
                    }
                    (living(&keyset), keyset.live_count(), Some(version))
                }
                None => (Vec::new(), 0, None),
            };
            let at = self.emitter.clock().wall();
            let tombstone = ScopeRecord::Shredded(Tombstone { at, keys: count });
            let tx = replacing(before, record::encode(&tombstone)?)?;
            let facts = ShredFacts {
                at,
                keys: keys.clone(),
                epoch: None,
                exposed_until: at.plus(self.config.cache_ttl),
                backups: BackupExposure::WhileBackupsExist,
                custody: custody.into(),
            };
            let tx = self
                .conclude(scope, ShredTarget::Tenant, tx, step, facts)
                .await?;
            match self.shreds.commit(scope, tx).await {
                Err(CryptoError::Conflict) if step.is_none() => {}
                other => {
                    other?;
                    return Ok(keys);
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    /// Adds to `tx` what must be the same commit: no hold stands, and the request is carried out.
    async fn conclude(
        &self,
        scope: SealScope,
        target: ShredTarget,
        tx: Transaction,
        step: Step<'_>,
        facts: ShredFacts,
    ) -> Result<Transaction, CryptoError> {
        let holds = self.shreds.holds(scope).await?;
        if holds.value.hold(target) {
            return Err(ShredRefusal::Held.into());
        }
        let tx = require(tx, Shreds::holds_key()?, holds.version);
        let Some((request, version)) = step else {
            return Ok(tx);
        };
        let done = ShredRequest {
            state: ShredState::Shredded(facts),
            ..request.clone()
        };
        let place = Shreds::request_key(target)?;
        Ok(require(tx, place.clone(), version).put(place, done.write()?))
    }

    /// Puts a tombstone in place of the subject's key, counts it for its epoch, and takes the key
    /// from all who hold it here. Conflicts are the caller's.
    async fn bury_subject(
        &self,
        scope: SealScope,
        subject: SubjectId,
        step: Step<'_>,
    ) -> Result<(), CryptoError> {
        if let Some(tenant) = scope.tenant() {
            self.shreds.look_after(tenant).await?;
        }
        let slot = self.subjects.slot((scope, subject));
        let _gate = slot.gate.lock().await;
        let found = self.shreds.subject(scope, subject).await?;
        let mut epochs = self.shreds.epochs(scope).await?;
        let at = self.emitter.clock().wall();
        let live = match found.value {
            Some(SubjectRecord::Live(key)) => Some(key),
            _ => None,
        };
        let id = live.as_ref().map(|key| key.id);
        let epoch = live.map(|key| key.locked.epoch);
        let settle = self.config.shred.epoch_settle;
        let backups = match &epoch {
            None => BackupExposure::Ended,
            Some(epoch) => epochs.value.exposure(epoch, at, settle),
        };
        let place = Shreds::subject_key(subject)?;
        let tombstone = subject::encode(&SubjectRecord::Shredded { id, at })?;
        let tx = require(Transaction::new(), place.clone(), found.version).put(place, tombstone);
        let tx = require(tx, Shreds::epochs_key()?, epochs.version);
        let tx = match epochs.value.current.as_mut() {
            Some(current) if Some(&current.id) == epoch.as_ref() => {
                current.shredded = current.shredded.saturating_add(1);
                tx.put(Shreds::epochs_key()?, epochs.value.write()?)
            }
            _ => tx,
        };
        let facts = ShredFacts {
            at,
            keys: id.into_iter().collect(),
            epoch,
            exposed_until: at.plus(self.config.cache_ttl),
            backups,
            custody: self.custody()?.epochs.name().into(),
        };
        let target = ShredTarget::Subject(subject);
        let tx = self.conclude(scope, target, tx, step, facts).await?;
        self.shreds.commit(scope, tx).await?;
        self.close_here(scope, target);
        Ok(())
    }

    /// The receipt of a request that was carried out, with what is known about its epochs by now.
    async fn receipt(
        &self,
        scope: SealScope,
        target: ShredTarget,
        id: Uuid,
        not_ended: Vec<EpochId>,
    ) -> Result<ShredReceipt, CryptoError> {
        let request = self.named_request(scope, target, id).await?.value;
        let ShredState::Shredded(mut facts) = request.state else {
            return Err(ShredRefusal::TooFewApprovals.into());
        };
        let issued = self.emitter.clock().wall();
        if let Some(epoch) = &facts.epoch {
            let epochs = self.shreds.epochs(scope).await?.value;
            let settle = self.config.shred.epoch_settle;
            facts.backups = epochs.exposure(epoch, issued, settle);
        }
        let receipt = ShredReceipt {
            tenant: scope.tenant().ok_or(SealError::Unsupported)?,
            target,
            request: request.id,
            reason: request.reason,
            requested: request.requested,
            approvals: request.approvals,
            facts,
            epochs_not_ended: not_ended,
            issued,
            signer: [0; 32],
            signature: [0; 64],
        };
        receipt.signed(&*self.custody()?.signer).await
    }

    pub(super) async fn honour(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        receipt: &ShredReceipt,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        self.governed(scope)?;
        receipt.verify(&self.custody()?.signer.public_key())?;
        if scope.tenant() != Some(receipt.tenant) {
            return Err(CryptoError::Receipt("another tenant's"));
        }
        let [one, two] = receipt.approvals.as_slice() else {
            return Err(ShredRefusal::TooFewApprovals.into());
        };
        self.check_unheld(scope, receipt.target).await?;
        let approvers = (&one.by, &two.by);
        let (target, reason) = (receipt.target, &receipt.reason);
        self.tell(cx, scope, target, approvers, reason, Outcome::Success)
            .await
            .map_err(CryptoError::Unrecorded)?;
        match target {
            ShredTarget::Tenant => {
                self.bury_scope(scope, None).await?;
                self.tell_others(scope, target).await;
                self.close_epochs(cx, scope).await?;
                Ok(())
            }
            ShredTarget::Subject(subject) => {
                for _ in 0..MAX_ATTEMPTS {
                    match self.bury_subject(scope, subject, None).await {
                        Err(CryptoError::Conflict) => {}
                        other => {
                            other?;
                            self.tell_others(scope, target).await;
                            return Ok(());
                        }
                    }
                }
                Err(CryptoError::Conflict)
            }
        }
    }

    pub(super) async fn shred_epochs_due(
        &self,
        now: Timestamp,
    ) -> Result<Vec<TenantId>, CryptoError> {
        let mut due = Vec::new();
        for tenant in self.shreds.looked_after().await? {
            // One that cannot be read fails by name where its epoch is ended, and holds up no other.
            if self.shreds.is_due(tenant, now).await.unwrap_or(true) {
                due.push(tenant);
            }
        }
        Ok(due)
    }
}

fn living(keyset: &Keyset) -> Vec<KeyId> {
    let living = keyset.keys.iter();
    let living = living.filter(|key| key.state != KeyState::Destroyed);
    living.map(|key| key.id).collect()
}
