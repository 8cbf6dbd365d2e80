//! Leaving: frozen, exported, approved by two, destroyed step by step, each step marked.

use std::time::Duration;

use eonpro_core::context::TenantBinding;
use eonpro_core::event::Digest;
use eonpro_core::id::TenantId;
use eonpro_core::identity::ActorKind;
use eonpro_core::scope::Standing;
use eonpro_core::{RequestContext, TenantScope};

use super::{AUTHORITY, KvTenants, MAX_TRIES, keys_of};
use crate::error::TenantError;
use crate::events;
use crate::lifecycle::{Refusal, Stage, State, Transition};
use crate::record::{Shredded, TenantRecord};
use crate::service::Erasure;

impl KvTenants {
    pub(super) async fn freeze(&self, id: TenantId) -> Result<TenantRecord, TenantError> {
        self.advance(id, |record| Ok(record.step(&Transition::BeginOffboarding)?))
            .await
    }

    pub(super) async fn exporting(
        &self,
        cx: RequestContext,
        id: TenantId,
    ) -> Result<TenantScope, TenantError> {
        let record = self.directory.load(id).await?.record;
        if record.state() != State::Offboarding(Stage::Exporting) {
            return Err(TenantError::NotInService(record.standing()));
        }
        // The one place where a tenant that is not active counts as active: to give it its data.
        let binding = TenantBinding {
            id,
            standing: Standing::Active,
            epoch: record.epoch(),
        };
        let scope = AUTHORITY.bind(cx, binding).tenant_scope();
        scope.map_err(|_| TenantError::NotInService(record.standing()))
    }

    pub(super) async fn exported(
        &self,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError> {
        let grace_until = self.now().plus(self.config.grace);
        let transition = Transition::RecordExport {
            export,
            grace_until,
        };
        self.advance(id, |record| Ok(record.step(&transition)?))
            .await
    }

    pub(super) async fn approved(
        &self,
        cx: &RequestContext,
        id: TenantId,
        export: Digest,
    ) -> Result<TenantRecord, TenantError> {
        if cx.actor().kind != ActorKind::User {
            return Err(TenantError::NotAPerson);
        }
        let transition = Transition::Approve {
            approver: cx.actor().id.clone(),
            export,
        };
        self.advance(id, |record| Ok(record.step(&transition)?))
            .await
    }

    pub(super) async fn erase(
        &self,
        cx: &RequestContext,
        id: TenantId,
        log_size: u64,
    ) -> Result<Erasure, TenantError> {
        let _alone = self.shredding.lock().await;
        let mut erasure = Erasure {
            record: self.directory.load(id).await?.record,
            keys: 0,
            exposure: Duration::ZERO,
        };
        if erasure.record.state() == State::Erased {
            return Ok(erasure);
        }
        let shred = Transition::Shred(self.now());
        let mut record = self.advance(id, |record| Ok(record.step(&shred)?)).await?;
        if record.shredded < Shredded::Announced {
            self.announce(cx, &record, log_size).await?;
            record = self.mark(id, Shredded::Announced).await?;
        }
        if record.shredded < Shredded::Keys {
            let destroyed = self.sealer.destroy_scope(keys_of(id)).await?;
            (erasure.keys, erasure.exposure) = (destroyed.keys, destroyed.exposure);
            record = self.mark(id, Shredded::Keys).await?;
        }
        if record.shredded < Shredded::Files {
            self.databases.destroy(record.storage()).await?;
            self.mark(id, Shredded::Files).await?;
        }
        erasure.record = self
            .advance(id, |record| Ok(record.step(&Transition::Erase)?))
            .await?;
        Ok(erasure)
    }

    async fn announce(
        &self,
        cx: &RequestContext,
        record: &TenantRecord,
        log_size: u64,
    ) -> Result<(), TenantError> {
        let export = record.life().export().ok_or(Refusal::NoExport)?;
        let approvers = record.two_approvers().ok_or(Refusal::ApprovalsMissing)?;
        let emitted = events::deleted(&self.emitter, cx, record.id(), export, approvers, log_size);
        Ok(emitted.await?)
    }

    async fn mark(&self, id: TenantId, to: Shredded) -> Result<TenantRecord, TenantError> {
        let further = |record: &TenantRecord| {
            Ok(if record.shredded < to {
                record.shredded(to)
            } else {
                record.clone()
            })
        };
        self.advance(id, further).await
    }

    /// Changes the record by `change`, again if others change it meanwhile.
    async fn advance(
        &self,
        id: TenantId,
        change: impl Fn(&TenantRecord) -> Result<TenantRecord, TenantError> + Send + Sync,
    ) -> Result<TenantRecord, TenantError> {
        for _ in 0..MAX_TRIES {
            let loaded = self.directory.load(id).await?;
            let next = change(&loaded.record)?;
            if next == loaded.record || self.directory.swap(&loaded, &next).await? {
                return Ok(next);
            }
        }
        Err(TenantError::Contended)
    }
}
