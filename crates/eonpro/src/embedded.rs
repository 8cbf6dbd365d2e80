//! Everything in one directory, with nothing to install.
//!
//! | below the directory | what |
//! |---|---|
//! | `keys/` | the root key, the keys of shred epochs, and what signs the audit log and the receipts of shreds, mode 0600: for development |
//! | `state.redb` | the directory of tenants, wrapped keys, sessions |
//! | `audit/` | the audit log |
//! | `tenants/` | one SQLite file for each tenant |
//! | `objects/` | documents |
//! | `cache/` | the cache's durable tier |
//! | `logs/` | one log file a day |

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_audit::KeyFileSigner;
use eonpro_auth::DevIssuer;
use eonpro_auth::token::{Audience, Issuer};
use eonpro_cache::{RedbTier, RedbTierConfig};
use eonpro_core::limit::LocalLimiter;
use eonpro_core::task;
use eonpro_encryption::backend::{KeyFile, KeyFileEpochs};
use eonpro_encryption::{ShredParts, VaultOptions};
use eonpro_logger::DailyFile;
use eonpro_redb::RedbKeyValue;
use eonpro_storage::SignatureScanner;

use crate::error::FoundationError;
use crate::source::{AuditDirectory, Backends, Backing, Ground, LogSinks};

const ISSUER: &str = "https://issuer.embedded.invalid";
const AUDIENCE: &str = "https://api.embedded.invalid";
const LOG_PREFIX: &str = "eonpro";

/// One directory for everything, keys included.
#[derive(Debug, Clone)]
pub struct EmbeddedDirectory(PathBuf);

impl EmbeddedDirectory {
    /// The backends below `dir`, which is made if it is missing.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The audit log below the same directory, signed by a key file.
    #[must_use]
    pub fn audit(&self) -> AuditDirectory {
        let key = self.0.join("keys").join("audit.key");
        AuditDirectory::signed_by_key_file(self.0.join("audit"), key)
    }
}

#[cfg(unix)]
fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir)?;
    // One that was there is closed to others as well.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)
}

/// The custody of shred epochs, and what signs the receipts.
async fn shredding(keys: &Path) -> Result<ShredParts, FoundationError> {
    let (ring, key) = (keys.join("epochs.keyring"), keys.join("epochs.key"));
    let epochs = KeyFileEpochs::open_or_generate(ring, key).await?;
    let receipts = keys.join("receipts.key");
    let signer = task::blocking(move || KeyFileSigner::open_or_create(&receipts));
    Ok(ShredParts {
        epochs: Arc::new(epochs),
        signer: Arc::new(signer.await??),
    })
}

#[async_trait]
impl Backing for EmbeddedDirectory {
    async fn open(
        self: Box<Self>,
        ground: Ground,
    ) -> Result<(Backends, LogSinks), FoundationError> {
        let Ground {
            clock,
            entropy,
            config,
        } = ground;
        let dir = self.0;
        let folders = [dir.clone(), dir.join("keys"), dir.join("cache")];
        let made = task::blocking(move || folders.iter().try_for_each(|one| make_private(one)));
        made.await?.map_err(FoundationError::Directory)?;
        let keys = dir.join("keys");
        let root = KeyFile::open_or_generate(keys.join("root.key")).await?;
        let vault = VaultOptions {
            shredding: Some(shredding(&keys).await?),
            ..VaultOptions::default()
        };
        let issuer = Arc::new(DevIssuer::generate(
            Issuer::new(ISSUER)?,
            Audience::new(AUDIENCE)?,
            Arc::clone(&clock),
            entropy,
        )?);
        let time = Arc::clone(&clock);
        let opened = task::blocking(move || -> Result<_, FoundationError> {
            let state = RedbKeyValue::open(&dir.join("state.redb"), Arc::clone(&time))?;
            let tier = dir.join("cache").join("cache.redb");
            let tier = RedbTier::open(&tier, time, RedbTierConfig::default())?;
            let objects = eonpro_storage::local(&dir.join("objects"))?;
            let log = DailyFile::open(dir.join("logs"), LOG_PREFIX)?;
            Ok((state, tier, objects, log, dir.join("tenants")))
        });
        let (state, tier, objects, log, databases) = opened.await??;
        let backends = Backends {
            state: Arc::new(state),
            root: Arc::new(root),
            vault,
            databases,
            objects,
            scanner: Arc::new(SignatureScanner::built_in()?),
            cache_tier: Some(Arc::new(tier)),
            verifier: issuer.verifier(),
            issuer: Some(issuer),
            limiter: Arc::new(LocalLimiter::new(clock, config.limiter_keys)),
        };
        Ok((backends, vec![Box::new(log)]))
    }
}
