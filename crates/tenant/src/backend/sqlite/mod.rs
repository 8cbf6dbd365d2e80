//! A SQLite file per tenant, which SQL cannot leave.
//!
//! What may read a tenant's file is decided by its scope and, at each call, by the directory: the
//! tenant must be active, or exporting, and the scope no older than its last change.

mod authorizer;
mod database;
mod error;
mod file;
mod migration;
mod pool;
mod rotation;
mod value;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::id::TenantId;
use eonpro_core::port::{KeyValue, Observer, Operation, Timer};
use eonpro_core::task;
use eonpro_core::time::SharedClock;

pub use database::TenantDb;
pub use error::DbError;
pub use migration::Migration;
pub use rotation::{RowIds, SqliteRotation};
pub use value::{Row, SqlValue};

use crate::config::SqliteConfig;
use crate::directory::Directory;
use crate::error::TenantError;
use crate::lifecycle::{Stage, State};
use crate::record::StorageId;
use authorizer::Mode;
use file::{Files, Handle};
use pool::{Pool, Turn};

const RUN: Operation = Operation::new("tenant", "database.run");
const MIGRATE: Operation = Operation::new("tenant", "database.migrate");
const CREATE: Operation = Operation::new("tenant", "database.create");
const DESTROY: Operation = Operation::new("tenant", "database.destroy");

/// The most tenants whose file name is remembered.
const MAX_KNOWN: usize = 4096;

/// What the databases are made from.
#[derive(Debug)]
pub struct SqliteParts {
    /// Where the directory of tenants is kept: the same store that [`KvTenants`](crate::KvTenants)
    /// gets.
    pub state: Arc<dyn KeyValue>,
    /// Time, for what is measured.
    pub clock: SharedClock,
    /// Hears of each operation.
    pub observer: Arc<dyn Observer>,
}

/// The databases of all tenants, one file each.
#[derive(Debug)]
pub struct SqliteTenants {
    directory: Directory,
    clock: SharedClock,
    observer: Arc<dyn Observer>,
    files: Files,
    pool: Arc<Pool>,
    max_rows: usize,
    // A tenant's file name never changes.
    known: Mutex<HashMap<TenantId, StorageId>>,
}

impl SqliteTenants {
    /// The databases under `dir`, which is made if need be. Files are made by onboarding only.
    ///
    /// # Errors
    /// [`TenantError::Config`]; [`TenantError::Database`] if `dir` cannot be made. Blocks briefly.
    pub fn open(dir: &Path, parts: SqliteParts, config: SqliteConfig) -> Result<Self, TenantError> {
        config.check()?;
        let files = Files::at(dir, config)
            .map_err(|_| TenantError::Config("database directory that can be made and read"))?;
        Ok(Self {
            directory: Directory::new(parts.state),
            clock: parts.clock,
            observer: parts.observer,
            files,
            pool: Pool::new(config.max_open, config.max_waiting),
            max_rows: config.max_rows,
            known: Mutex::default(),
        })
    }

    /// Runs `work` in one transaction on the scope's database and commits it if it returns `Ok`.
    /// Put many rows into one call: a commit costs a sync to disk, a row next to nothing.
    ///
    /// Calls for one tenant run one after another, for different tenants in parallel. Not
    /// cancel-safe once it runs: dropped, the work still ends and may commit. Idempotent only if
    /// `work` is.
    ///
    /// # Errors
    /// [`TenantError::NotInService`], [`TenantError::StaleScope`]; [`TenantError::Database`] with
    /// what `work` returned, or [`DbError::Overloaded`], [`DbError::Busy`] and the like.
    pub async fn run<R, F>(&self, scope: &TenantScope, work: F) -> Result<R, TenantError>
    where
        R: Send + 'static,
        F: FnOnce(&mut TenantDb<'_>) -> Result<R, DbError> + Send + 'static,
    {
        let timer = Timer::start(RUN, &*self.clock, &*self.observer);
        let max_rows = self.max_rows;
        let done = self.with(scope, None, move |handle, mode| {
            database::transact(handle, mode, max_rows, work)
        });
        timer.end(done.await)
    }

    /// Brings the scope's database to the last of `migrations`, all new steps or none, and tells
    /// how many were new. Idempotent. Cancel-safe in that sense: repeat it.
    ///
    /// # Errors
    /// As [`Self::run`]; [`DbError::MigrationOrder`], [`DbError::MigrationChanged`],
    /// [`DbError::SchemaTooNew`].
    pub async fn migrate(
        &self,
        scope: &TenantScope,
        migrations: &[Migration],
    ) -> Result<usize, TenantError> {
        let timer = Timer::start(MIGRATE, &*self.clock, &*self.observer);
        let migrations = migrations.to_vec();
        let done = self.with(scope, Some(Mode::Schema), move |handle, _| {
            migration::migrate(handle, &migrations)
        });
        timer.end(done.await)
    }

    /// Makes a tenant's file. Idempotent.
    pub(crate) async fn create(&self, storage: StorageId) -> Result<(), TenantError> {
        let timer = Timer::start(CREATE, &*self.clock, &*self.observer);
        let files = self.files.clone();
        let done = self.blocking(storage, move |turn| {
            let handle = turn.take(|storage| files.create(storage))?;
            turn.put_back(handle);
            Ok(())
        });
        timer.end(done.await.map_err(TenantError::from))
    }

    /// Deletes a tenant's file after the running call. Idempotent.
    pub(crate) async fn destroy(&self, storage: StorageId) -> Result<(), TenantError> {
        let timer = Timer::start(DESTROY, &*self.clock, &*self.observer);
        let files = self.files.clone();
        let done = self.blocking(storage, move |turn| {
            turn.shut();
            files.delete(turn.storage())
        });
        timer.end(done.await.map_err(TenantError::from))
    }

    async fn with<R, F>(
        &self,
        scope: &TenantScope,
        needed: Option<Mode>,
        work: F,
    ) -> Result<R, TenantError>
    where
        R: Send + 'static,
        F: FnOnce(&mut Handle, Mode) -> Result<R, DbError> + Send + 'static,
    {
        let storage = self.storage(scope.tenant()).await?;
        let turn = self.pool.turn(storage).await?;
        // Judged when the turn has come: what waited while the tenant was frozen must not write.
        let mode = self.judge(scope).await?;
        if needed.is_some() && mode == Mode::Read {
            return Err(DbError::QueryRefused.into());
        }
        let files = self.files.clone();
        let done = task::blocking(move || {
            let mut handle = turn.take(|storage| files.open(storage))?;
            let done = work(&mut handle, mode);
            // A connection that could not end its transaction is not worth keeping.
            if handle.connection.is_autocommit() {
                turn.put_back(handle);
            }
            done
        });
        Ok(done.await.map_err(DbError::from)??)
    }

    async fn blocking<R, F>(&self, storage: StorageId, work: F) -> Result<R, DbError>
    where
        R: Send + 'static,
        F: FnOnce(&Turn) -> Result<R, DbError> + Send + 'static,
    {
        let turn = self.pool.turn(storage).await?;
        task::blocking(move || work(&turn)).await?
    }

    async fn storage(&self, tenant: TenantId) -> Result<StorageId, TenantError> {
        let known = |map: &HashMap<_, _>| map.get(&tenant).copied();
        if let Some(storage) = known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(storage);
        }
        let storage = self.directory.load(tenant).await?.record.storage();
        let mut map = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_KNOWN {
            map.clear();
        }
        map.insert(tenant, storage);
        Ok(storage)
    }

    async fn judge(&self, scope: &TenantScope) -> Result<Mode, TenantError> {
        let record = self.directory.load(scope.tenant()).await?.record;
        let mode = match record.state() {
            State::Active => Mode::Write,
            State::Offboarding(Stage::Exporting) => Mode::Read,
            _ => return Err(TenantError::NotInService(record.standing())),
        };
        if scope.epoch() == record.epoch() {
            Ok(mode)
        } else {
            Err(TenantError::StaleScope)
        }
    }
}

#[async_trait]
impl Component for SqliteTenants {
    fn name(&self) -> &'static str {
        "sqlite-tenants"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NoCrypto,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        if self.pool.is_closed() {
            Health::Unhealthy("closed")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests;
