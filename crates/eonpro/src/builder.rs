//! Says what a foundation is made of. One without an audit log, or without backends, cannot be
//! built: [`Builder::build`] is not there.

use std::sync::Arc;

use eonpro_auth::RoleBook;
use eonpro_core::component::{Fitness, Posture};
use eonpro_core::entropy::{SharedEntropy, SystemEntropy};
use eonpro_core::phi::{PhiRecords, PhiSchema};
use eonpro_core::port::AlertSink;
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::{Recipient, RootDirectory, RootKey, ShredParts, VaultOptions};
use eonpro_logger::LogSink;

use crate::assembly;
use crate::config::FoundationConfig;
use crate::error::FoundationError;
use crate::foundation::Foundation;
use crate::hub::EventListener;
use crate::listeners::LoggedAlerts;
use crate::posture::Part;
use crate::profile::Profile;
use crate::source::{AuditSource, Backing, LogSinks};

/// Says that a [`Builder`] has not been given something yet.
#[derive(Debug, Clone, Copy)]
pub struct Missing;

/// A builder that has everything it needs.
pub type CompleteBuilder = Builder<Box<dyn AuditSource>, Box<dyn Backing>>;

/// What may be set, beside what must be given.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) profile: Profile,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    pub(crate) config: FoundationConfig,
    pub(crate) schemas: Vec<&'static PhiSchema>,
    pub(crate) roles: RoleBook,
    pub(crate) alerts: Option<Arc<dyn AlertSink>>,
    /// Whether the clock or the entropy is not the system's.
    pub(crate) replaced: Vec<&'static str>,
    pub(crate) listeners: Vec<Arc<dyn EventListener>>,
    pub(crate) vault: Additions,
}

/// What the vault has beside that of the backends.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    standbys: Vec<Arc<dyn RootKey>>,
    recipients: Vec<Arc<dyn Recipient>>,
    roots: Option<Arc<dyn RootDirectory>>,
    shredding: Option<ShredParts>,
}

impl Additions {
    /// Adds them to what the backends have; a custody that is replaced is closed.
    pub(crate) async fn join(self, vault: &mut VaultOptions) {
        vault.standbys.extend(self.standbys);
        vault.recipients.extend(self.recipients);
        if let Some(roots) = self.roots {
            vault.roots = roots;
        }
        if let Some(shredding) = self.shredding
            && let Some(replaced) = vault.shredding.replace(shredding)
        {
            replaced.epochs.close().await;
            replaced.signer.close().await;
        }
    }
}

impl Settings {
    /// Where alerts go.
    pub(crate) fn alert_sink(&self) -> Arc<dyn AlertSink> {
        match &self.alerts {
            Some(alerts) => Arc::clone(alerts),
            None => Arc::new(LoggedAlerts),
        }
    }

    /// What the settings are as parts: alerts without a place of their own and a clock that is not
    /// the system's are for development.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let logged = self.alerts.is_none().then_some("alerts");
        let names = self.replaced.iter().copied().chain(logged);
        let development = Posture {
            fitness: Fitness::Development,
            ..Posture::STRONGEST
        };
        names
            .map(|name| Part {
                name,
                posture: development,
            })
            .collect()
    }
}

/// Gathers the parts of a foundation: complete with an audit log and backends.
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder<A, B> {
    audit: A,
    backends: B,
    settings: Settings,
    sinks: LogSinks,
}

impl Builder<Missing, Missing> {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            audit: Missing,
            backends: Missing,
            settings: Settings {
                profile,
                clock: Arc::new(SystemClock::new()),
                entropy: Arc::new(SystemEntropy::new()),
                config: FoundationConfig::default(),
                schemas: Vec::new(),
                roles: RoleBook::new(),
                alerts: None,
                replaced: Vec::new(),
                listeners: Vec::new(),
                vault: Additions::default(),
            },
            sinks: LogSinks::new(),
        }
    }
}

impl<B> Builder<Missing, B> {
    /// Gives the audit log.
    pub fn audit(self, source: impl AuditSource) -> Builder<Box<dyn AuditSource>, B> {
        Builder {
            audit: Box::new(source),
            backends: self.backends,
            settings: self.settings,
            sinks: self.sinks,
        }
    }
}

impl<A> Builder<A, Missing> {
    /// Gives the backends.
    pub fn backends(self, backing: impl Backing) -> Builder<A, Box<dyn Backing>> {
        Builder {
            audit: self.audit,
            backends: Box::new(backing),
            settings: self.settings,
            sinks: self.sinks,
        }
    }
}

impl<A, B> Builder<A, B> {
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Teaches the PHI records of the application, by value: `records::<(Patient, Note)>()`. Their
    /// fields are redacted by the logger and stand in the data map. Adds to earlier calls.
    pub fn records<R: PhiRecords>(self) -> Self {
        self.set(|settings| settings.schemas.extend(R::schemas()))
    }

    /// Says which role may do what. Without it, nobody may do anything.
    pub fn roles(self, roles: RoleBook) -> Self {
        self.set(|settings| settings.roles = roles)
    }

    /// Says where alerts go. Without it, they become error lines of the log, which production
    /// refuses.
    pub fn alerts(self, alerts: Arc<dyn AlertSink>) -> Self {
        self.set(|settings| settings.alerts = Some(alerts))
    }

    /// Adds a listener on the best-effort lane.
    pub fn listener(self, listener: Arc<dyn EventListener>) -> Self {
        self.set(|settings| settings.listeners.push(listener))
    }

    /// Adds a root that stands in when the vault's own cannot be had, behind those of the backends. It
    /// wraps a tenant's keys from their next rewrap on: see
    /// [`VaultOptions::standbys`](eonpro_encryption::VaultOptions::standbys).
    pub fn standby_root(self, root: Arc<dyn RootKey>) -> Self {
        self.set(|settings| settings.vault.standbys.push(root))
    }

    /// Adds somebody for whom each key-encryption key is wrapped as well, such as a
    /// `RecoveryRecipient` whose private key lies in a safe. At most eight standbys and recipients.
    pub fn recovery_recipient(self, recipient: Arc<dyn Recipient>) -> Self {
        self.set(|settings| settings.vault.recipients.push(recipient))
    }

    /// Says which tenants hold their own root keys, in place of what the backends say.
    pub fn tenant_roots(self, roots: Arc<dyn RootDirectory>) -> Self {
        self.set(|settings| settings.vault.roots = Some(roots))
    }

    /// Gives the custody of shred epochs and the signer of receipts, in place of those of the backends.
    /// Without either, patients have no keys of their own.
    pub fn shredding(self, parts: ShredParts) -> Self {
        self.set(|settings| settings.vault.shredding = Some(parts))
    }

    /// Adds a place where log lines go, beside those of the backends: such as
    /// [`Console`](eonpro_logger::Console).
    pub fn log_sink(mut self, sink: impl LogSink) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Replaces the settings.
    pub fn config(self, config: FoundationConfig) -> Self {
        self.set(|settings| settings.config = config)
    }

    /// Replaces the system's clock, which production refuses.
    pub fn clock(self, clock: SharedClock) -> Self {
        self.set(|settings| {
            settings.clock = clock;
            settings.replaced.push("clock");
        })
    }

    /// Replaces the system's source of ids and jitter, which production refuses. Keys never come
    /// from it.
    pub fn entropy(self, entropy: SharedEntropy) -> Self {
        self.set(|settings| {
            settings.entropy = entropy;
            settings.replaced.push("entropy");
        })
    }
}

impl Builder<Box<dyn AuditSource>, Box<dyn Backing>> {
    /// Opens everything, checks the posture of every part against the profile, attaches the audit
    /// log and records the start (SYS-001). Not cancel-safe: await it.
    ///
    /// # Errors
    /// [`FoundationError::Posture`] naming the parts that the profile refuses; otherwise the error
    /// of the part that failed. What was opened is closed again.
    pub async fn build(self) -> Result<Foundation, FoundationError> {
        assembly::assemble(self.settings, self.sinks, self.audit, self.backends).await
    }
}
