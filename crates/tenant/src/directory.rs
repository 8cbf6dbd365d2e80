//! The directory of tenants: a typed repository on the `KeyValue` port.
//!
//! Keys, in the partition `system/tenant`: `t/<id>` the record, `s/<slug>` the id that holds or
//! held the slug, `i/<tenant or "new">/<digest>` the receipt of a command. Records and slugs are
//! never deleted: the tombstone of an erased tenant keeps both from being given again.

use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::id::TenantId;
use eonpro_core::port::KeyValue;
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{Key, Partition, Transaction, Version};
use eonpro_core::time::Timestamp;

use crate::error::TenantError;
use crate::idempotency::IdempotencyKey;
use crate::record::TenantRecord;
use crate::slug::TenantSlug;
use crate::wire::{self, Receipt};

const PARTITION: Partition = Partition::system("tenant");

/// A record and the commit that wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) record: TenantRecord,
    at: Version,
}

/// Where the receipt of a command is kept.
#[derive(Debug, Clone)]
pub(crate) struct ReceiptSlot {
    key: Key,
    until: Timestamp,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Directory(Arc<dyn KeyValue>);

impl Directory {
    pub(crate) fn new(state: Arc<dyn KeyValue>) -> Self {
        Self(state)
    }

    pub(crate) fn state(&self) -> &Arc<dyn KeyValue> {
        &self.0
    }

    pub(crate) async fn load(&self, id: TenantId) -> Result<Loaded, TenantError> {
        let found = self.0.get(&PARTITION, &record_key(id)?).await?;
        let found = found.ok_or(TenantError::Unknown)?;
        let record = wire::decode_record(&found.value)?;
        // A record under another tenant's key would open another tenant's door.
        if record.id() != id {
            return Err(TenantError::Damaged);
        }
        Ok(Loaded {
            record,
            at: found.version,
        })
    }

    pub(crate) async fn by_slug(&self, slug: &TenantSlug) -> Result<Loaded, TenantError> {
        let found = self.0.get(&PARTITION, &slug_key(slug)?).await?;
        let found = found.ok_or(TenantError::Unknown)?;
        let id = std::str::from_utf8(&found.value)
            .ok()
            .and_then(TenantId::parse)
            .ok_or(TenantError::Damaged)?;
        self.load(id).await
    }

    /// Records in the order of their ids, after `after`.
    pub(crate) async fn page(
        &self,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantRecord>, TenantError> {
        let mut after = after.map(record_key).transpose()?;
        let mut records = Vec::new();
        while records.len() < limit {
            let left = limit - records.len();
            let page = self.0.scan(&PARTITION, b"t/", after.as_ref(), left).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in &page {
                records.push(wire::decode_record(&entry.versioned.value)?);
            }
        }
        Ok(records)
    }

    pub(crate) async fn receipt(&self, slot: &ReceiptSlot) -> Result<Option<Receipt>, TenantError> {
        match self.0.get(&PARTITION, &slot.key).await? {
            Some(found) => wire::decode_receipt(&found.value).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a new tenant, unless its id, its slug or the receipt exists: then `false`.
    pub(crate) async fn create(
        &self,
        record: &TenantRecord,
        slot: &ReceiptSlot,
        receipt: &Receipt,
    ) -> Result<bool, TenantError> {
        let (id, slug) = (record_key(record.id())?, slug_key(record.slug())?);
        let tx = Transaction::new()
            .require_absent(id.clone())
            .require_absent(slug.clone())
            .require_absent(slot.key.clone())
            .put(id, wire::encode_record(record)?)
            .put(slug, record.id().to_string())
            .put_until(slot.key.clone(), wire::encode_receipt(receipt)?, slot.until);
        self.commit(tx).await
    }

    /// Writes `next` unless the record changed since it was loaded: then `false`.
    pub(crate) async fn swap(
        &self,
        loaded: &Loaded,
        next: &TenantRecord,
    ) -> Result<bool, TenantError> {
        self.commit(swap_tx(loaded, next)?).await
    }

    /// [`Self::swap`] together with a receipt that must not exist yet.
    pub(crate) async fn swap_once(
        &self,
        loaded: &Loaded,
        next: &TenantRecord,
        slot: &ReceiptSlot,
        receipt: &Receipt,
    ) -> Result<bool, TenantError> {
        let tx = swap_tx(loaded, next)?
            .require_absent(slot.key.clone())
            .put_until(slot.key.clone(), wire::encode_receipt(receipt)?, slot.until);
        self.commit(tx).await
    }

    /// [`Self::swap`] together with a receipt that replaces an earlier one.
    pub(crate) async fn swap_and_settle(
        &self,
        loaded: &Loaded,
        next: &TenantRecord,
        slot: &ReceiptSlot,
        receipt: &Receipt,
    ) -> Result<bool, TenantError> {
        let tx = swap_tx(loaded, next)?.put_until(
            slot.key.clone(),
            wire::encode_receipt(receipt)?,
            slot.until,
        );
        self.commit(tx).await
    }

    pub(crate) async fn settle(
        &self,
        slot: &ReceiptSlot,
        receipt: &Receipt,
    ) -> Result<(), TenantError> {
        let tx = Transaction::new().put_until(
            slot.key.clone(),
            wire::encode_receipt(receipt)?,
            slot.until,
        );
        self.commit(tx).await.map(drop)
    }

    async fn commit(&self, tx: Transaction) -> Result<bool, TenantError> {
        match self.0.commit(&PARTITION, tx).await {
            Ok(_) => Ok(true),
            Err(KvError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl ReceiptSlot {
    /// The slot of a command for `tenant`, or of an onboarding.
    pub(crate) fn new(
        tenant: Option<TenantId>,
        idem: &IdempotencyKey,
        until: Timestamp,
    ) -> Result<Self, TenantError> {
        let owner = tenant.map_or_else(|| "new".to_owned(), |tenant| tenant.to_string());
        let digest: Digest = idem.digest();
        Ok(Self {
            key: Key::new(format!("i/{owner}/{digest}"))?,
            until,
        })
    }
}

fn swap_tx(loaded: &Loaded, next: &TenantRecord) -> Result<Transaction, TenantError> {
    let key = record_key(next.id())?;
    Ok(Transaction::new()
        .require(key.clone(), loaded.at)
        .put(key, wire::encode_record(next)?))
}

fn record_key(id: TenantId) -> Result<Key, TenantError> {
    Ok(Key::new(format!("t/{id}"))?)
}

fn slug_key(slug: &TenantSlug) -> Result<Key, TenantError> {
    Ok(Key::new(format!("s/{slug}"))?)
}
