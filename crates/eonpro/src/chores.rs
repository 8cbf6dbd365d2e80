//! What an application's schedulers ask for: the scopes of tenants outside any request, and the upkeep
//! of their keys.

use eonpro_core::context::TenantBinding;
use eonpro_core::id::TenantId;
use eonpro_core::port::{SealError, SealScope};
use eonpro_core::scope::{Authority, Standing};
use eonpro_core::{RequestContext, TenantScope};
use eonpro_encryption::{CryptoError, Encryption as _, Shredding as _};
use eonpro_tenant::{Page, TenantError, TenantRecord};

use crate::foundation::Foundation;

#[expect(
    clippy::disallowed_methods,
    reason = "chores run for tenants of the directory without a request"
)]
static AUTHORITY: Authority = Authority::assume("facade: chores of the application's schedulers");

/// The most failures that one report names.
const MAX_NAMED: usize = 64;

/// What [`Foundation::maintain_keys`] did.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct KeyUpkeep {
    /// How many scopes it looked after: the system's, and those of tenants that have keys.
    pub scopes: usize,
    /// How many epochs of data keys began.
    pub turned: usize,
    /// How many tenants' shred epochs were worked on.
    pub shred_epochs: usize,
    /// How many living patients' keys were moved to a new shred epoch.
    pub moved: u64,
    /// How many patients' keys lie under a shred epoch that is gone: they came from a backup.
    pub lost: u64,
    /// How many keys of ended shred epochs were destroyed. **If any was, back up the key table now**: older
    /// backups give no patient's key back.
    pub destroyed: usize,
    /// How many ended shred epochs were not destroyed because another custody made their keys. Not a failure,
    /// but **they are still there**: call it where that custody is configured, or see the runbook of shredding.
    pub foreign: usize,
    /// How many tenants have no keys any more, or none yet.
    pub without_keys: usize,
    /// How many steps failed. They are tried again by the next call.
    pub failures: usize,
    /// The first of them, at most 64.
    pub failed: Vec<FailedUpkeep>,
}

/// One scope's step that failed.
#[derive(Debug)]
pub struct FailedUpkeep {
    /// Whose keys; `None` for the system's, and for the list of shred epochs.
    pub tenant: Option<TenantId>,
    /// Why.
    pub error: CryptoError,
}

impl KeyUpkeep {
    /// Whether every step was done.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures == 0
    }

    fn fail(&mut self, tenant: Option<TenantId>, error: CryptoError) {
        self.failures = self.failures.saturating_add(1);
        if self.failed.len() < MAX_NAMED {
            self.failed.push(FailedUpkeep { tenant, error });
        }
    }
}

impl Foundation {
    /// The scope of a chore in one tenant, such as a `Rotator`'s run or a nightly export. The actor is
    /// the chore: whoever may start it is the application's to decide. As any scope it ends with the
    /// tenant's next suspension. Cancel-safe.
    ///
    /// # Errors
    /// [`TenantError::Unknown`]; [`TenantError::NotInService`] unless the tenant is active; errors of
    /// the directory.
    pub async fn chore_in(
        &self,
        name: &'static str,
        tenant: TenantId,
    ) -> Result<TenantScope, TenantError> {
        let cx = self.chore(name);
        let record = self.tenants().get(&cx, tenant).await?;
        let binding = TenantBinding {
            id: record.id(),
            standing: record.standing(),
            epoch: record.epoch(),
        };
        let scope = AUTHORITY.bind(cx, binding).tenant_scope();
        scope.map_err(|_| TenantError::NotInService(record.standing()))
    }

    /// Whose keys there are: the system's, then those of each tenant in the order of ids, suspended and
    /// leaving ones included. For chores over all of them, such as
    /// [`Vault::rewrap_all`](eonpro_encryption::Vault::rewrap_all). A tenant that is being set up is named once
    /// it has keys; one whose keys were destroyed without its leaving is named although it has none. Reads
    /// the whole directory. Cancel-safe.
    ///
    /// # Errors
    /// Errors of the directory.
    pub async fn seal_scopes(&self, cx: &RequestContext) -> Result<Vec<SealScope>, TenantError> {
        let mut scopes = Vec::new();
        for KeyOwner { scope, is_set_up } in self.key_owners(cx).await? {
            // An onboarding that is stuck may never give it any. What else goes wrong is the chore's to find.
            let keys = match is_set_up {
                true => None,
                false => Some(self.vault().keys(scope).await),
            };
            if !matches!(keys, Some(Err(CryptoError::Seal(SealError::UnknownKey)))) {
                scopes.push(scope);
            }
        }
        Ok(scopes)
    }

    async fn key_owners(&self, cx: &RequestContext) -> Result<Vec<KeyOwner>, TenantError> {
        let mut owners = vec![KeyOwner {
            scope: SealScope::System,
            is_set_up: true,
        }];
        let mut page = Page::default();
        loop {
            let records = self.tenants().list(cx, page).await?;
            let Some(last) = records.last() else {
                return Ok(owners);
            };
            page = Page::after(last.id());
            owners.extend(records.iter().filter_map(KeyOwner::of));
        }
    }

    /// Does for the keys what is due: begins epochs of data keys that are old or nearly used up, in every
    /// scope, and ends the shred epochs whose time has come. For a scheduler: call it once a day or so.
    /// One tenant's failure holds up no other. A tenant whose keys were destroyed has nothing due.
    ///
    /// Of several processes one turns each key, and the others find nothing due. Dropped, it stops
    /// between two steps; a repeat goes on. Emits KEY-002, and KEY-001 and KEY-003 of shred epochs.
    ///
    /// # Errors
    /// Errors of the directory, before anything was done; all others are in the report.
    pub async fn maintain_keys(&self, cx: &RequestContext) -> Result<KeyUpkeep, TenantError> {
        let mut upkeep = KeyUpkeep::default();
        for KeyOwner { scope, is_set_up } in self.key_owners(cx).await? {
            match self.vault().turn_due(cx, scope).await {
                Ok(turned) => {
                    upkeep.scopes = upkeep.scopes.saturating_add(1);
                    upkeep.turned = upkeep.turned.saturating_add(turned.len());
                }
                Err(CryptoError::Seal(SealError::Shredded)) => {
                    upkeep.without_keys = upkeep.without_keys.saturating_add(1);
                }
                Err(CryptoError::Seal(SealError::UnknownKey)) if !is_set_up => {
                    upkeep.without_keys = upkeep.without_keys.saturating_add(1);
                }
                Err(error) => upkeep.fail(scope.tenant(), error),
            }
        }
        self.end_shred_epochs(cx, &mut upkeep).await;
        Ok(upkeep)
    }

    async fn end_shred_epochs(&self, cx: &RequestContext, upkeep: &mut KeyUpkeep) {
        let vault = self.vault();
        let due = match vault.shred_epochs_due(self.clock().wall()).await {
            Ok(due) => due,
            Err(error) => return upkeep.fail(None, error),
        };
        for tenant in due {
            let scope = SealScope::of_tenant(&AUTHORITY, tenant);
            match vault.end_shred_epoch(cx, scope).await {
                Ok(ended) => {
                    upkeep.shred_epochs = upkeep.shred_epochs.saturating_add(1);
                    upkeep.moved = upkeep.moved.saturating_add(ended.moved);
                    upkeep.lost = upkeep.lost.saturating_add(ended.lost);
                    upkeep.destroyed = upkeep.destroyed.saturating_add(ended.destroyed.len());
                    upkeep.foreign = upkeep.foreign.saturating_add(ended.foreign.len());
                }
                Err(error) => upkeep.fail(Some(tenant), error),
            }
        }
    }
}

/// Somebody who has keys, or will have.
struct KeyOwner {
    scope: SealScope,
    /// Whether it must have keys: before, it may.
    is_set_up: bool,
}

impl KeyOwner {
    /// `None` once the tenant is erased.
    fn of(record: &TenantRecord) -> Option<Self> {
        let standing = record.standing();
        (standing != Standing::Erased).then(|| Self {
            scope: SealScope::of_tenant(&AUTHORITY, record.id()),
            is_set_up: standing != Standing::Provisioning,
        })
    }
}
