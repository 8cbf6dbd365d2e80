//! Which root key wraps whose keys: the vault's own, or one that the tenant holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use eonpro_core::component::Health;
use eonpro_core::id::TenantId;
use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;

use crate::error::CryptoError;
use crate::keyset::{AlsoWrapped, Keyset, MAX_ALSO};
use crate::repository::Keysets;
use crate::root::{Recipient, RootKey, RootKeyId, WrapContext};

/// The roots of scopes whose key-encryption keys the vault's own root does not wrap.
///
/// It is asked each time a scope's keys are wrapped or unwrapped, never while a lease lasts, and must
/// not block. It owns its roots: the vault neither closes them nor counts their health as its own, so
/// that one tenant's provider that is down is no trouble of the others.
pub trait RootDirectory: Send + Sync + fmt::Debug {
    /// The root that wraps the scope's next key-encryption key; `None` for the vault's own.
    fn wrapping(&self, scope: SealScope) -> Option<Arc<dyn RootKey>>;

    /// The scope's root of that id, one that it had before included; `None` if the scope never had it.
    fn named(&self, scope: SealScope, id: &RootKeyId) -> Option<Arc<dyn RootKey>>;

    /// Whether what the vault's own root wrapped is still accepted for a scope that has another: only
    /// until its keys are rewrapped, for an old key record would undo a revocation.
    fn accepts_own(&self, scope: SealScope) -> bool;
}

/// Roots of tenants, in memory: what the host's configuration says, given at start and changed since.
#[derive(Debug, Default)]
pub struct TenantRoots(RwLock<HashMap<TenantId, TenantsRoot>>);

#[derive(Debug, Default)]
struct TenantsRoot {
    present: Option<Arc<dyn RootKey>>,
    former: Vec<Arc<dyn RootKey>>,
    /// Whether the vault's own root is none of the former ones any more.
    own_is_over: bool,
}

impl TenantRoots {
    /// No tenant has a root of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the tenant `root`, or the vault's own for `None`. What it had stays at hand for
    /// unwrapping. Stored keys move to the new root by
    /// [`rewrap_keys`](crate::Encryption::rewrap_keys), and not before.
    pub fn set(&self, tenant: TenantId, root: Option<Arc<dyn RootKey>>) {
        let mut roots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of = roots.entry(tenant).or_default();
        if let Some(before) = std::mem::replace(&mut of.present, root) {
            of.former.push(before);
        }
        of.own_is_over &= of.present.is_some();
    }

    /// Forgets all roots that the tenant had before, the vault's own among them, once its keys are
    /// rewrapped. Only from then on the tenant's revocation is final.
    pub fn forget_former(&self, tenant: TenantId) {
        let mut roots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = roots.get_mut(&tenant) {
            of.former.clear();
            of.own_is_over = of.present.is_some();
        }
    }

    fn find<T>(&self, scope: SealScope, pick: impl FnOnce(&TenantsRoot) -> Option<T>) -> Option<T> {
        let roots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pick(roots.get(&scope.tenant()?)?)
    }
}

impl RootDirectory for TenantRoots {
    fn wrapping(&self, scope: SealScope) -> Option<Arc<dyn RootKey>> {
        self.find(scope, |of| of.present.clone())
    }

    fn named(&self, scope: SealScope, id: &RootKeyId) -> Option<Arc<dyn RootKey>> {
        self.find(scope, |of| {
            let mut all = of.present.iter().chain(&of.former);
            all.find(|root| root.id() == id).cloned()
        })
    }

    fn accepts_own(&self, scope: SealScope) -> bool {
        self.find(scope, |of| of.own_is_over.then_some(()))
            .is_none()
    }
}

/// The vault's own root, and the directory of the others.
#[derive(Debug)]
pub(crate) struct Roots {
    own: Arc<dyn RootKey>,
    others: Arc<dyn RootDirectory>,
    /// Roots that stand in for the vault's own, in this order.
    standbys: Vec<Arc<dyn RootKey>>,
    recipients: Vec<Arc<dyn Recipient>>,
}

impl Roots {
    /// # Errors
    /// [`CryptoError::Config`] for more than eight standbys and recipients, or if two have one id.
    pub(crate) fn new(
        own: Arc<dyn RootKey>,
        others: Arc<dyn RootDirectory>,
        standbys: Vec<Arc<dyn RootKey>>,
        recipients: Vec<Arc<dyn Recipient>>,
    ) -> Result<Self, CryptoError> {
        let mut ids: Vec<&str> = std::iter::once(own.id().as_str())
            .chain(standbys.iter().map(|root| root.id().as_str()))
            .chain(recipients.iter().map(|one| one.id().as_str()))
            .collect();
        if ids.len() > MAX_ALSO + 1 {
            return Err(CryptoError::Config("at most 8 standbys and recipients"));
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != all {
            return Err(CryptoError::Config(
                "roots and recipients with ids of their own",
            ));
        }
        Ok(Self {
            own,
            others,
            standbys,
            recipients,
        })
    }

    /// The key-encryption key as standbys and recipients wrap it, proven where that is possible. A
    /// tenant that holds its own root shares its key with nobody.
    pub(crate) async fn wrap_also(
        &self,
        root: &dyn RootKey,
        kek: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<AlsoWrapped>, CryptoError> {
        let mut also = Vec::new();
        if root.id() != self.own.id() {
            return Ok(also);
        }
        for standby in &self.standbys {
            let wrapped = standby.wrap(kek, context).await?;
            if standby.unwrap(&wrapped, context).await? != *kek {
                return Err(CryptoError::Unverified);
            }
            also.push(AlsoWrapped {
                by: standby.id().as_str().into(),
                wrapped,
            });
        }
        for recipient in &self.recipients {
            also.push(AlsoWrapped {
                by: recipient.id().as_str().into(),
                wrapped: recipient.wrap(kek, context).await?,
            });
        }
        Ok(also)
    }

    /// The key-encryption key of `keyset`: from the root that it names, or, if that one cannot be had,
    /// from a standby.
    pub(crate) async fn unwrap(
        &self,
        scope: SealScope,
        keyset: &Keyset,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let kek = keyset.wrapping()?;
        let context = WrapContext { scope, key: kek.id };
        let first = match self.named(scope, &keyset.root) {
            Some(root) => root.unwrap(&kek.wrapped, &context).await,
            None => Err(CryptoError::RootMismatch),
        };
        let error = match first {
            Ok(key) => return Ok(key),
            Err(error) => error,
        };
        if self.others.wrapping(scope).is_some() && scope != SealScope::System {
            return Err(error);
        }
        // A standby may have taken the place of the vault's own root, or the other way round.
        for other in std::iter::once(&self.own).chain(&self.standbys) {
            let by = other.id().as_str();
            let wrapped = match keyset.also.iter().find(|also| *also.by == *by) {
                Some(also) => &also.wrapped,
                None if *keyset.root == *by => &kek.wrapped,
                None => continue,
            };
            if let Ok(key) = other.unwrap(wrapped, &context).await {
                tracing::warn!(root = by, "another root unwrapped what the first did not");
                return Ok(key);
            }
        }
        Err(error)
    }

    pub(crate) fn own(&self) -> &dyn RootKey {
        &*self.own
    }

    /// How the vault's own root is doing; less than well, but not down, while a standby is well that
    /// wraps the system's keys. One that wraps nothing yet opens nothing.
    pub(crate) async fn health(&self, keysets: &Keysets) -> Health {
        let own = self.own.health().await;
        if !matches!(own, Health::Unhealthy(_)) || self.standbys.is_empty() {
            return own;
        }
        let Ok((system, _)) = keysets.live(SealScope::System).await else {
            return own;
        };
        for standby in &self.standbys {
            let id = standby.id().as_str();
            let wraps = *system.root == *id || system.also.iter().any(|also| *also.by == *id);
            if wraps && !matches!(standby.health().await, Health::Unhealthy(_)) {
                return Health::Degraded("the root key is down, a standby is not");
            }
        }
        own
    }

    /// The root that wraps the scope's next key-encryption key. The system's is the vault's own.
    pub(crate) fn wrapping(&self, scope: SealScope) -> Arc<dyn RootKey> {
        let tenants = match scope {
            SealScope::System => None,
            _ => self.others.wrapping(scope),
        };
        tenants.unwrap_or_else(|| Arc::clone(&self.own))
    }

    /// The root of that id, if the scope may have been wrapped by it.
    pub(crate) fn named(&self, scope: SealScope, id: &str) -> Option<Arc<dyn RootKey>> {
        if self.own.id().as_str() == id {
            let accepted = scope == SealScope::System
                || self.others.wrapping(scope).is_none()
                || self.others.accepts_own(scope);
            return accepted.then(|| Arc::clone(&self.own));
        }
        match scope {
            SealScope::System => None,
            _ => self.others.named(scope, &RootKeyId::new(id)?),
        }
    }
}
