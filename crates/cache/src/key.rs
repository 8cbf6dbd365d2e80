//! Keys: one tenant's, in one namespace, kept as a digest.

use std::fmt;

use eonpro_core::TenantScope;
use eonpro_core::digest::Digest;
use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::Table;

use crate::error::CacheError;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;

/// What kind of thing a key names, such as `charts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Namespace {
    table: Table,
    phi: bool,
}

impl Namespace {
    /// A namespace that may hold PHI: its time in memory is capped. 1 to 64 characters of
    /// `a-z 0-9 _ -`.
    ///
    /// # Panics
    /// While compiling, if used in a constant and the name does not fit; at run time otherwise.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            table: Table::new(name),
            phi: true,
        }
    }

    /// A namespace that never holds PHI.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub const fn without_phi(name: &'static str) -> Self {
        Self {
            table: Table::new(name),
            phi: false,
        }
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.table.as_str()
    }

    pub(crate) const fn table(self) -> Table {
        self.table
    }

    pub(crate) const fn may_hold_phi(self) -> bool {
        self.phi
    }
}

/// Names one entry: a tenant's, in one namespace.
///
/// The bytes are hashed at once (SHA-256 over the PAE of tenant, namespace and bytes) and not kept.
/// The digest never leaves the process: on disk an entry is named by an HMAC under a key of the
/// tenant, since a bare digest of, say, a record number could be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    tenant: TenantId,
    namespace: Namespace,
    digest: Digest,
}

impl Key {
    /// The key named `bytes` of the scope's tenant in `namespace`.
    ///
    /// # Errors
    /// [`CacheError::BadKey`] if `bytes` is empty or longer than [`MAX_KEY_BYTES`].
    pub fn new(
        scope: &TenantScope,
        namespace: Namespace,
        bytes: &[u8],
    ) -> Result<Self, CacheError> {
        if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES {
            return Err(CacheError::BadKey);
        }
        let tenant = scope.tenant();
        let parts: [&[u8]; 4] = [
            b"eonpro/cache/key/v1",
            tenant.as_bytes(),
            namespace.as_str().as_bytes(),
            bytes,
        ];
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        pae::visit(&parts, |piece| hash.update(piece));
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(hash.finish().as_ref()) {
            *to = *from;
        }
        Ok(Self {
            tenant,
            namespace,
            digest: Digest::from_bytes(digest),
        })
    }

    /// The tenant it belongs to.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("tenant", &self.tenant)
            .field("namespace", &self.namespace.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_testkit::scope;

    const A: Namespace = Namespace::new("a");
    const AB: Namespace = Namespace::new("ab");

    #[test]
    fn moving_a_byte_between_namespace_and_key_gives_another_key() {
        let ours = scope(1);
        let one = Key::new(&ours, A, b"bc").unwrap();
        let other = Key::new(&ours, AB, b"c").unwrap();
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn the_same_bytes_are_another_key_for_another_tenant() {
        let one = Key::new(&scope(1), A, b"x").unwrap();
        let other = Key::new(&scope(2), A, b"x").unwrap();
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn a_key_has_1_to_1024_bytes() {
        let ours = scope(1);
        assert!(Key::new(&ours, A, &[7; MAX_KEY_BYTES]).is_ok());
        for bad in [vec![], vec![7; MAX_KEY_BYTES + 1]] {
            assert!(matches!(Key::new(&ours, A, &bad), Err(CacheError::BadKey)));
        }
    }

    #[test]
    fn a_printed_key_tells_neither_bytes_nor_digest() {
        let key = Key::new(&scope(1), A, b"mrn-12345").unwrap();
        let printed = format!("{key:?}");
        assert!(!printed.contains("12345"), "{printed}");
        assert!(!printed.contains(&key.digest().to_string()), "{printed}");
    }
}
