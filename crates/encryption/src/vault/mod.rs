//! The vault: keys in a key store, wrapped under a root key, at hand while a lease lasts.

mod columns;
mod encryption;
mod epochs;
mod exchange;
mod governed;
mod indexing;
mod onboarding;
mod rotating;
mod sealer;
mod shredding;
mod states;
mod subjects;
mod turning;
mod watching;
mod wear;

pub use turning::Rewraps;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use eonpro_core::component::{Component, Fitness, Health, Posture, Validation};
use eonpro_core::event::Emitter;
use eonpro_core::id::SubjectId;
use eonpro_core::phi::Cell;
use eonpro_core::port::kv::{KeyValue, Version};
use eonpro_core::port::{KeyPurpose, Observer, Operation, SealError, SealScope, Signer, Timer};
use eonpro_core::secret::{KeyBytes, SecretBytes};
use eonpro_core::time::Monotonic;
use eonpro_core::{TenantScope, task};
use tokio::sync::{Mutex, watch};

use crate::alarm::{Alarms, system_context};
use crate::cache::{KeyCache, Slot};
use crate::cipher::TenantCipher;
use crate::cobblestone::{Cause, sealed_len};
use crate::config::EncryptionConfig;
use crate::envelope::{self, Content, PREFIX_LEN};
use crate::epoch::EpochKeys;
use crate::error::CryptoError;
use crate::events::{self, Refusal};
use crate::key_type::KeyType;
use crate::keyset::{KeyId, Keyset};
use crate::live::{LiveKeys, Meter};
use crate::random::SaltPool;
use crate::repository::Keysets;
use crate::root::{Recipient, RootKey};
use crate::roots::{RootDirectory, Roots, TenantRoots};
use crate::shred::Shreds;
use crate::slots::Slots;
use crate::subject::SubjectSlot;
use crate::usage::Bounds;

/// How often a change of keys is tried again when other writers win.
const MAX_ATTEMPTS: usize = 8;

/// What a [`Vault`] is made of.
#[derive(Debug)]
pub struct VaultParts {
    /// Wraps each scope's key-encryption key, but for tenants that hold their own root.
    pub root: Arc<dyn RootKey>,
    /// Where the wrapped keys live.
    pub state: Arc<dyn KeyValue>,
    /// Announces what happens to keys; its clock times the cache.
    pub emitter: Emitter,
    /// Hears of each operation.
    pub observer: Arc<dyn Observer>,
    /// Settings.
    pub config: EncryptionConfig,
}

/// What a [`Vault`] needs beside to keep patients' keys and to shred with a receipt.
#[derive(Debug, Clone)]
pub struct ShredParts {
    /// Keeps the keys of the shred epochs.
    pub epochs: Arc<dyn EpochKeys>,
    /// Signs receipts, with Ed25519: such as the audit crate's key file signer in development.
    pub signer: Arc<dyn Signer>,
}

/// What a [`Vault`] may have beside its parts. By default nothing.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// The root keys that tenants hold themselves.
    pub roots: Arc<dyn RootDirectory>,
    /// The keys of single patients, and receipts for what is shredded.
    pub shredding: Option<ShredParts>,
    /// Roots that stand in, in this order, when the vault's own cannot be had: each key-encryption key
    /// is wrapped for all of them, from its next rewrap on. Disabling the first root alone thus stops
    /// nobody. Not for the keys of tenants that hold their own root.
    pub standbys: Vec<Arc<dyn RootKey>>,
    /// For whom each key-encryption key is wrapped as well, likewise, such as a
    /// `RecoveryRecipient` (feature `recovery`) whose private key lies in a safe.
    pub recipients: Vec<Arc<dyn Recipient>>,
}

impl Default for VaultOptions {
    fn default() -> Self {
        Self {
            roots: Arc::new(TenantRoots::new()),
            shredding: None,
            standbys: Vec::new(),
            recipients: Vec::new(),
        }
    }
}

/// The service: implements [`Encryption`](crate::Encryption) and the port
/// [`Sealer`](eonpro_core::port::Sealer). Cheap to clone; clones are one vault.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    roots: Roots,
    keysets: Keysets,
    cache: KeyCache,
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    config: EncryptionConfig,
    alarms: Alarms,
    closed: AtomicBool,
    /// Ends the tasks that wait for something.
    closing: watch::Sender<bool>,
    /// For tasks that outlive a call.
    me: OnceLock<Weak<Inner>>,
    shreds: Shreds,
    subjects: Slots<(SealScope, SubjectId), SubjectSlot>,
    custody: Option<ShredParts>,
    /// Held while an epoch ends in this process.
    ending: Mutex<()>,
}

impl Vault {
    /// Opens the vault. Creates no key: [`Sealer::provision`] the system's scope next, and once more
    /// when the audit log is attached, so that it hears of the system's keys.
    ///
    /// Runs on a Tokio runtime, which it uses until it is closed.
    ///
    /// [`Sealer::provision`]: eonpro_core::port::Sealer::provision
    ///
    /// # Errors
    /// [`CryptoError::Config`]; [`CryptoError::RootMismatch`] if the system's keys exist and this
    /// root key does not open them; errors of the store and of the root key.
    pub async fn open(parts: VaultParts) -> Result<Self, CryptoError> {
        Self::open_with(parts, VaultOptions::default()).await
    }

    /// Opens a vault that also keeps keys of single patients and shreds with a receipt:
    /// [`Subjects`](crate::Subjects) and [`Shredding`](crate::Shredding).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with_epochs(
        parts: VaultParts,
        shredding: ShredParts,
    ) -> Result<Self, CryptoError> {
        let options = VaultOptions {
            shredding: Some(shredding),
            ..VaultOptions::default()
        };
        Self::open_with(parts, options).await
    }

    /// The same as [`Self::open`], with tenants that hold their own root keys: those that `roots` names.
    /// When such a tenant revokes its root, nothing of the tenant opens once the leases of at most
    /// `cache_ttl` are over; the other tenants notice nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with_roots(
        parts: VaultParts,
        roots: Arc<dyn RootDirectory>,
    ) -> Result<Self, CryptoError> {
        let options = VaultOptions {
            roots,
            ..VaultOptions::default()
        };
        Self::open_with(parts, options).await
    }

    /// Opens a vault with all that it may have.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(parts: VaultParts, options: VaultOptions) -> Result<Self, CryptoError> {
        let vault = Self::assemble(parts, options)?;
        // A wrong root key must show now, not at the first patient.
        match vault.inner.live(SealScope::System).await {
            Ok(_) | Err(CryptoError::Seal(SealError::UnknownKey)) => Ok(vault),
            Err(error) => Err(error),
        }
    }

    /// A vault whose root key was not tried.
    pub(crate) fn assemble(parts: VaultParts, options: VaultOptions) -> Result<Self, CryptoError> {
        parts.config.check()?;
        let alarms = Alarms::start(parts.emitter.clone(), parts.config.alarm_queue);
        let inner = Inner {
            roots: Roots::new(
                parts.root,
                options.roots,
                options.standbys,
                options.recipients,
            )?,
            keysets: Keysets::new(Arc::clone(&parts.state)),
            cache: KeyCache::new(&parts.config),
            shreds: Shreds::new(parts.state),
            subjects: Slots::new(parts.config.shred.cache_subjects),
            custody: options.shredding,
            ending: Mutex::new(()),
            emitter: parts.emitter,
            observer: parts.observer,
            config: parts.config,
            alarms,
            closed: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            me: OnceLock::new(),
        };
        let inner = Arc::new(inner);
        let _first = inner.me.set(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    /// A cipher as [`warm`](crate::Encryption::warm) gives it, without waiting: `None` if the tenant's
    /// keys are not at hand in this process. For hot paths: costs one look into the cache.
    #[must_use]
    pub fn warmed(&self, scope: &TenantScope) -> Option<TenantCipher> {
        self.inner.warmed(scope)
    }
}

impl Inner {
    fn now(&self) -> Monotonic {
        self.emitter.clock().monotonic()
    }

    fn timer(&self, name: &'static str) -> Timer<'_> {
        let op = Operation::new("encryption", name);
        Timer::start(op, &**self.emitter.clock(), &*self.observer)
    }

    fn check_open(&self) -> Result<(), CryptoError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CryptoError::Closed);
        }
        Ok(())
    }

    fn check_plain(&self, plaintext: &[u8]) -> Result<(), SealError> {
        if plaintext.len() > self.config.max_message_bytes {
            return Err(SealError::LimitExceeded);
        }
        Ok(())
    }

    fn check_sealed(&self, sealed: &[u8]) -> Result<(), SealError> {
        let most = sealed_len(self.config.max_message_bytes)
            .and_then(|length| length.checked_add(PREFIX_LEN));
        if most.is_some_and(|most| sealed.len() > most) {
            return Err(SealError::LimitExceeded);
        }
        Ok(())
    }

    /// The scope's keys, unwrapped. All who wait share one unwrapping.
    async fn live(&self, scope: SealScope) -> Result<Arc<LiveKeys>, CryptoError> {
        self.check_open()?;
        let slot = self.cache.slot(scope);
        self.live_at(scope, &slot).await
    }

    async fn live_at(
        &self,
        scope: SealScope,
        slot: &Arc<Slot>,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let now = self.now();
        if let Some(live) = slot.fresh(now) {
            self.renew_in_time(scope, slot, &live, now);
            return Ok(live);
        }
        let _gate = slot.gate.lock().await;
        if let Some(live) = slot.fresh(self.now()) {
            return Ok(live);
        }
        let live = self.catch_up(scope, slot).await?;
        if let Some(id) = slot.take_wanted()
            && live.key(id).is_none()
        {
            self.cache.unknowns.remember(scope, id, self.now());
        }
        Ok(live)
    }

    /// Near the end of a lease one task renews it, so that nobody has to wait for the root key.
    fn renew_in_time(&self, scope: SealScope, slot: &Arc<Slot>, live: &LiveKeys, now: Monotonic) {
        let grace = self.config.cache_grace.min(self.config.cache_ttl / 2);
        let near = !grace.is_zero() && now.plus(grace) >= live.expires;
        if !near || slot.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(this) = self.me.get().and_then(Weak::upgrade) else {
            return;
        };
        let (slot, seen) = (Arc::clone(slot), live.expires);
        let _detached = task::start(async move {
            let _gate = slot.gate.lock().await;
            let renewed = slot.get().is_some_and(|live| live.expires > seen);
            if !renewed && this.check_open().is_ok() {
                // A failure shows at the end of the lease, to the one who then waits.
                let _tried_again_then = this.fetch(scope, &slot).await;
            }
            slot.renewing.store(false, Ordering::Release);
        });
    }

    /// A cipher without waiting, if the keys are at hand.
    fn warmed(&self, scope: &TenantScope) -> Option<TenantCipher> {
        self.check_open().ok()?;
        let (seal_scope, now) = (SealScope::from(scope), self.now());
        let slot = self.cache.slot(seal_scope);
        let live = slot.fresh(now)?;
        self.renew_in_time(seal_scope, &slot, &live, now);
        Some(self.cipher_at(scope, slot, live))
    }

    /// The scope's keys, with a primary of each of `types`.
    async fn live_for(
        self: &Arc<Self>,
        scope: SealScope,
        types: &[KeyType],
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let mut live = self.live(scope).await?;
        for of in types {
            live = self.sealing(scope, *of).await?;
        }
        Ok(live)
    }

    fn cipher(&self, scope: &TenantScope, live: Arc<LiveKeys>) -> TenantCipher {
        let slot = self.cache.slot(SealScope::from(scope));
        self.cipher_at(scope, slot, live)
    }

    fn cipher_at(&self, scope: &TenantScope, slot: Arc<Slot>, live: Arc<LiveKeys>) -> TenantCipher {
        TenantCipher {
            live,
            slot,
            unknowns: Arc::clone(&self.cache.unknowns),
            scope: SealScope::from(scope),
            cx: scope.cx().clone(),
            clock: Arc::clone(self.emitter.clock()),
            alarms: self.alarms.clone(),
            max_message: self.config.max_message_bytes,
            salts: SaltPool::new(),
        }
    }

    /// The scope's keys after a look at the store, because `seen` lacks one that was named.
    async fn renewed(&self, scope: SealScope, seen: Version) -> Result<Arc<LiveKeys>, CryptoError> {
        let slot = self.cache.slot(scope);
        let _gate = slot.gate.lock().await;
        match slot.fresh(self.now()) {
            Some(live) if live.version > seen => Ok(live),
            _ => self.catch_up(scope, &slot).await,
        }
    }

    /// The keys at hand if the store has no newer ones, which costs no unwrapping. The gate is held.
    async fn catch_up(&self, scope: SealScope, slot: &Slot) -> Result<Arc<LiveKeys>, CryptoError> {
        let now = self.now();
        if let Some(live) = slot.get().filter(|live| live.usable(now).is_ok()) {
            slot.begin_fetch();
            match self.keysets.live(scope).await {
                Ok((_, version)) if version == live.version => return Ok(live),
                _ => {}
            }
        }
        self.fetch(scope, slot).await
    }

    /// Fetches and unwraps. The gate is held.
    async fn fetch(&self, scope: SealScope, slot: &Slot) -> Result<Arc<LiveKeys>, CryptoError> {
        // The lease begins before the keys are read.
        let expires = self.lease();
        slot.begin_fetch();
        let (keyset, version) = match self.keysets.live(scope).await {
            Err(CryptoError::Seal(SealError::Shredded)) => {
                slot.bury();
                return Err(SealError::Shredded.into());
            }
            other => other?,
        };
        let kek = self.wrapping_key(scope, &keyset).await?;
        self.unlock(scope, slot, &keyset, &kek, version, expires)
    }

    /// Unwraps the data keys of `keyset` and puts them at hand.
    fn unlock(
        &self,
        scope: SealScope,
        slot: &Slot,
        keyset: &Keyset,
        kek: &KeyBytes<32>,
        version: Version,
        expires: Monotonic,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let meter = Meter {
            usages: &slot.usages,
            states: &slot.states,
            bounds: Bounds {
                messages: self.config.max_key_messages,
                bytes: self.config.max_key_bytes,
            },
        };
        let live = LiveKeys::unlock(
            scope,
            keyset,
            kek,
            version,
            expires,
            meter,
            self.config.primitives,
        )?;
        let live = Arc::new(live);
        slot.put(Arc::clone(&live))?;
        // A place that came into being after the close was not told of it.
        self.check_open().inspect_err(|_| slot.close())?;
        Ok(live)
    }

    fn lease(&self) -> Monotonic {
        self.now().plus(self.config.cache_ttl)
    }

    async fn wrapping_key(
        &self,
        scope: SealScope,
        keyset: &Keyset,
    ) -> Result<KeyBytes<32>, CryptoError> {
        self.roots.unwrap(scope, keyset).await
    }

    /// Opens, looking once for keys that came into being since the keys at hand were fetched.
    async fn open(
        &self,
        content: Content,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        self.check_sealed(sealed)?;
        let mut live = self.live(scope).await?;
        let named = envelope::split(sealed).map(|(id, _)| id);
        if let Some(id) = named
            && live.key(id).is_none()
        {
            live = self.look_for(scope, id, live).await?;
        }
        match live.open(content, purpose, cell, sealed) {
            Ok(plaintext) => Ok(plaintext),
            Err(cause) => {
                let key = named.and_then(|id| live.key(id));
                let epoch = key.map_or(0, |key| key.epoch);
                let refusal = Refusal::new(cell.table(), Some(cell.column()), epoch, cause);
                self.report(refusal).await;
                Err(SealError::from(cause).into())
            }
        }
    }

    async fn look_for(
        &self,
        scope: SealScope,
        id: KeyId,
        live: Arc<LiveKeys>,
    ) -> Result<Arc<LiveKeys>, CryptoError> {
        let (slot, unknowns) = (self.cache.slot(scope), &self.cache.unknowns);
        if !unknowns.may_look(&slot, scope, id, self.now()) {
            return Ok(live);
        }
        let live = self.renewed(scope, live.version).await?;
        if live.key(id).is_none() {
            unknowns.remember(scope, id, self.now());
        }
        Ok(live)
    }

    async fn report(&self, refusal: Refusal) {
        let cx = system_context(&self.emitter);
        let told = events::decrypt_failed(&self.emitter, &cx, refusal).await;
        // The operation fails anyway: a log that is down must not hide why.
        if told.is_err() {
            self.alarms.count_lost();
        }
    }
}

#[cfg(test)]
#[path = "close_tests.rs"]
mod close_tests;

impl From<Cause> for CryptoError {
    fn from(cause: Cause) -> Self {
        Self::Seal(cause.into())
    }
}

#[async_trait]
impl Component for Vault {
    fn name(&self) -> &'static str {
        "encryption"
    }

    fn posture(&self) -> Posture {
        let ours = Posture {
            durability: self.inner.keysets.state().posture().durability,
            crypto: match self.inner.config.primitives.profile().certificate {
                Some(_) => Validation::Validated,
                None => Validation::NotValidated,
            },
            fitness: Fitness::Production,
        };
        let ours = ours.min(self.inner.roots.own().posture());
        match &self.inner.custody {
            Some(custody) => ours.min(custody.epochs.posture()),
            None => ours,
        }
    }

    async fn health(&self) -> Health {
        if self.inner.check_open().is_err() {
            return Health::Unhealthy("closed");
        }
        match self.inner.roots.health(&self.inner.keysets).await {
            Health::Healthy if self.inner.alarms.lost() > 0 => {
                Health::Degraded("failures to open went unrecorded")
            }
            health => health,
        }
    }

    async fn close(&self) {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.closing.send_replace(true);
        self.inner.cache.close();
        self.inner.close_subjects();
        self.inner.alarms.flush().await;
        self.inner.roots.own().close().await;
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("root", self.inner.roots.own().id())
            .finish_non_exhaustive()
    }
}
