//! The settings of a foundation and of everything in it. The defaults suit one process.

use std::time::Duration;

use eonpro_audit::AuditConfig;
use eonpro_auth::AuthConfig;
use eonpro_cache::CacheConfig;
use eonpro_core::event::Code;
use eonpro_encryption::EncryptionConfig;
use eonpro_logger::LoggerConfig;
use eonpro_metrics::MetricsConfig;
use eonpro_storage::StorageConfig;
use eonpro_tenant::{SqliteConfig, TenantConfig};
use eonpro_tower::DoorConfig;

use crate::error::FoundationError;

/// The settings of a foundation.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct FoundationConfig {
    /// The name of this process in the audit trail (SYS-001, SYS-002). Default `node-1`.
    pub node: Code,
    /// Events that may wait for one listener; beyond, they are dropped for it and counted. Default
    /// 4,096; at least 1.
    pub listener_queue: usize,
    /// How long each step of the shutdown may take before the next begins. Default 10 seconds.
    pub step_budget: Duration,
    /// How long one part may take to tell its health. Default 250 milliseconds.
    pub health_budget: Duration,
    /// How many callers the embedded rate limiter counts at a time. Default 100,000.
    pub limiter_keys: usize,
    /// Encryption.
    pub encryption: EncryptionConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// The directory of tenants.
    pub tenants: TenantConfig,
    /// The tenants' databases.
    pub databases: SqliteConfig,
    /// Auth.
    pub auth: AuthConfig,
    /// Storage.
    pub storage: StorageConfig,
    /// The cache.
    pub cache: CacheConfig,
    /// Metrics.
    pub metrics: MetricsConfig,
    /// The logger.
    pub logger: LoggerConfig,
    /// The Door.
    pub door: DoorConfig,
}

impl Default for FoundationConfig {
    fn default() -> Self {
        Self {
            node: Code::constant("node-1"),
            listener_queue: 4_096,
            step_budget: Duration::from_secs(10),
            health_budget: Duration::from_millis(250),
            limiter_keys: 100_000,
            encryption: EncryptionConfig::default(),
            audit: AuditConfig::default(),
            tenants: TenantConfig::default(),
            databases: SqliteConfig::default(),
            auth: AuthConfig::default(),
            storage: StorageConfig::default(),
            cache: CacheConfig::default(),
            metrics: MetricsConfig::default(),
            logger: LoggerConfig::default(),
            door: DoorConfig::default(),
        }
    }
}

impl FoundationConfig {
    /// Checks the facade's own limits; each service checks its own.
    pub(crate) fn check(&self) -> Result<(), FoundationError> {
        if !(1..=1 << 20).contains(&self.listener_queue) {
            return Err(FoundationError::Config("listener_queue of 1 to 2^20"));
        }
        if self.step_budget.is_zero() || self.health_budget.is_zero() {
            return Err(FoundationError::Config("budgets above zero"));
        }
        if self.limiter_keys == 0 {
            return Err(FoundationError::Config("limiter_keys above zero"));
        }
        Ok(())
    }
}
