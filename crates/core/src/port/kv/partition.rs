//! Where state lives: a partition per owner and service, and keys within it.

use std::fmt;

use bytes::Bytes;

use super::{KvError, MAX_KEY_BYTES};
use crate::id::TenantId;

/// `system/<service>` or `tenant/<uuid>/<service>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    tenant: Option<TenantId>,
    service: &'static str,
}

impl Partition {
    /// The system's own state of `service`.
    #[must_use]
    pub const fn system(service: &'static str) -> Self {
        Self {
            tenant: None,
            service,
        }
    }

    /// One tenant's state of `service`.
    #[must_use]
    pub const fn tenant(tenant: TenantId, service: &'static str) -> Self {
        Self {
            tenant: Some(tenant),
            service,
        }
    }

    /// The tenant, if it is one's.
    #[must_use]
    pub const fn owner(&self) -> Option<TenantId> {
        self.tenant
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tenant {
            None => write!(f, "system/{}", self.service),
            Some(tenant) => write!(f, "tenant/{tenant}/{}", self.service),
        }
    }
}

/// A key: 1 to 512 bytes. Never PHI: keys are stored in clear.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Checks and takes `bytes`.
    ///
    /// # Errors
    /// [`KvError::Invalid`] if empty or longer than [`MAX_KEY_BYTES`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KvError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES {
            return Err(KvError::Invalid("key of 1 to 512 bytes"));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}
