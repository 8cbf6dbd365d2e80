//! Which root key wraps whose keys: the vault's own, or one that the tenant holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use eonpro_core::id::TenantId;
use eonpro_core::port::SealScope;

use crate::root::{RootKey, RootKeyId};

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
}

/// Roots of tenants, in memory: what the host's configuration says, given at start and changed since.
#[derive(Debug, Default)]
pub struct TenantRoots(RwLock<HashMap<TenantId, TenantsRoot>>);

#[derive(Debug, Default)]
struct TenantsRoot {
    present: Option<Arc<dyn RootKey>>,
    former: Vec<Arc<dyn RootKey>>,
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
    }

    /// Forgets all roots that the tenant had before, once its keys are rewrapped.
    pub fn forget_former(&self, tenant: TenantId) {
        let mut roots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = roots.get_mut(&tenant) {
            of.former.clear();
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
}

/// The vault's own root, and the directory of the others.
#[derive(Debug)]
pub(crate) struct Roots {
    own: Arc<dyn RootKey>,
    others: Arc<dyn RootDirectory>,
}

impl Roots {
    pub(crate) fn new(own: Arc<dyn RootKey>, others: Arc<dyn RootDirectory>) -> Self {
        Self { own, others }
    }

    pub(crate) fn own(&self) -> &dyn RootKey {
        &*self.own
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
            return Some(Arc::clone(&self.own));
        }
        match scope {
            SealScope::System => None,
            _ => self.others.named(scope, &RootKeyId::new(id)?),
        }
    }
}
