//! The migration, and what the role of the store needs.

use eonpro_core::component::{Component as _, Durability};
use eonpro_core::port::kv::KeyValue as _;
use eonpro_core::secret::SecretText;
use eonpro_postgres::{PgConfig, PgError, PgKeyValue, migrate};
use futures_util::future::join_all;

use crate::bed::{self, AT, clock, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_at_the_same_time_and_again_makes_one_schema() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    for outcome in join_all((0..6).map(|_| migrate(&config))).await {
        outcome.unwrap();
    }
    let store = PgKeyValue::open(&config, clock()).await.unwrap();
    let version = store.commit(&AT, put("a", "1")).await.unwrap();
    migrate(&config).await.unwrap();
    assert!(store.commit(&AT, put("a", "2")).await.unwrap() > version);
    let steps = server.sql("SELECT count(*) FROM eonpro.migration").unwrap();
    assert_eq!(steps, "2");
}

#[tokio::test]
async fn a_schema_that_is_missing_later_or_another_is_refused() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let refused = PgKeyValue::open(&config, clock()).await.unwrap_err();
    let unmigrated = PgError::Unmigrated {
        found: 0,
        needed: 2,
    };
    assert_eq!(refused, unmigrated);
    migrate(&config).await.unwrap();

    let later = "INSERT INTO eonpro.migration VALUES (3, '\\x00')";
    server.sql(later).unwrap();
    assert_eq!(migrate(&config).await, Err(PgError::UnknownSchema(3)));
    let refused = PgKeyValue::open(&config, clock()).await.unwrap_err();
    assert_eq!(refused, PgError::UnknownSchema(3));

    server
        .sql("DELETE FROM eonpro.migration WHERE version = 3")
        .unwrap();
    let another = "UPDATE eonpro.migration SET digest = '\\x00' WHERE version = 1";
    server.sql(another).unwrap();
    assert_eq!(migrate(&config).await, Err(PgError::UnknownSchema(1)));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let Some(server) = bed::server().await else {
        return;
    };
    // The last thing that the step makes is there already.
    server.sql("CREATE SCHEMA eonpro").unwrap();
    server.sql("CREATE TABLE eonpro.kv_entry (a int)").unwrap();
    let config = bed::config(&server);
    let refused = migrate(&config).await;
    assert_eq!(refused, Err(PgError::Refused("42P07".to_owned())));
    let left = "SELECT string_agg(relname, ' ') FROM pg_class \
        WHERE relnamespace = 'eonpro'::regnamespace AND relkind = 'r'";
    assert_eq!(server.sql(left).unwrap(), "kv_entry");
}

/// The statements of `docs/runbooks/postgres.md`.
const RUNBOOK: &str = include_str!("../../../../../docs/runbooks/postgres.md");

#[tokio::test]
async fn the_store_works_with_no_more_than_the_runbook_grants() {
    let Some(server) = bed::server().await else {
        return;
    };
    let owner = bed::config(&server);
    migrate(&owner).await.unwrap();
    let role = "CREATE ROLE clinic LOGIN PASSWORD 'clinic-password'";
    server.sql(role).unwrap();
    let (_, grants) = RUNBOOK.split_once("```sql\n").unwrap();
    let (grants, _) = grants.split_once("```").unwrap();
    server.sql(grants).unwrap();

    let config = PgConfig {
        user: "clinic".to_owned(),
        password: SecretText::new("clinic-password".to_owned()),
        ..bed::config(&server)
    };
    let store = PgKeyValue::open(&config, clock()).await.unwrap();
    let first = store.commit(&AT, put("a", "1")).await.unwrap();
    let tx = put("b", "1")
        .require(bed::key("a"), first)
        .delete(bed::key("a"));
    store.commit(&AT, tx).await.unwrap();
    assert_eq!(bed::text(&store, "b").await.as_deref(), Some("1"));
    let _hints = store.watch(&AT, b"").await.unwrap();
    assert_eq!(store.posture().durability, Durability::Durable);
    let refused = migrate(&config).await.unwrap_err();
    assert_eq!(refused, PgError::Refused("42501".to_owned()));
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_told_to_be_volatile() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let store = bed::open(&config).await;
    assert!(store.capabilities().durable);
    drop(store);
    server.kill().unwrap();
    server.launch_with(&["fsync=off"]).await.unwrap();
    let store = PgKeyValue::open(&config, clock()).await.unwrap();
    assert!(!store.capabilities().durable);
    assert_eq!(store.posture().durability, Durability::Volatile);
}
