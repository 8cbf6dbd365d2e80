//! How a shred epoch ends: a new one begins, the survivors move, nobody is left, the key goes.
//!
//! Every record names its own epoch, and an old epoch's key is destroyed last and only after a scan
//! found no living subject under it. So whatever fails in between, a living subject opens and a
//! shredded one does not; and a repeat goes on from what is stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::id::SubjectId;
use eonpro_core::port::kv::{Transaction, Version};
use eonpro_core::port::{SealError, SealScope};

use super::{Inner, MAX_ATTEMPTS};
use crate::epoch::EpochId;
use crate::error::CryptoError;
use crate::live::Reader;
use crate::shred::wire::Stored as _;
use crate::shred::{EpochEnded, EpochStatus, Epochs, Found, Pending, Shreds, events, require};
use crate::subject::{self, Owner, SUBJECT, SubjectKey, SubjectRecord};

/// What became of one subject's record.
enum Outcome {
    /// It lies under the present epoch, and did not before.
    Moved,
    /// Nothing was to do: it is there already, or it is shredded.
    Settled,
    /// The key of its epoch, which is named, is gone.
    Lost(EpochId),
    /// It stays under its epoch, which is named: another custody made that one's key, or the present one's.
    Stays(EpochId),
}

impl Inner {
    /// The epoch that wraps now, and the commit that wrote its record. Begins the first.
    pub(super) async fn present_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<(EpochId, Option<Version>), CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.shreds.epochs(scope).await?;
            if let Some(current) = &found.value.current
                && current.announced
            {
                return Ok((current.id.clone(), found.version));
            }
            match self.open_epoch(cx, scope, found).await {
                Ok(()) | Err(CryptoError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CryptoError::Conflict)
    }

    /// Begins the first epoch if there is none, and announces the one there is.
    async fn open_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        found: Found<Epochs>,
    ) -> Result<(), CryptoError> {
        if found.value.current.is_none() {
            // The tenant's keys are needed to seal at all; a shredded tenant gets no epoch.
            self.live(scope).await?;
            return self.begin_epoch(scope, found).await;
        }
        self.announce_epoch(cx, scope, found).await
    }

    /// Puts a fresh epoch key in place. Other writers win: their epoch stands, ours is destroyed.
    async fn begin_epoch(&self, scope: SealScope, found: Found<Epochs>) -> Result<(), CryptoError> {
        let custody = &self.custody()?.epochs;
        let id = custody.create().await?;
        let now = self.emitter.clock().wall();
        let settings = &self.config.shred;
        let Found {
            value: mut epochs,
            version,
        } = found;
        let destroy_at = now.plus(settings.epoch_settle);
        let made = (id.clone(), custody.custody_id());
        let begun = match epochs.begin(made, now, settings.epoch_length, destroy_at) {
            Ok(()) => self.replace_epochs(scope, version, &epochs).await,
            refused => refused,
        };
        // Only a refusal says for sure that the record does not name the key.
        if let Err(CryptoError::Conflict | CryptoError::Record(_)) = &begun {
            custody.destroy(&id).await?;
        }
        begun
    }

    async fn announce_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        found: Found<Epochs>,
    ) -> Result<(), CryptoError> {
        let custody = self.custody()?.epochs.name();
        let Found {
            value: mut epochs,
            version,
        } = found;
        let Some(current) = epochs.current.as_mut() else {
            return Ok(());
        };
        if current.announced {
            return Ok(());
        }
        events::epoch_created(&self.emitter, cx, scope, &current.id, custody)
            .await
            .map_err(CryptoError::Unaudited)?;
        current.announced = true;
        self.replace_epochs(scope, version, &epochs).await
    }

    async fn replace_epochs(
        &self,
        scope: SealScope,
        version: Option<Version>,
        epochs: &Epochs,
    ) -> Result<(), CryptoError> {
        let place = Shreds::epochs_key()?;
        let tx = require(Transaction::new(), place.clone(), version);
        let tx = tx.put(place, epochs.write()?);
        self.shreds.commit(scope, tx).await?;
        Ok(())
    }

    /// Refuses to end an epoch whose key only another custody can unwrap: to this one it looks gone.
    fn check_ours(&self, epochs: &Epochs) -> Result<(), CryptoError> {
        match epochs.wraps_elsewhere(self.custody()?.epochs.custody_id()) {
            true => Err(CryptoError::ForeignCustody),
            false => Ok(()),
        }
    }

    /// Begins another epoch because the key of the present one is gone from the custody that made it.
    pub(super) async fn replace_lost_epoch(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<(), CryptoError> {
        let found = self.shreds.epochs(scope).await?;
        self.check_ours(&found.value)?;
        match self.begin_epoch(scope, found).await {
            Ok(()) | Err(CryptoError::Conflict) => {}
            Err(error) => return Err(error),
        }
        self.present_epoch(cx, scope).await?;
        Ok(())
    }

    pub(super) async fn end_shred_epoch(
        self: &Arc<Self>,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<EpochEnded, CryptoError> {
        self.check_open()?;
        self.custody()?;
        let _alone = self.ending.lock().await;
        if let Err(error) = self.keysets.live(scope).await {
            return match error {
                CryptoError::Seal(SealError::Shredded) => self.close_epochs(cx, scope).await,
                other => Err(other),
            };
        }
        let found = self.shreds.epochs(scope).await?;
        let Some(current) = &found.value.current else {
            return Ok(EpochEnded::default());
        };
        if let Some(tenant) = scope.tenant() {
            self.shreds.look_after(tenant).await?;
        }
        // What an earlier call left undone is finished; it begins no further epoch.
        if found.value.pending.is_empty() || current.shredded > 0 {
            self.check_ours(&found.value)?;
            self.begin_epoch(scope, found).await?;
        }
        self.present_epoch(cx, scope).await?;
        let (mut ended, named) = self.move_survivors(scope).await?;
        self.destroy_pending(cx, scope, &named, &mut ended).await?;
        Ok(ended)
    }

    /// Moves every living subject to the present epoch, until one whole scan found none that could be
    /// moved. Also returns the epochs under which somebody still lies because their keys do not unwrap here.
    async fn move_survivors(
        self: &Arc<Self>,
        scope: SealScope,
    ) -> Result<(EpochEnded, BTreeSet<EpochId>), CryptoError> {
        let mut ended = EpochEnded::default();
        let mut after = self.shreds.cursor(scope).await?;
        for _ in 0..MAX_ATTEMPTS {
            let whole = after.is_none();
            let (moved, lost, named) = self.move_from(scope, after.take()).await?;
            self.shreds.keep_cursor(scope, None).await?;
            ended.moved = ended.moved.saturating_add(moved);
            ended.lost = lost;
            if whole && moved == 0 {
                return Ok((ended, named));
            }
        }
        Err(CryptoError::Conflict)
    }

    async fn move_from(
        self: &Arc<Self>,
        scope: SealScope,
        mut after: Option<SubjectId>,
    ) -> Result<(u64, u64, BTreeSet<EpochId>), CryptoError> {
        let (mut moved, mut lost, mut named) = (0_u64, 0_u64, BTreeSet::new());
        loop {
            let page = self.shreds.subjects(scope, after).await?;
            let Some((last, ..)) = page.last() else {
                return Ok((moved, lost, named));
            };
            let last = *last;
            let before = moved;
            for (subject, ..) in &page {
                match self.move_subject(scope, *subject).await? {
                    Outcome::Moved => moved = moved.saturating_add(1),
                    Outcome::Settled => {}
                    Outcome::Lost(epoch) => {
                        lost = lost.saturating_add(1);
                        named.insert(epoch);
                    }
                    Outcome::Stays(epoch) => {
                        named.insert(epoch);
                    }
                }
            }
            if moved > before {
                self.shreds.keep_cursor(scope, Some(last)).await?;
            }
            after = Some(last);
        }
    }

    async fn move_subject(
        self: &Arc<Self>,
        scope: SealScope,
        subject: SubjectId,
    ) -> Result<Outcome, CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let epochs = self.shreds.epochs(scope).await?;
            let found = self.shreds.subject(scope, subject).await?;
            let Some(SubjectRecord::Live(key)) = found.value else {
                return Ok(Outcome::Settled);
            };
            let current = epochs.value.current.as_ref();
            let current = current.ok_or(SealError::Shredded)?;
            let tenant = self.sealing(scope, SUBJECT.into()).await?;
            let dek = tenant.standard(SUBJECT.as_str())?.0.id;
            if key.locked.epoch == current.id && key.locked.dek == dek {
                return Ok(Outcome::Settled);
            }
            let epoch = key.locked.epoch.clone();
            let custody = self.custody()?.epochs.custody_id();
            let (from, to) = (&epoch, &current.id);
            if [from, to].map(|one| epochs.value.lies_elsewhere(one, custody)) != [false; 2] {
                return Ok(Outcome::Stays(epoch));
            }
            let owner = Owner {
                scope,
                subject,
                id: key.id,
            };
            let bytes = match self.relock(&owner, to, key).await {
                Err(CryptoError::EpochGone) => return Ok(Outcome::Lost(epoch)),
                other => other?,
            };
            let place = Shreds::subject_key(subject)?;
            let tx = require(Transaction::new(), place.clone(), found.version);
            let tx = require(tx, Shreds::epochs_key()?, epochs.version).put(place, bytes);
            match self.shreds.commit(scope, tx).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    return Ok(Outcome::Moved);
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    /// Locks a subject's key under `epoch`, and compares in constant time what the very bytes that
    /// will be committed unlock to with what the old ones do.
    async fn relock(
        self: &Arc<Self>,
        owner: &Owner,
        epoch: &EpochId,
        before: SubjectKey,
    ) -> Result<Vec<u8>, CryptoError> {
        let key = self
            .unlock_subject(Reader::Rotation, owner, &before.locked)
            .await?;
        let tenant = self.sealing(owner.scope, SUBJECT.into()).await?;
        let locked = self.lock_subject(owner, epoch, &tenant, &key).await?;
        let after = SubjectKey { locked, ..before };
        let bytes = subject::encode(&SubjectRecord::Live(after))?;
        let SubjectRecord::Live(read) = subject::decode(&bytes)? else {
            return Err(CryptoError::Unverified);
        };
        let again = self.unlock_subject(Reader::Anyone, owner, &read.locked);
        let same = again.await? == key;
        if !same || read.id != owner.id || read.locked.epoch != *epoch {
            return Err(CryptoError::Unverified);
        }
        Ok(bytes)
    }

    /// Destroys the keys of ended epochs that need not stay. The caller has seen that no living
    /// subject lies under them but under those `named`, which stay: a key that does not answer today
    /// may do so tomorrow. A destruction is repeated until it is recorded. Those that are due and were
    /// made in another custody are reported.
    async fn destroy_pending(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        named: &BTreeSet<EpochId>,
        ended: &mut EpochEnded,
    ) -> Result<(), CryptoError> {
        let custody = &self.custody()?.epochs;
        for _ in 0..MAX_ATTEMPTS.saturating_mul(4) {
            let Found { value, version } = self.shreds.epochs(scope).await?;
            let mut epochs = value;
            let now = self.emitter.clock().wall();
            // Another custody would call them gone because it never had them.
            let is_due = |one: &&Pending| one.destroy_at <= now;
            let (ours, others): (Vec<_>, Vec<_>) = epochs
                .pending
                .iter()
                .filter(is_due)
                .partition(|one| one.lies_in(custody.custody_id()));
            let Some(due) = ours.into_iter().find(|one| !named.contains(&one.id)) else {
                ended.foreign = others.into_iter().map(|one| one.id.clone()).collect();
                ended.waiting = epochs.pending.len().saturating_sub(ended.foreign.len());
                return Ok(());
            };
            let due = due.clone();
            events::epoch_destroyed(&self.emitter, cx, scope, (&due.id, due.number))
                .await
                .map_err(CryptoError::Unrecorded)?;
            let how = custody.destroy(&due.id).await?;
            epochs.bury(&due.id, self.emitter.clock().wall(), how);
            match self.replace_epochs(scope, version, &epochs).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    ended.destroyed.push(due.id);
                }
            }
        }
        Err(CryptoError::Conflict)
    }

    /// Destroys all epochs of a tenant that was shredded: there are no survivors. A vault without
    /// custody has none. Those of another custody are reported, and the tenant stays due.
    pub(super) async fn close_epochs(
        &self,
        cx: &RequestContext,
        scope: SealScope,
    ) -> Result<EpochEnded, CryptoError> {
        let mut ended = EpochEnded::default();
        if self.custody.is_none() {
            return Ok(ended);
        }
        for _ in 0..MAX_ATTEMPTS {
            let Found { value, version } = self.shreds.epochs(scope).await?;
            let mut epochs = value;
            let now = self.emitter.clock().wall();
            epochs.retire(now);
            for pending in &mut epochs.pending {
                pending.destroy_at = now;
            }
            if epochs.pending.is_empty() {
                return Ok(ended);
            }
            match self.replace_epochs(scope, version, &epochs).await {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            }
            self.destroy_pending(cx, scope, &BTreeSet::new(), &mut ended)
                .await?;
            if !ended.foreign.is_empty() {
                tracing::warn!(
                    epochs = ended.foreign.len(),
                    "keys of a shredded tenant's epochs lie in another custody and are still there"
                );
            }
            return Ok(ended);
        }
        Err(CryptoError::Conflict)
    }

    pub(super) async fn shred_epoch(
        &self,
        scope: SealScope,
    ) -> Result<Option<EpochStatus>, CryptoError> {
        let epochs = self.shreds.epochs(scope).await?.value;
        let pending = epochs.pending.into_iter().map(|one| one.id).collect();
        Ok(epochs.current.map(|current| EpochStatus {
            id: current.id,
            number: current.number,
            opened: current.opened,
            ends: current.ends,
            shredded: current.shredded,
            pending,
        }))
    }
}
