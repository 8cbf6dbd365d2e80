//! The durable tier as the cache uses it: names, seals, and what a failure means.
//!
//! A read that fails is a miss. A removal that fails is not: the whole tenant is cleared instead,
//! and if that fails too the tier is not read any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Column, Row};
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer};
use eonpro_core::time::SharedClock;
use ring::hmac;

use crate::entry::DurableEntry;
use crate::error::TierError;
use crate::generation::Guard;
use crate::key::Key;
use crate::tier::{DurableTier, EntryName, SealedEntry};

const NAME_LABEL: &str = "eonpro/cache/name/v1";
const VALUE: Column = Column::new("value");
/// Beyond this many tenants the name keys are derived again.
const NAME_KEYS: usize = 4_096;

/// What a read found.
pub(crate) enum Found {
    /// A valid entry.
    Entry(DurableEntry),
    /// Nothing, or nothing that could be read.
    Nothing,
    /// Something that must not be there; it was deleted.
    Rejected,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Durable {
    tier: Arc<dyn DurableTier>,
    sealer: Arc<dyn Sealer>,
    clock: SharedClock,
    name_keys: Mutex<HashMap<TenantId, hmac::Key>>,
    distrusted: AtomicBool,
}

impl Durable {
    pub(crate) fn new(
        tier: Arc<dyn DurableTier>,
        sealer: Arc<dyn Sealer>,
        clock: SharedClock,
    ) -> Self {
        Self {
            tier,
            sealer,
            clock,
            name_keys: Mutex::default(),
            distrusted: AtomicBool::new(false),
        }
    }

    pub(crate) fn tier(&self) -> &dyn DurableTier {
        &*self.tier
    }

    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Acquire)
    }

    async fn name(&self, scope: &TenantScope, key: &Key) -> Result<EntryName, SealError> {
        let known = self.name_key(scope.tenant());
        let mac = match known {
            Some(mac) => mac,
            None => {
                let derived = self.sealer.mac_key(scope.into(), NAME_LABEL).await?;
                let mac = hmac::Key::new(hmac::HMAC_SHA256, derived.expose());
                self.keep_name_key(scope.tenant(), mac.clone());
                mac
            }
        };
        let parts: [&[u8]; 2] = [key.namespace().as_str().as_bytes(), key.digest().as_bytes()];
        let mut context = hmac::Context::with_key(&mac);
        pae::visit(&parts, |piece| context.update(piece));
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Ok(EntryName(name))
    }

    fn name_key(&self, tenant: TenantId) -> Option<hmac::Key> {
        let keys = self
            .name_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.get(&tenant).cloned()
    }

    fn keep_name_key(&self, tenant: TenantId, mac: hmac::Key) {
        let mut keys = self
            .name_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= NAME_KEYS {
            keys.clear();
        }
        keys.insert(tenant, mac);
    }

    /// The entry of `key`, opened.
    pub(crate) async fn read(&self, scope: &TenantScope, key: &Key) -> Found {
        if self.is_distrusted() {
            return Found::Nothing;
        }
        let Ok(name) = self.name(scope, key).await else {
            return Found::Nothing;
        };
        let Ok(Some(stored)) = self.tier.get(scope, &name).await else {
            return Found::Nothing;
        };
        let Some(cell) = cell(key, &name) else {
            return Found::Nothing;
        };
        let opened = self
            .sealer
            .open(
                SealScope::from(scope),
                KeyPurpose::CACHE,
                &cell,
                &stored.sealed,
            )
            .await;
        let entry = match opened {
            Ok(plain) => DurableEntry::decode(&plain),
            Err(SealError::Authentication | SealError::Malformed | SealError::Shredded) => None,
            // The keys are out of reach for now; the entry may be sound.
            Err(_) => return Found::Nothing,
        };
        match entry {
            Some(entry) if self.clock.wall() < entry.expires => Found::Entry(entry),
            Some(_) => Found::Nothing,
            None => {
                // If it stays it is rejected again at the next read.
                let _ = self.tier.remove(scope, &name).await;
                Found::Rejected
            }
        }
    }

    /// Seals and stores an entry while `guard` holds.
    pub(crate) async fn write(
        &self,
        scope: &TenantScope,
        key: &Key,
        entry: &DurableEntry,
        guard: Guard,
    ) -> Result<(), TierError> {
        if self.is_distrusted() {
            return Err(TierError::Closed);
        }
        let name = self.name(scope, key).await.map_err(unsealed)?;
        let cell = cell(key, &name).ok_or(TierError::Overloaded)?;
        let sealed = self
            .sealer
            .seal(
                SealScope::from(scope),
                KeyPurpose::CACHE,
                &cell,
                &entry.encode(),
            )
            .await
            .map_err(unsealed)?;
        let stored = SealedEntry {
            expires: entry.expires,
            sealed: Bytes::from(sealed),
        };
        self.tier.put(scope, &name, stored, guard).await
    }

    /// Removes the entry of `key`; if it cannot be named or removed, everything of the tenant.
    pub(crate) async fn remove(&self, scope: &TenantScope, key: &Key) -> Result<(), TierError> {
        let removed = match self.name(scope, key).await {
            Ok(name) => self.tier.remove(scope, &name).await,
            Err(error) => Err(unsealed(error)),
        };
        match removed {
            Ok(()) => Ok(()),
            Err(_) => self.clear(scope).await,
        }
    }

    /// Removes everything of the tenant; if that fails, the tier is not read any more.
    pub(crate) async fn clear(&self, scope: &TenantScope) -> Result<(), TierError> {
        self.name_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&scope.tenant());
        let cleared = self.tier.clear(scope).await;
        if cleared.is_err() {
            self.distrusted.store(true, Ordering::Release);
        }
        cleared
    }
}

fn cell<'a>(key: &Key, name: &'a EntryName) -> Option<Cell<'a>> {
    let row = Row::named(&name.0)?;
    Some(Cell::new(key.namespace().table(), VALUE, row))
}

fn unsealed(error: SealError) -> TierError {
    TierError::Backend(error.into())
}
