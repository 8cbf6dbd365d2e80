//! Commands: compare-and-swap on the version, once per idempotency key, announced even if the
//! caller went away.

use std::sync::Arc;

use eonpro_core::event::Emitter;
use eonpro_core::id::TenantId;
use eonpro_core::port::Sealer;
use eonpro_core::{RequestContext, task};

use super::{KvTenants, keys_of};
use crate::backend::sqlite::SqliteTenants;
use crate::directory::{Directory, Loaded, ReceiptSlot};
use crate::error::TenantError;
use crate::events;
use crate::idempotency::IdempotencyKey;
use crate::lifecycle::{State, Transition};
use crate::record::{Command, RecordVersion, TenantRecord};
use crate::wire::Receipt;

/// A command on its way into the directory.
struct Order {
    directory: Directory,
    emitter: Emitter,
    sealer: Arc<dyn Sealer>,
    databases: Arc<SqliteTenants>,
    cx: RequestContext,
    id: TenantId,
    command: Command,
    slot: ReceiptSlot,
}

impl KvTenants {
    pub(super) async fn apply_once(
        &self,
        cx: &RequestContext,
        id: TenantId,
        command: Command,
        expected: RecordVersion,
        idem: &IdempotencyKey,
    ) -> Result<TenantRecord, TenantError> {
        let order = Order {
            directory: self.directory.clone(),
            emitter: self.emitter.clone(),
            sealer: Arc::clone(&self.sealer),
            databases: Arc::clone(&self.databases),
            cx: cx.clone(),
            id,
            command,
            slot: ReceiptSlot::new(Some(id), idem, self.receipts_until())?,
        };
        if let Some(receipt) = order.directory.receipt(&order.slot).await? {
            return order.repeated(receipt).await;
        }
        let loaded = self.directory.load(id).await?;
        let found = loaded.record.version();
        if found != expected {
            return Err(TenantError::VersionConflict { expected, found });
        }
        let record = match (&order.command, loaded.record.state()) {
            // Nobody is at it any more, or whoever is will find it gone.
            (Command::Abandon, State::Provisioning) => {
                loaded.record.step(&Transition::FailProvisioning)?
            }
            _ => loaded.record.clone(),
        };
        let next = record.after(&order.command)?;
        // From the commit on its consequences must follow, whether or not the caller still waits.
        let done = task::outlive(order.commit(loaded, next));
        done.await.map_err(|_| TenantError::Lost)?
    }
}

impl Order {
    async fn commit(self, loaded: Loaded, next: TenantRecord) -> Result<TenantRecord, TenantError> {
        let receipt = Receipt {
            command: self.command.fingerprint(),
            tenant: self.id,
            result: Some(next),
            settled: !matches!(self.command, Command::Suspend(_) | Command::Abandon),
        };
        let Some(next) = &receipt.result else {
            return Err(TenantError::Damaged);
        };
        if self
            .directory
            .swap_once(&loaded, next, &self.slot, &receipt)
            .await?
        {
            return self.settled(receipt).await;
        }
        // Either the same command was given twice and the other was first, or another one was.
        if let Some(receipt) = self.directory.receipt(&self.slot).await? {
            return self.repeated(receipt).await;
        }
        Err(TenantError::VersionConflict {
            expected: loaded.record.version(),
            found: self.directory.load(self.id).await?.record.version(),
        })
    }

    async fn repeated(self, receipt: Receipt) -> Result<TenantRecord, TenantError> {
        if receipt.command != self.command.fingerprint() {
            return Err(TenantError::IdempotencyMismatch);
        }
        self.settled(receipt).await
    }

    /// Does what must follow the commit, unless an earlier call has done it.
    async fn settled(self, mut receipt: Receipt) -> Result<TenantRecord, TenantError> {
        let record = receipt.result.clone().ok_or(TenantError::Damaged)?;
        if receipt.settled {
            return Ok(record);
        }
        match &self.command {
            Command::Suspend(reason) => {
                events::suspended(&self.emitter, &self.cx, self.id, *reason).await?;
            }
            // Nothing was ever stored for it, so nothing is announced.
            Command::Abandon => {
                self.sealer.destroy_scope(keys_of(self.id)).await?;
                self.databases.destroy(record.storage()).await?;
            }
            _ => {}
        }
        receipt.settled = true;
        self.directory.settle(&self.slot, &receipt).await?;
        Ok(record)
    }
}
