//! Watches across processes, over lost connections, and what others may overhear.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::Component as _;
use eonpro_core::port::kv::{Change, KeyValue as _, Partition};
use eonpro_core::secret::SecretText;
use eonpro_postgres::PgConfig;
use eonpro_testkit::{Postgres, tenant_id};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::bed::{self, AT, put, text};
use crate::held::until;

const LISTENERS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";

async fn hear(hints: &mut BoxStream<'static, Change>) {
    let heard = tokio::time::timeout(Duration::from_secs(60), hints.next()).await;
    assert_eq!(heard.unwrap(), Some(Change::Lagged));
}

/// Whether a hint waits to be heard.
async fn is_told(hints: &mut BoxStream<'static, Change>) -> bool {
    tokio::time::timeout(Duration::ZERO, hints.next())
        .await
        .is_ok()
}

fn end_listener(server: &Postgres) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'";
    server.sql(end).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_hears_of_another_processs_commits_in_its_partition_alone() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let (ours, theirs) = (bed::open(&config).await, bed::open(&config).await);
    let [one, other] = [1, 2].map(|tenant| Partition::tenant(tenant_id(tenant), "test"));
    let mut hints = ours.watch(&one, b"").await.unwrap();
    let mut others = ours.watch(&other, b"").await.unwrap();
    for round in 0..20 {
        theirs
            .commit(&one, put("a", &round.to_string()))
            .await
            .unwrap();
        hear(&mut hints).await;
    }
    assert!(!is_told(&mut others).await);
    theirs.commit(&other, put("a", "1")).await.unwrap();
    hear(&mut others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_while_the_connection_was_lost_is_announced() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let (ours, theirs) = (bed::open(&config).await, bed::open(&config).await);
    let mut hints = ours.watch(&AT, b"").await.unwrap();
    for round in 0..3 {
        let value = round.to_string();
        end_listener(&server);
        theirs.commit(&AT, put("a", &value)).await.unwrap();
        // Whatever was told in between, after the last hint all is seen.
        until(&server, LISTENERS, "1").await;
        hear(&mut hints).await;
        while is_told(&mut hints).await {}
        assert_eq!(text(&ours, "a").await.as_deref(), Some(value.as_str()));
        theirs.commit(&AT, put("a", "again")).await.unwrap();
        hear(&mut hints).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_between_two_connections_is_announced_by_the_second() {
    let Some(server) = bed::server().await else {
        return;
    };
    let role = "CREATE ROLE clinic SUPERUSER LOGIN PASSWORD 'clinic-password'";
    server.sql(role).unwrap();
    let theirs = bed::open(&bed::config(&server)).await;
    let config = PgConfig {
        user: "clinic".to_owned(),
        password: SecretText::new("clinic-password".to_owned()),
        ..bed::config(&server)
    };
    let ours = bed::open(&config).await;
    let mut hints = ours.watch(&AT, b"").await.unwrap();
    server.sql("ALTER ROLE clinic NOLOGIN").unwrap();
    end_listener(&server);
    hear(&mut hints).await;
    assert!(ours.watch(&AT, b"").await.is_err(), "nobody listens");
    theirs.commit(&AT, put("a", "1")).await.unwrap();
    assert!(!is_told(&mut hints).await);
    server.sql("ALTER ROLE clinic LOGIN").unwrap();
    hear(&mut hints).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlives_the_server() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let store = Arc::new(bed::open(&bed::config(&server)).await);
    let mut hints = store.watch(&AT, b"").await.unwrap();
    server.kill().unwrap();
    hear(&mut hints).await;
    assert!(store.watch(&AT, b"").await.is_err(), "nobody listens");
    server.launch().await.unwrap();
    until(&server, LISTENERS, "1").await;
    while is_told(&mut hints).await {}
    store.commit(&AT, put("a", "1")).await.unwrap();
    hear(&mut hints).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_when_the_store_is_closed_or_gone_and_take_their_connection_along() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    for close in [false, true] {
        let store = bed::open(&config).await;
        let mut hints = store.watch(&AT, b"").await.unwrap();
        until(&server, LISTENERS, "1").await;
        if close {
            store.close().await;
        }
        drop(store);
        assert_eq!(hints.next().await, None);
        until(&server, LISTENERS, "0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_notify_only_where_somebody_watches_and_tell_no_name() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let store = bed::open(&config).await;
    // In place of the server's own, which cannot be asked what it was given.
    let spy = "CREATE TABLE public.told (channel text, payload text); \
        CREATE FUNCTION eonpro.pg_notify(text, text) RETURNS void LANGUAGE sql AS \
            'INSERT INTO public.told VALUES ($1, $2)'; \
        ALTER FUNCTION eonpro.kv_commit SET search_path = eonpro, pg_catalog, pg_temp";
    server.sql(spy).unwrap();
    let told = || {
        server
            .sql("SELECT channel, payload FROM public.told")
            .unwrap()
    };
    store.commit(&AT, put("a-key", "1")).await.unwrap();
    assert_eq!(told(), "");
    let _hints = store.watch(&AT, b"").await.unwrap();
    store.commit(&AT, put("a-key", "2")).await.unwrap();
    let told = told();
    let payload = told.strip_prefix("eonpro_kv_eonpro|").unwrap();
    assert_eq!(payload.len(), 64, "{told}");
    assert!(
        payload.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{told}"
    );
}
