//! Databases that keep one entry a transaction, durably.

use std::path::Path;

use eonpro_testkit::Postgres;
use redb::ReadableDatabase as _;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

pub(crate) fn sqlite(path: &Path) -> rusqlite::Connection {
    let sqlite = rusqlite::Connection::open(path).unwrap();
    sqlite
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;",
        )
        .unwrap();
    sqlite
}

pub(crate) struct Redb {
    database: redb::Database,
    next: u64,
}

const ENTRIES: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("entries");

impl Redb {
    pub(crate) fn open(path: &Path) -> Self {
        let database = redb::Database::create(path).unwrap();
        assert!(database.begin_read().is_ok());
        Self { database, next: 0 }
    }

    /// One transaction with the durability `Immediate`.
    pub(crate) fn insert(&mut self, entry: &[u8]) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction
            .set_durability(redb::Durability::Immediate)
            .unwrap();
        transaction
            .open_table(ENTRIES)
            .unwrap()
            .insert(self.next, entry)
            .unwrap();
        transaction.commit().unwrap();
        self.next += 1;
    }
}

/// A server with `synchronous_commit` and `fsync`, and its connections.
pub(crate) struct Pg {
    clients: Vec<std::sync::Arc<Client>>,
    _server: Postgres,
}

impl Pg {
    /// `None` where PostgreSQL is not installed.
    pub(crate) async fn start(connections: usize) -> Option<Self> {
        let mut server = Postgres::start().await.unwrap()?;
        server.kill().unwrap();
        let settings = ["fsync=on", "synchronous_commit=on", "max_connections=100"];
        server.launch_with(&settings).await.unwrap();
        let mut clients = Vec::new();
        for number in 0..connections {
            let (client, connection) = tokio_postgres::Config::new()
                .host("127.0.0.1")
                .port(server.port())
                .user(Postgres::OWNER)
                .password(Postgres::PASSWORD)
                .dbname(Postgres::DATABASE)
                .connect(NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            if number == 0 {
                let table = "CREATE TABLE entries (number bigint GENERATED ALWAYS AS IDENTITY \
                             PRIMARY KEY, entry bytea NOT NULL)";
                client.batch_execute(table).await.unwrap();
            }
            clients.push(std::sync::Arc::new(client));
        }
        Some(Self {
            clients,
            _server: server,
        })
    }

    /// `entries` in all, each in a transaction of its own, spread over the connections.
    pub(crate) fn insert(&self, runtime: &Runtime, entry: &[u8], entries: usize) {
        let each = entries / self.clients.len();
        let tasks: Vec<_> = self
            .clients
            .iter()
            .map(|client| {
                let (client, entry) = (std::sync::Arc::clone(client), entry.to_vec());
                runtime.spawn(async move {
                    let insert = "INSERT INTO entries (entry) VALUES ($1)";
                    let insert = client.prepare(insert).await.unwrap();
                    for _ in 0..each {
                        client.execute(&insert, &[&entry]).await.unwrap();
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}
