//! The store: each operation is one statement.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, MAX_SCAN, Partition, Precondition, Transaction,
    Version, Versioned, Write,
};
use eonpro_core::time::SharedClock;
use futures_util::stream::BoxStream;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::config::{PgConfig, PgTls};
use crate::connect::Connector;
use crate::error::PgError;
use crate::migration;
use crate::pool::{Connections, column};
use crate::watch::{Topic, Watches, channel};

/// The longest name of a partition, in bytes: with a key it must fit into a page of the index.
const MAX_PARTITION_BYTES: usize = 255;
/// Bytes of values after which a scan ends its page.
const SCAN_BYTES: i64 = 8 * 1024 * 1024;
/// Expired entries are removed once every clock agrees that they are.
const SWEEP_AFTER: Duration = Duration::from_secs(3600);
/// Stands for "absent" where a version is required; no commit has it.
const ABSENT: i64 = -1;
/// Stands for a version that no commit can have.
const NEVER: i64 = 0;

/// The `KeyValue` in PostgreSQL, shared by all processes that open the same schema.
///
/// Commits of one partition queue on its counter; those of different partitions do not meet. Expiry
/// is judged by the clock of the process that asks, as it stands when it asks: keep the clocks of
/// all processes together. A watch announces every commit of its partition as [`Change::Lagged`],
/// whatever prefix was asked for, once until the watcher looks.
pub struct PgKeyValue {
    clock: SharedClock,
    connections: Connections,
    watches: Watches,
    statements: Statements,
    schema: String,
    max_transaction_bytes: usize,
    durable: bool,
    encrypted: bool,
}

/// The texts of the statements, for one schema.
struct Statements {
    get: String,
    scan: String,
    commit: String,
}

impl Statements {
    fn of(schema: &str) -> Self {
        let live = "(expires IS NULL OR expires > $3)";
        Self {
            get: format!(
                "SELECT value, version FROM \"{schema}\".kv_entry \
                 WHERE partition = $1 AND key = $2 AND {live}"
            ),
            // The inner query bounds the rows whose lengths are looked at; no value is read for that.
            scan: format!(
                "SELECT key, value, version FROM ( \
                   SELECT key, value, version, sum(octet_length(value)) OVER ( \
                     ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
                   FROM (SELECT key, value, version FROM \"{schema}\".kv_entry \
                     WHERE partition = $1 AND key >= $2 AND {live} \
                       AND ($4::bytea IS NULL OR key < $4) \
                     ORDER BY key LIMIT $5) AS page \
                 ) AS summed WHERE before IS NULL OR before < $6 ORDER BY key"
            ),
            commit: format!(
                "SELECT \"{schema}\".kv_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
            ),
        }
    }
}

impl PgKeyValue {
    /// Opens the store; entries expire by `clock`. The schema must have been
    /// [migrated](crate::migrate). Cancel-safe.
    ///
    /// # Errors
    /// [`PgError::Config`]; [`PgError::Unmigrated`], [`PgError::UnknownSchema`] and
    /// [`PgError::TooOld`] for a server that it cannot work with; [`PgError::Connection`],
    /// [`PgError::Timeout`] and [`PgError::Refused`] if the server cannot be asked.
    pub async fn open(config: &PgConfig, clock: SharedClock) -> Result<Self, PgError> {
        let connector = Connector::new(config)?;
        let connections = Connections::new(config, connector.clone())?;
        let durable = migration::check(&connections, &config.schema).await?;
        Ok(Self {
            clock,
            connections,
            watches: Watches::new(connector, config),
            statements: Statements::of(&config.schema),
            schema: config.schema.clone(),
            max_transaction_bytes: config.max_transaction_bytes,
            durable,
            encrypted: config.tls != PgTls::Off,
        })
    }

    fn admit(&self) -> Result<(), KvError> {
        if self.connections.is_closed() {
            Err(KvError::Closed)
        } else {
            Ok(())
        }
    }

    /// What failed while the store was closed failed because of that.
    fn failure(&self, error: PgError) -> KvError {
        match self.admit() {
            Ok(()) => error.into(),
            Err(closed) => closed,
        }
    }

    fn check_size(&self, tx: &Transaction) -> Result<(), KvError> {
        let required = tx.preconditions().iter().map(|precondition| {
            let (Precondition::At(key, _) | Precondition::Absent(key)) = precondition;
            key.as_bytes().len()
        });
        let written = tx.writes().iter().map(|write| match write {
            Write::Put { key, value, .. } => key.as_bytes().len() + value.len(),
            Write::Delete(key) => key.as_bytes().len(),
        });
        if required.chain(written).sum::<usize>() > self.max_transaction_bytes {
            return Err(KvError::Invalid(
                "transaction of at most max_transaction_bytes",
            ));
        }
        Ok(())
    }
}

/// The name of a partition as it is stored.
fn name(partition: &Partition) -> Result<Vec<u8>, KvError> {
    let name = partition.to_string().into_bytes();
    if name.len() > MAX_PARTITION_BYTES {
        return Err(KvError::Invalid(
            "partition with a name of at most 255 bytes",
        ));
    }
    Ok(name)
}

/// The least byte string beyond all that begin with `prefix`, if there is one.
fn beyond(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if let Some(next) = last.checked_add(1) {
            out.push(next);
            return Some(out);
        }
    }
    None
}

/// The least byte string of the range that `prefix` and `after` leave.
fn first(prefix: &[u8], after: Option<&Key>) -> Vec<u8> {
    match after {
        Some(after) if after.as_bytes() >= prefix => [after.as_bytes(), &[0]].concat(),
        _ => prefix.to_vec(),
    }
}

fn versioned(row: &Row, value: usize, version: usize) -> Result<Versioned, PgError> {
    let version: i64 = column(row, version)?;
    Ok(Versioned {
        value: Bytes::copy_from_slice(column(row, value)?),
        version: Version(u64::try_from(version).map_err(|_| PgError::Malformed)?),
    })
}

fn entry(row: &Row) -> Result<Entry, KvError> {
    let key: &[u8] = column(row, 0)?;
    Ok(Entry {
        key: Key::new(Bytes::copy_from_slice(key)).map_err(|_| PgError::Malformed)?,
        versioned: versioned(row, 1, 2)?,
    })
}

/// A transaction as the arrays that the statement takes.
#[derive(Default)]
struct Arrays<'a> {
    require: Vec<&'a [u8]>,
    at: Vec<i64>,
    put: Vec<&'a [u8]>,
    values: Vec<&'a [u8]>,
    expires: Vec<Option<i64>>,
    delete: Vec<&'a [u8]>,
}

impl<'a> Arrays<'a> {
    fn of(tx: &'a Transaction) -> Self {
        let mut out = Self::default();
        for precondition in tx.preconditions() {
            let (key, at) = match precondition {
                Precondition::Absent(key) => (key, ABSENT),
                Precondition::At(key, version) => (key, i64::try_from(version.0).unwrap_or(NEVER)),
            };
            out.require.push(key.as_bytes());
            out.at.push(at);
        }
        for write in tx.writes() {
            match write {
                Write::Put {
                    key,
                    value,
                    expires,
                } => {
                    out.put.push(key.as_bytes());
                    out.values.push(value);
                    out.expires.push(expires.map(|at| at.nanos()));
                }
                Write::Delete(key) => out.delete.push(key.as_bytes()),
            }
        }
        out
    }
}

impl fmt::Debug for PgKeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgKeyValue")
            .field("schema", &self.schema)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for PgKeyValue {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: if self.durable {
                Durability::Durable
            } else {
                Durability::Volatile
            },
            crypto: if self.encrypted {
                Validation::NotValidated
            } else {
                Validation::NoCrypto
            },
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        if self.connections.is_closed() {
            return Health::Unhealthy("closed");
        }
        match self.connections.read("SELECT 1", &[]).await {
            Ok(_) => Health::Healthy,
            Err(PgError::Busy) => Health::Degraded("all connections are in use"),
            Err(_) => Health::Unhealthy("the server does not answer"),
        }
    }

    async fn close(&self) {
        self.watches.close();
        self.connections.close();
    }
}

#[async_trait]
impl KeyValue for PgKeyValue {
    fn capabilities(&self) -> KvCapabilities {
        KvCapabilities::new(self.durable, true)
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.admit()?;
        let (name, key) = (name(partition)?, key.as_bytes());
        let now = self.clock.wall().nanos();
        let parameters: [crate::pool::Parameter<'_>; 3] = [
            (&name, Type::BYTEA),
            (&key, Type::BYTEA),
            (&now, Type::INT8),
        ];
        let rows = self.connections.read(&self.statements.get, &parameters);
        let rows = rows.await.map_err(|error| self.failure(error))?;
        let found = rows.first().map(|row| versioned(row, 0, 1));
        Ok(found.transpose()?)
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.admit()?;
        let name = name(partition)?;
        let (from, to) = (first(prefix, after), beyond(prefix));
        let now = self.clock.wall().nanos();
        let limit = i64::try_from(limit.min(MAX_SCAN)).unwrap_or_default();
        let parameters: [crate::pool::Parameter<'_>; 6] = [
            (&name, Type::BYTEA),
            (&from, Type::BYTEA),
            (&now, Type::INT8),
            (&to, Type::BYTEA),
            (&limit, Type::INT8),
            (&SCAN_BYTES, Type::INT8),
        ];
        let rows = self.connections.read(&self.statements.scan, &parameters);
        let rows = rows.await.map_err(|error| self.failure(error))?;
        rows.iter().map(entry).collect()
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        tx.check()?;
        self.check_size(&tx)?;
        self.admit()?;
        let name = name(partition)?;
        let topic = Topic::of(&name);
        let now = self.clock.wall();
        let (now, sweep) = (now.nanos(), now.minus(SWEEP_AFTER).nanos());
        let (slot, channel) = (topic.lock(&self.schema), channel(&self.schema));
        let payload = topic.payload();
        let arrays = Arrays::of(&tx);
        let parameters: [crate::pool::Parameter<'_>; 12] = [
            (&name, Type::BYTEA),
            (&now, Type::INT8),
            (&sweep, Type::INT8),
            (&arrays.require, Type::BYTEA_ARRAY),
            (&arrays.at, Type::INT8_ARRAY),
            (&arrays.put, Type::BYTEA_ARRAY),
            (&arrays.values, Type::BYTEA_ARRAY),
            (&arrays.expires, Type::INT8_ARRAY),
            (&arrays.delete, Type::BYTEA_ARRAY),
            (&slot, Type::INT8),
            (&channel, Type::TEXT),
            (&payload, Type::TEXT),
        ];
        let rows = self.connections.query(&self.statements.commit, &parameters);
        let rows = rows.await.map_err(|error| self.failure(error))?;
        let row = rows.first().ok_or(PgError::Malformed)?;
        let version: Option<i64> = column(row, 0)?;
        let version = version.ok_or(KvError::Conflict)?;
        let version = u64::try_from(version).map_err(|_| PgError::Malformed)?;
        Ok(Version(version))
    }

    async fn watch(
        &self,
        partition: &Partition,
        _prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.admit()?;
        let topic = Topic::of(&name(partition)?);
        let hints = self.watches.watch(topic).await;
        hints.map_err(|error| self.failure(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_prefix_ends_right_after_it() {
        for (prefix, expected) in [
            (b"a".as_slice(), Some(b"b".as_slice())),
            (b"a\xff", Some(b"b")),
            (b"a\xffb", Some(b"a\xffc")),
            (b"\xff\xff", None),
            (b"", None),
        ] {
            assert_eq!(beyond(prefix).as_deref(), expected, "{prefix:?}");
        }
    }
}
