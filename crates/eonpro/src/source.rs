//! What a foundation stands on: where its audit log comes from, and its backends.
//!
//! The audit log needs the vault's sealer and the vault needs the hub, so a log cannot be opened
//! before the foundation is under way. An [`AuditSource`] is therefore a promise that the builder
//! takes up at the right moment; [`Backing`] is the same for everything below the services.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_audit::{AuditConfig, AuditLog, AuditParts, EmbeddedAudit, KeyFileSigner, VerifyingKey};
use eonpro_auth::DevIssuer;
use eonpro_auth::token::Verifier;
use eonpro_cache::DurableTier;
use eonpro_core::component::{Component, Posture};
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::EventSink;
use eonpro_core::port::{AlertSink, KeyValue, Observer, RateLimiter, Sealer, Signer};
use eonpro_core::scope::Authority;
use eonpro_core::task;
use eonpro_core::time::SharedClock;
use eonpro_encryption::{RootKey, VaultOptions};
use eonpro_logger::LogSink;
use eonpro_storage::{Objects, Scanner};

use crate::config::FoundationConfig;
use crate::error::FoundationError;
use crate::posture::Part;

/// What an audit log gets from the foundation.
#[derive(Debug)]
pub struct AuditPorts {
    /// Dates the entries.
    pub clock: SharedClock,
    /// Mints the ids of audit's own events.
    pub entropy: SharedEntropy,
    /// Seals fields that may hold PHI; the system's keys exist.
    pub sealer: Arc<dyn Sealer>,
    /// What the log must remember outside of its directory.
    pub state: Arc<dyn KeyValue>,
    /// Takes alerts.
    pub alerts: Arc<dyn AlertSink>,
    /// Measures operations.
    pub observer: Arc<dyn Observer>,
    /// The right to seal for tenants whatever their standing. For the embedded log alone: whoever
    /// holds it could make a scope for any tenant.
    pub(crate) authority: Authority,
    /// Settings.
    pub config: AuditConfig,
}

/// An opened audit log. What operators read, what the hub records in and what the posture check asks
/// is one and the same.
#[derive(Debug, Clone)]
pub struct OpenAudit {
    pub(crate) log: Arc<dyn AuditLog>,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) embedded: Option<Arc<EmbeddedAudit>>,
}

impl OpenAudit {
    /// The log, and what signs its checkpoints.
    #[must_use]
    pub fn new<L: AuditLog + EventSink>(log: Arc<L>, signer: Arc<dyn Signer>) -> Self {
        Self {
            log: Arc::clone(&log) as Arc<dyn AuditLog>,
            sink: log,
            signer,
            embedded: None,
        }
    }

    /// The embedded log, whose further operations the foundation hands out, too:
    /// [`Foundation::embedded_audit`](crate::Foundation::embedded_audit).
    #[must_use]
    pub fn embedded(log: Arc<EmbeddedAudit>, signer: Arc<dyn Signer>) -> Self {
        Self {
            embedded: Some(Arc::clone(&log)),
            ..Self::new(log, signer)
        }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn AuditLog> {
        &self.log
    }

    /// What signs its checkpoints.
    #[must_use]
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// What its checkpoints verify with.
    pub(crate) fn key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(self.signer.public_key())
    }
}

/// Opens the audit log when the foundation is ready for it.
#[async_trait]
pub trait AuditSource: std::fmt::Debug + Send + 'static {
    /// Opens the log. Called once.
    ///
    /// # Errors
    /// [`FoundationError`]; nothing is built then.
    async fn open(self: Box<Self>, ports: AuditPorts) -> Result<OpenAudit, FoundationError>;
}

/// Whose key signs the checkpoints of an [`AuditDirectory`].
#[derive(Debug)]
enum SigningKey {
    File(PathBuf),
    Held(Arc<dyn Signer>),
}

/// The embedded audit log in a directory of its own.
#[derive(Debug)]
pub struct AuditDirectory {
    dir: PathBuf,
    key: SigningKey,
}

impl AuditDirectory {
    /// The log in `dir`, signed by `signer`: a KMS or an HSM.
    #[must_use]
    pub fn signed_by(dir: impl Into<PathBuf>, signer: Arc<dyn Signer>) -> Self {
        Self {
            dir: dir.into(),
            key: SigningKey::Held(signer),
        }
    }

    /// The log in `dir`, signed by the key in the file `key`, which is made if it is missing. For
    /// development: whoever reads the file can rewrite the log.
    #[must_use]
    pub fn signed_by_key_file(dir: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            key: SigningKey::File(key.into()),
        }
    }
}

#[async_trait]
impl AuditSource for AuditDirectory {
    async fn open(self: Box<Self>, ports: AuditPorts) -> Result<OpenAudit, FoundationError> {
        let signer = match self.key {
            SigningKey::Held(signer) => signer,
            SigningKey::File(path) => {
                let opened = task::blocking(move || KeyFileSigner::open_or_create(&path));
                Arc::new(opened.await??)
            }
        };
        let parts = AuditParts {
            clock: ports.clock,
            entropy: ports.entropy,
            sealer: ports.sealer,
            signer: Arc::clone(&signer),
            state: ports.state,
            alerts: ports.alerts,
            observer: ports.observer,
            authority: ports.authority,
        };
        let log = EmbeddedAudit::open(&self.dir, parts, ports.config).await?;
        Ok(OpenAudit::embedded(Arc::new(log), signer))
    }
}

/// Everything that the services stand on.
#[derive(Debug)]
pub struct Backends {
    /// Where the services remember.
    pub state: Arc<dyn KeyValue>,
    /// What wraps the key-encryption keys.
    pub root: Arc<dyn RootKey>,
    /// What the vault has beside: standbys of the root, tenants' own roots, recovery recipients, and a
    /// custody of shred epochs with a signer, without which no patient has a key of their own. What
    /// the builder is given comes on top.
    pub vault: VaultOptions,
    /// The directory of the tenants' SQLite files.
    pub databases: PathBuf,
    /// Where documents lie.
    pub objects: Objects,
    /// Who judges uploads.
    pub scanner: Arc<dyn Scanner>,
    /// The cache's durable tier, if there is one.
    pub cache_tier: Option<Arc<dyn DurableTier>>,
    /// What verifies access tokens.
    pub verifier: Verifier,
    /// The development issuer, where that is what `verifier` verifies.
    pub issuer: Option<Arc<DevIssuer>>,
    /// What counts requests.
    pub limiter: Arc<dyn RateLimiter>,
}

impl Backends {
    /// The parts whose posture can be judged before anything is built on them.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            Part::of(&*self.root),
            Part::of(&*self.state),
            Part::of(&*self.scanner),
            Part::of(&**self.verifier.keys()),
            Part {
                name: "objects",
                posture: Posture {
                    durability: self.objects.durability(),
                    ..Posture::STRONGEST
                },
            },
        ];
        parts.extend(self.issuer.as_ref().map(|issuer| Part::of(&**issuer)));
        parts.extend(self.keepers().map(|part| Part::of(&*part)));
        parts.extend(self.cache_tier.as_ref().map(|tier| Part::of(&**tier)));
        parts
    }

    /// What keeps keys beside the root. The vault closes none of it; tenants' own roots belong to their
    /// directory.
    pub(crate) fn keepers(&self) -> impl Iterator<Item = Arc<dyn Component>> {
        let standbys = self.vault.standbys.iter().cloned();
        let shredding = self.vault.shredding.iter();
        standbys
            .map(|root| root as Arc<dyn Component>)
            .chain(shredding.flat_map(|parts| -> [Arc<dyn Component>; 2] {
                [parts.epochs.clone(), parts.signer.clone()]
            }))
    }

    /// What has to be closed if the foundation is refused.
    pub(crate) async fn abandon(&self) {
        self.scanner.close().await;
        self.verifier.keys().close().await;
        if let Some(tier) = &self.cache_tier {
            tier.close().await;
        }
        for keeper in self.keepers() {
            keeper.close().await;
        }
        self.root.close().await;
        self.state.close().await;
    }
}

/// What a [`Backing`] gets from the foundation.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Time.
    pub clock: SharedClock,
    /// Randomness for ids.
    pub entropy: SharedEntropy,
    /// The foundation's settings.
    pub config: FoundationConfig,
}

/// Opens the backends when the foundation is ready for them.
#[async_trait]
pub trait Backing: std::fmt::Debug + Send + 'static {
    /// Opens the backends, and the places where log lines go. Called once.
    ///
    /// # Errors
    /// [`FoundationError`]; nothing is built then.
    async fn open(self: Box<Self>, ground: Ground)
    -> Result<(Backends, LogSinks), FoundationError>;
}

/// Places where log lines go.
pub type LogSinks = Vec<Box<dyn LogSink>>;

/// Without a place for log lines: see [`Builder::log_sink`](crate::Builder::log_sink).
#[async_trait]
impl Backing for Backends {
    async fn open(self: Box<Self>, _: Ground) -> Result<(Backends, LogSinks), FoundationError> {
        Ok((*self, LogSinks::new()))
    }
}
