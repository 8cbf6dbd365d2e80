//! What can be set about tenants and their databases, and within which limits.

use std::time::Duration;

use crate::error::TenantError;

/// The most prefixes of one network rule.
pub const MAX_PREFIXES: usize = 1024;
/// The most holds on one tenant at a time.
pub const MAX_HOLDS: usize = 64;
/// The most approvers that are remembered for one offboarding.
pub const MAX_APPROVERS: usize = 16;
/// How many distinct approvers shredding needs.
pub const APPROVALS_NEEDED: usize = 2;
/// The most records that one page of the directory holds.
pub const MAX_PAGE: usize = 200;

/// Settings of the directory.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantConfig {
    /// How long a repeated command is recognized by its idempotency key. Default 7 days.
    pub receipts_kept: Duration,
    /// How long an exported tenant waits before it may be shredded. Default zero: the contract with
    /// the tenant decides, and two approvals are needed in any case.
    pub grace: Duration,
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            receipts_kept: Duration::from_secs(7 * 24 * 60 * 60),
            grace: Duration::ZERO,
        }
    }
}

impl TenantConfig {
    pub(crate) fn check(&self) -> Result<(), TenantError> {
        if self.receipts_kept < Duration::from_secs(60) {
            return Err(TenantError::Config("receipts_kept of at least a minute"));
        }
        Ok(())
    }
}

/// Settings of the tenants' databases.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteConfig {
    /// The most databases open at a time, 1 to 256; also the most that work at a time. Default 64.
    pub max_open: usize,
    /// The most calls that may wait for one tenant's database. Default 1024.
    pub max_waiting: usize,
    /// Prepared statements kept per open database. Default 64.
    pub statement_cache: usize,
    /// Page cache per open database, in KiB. Default 1024.
    pub page_cache_kib: u32,
    /// How long to wait for a lock that another process holds. Default 5 s.
    pub busy_timeout: Duration,
    /// The most rows that one query returns. Default 100,000.
    pub max_rows: usize,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            max_open: 64,
            max_waiting: 1024,
            statement_cache: 64,
            page_cache_kib: 1024,
            busy_timeout: Duration::from_secs(5),
            max_rows: 100_000,
        }
    }
}

impl SqliteConfig {
    pub(crate) fn check(&self) -> Result<(), TenantError> {
        if !(1..=256).contains(&self.max_open) {
            return Err(TenantError::Config("max_open of 1 to 256"));
        }
        if self.max_waiting == 0 || self.max_rows == 0 {
            return Err(TenantError::Config("max_waiting and max_rows above zero"));
        }
        Ok(())
    }
}
