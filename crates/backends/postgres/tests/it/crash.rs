//! The server dies and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eonpro_core::component::{Component as _, Health};
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{KeyValue as _, Version};
use eonpro_core::task;
use eonpro_postgres::PgKeyValue;

use crate::bed::{self, AT, key, put, text};

/// Commits one key after the other until told to stop or refused; tells those that were acknowledged.
async fn write(
    store: Arc<PgKeyValue>,
    writer: usize,
    stop: Arc<AtomicBool>,
) -> Vec<(String, Version)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("{writer}/{number}");
        match store.commit(&AT, put(&name, &name)).await {
            Ok(version) => acknowledged.push((name, version)),
            Err(KvError::Backend(_)) => break,
            Err(error) => panic!("{error:?}"),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_after_the_server_was_killed() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let stores = [bed::open(&config).await, bed::open(&config).await].map(Arc::new);
    let mut last = Version(0);
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..6).map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            task::start(write(store, round * 10 + writer, Arc::clone(&stop)))
        });
        let writers: Vec<_> = writers.collect();
        // In the middle of it: some have been acknowledged since the round began.
        let count = "SELECT coalesce(max(commits), 0) FROM eonpro.kv_partition";
        while server.sql(count).unwrap().parse::<u64>().unwrap() < last.0 + 50 {
            tokio::task::yield_now().await;
        }
        server.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for writing in writers {
            acknowledged.extend(writing.await.unwrap());
        }
        assert!(
            acknowledged.len() > 20,
            "{} acknowledged",
            acknowledged.len()
        );
        assert!(matches!(stores[0].health().await, Health::Unhealthy(_)));

        server.launch().await.unwrap();
        for (name, version) in &acknowledged {
            let found = stores[0].get(&AT, &key(name)).await.unwrap().unwrap();
            assert_eq!(
                (&found.value[..], found.version),
                (name.as_bytes(), *version)
            );
        }
        let newest = acknowledged
            .iter()
            .map(|(_, version)| *version)
            .max()
            .unwrap();
        last = stores[1].commit(&AT, put("next", "1")).await.unwrap();
        assert!(newest < last, "versions grow across a crash");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_by_itself_once_the_server_is_back() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let store = bed::open(&bed::config(&server)).await;
    store.commit(&AT, put("a", "1")).await.unwrap();
    for _ in 0..3 {
        server.kill().unwrap();
        server.launch().await.unwrap();
        assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
        store.commit(&AT, put("a", "1")).await.unwrap();
    }
    // Ended from the other side while idle, one by one.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = 'eonpro'";
    server.sql(end).unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
    assert_eq!(store.health().await, Health::Healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_acknowledges_before_it_syncs_is_made_to_sync_our_commits() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let store = bed::open(&bed::config(&server)).await;
    for round in 0..3 {
        server.kill().unwrap();
        let lazy = ["fsync=on", "synchronous_commit=off", "wal_writer_delay=10s"];
        server.launch_with(&lazy).await.unwrap();
        assert!(
            bed::open(&bed::config(&server))
                .await
                .capabilities()
                .durable
        );
        let name = |number: usize| format!("{round}/{number}");
        // The first wakes the server's writer, which then sleeps.
        for number in 0..50 {
            store.commit(&AT, put(&name(number), "1")).await.unwrap();
        }
        server.kill().unwrap();
        server.launch().await.unwrap();
        assert_eq!(text(&store, &name(49)).await.as_deref(), Some("1"));
    }
}
