//! Blind indexes rotated: each move is one compare-and-swap of the scope's keyset.

use eonpro_core::RequestContext;
use eonpro_core::phi::IndexDef;
use eonpro_core::port::SealScope;

use super::{Inner, MAX_ATTEMPTS};
use crate::error::CryptoError;
use crate::events;
use crate::index_status::{IndexScan, IndexStatus, SETTLE_MARGIN};
use crate::keyset::ScopeRecord;
use crate::search;

/// What is asked of an index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Begin,
    Finish(IndexScan),
    Retire(IndexScan),
}

impl Inner {
    pub(super) async fn move_index(
        &self,
        cx: &RequestContext,
        scope: SealScope,
        index: &IndexDef,
        wanted: Move,
    ) -> Result<IndexStatus, CryptoError> {
        self.check_open()?;
        search::check(index)?;
        let (before, after) = self.commit_move(scope, index, wanted).await?;
        let versions = after.rotation().or(before.rotation());
        let versions = versions.ok_or(CryptoError::Record("an index moved nowhere"))?;
        events::index_moved(&self.emitter, cx, scope, index, after, versions)
            .await
            .map_err(CryptoError::Unaudited)?;
        Ok(after)
    }

    /// The phase before and the one that was committed.
    async fn commit_move(
        &self,
        scope: SealScope,
        index: &IndexDef,
        wanted: Move,
    ) -> Result<(IndexStatus, IndexStatus), CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let expires = self.lease();
            slot.begin_fetch();
            let (mut keyset, version) = self.keysets.live(scope).await?;
            let kek = self.wrapping_key(scope, &keyset).await?;
            let before = keyset.index_status(index);
            let after = self.next(before, wanted)?;
            keyset.set_index(index, after)?;
            let record = ScopeRecord::Live(keyset.clone());
            let version = match self.keysets.replace(scope, Some(version), &record).await {
                Err(CryptoError::Conflict) => continue,
                other => other?,
            };
            self.unlock(scope, &slot, &keyset, &kek, version, expires)?;
            return Ok((before, after));
        }
        Err(CryptoError::Conflict)
    }

    fn next(&self, before: IndexStatus, wanted: Move) -> Result<IndexStatus, CryptoError> {
        let now = self.emitter.clock().wall();
        // A process that read the record just before the commit acts by it for its whole lease.
        let settled_at = now.plus(self.config.cache_ttl).plus(SETTLE_MARGIN);
        match wanted {
            Move::Begin => before.begin(settled_at),
            Move::Finish(scan) => before.finish(&scan, now, settled_at),
            Move::Retire(scan) => before.retire(&scan, now),
        }
    }
}
