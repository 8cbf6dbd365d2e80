//! The durable tier: sealed entries on disk, by tenant, under names that tell nothing.

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::TenantScope;
use eonpro_core::component::Component;
use eonpro_core::time::Timestamp;

use crate::error::TierError;
use crate::generation::Guard;

/// The name of an entry on disk: HMAC-SHA-256 under a key of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(pub [u8; 32]);

/// An entry on disk. The tier sees no plaintext.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedEntry {
    /// From when on, by the wall clock, the tier may forget it. The instant that decides is inside.
    pub expires: Timestamp,
    /// The sealed value.
    pub sealed: Bytes,
}

impl std::fmt::Debug for SealedEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedEntry")
            .field("expires", &self.expires)
            .field("bytes", &self.sealed.len())
            .finish()
    }
}

/// Keeps sealed entries across restarts. May forget any entry at any time.
///
/// Writes and removals are applied one after the other. After an unclean end of the process an
/// entry whose removal was acknowledged must not come back.
#[async_trait]
pub trait DurableTier: Component {
    /// The entry, unless absent, expired or cleared. Cancel-safe.
    ///
    /// # Errors
    /// [`TierError`]; the caller treats it as a miss.
    async fn get(
        &self,
        scope: &TenantScope,
        name: &EntryName,
    ) -> Result<Option<SealedEntry>, TierError>;

    /// Stores the entry if `guard` holds at the moment of the write, in order with removals; if it
    /// does not hold, nothing is written and that is no error. Returns once later reads see it.
    /// If the future is dropped the write may happen or not.
    ///
    /// # Errors
    /// [`TierError`]; nothing is known about the entry.
    async fn put(
        &self,
        scope: &TenantScope,
        name: &EntryName,
        entry: SealedEntry,
        guard: Guard,
    ) -> Result<(), TierError>;

    /// Removes the entry. Idempotent. Returns once no later read sees it.
    ///
    /// # Errors
    /// [`TierError`]; the entry may still be there.
    async fn remove(&self, scope: &TenantScope, name: &EntryName) -> Result<(), TierError>;

    /// Removes all entries of the scope's tenant, at a cost independent of their number. Otherwise
    /// as [`Self::remove`].
    ///
    /// # Errors
    /// [`TierError`]; entries may still be there.
    async fn clear(&self, scope: &TenantScope) -> Result<(), TierError>;
}
