//! Sealing: what cache, storage, audit and sessions need of encryption.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::component::Component;
use crate::error::{Classify, ErrorKind, Source};
use crate::id::TenantId;
use crate::phi::Cell;
use crate::scope::{Authority, TenantScope};
use crate::secret::{KeyBytes, SecretBytes};

/// Whose keys seal: the system's own, or one tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealScope {
    /// The system's own state. Never for tenant data.
    System,
    /// One tenant's data; obtained from its [`TenantScope`].
    Tenant(SealTenant),
}

/// A tenant whose keys may be used. Made from a scope, or by an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealTenant(TenantId);

impl SealTenant {
    /// The tenant.
    #[must_use]
    pub fn id(self) -> TenantId {
        self.0
    }
}

impl SealScope {
    /// The scope of a tenant outside any request: for provisioning, offboarding and chores.
    #[must_use]
    pub fn of_tenant(_by: &Authority, tenant: TenantId) -> Self {
        Self::Tenant(SealTenant(tenant))
    }

    /// The tenant, if it is one's.
    #[must_use]
    pub fn tenant(self) -> Option<TenantId> {
        match self {
            Self::System => None,
            Self::Tenant(tenant) => Some(tenant.0),
        }
    }
}

impl From<&TenantScope> for SealScope {
    fn from(scope: &TenantScope) -> Self {
        Self::Tenant(SealTenant(scope.tenant()))
    }
}

/// What a key is for. Each purpose has keys of its own, so that the right to use one gives no
/// access to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPurpose(&'static str);

impl KeyPurpose {
    /// Fields of records.
    pub const RECORDS: Self = Self("records");
    /// Blind indexes.
    pub const SEARCH: Self = Self("search");
    /// Released documents.
    pub const FILES: Self = Self("files");
    /// Documents that no scan has released.
    pub const QUARANTINE: Self = Self("quarantine");
    /// Cached values.
    pub const CACHE: Self = Self("cache");
    /// Sealed fields of audit entries.
    pub const AUDIT: Self = Self("audit");
    /// State that services keep in `KeyValue`.
    pub const STATE: Self = Self("state");

    /// A further purpose, such as `restricted`: 1 to 32 characters of `a-z 0-9 _ -`.
    ///
    /// # Panics
    /// While compiling, if used in a constant and the name does not fit; at run time otherwise.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let mut rest = name.as_bytes();
        while let [first, tail @ ..] = rest {
            assert!(
                matches!(first, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'),
                "not a purpose"
            );
            rest = tail;
        }
        assert!(!name.is_empty() && name.len() <= 32, "not a purpose");
        Self(name)
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// A data key, wrapped: to be stored beside what it seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey(pub Vec<u8>);

/// An unwrapped data key: seals and opens the parts of one stream or document.
///
/// Synchronous: the key is at hand.
pub trait DataKey: std::fmt::Debug + Send + Sync + 'static {
    /// Seals one part as a message of its own, with a salt of its own.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond the suite's bounds.
    fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Opens one part; nothing is returned before all of it is authenticated.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for a wrong key, a wrong cell or changed bytes.
    fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError>;
}

/// What was destroyed with a scope's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestroyedScope {
    /// How many keys were destroyed.
    pub keys: u64,
    /// How long another process may still hold an unwrapped copy.
    pub exposure: Duration,
}

/// Seals and opens bytes under keys that the caller never sees. Implemented by encryption.
#[async_trait]
pub trait Sealer: Component {
    /// Creates the scope's keys for all standard purposes, if they do not exist. Idempotent.
    ///
    /// # Errors
    /// [`SealError::Shredded`] if the scope was destroyed; backend errors.
    async fn provision(&self, scope: SealScope) -> Result<(), SealError>;

    /// Seals `plaintext` for `cell`. Cancel-safe.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] if the scope was not provisioned.
    async fn seal(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError>;

    /// Opens what was sealed for the same scope, purpose and cell. Cancel-safe.
    ///
    /// # Errors
    /// [`SealError::Authentication`] for a wrong scope, purpose, cell or changed bytes, without
    /// telling which; [`SealError::Shredded`] after the scope was destroyed.
    async fn open(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError>;

    /// A fresh data key for `cell`, and its wrapped form.
    ///
    /// # Errors
    /// As [`Self::seal`].
    async fn data_key(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
    ) -> Result<(Arc<dyn DataKey>, WrappedKey), SealError>;

    /// Unwraps a data key that was wrapped for the same scope, purpose and cell.
    ///
    /// # Errors
    /// As [`Self::open`].
    async fn unwrap(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<Arc<dyn DataKey>, SealError>;

    /// Wraps a data key for another purpose, without touching what it sealed. The old wrapped form
    /// stays valid until its key is destroyed.
    ///
    /// # Errors
    /// As [`Self::open`].
    async fn rewrap(
        &self,
        scope: SealScope,
        from: KeyPurpose,
        to: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, SealError>;

    /// A key derived from the scope's secrets for `label`, stable for the scope's lifetime: for
    /// MACs such as id tags, cache keys, signed URLs.
    ///
    /// # Errors
    /// As [`Self::seal`].
    async fn mac_key(
        &self,
        scope: SealScope,
        label: &'static str,
    ) -> Result<KeyBytes<32>, SealError>;

    /// Destroys all keys of the scope: nothing sealed in it opens again. Idempotent.
    ///
    /// # Errors
    /// Backend errors; the scope may then be partly destroyed and the call must be repeated.
    async fn destroy_scope(&self, scope: SealScope) -> Result<DestroyedScope, SealError>;
}

/// Why sealing or opening failed. No variant tells plaintext, key bytes or the cell.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The bytes are not a sealed value.
    #[error("sealed value is malformed")]
    Malformed,
    /// The key does not exist in this scope.
    #[error("key is unknown in this scope")]
    UnknownKey,
    /// Wrong key, wrong context or changed bytes: on purpose one error.
    #[error("sealed value does not authenticate")]
    Authentication,
    /// The keys were destroyed.
    #[error("keys of this scope were destroyed")]
    Shredded,
    /// The key may not be used now.
    #[error("key is disabled")]
    Disabled,
    /// A size or count limit was reached.
    #[error("sealing limit exceeded")]
    LimitExceeded,
    /// The column has too few distinct values to be sealed deterministically, and nobody overrode
    /// that.
    #[error("column has too few distinct values for deterministic sealing")]
    LowCardinality,
    /// A text does not fit the rule of its blind index. Names the index, never the text.
    #[error("a value does not fit the rule of blind index {index} in table {table}")]
    Unindexable {
        /// The table.
        table: &'static str,
        /// The index.
        index: &'static str,
    },
    /// A query for nothing: its text normalizes to nothing, which no row has a token of.
    #[error("a query by a blind index needs a value that is not empty under its rule")]
    EmptyQuery,
    /// This backend cannot do it.
    #[error("operation is not supported")]
    Unsupported,
    /// The record's type has no such value.
    #[error("opened value has another type")]
    Value(#[from] crate::phi::PhiValueError),
    /// A backend failed.
    #[error("key backend failed")]
    Backend(#[source] Source),
}

impl Classify for SealError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed | Self::Authentication | Self::Value(_) => ErrorKind::Integrity,
            Self::UnknownKey | Self::Shredded => ErrorKind::NotFound,
            Self::Disabled => ErrorKind::PermissionDenied,
            Self::LimitExceeded
            | Self::LowCardinality
            | Self::Unindexable { .. }
            | Self::EmptyQuery => ErrorKind::InvalidInput,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::Backend(_) => ErrorKind::Unavailable,
        }
    }
}
