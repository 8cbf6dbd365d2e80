//! What the tests stand on.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction};
use eonpro_core::secret::SecretText;
use eonpro_core::time::{ManualClock, SharedClock, Timestamp};
use eonpro_postgres::{PgConfig, PgKeyValue, PgServer, migrate};
use eonpro_testkit::Postgres;

pub(crate) const AT: Partition = Partition::system("test");

pub(crate) fn clock() -> SharedClock {
    Arc::new(ManualClock::at(Timestamp::EPOCH))
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

pub(crate) fn put(name: &str, value: &str) -> Transaction {
    Transaction::new().put(key(name), value.to_owned())
}

/// The server, unless it is not installed.
pub(crate) async fn server() -> Option<Postgres> {
    Postgres::start().await.unwrap()
}

pub(crate) fn config(server: &Postgres) -> PgConfig {
    PgConfig {
        servers: vec![PgServer::Tcp {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }],
        database: Postgres::DATABASE.to_owned(),
        user: Postgres::OWNER.to_owned(),
        password: SecretText::new(Postgres::PASSWORD.to_owned()),
        // A machine that does much else is no failure.
        wait_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(60),
        statement_timeout: Duration::from_secs(60),
        operation_timeout: Duration::from_secs(60),
        ..PgConfig::default()
    }
}

pub(crate) async fn open(config: &PgConfig) -> PgKeyValue {
    migrate(config).await.unwrap();
    PgKeyValue::open(config, clock()).await.unwrap()
}

pub(crate) async fn text(store: &dyn KeyValue, name: &str) -> Option<String> {
    let found = store.get(&AT, &key(name)).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}
