//! Creating a tenant, so that a repeat goes on where a crash or a failure stopped it.

use eonpro_core::RequestContext;
use eonpro_core::event::Digest;
use eonpro_core::id::TenantId;

use super::{KvTenants, MAX_TRIES, keys_of};
use crate::directory::{Loaded, ReceiptSlot};
use crate::error::TenantError;
use crate::events;
use crate::idempotency::IdempotencyKey;
use crate::lifecycle::{State, Transition};
use crate::record::{NewTenant, StorageId, TenantRecord};
use crate::wire::Receipt;

/// What an earlier call with the same key has come to.
enum Earlier {
    Done(Box<TenantRecord>),
    Begun(TenantId),
}

impl KvTenants {
    pub(super) async fn onboard_once(
        &self,
        cx: &RequestContext,
        new: NewTenant,
        idem: &IdempotencyKey,
    ) -> Result<TenantRecord, TenantError> {
        let slot = ReceiptSlot::new(None, idem, self.receipts_until())?;
        let command = new.fingerprint();
        let id = match self.earlier(&slot, command).await? {
            Some(Earlier::Done(record)) => return Ok(*record),
            Some(Earlier::Begun(id)) => id,
            None => match self.begin(new, &slot, command).await? {
                Earlier::Done(record) => return Ok(*record),
                Earlier::Begun(id) => id,
            },
        };
        self.provision(cx, id, &slot, command).await
    }

    async fn earlier(
        &self,
        slot: &ReceiptSlot,
        command: Digest,
    ) -> Result<Option<Earlier>, TenantError> {
        let Some(receipt) = self.directory.receipt(slot).await? else {
            return Ok(None);
        };
        if receipt.command != command {
            return Err(TenantError::IdempotencyMismatch);
        }
        Ok(Some(match receipt.result {
            Some(record) => Earlier::Done(Box::new(record)),
            None => Earlier::Begun(receipt.tenant),
        }))
    }

    /// Writes the tenant as provisioning. From here on its id and slug are taken for ever.
    async fn begin(
        &self,
        new: NewTenant,
        slot: &ReceiptSlot,
        command: Digest,
    ) -> Result<Earlier, TenantError> {
        let entropy = &**self.emitter.entropy();
        let (id, storage) = (TenantId::random(entropy), StorageId::random(entropy));
        let record = TenantRecord::requested(new, id, storage).step(&Transition::Provision)?;
        let receipt = Receipt {
            command,
            tenant: id,
            result: None,
            settled: false,
        };
        if self.directory.create(&record, slot, &receipt).await? {
            return Ok(Earlier::Begun(id));
        }
        // Either the slug is taken, or the same command runs twice and the other was first.
        let other = self.earlier(slot, command).await?;
        other.ok_or(TenantError::SlugTaken)
    }

    async fn provision(
        &self,
        cx: &RequestContext,
        id: TenantId,
        slot: &ReceiptSlot,
        command: Digest,
    ) -> Result<TenantRecord, TenantError> {
        for _ in 0..MAX_TRIES {
            let loaded = self.directory.load(id).await?;
            match loaded.record.state() {
                State::Provisioning => {}
                State::ProvisionFailed => {
                    let retried = loaded.record.step(&Transition::Provision)?;
                    self.directory.swap(&loaded, &retried).await?;
                    continue;
                }
                _ => return self.overtaken(loaded.record, slot, command).await,
            }
            if let Err(error) = self.make(&loaded.record).await {
                return Err(self.failed(&loaded, error).await);
            }
            events::created(&self.emitter, cx, &loaded.record).await?;
            let active = loaded.record.step(&Transition::Activate)?;
            let receipt = Receipt {
                command,
                tenant: id,
                result: Some(active.clone()),
                settled: true,
            };
            if self
                .directory
                .swap_and_settle(&loaded, &active, slot, &receipt)
                .await?
            {
                return Ok(active);
            }
        }
        Err(TenantError::Contended)
    }

    async fn make(&self, record: &TenantRecord) -> Result<(), TenantError> {
        self.sealer.provision(keys_of(record.id())).await?;
        self.databases.create(record.storage()).await
    }

    /// Marks the failure; whether that succeeds changes nothing for the caller, who must repeat.
    async fn failed(&self, loaded: &Loaded, error: TenantError) -> TenantError {
        if let Ok(failed) = loaded.record.step(&Transition::FailProvisioning) {
            let _marked = self.directory.swap(loaded, &failed).await;
        }
        TenantError::Provisioning(Box::new(error))
    }

    /// Somebody else finished the tenant, or gave it up, while this call was at it.
    async fn overtaken(
        &self,
        record: TenantRecord,
        slot: &ReceiptSlot,
        command: Digest,
    ) -> Result<TenantRecord, TenantError> {
        if record.state() == State::Erased {
            self.databases.destroy(record.storage()).await?;
            return Err(TenantError::NotInService(record.standing()));
        }
        match self.earlier(slot, command).await? {
            Some(Earlier::Done(first)) => Ok(*first),
            _ => Ok(record),
        }
    }
}
