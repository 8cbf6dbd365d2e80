//! Where keysets live: one record per scope, at key `keyset` of its `encryption` partition.

use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction, Version};
use eonpro_core::port::{SealError, SealScope};

use crate::error::CryptoError;
use crate::keyset::{Keyset, ScopeRecord};
use crate::record;

const SERVICE: &str = "encryption";
const KEYSET: &[u8] = b"keyset";

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Keysets(Arc<dyn KeyValue>);

impl Keysets {
    pub(crate) fn new(state: Arc<dyn KeyValue>) -> Self {
        Self(state)
    }

    pub(crate) fn state(&self) -> &dyn KeyValue {
        &*self.0
    }

    /// The scope's record and the commit that wrote it.
    pub(crate) async fn find(
        &self,
        scope: SealScope,
    ) -> Result<Option<(ScopeRecord, Version)>, CryptoError> {
        let found = self.0.get(&partition(scope), &key()?).await?;
        match found {
            None => Ok(None),
            Some(found) => Ok(Some((record::decode(&found.value)?, found.version))),
        }
    }

    /// The scope's live keyset.
    pub(crate) async fn live(&self, scope: SealScope) -> Result<(Keyset, Version), CryptoError> {
        match self.find(scope).await? {
            None => Err(SealError::UnknownKey.into()),
            Some((ScopeRecord::Shredded(_), _)) => Err(SealError::Shredded.into()),
            Some((ScopeRecord::Live(keyset), version)) => Ok((keyset, version)),
        }
    }

    /// Replaces the record that `before` wrote, or creates it if there was none.
    pub(crate) async fn replace(
        &self,
        scope: SealScope,
        before: Option<Version>,
        record: &ScopeRecord,
    ) -> Result<Version, CryptoError> {
        let bytes = record::encode(record)?;
        self.replace_bytes(scope, before, bytes).await
    }

    pub(crate) async fn replace_bytes(
        &self,
        scope: SealScope,
        before: Option<Version>,
        bytes: Vec<u8>,
    ) -> Result<Version, CryptoError> {
        let key = key()?;
        let tx = match before {
            None => Transaction::new().require_absent(key.clone()),
            Some(version) => Transaction::new().require(key.clone(), version),
        };
        let tx = tx.put(key, bytes);
        Ok(self.0.commit(&partition(scope), tx).await?)
    }
}

pub(crate) fn partition(scope: SealScope) -> Partition {
    match scope.tenant() {
        None => Partition::system(SERVICE),
        Some(tenant) => Partition::tenant(tenant, SERVICE),
    }
}

fn key() -> Result<Key, CryptoError> {
    Ok(Key::new(Bytes::from_static(KEYSET))?)
}
