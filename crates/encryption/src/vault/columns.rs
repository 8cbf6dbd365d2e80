//! Which columns may be sealed deterministically although they have few distinct values.

use eonpro_core::RequestContext;
use eonpro_core::phi::{Column, Table};
use eonpro_core::port::{SealError, SealScope};

use super::{Inner, MAX_ATTEMPTS};
use crate::error::CryptoError;
use crate::events;
use crate::keyset::{MAX_LOW_CARDINALITY, ScopeRecord};

impl Inner {
    pub(super) async fn allow_low_cardinality(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        table: Table,
        column: Column,
    ) -> Result<(), CryptoError> {
        self.check_open()?;
        let name: Box<str> = format!("{}/{}", table.as_str(), column.as_str()).into();
        let (keyset, _) = self.keysets.live(scope).await?;
        if keyset.low_cardinality.contains(&name) {
            return Ok(());
        }
        let part = events::column_code(scope, table, column);
        let part = part.ok_or(SealError::LimitExceeded)?;
        events::low_cardinality_allowed(&self.emitter, cx, part)
            .await
            .map_err(CryptoError::Unrecorded)?;
        self.commit_low_cardinality(scope, name).await
    }

    async fn commit_low_cardinality(
        &self,
        scope: SealScope,
        name: Box<str>,
    ) -> Result<(), CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let (mut keyset, version) = self.keysets.live(scope).await?;
            if keyset.low_cardinality.contains(&name) {
                return Ok(());
            }
            if keyset.low_cardinality.len() == MAX_LOW_CARDINALITY {
                return Err(SealError::LimitExceeded.into());
            }
            keyset.low_cardinality.push(name.clone());
            let record = ScopeRecord::Live(keyset);
            match self.keysets.replace(scope, Some(version), &record).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    self.fetch(scope, &slot).await?;
                    return Ok(());
                }
            }
        }
        Err(CryptoError::Conflict)
    }
}
