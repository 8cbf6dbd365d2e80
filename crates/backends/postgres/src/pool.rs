//! The pool: every operation is one statement, and a connection whose statement did not end is
//! thrown away.
//!
//! One statement is one transaction of the server's, so no future that is dropped leaves a
//! transaction open. It may leave a statement running; whoever came next on that connection would
//! wait behind it, so nobody does.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::config::PgConfig;
use crate::connect::Connector;
use crate::error::PgError;

/// A parameter and its type, which spares asking the server for it.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// How often a read is tried anew after its connection turned out to be lost.
const READ_RETRIES: usize = 1;

#[derive(Debug)]
pub(crate) struct Connections {
    pool: Pool,
    operation_timeout: Duration,
}

/// A connection on loan. Dropped before [`Lease::give_back`], it is closed.
struct Lease(Option<Object>);

impl Lease {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Connections {
    pub(crate) fn new(config: &PgConfig, connector: Connector) -> Result<Self, PgError> {
        let recycling_method = RecyclingMethod::Fast;
        let manager = ManagerConfig { recycling_method };
        let manager = Manager::from_connect(connector.config(), connector, manager);
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .wait_timeout(Some(config.wait_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.operation_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_: deadpool_postgres::BuildError| PgError::Config("pool"))?;
        Ok(Self {
            pool,
            operation_timeout: config.operation_timeout,
        })
    }

    /// Runs one statement, in one round trip on a connection that is there.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, PgError> {
        let lease = Lease(Some(self.pool.get().await?));
        let Some(client) = &lease.0 else {
            return Err(PgError::Malformed);
        };
        let answer = client.query_typed(sql, parameters);
        let answer = tokio::time::timeout(self.operation_timeout, answer)
            .await
            .map_err(|_| PgError::Timeout)?;
        match answer {
            Ok(rows) => {
                lease.give_back();
                Ok(rows)
            }
            Err(error) => {
                let is_refusal = error.as_db_error().is_some();
                let error = PgError::from(error);
                if is_refusal && !error.is_connection() {
                    lease.give_back();
                }
                Err(error)
            }
        }
    }

    /// [`Self::query`] for what may be asked twice.
    pub(crate) async fn read(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, PgError> {
        for _ in 0..READ_RETRIES {
            match self.query(sql, parameters).await {
                Err(error) if error.is_connection() => {}
                answer => return answer,
            }
        }
        self.query(sql, parameters).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// A column of a row.
pub(crate) fn column<'a, T>(row: &'a Row, index: usize) -> Result<T, PgError>
where
    T: tokio_postgres::types::FromSql<'a>,
{
    row.try_get(index)
        .map_err(|_: tokio_postgres::Error| PgError::Malformed)
}
