//! Futures that are dropped: at every await, and while the server works.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use eonpro_core::port::kv::{KeyValue as _, Transaction};
use eonpro_core::task;
use eonpro_postgres::{PgConfig, PgKeyValue, migrate};

use crate::bed::{self, AT, key, put, text};
use crate::held::{Held, until};

/// Polls `work` at most so many times, and tells whether it came to its end.
async fn poll_times<T>(work: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut work = pin!(work);
    let mut polled = 0;
    poll_fn(move |cx| {
        if polled == times {
            return Poll::Ready(None);
        }
        polled += 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            // Dropped where it waits, not where it would go on.
            Poll::Pending if polled == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

const IN_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
const AT_WORK: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE query LIKE '%kv_%' AND state <> 'idle' AND pid <> pg_backend_pid()";

async fn open(config: &PgConfig) -> PgKeyValue {
    bed::open(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_dropped_at_any_await_leaves_no_transaction_and_no_half_commit() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        connections: 1,
        ..bed::config(&server)
    };
    for warm in [false, true] {
        for times in 1.. {
            let store = open(&config).await;
            if !warm {
                // The connection of the pool goes with the future that used it, unless that was fast.
                while poll_times(store.get(&AT, &key("a")), 1).await.is_some() {}
            }
            let name = format!("{warm}/{times}");
            let tx = put(&format!("{name}/a"), "1").put(key(&format!("{name}/b")), "1");
            let ended = poll_times(store.commit(&AT, tx), times).await;
            until(&server, AT_WORK, "0").await;
            assert_eq!(server.sql(IN_TRANSACTION).unwrap(), "0", "{name}");
            // The pool has its only place back.
            let prefix = format!("{name}/");
            let found = store.scan(&AT, prefix.as_bytes(), None, 9).await;
            assert_ne!(found.unwrap().len(), 1, "{name}");
            if let Some(outcome) = ended {
                outcome.unwrap();
                break;
            }
            let _ = poll_times(store.scan(&AT, b"", None, 9), times).await;
            let _ = poll_times(store.get(&AT, &key("a")), times).await;
            let _ = poll_times(store.watch(&AT, b""), times).await;
            store.commit(&AT, put("after", "1")).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_dropped_at_any_await_did_nothing_or_all_and_bars_no_other() {
    let Some(server) = bed::server().await else {
        return;
    };
    for times in 1.. {
        let config = PgConfig {
            schema: format!("s{times}"),
            ..bed::config(&server)
        };
        let ended = poll_times(migrate(&config), times).await;
        let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = \
            (SELECT oid FROM pg_namespace WHERE nspname = $$";
        let left = server
            .sql(&format!("{tables}{}$$)", config.schema))
            .unwrap();
        assert!(left == "0" || left == "8", "{times}: {left} tables");
        let store = open(&config).await;
        store.commit(&AT, put("a", "1")).await.unwrap();
        if ended.is_some() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_behind_the_statement_of_a_caller_that_went_away() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        connections: 1,
        ..bed::config(&server)
    };
    let store = Arc::new(open(&config).await);
    store.commit(&AT, put("a", "1")).await.unwrap();
    let held = Held::new(&server).await;
    let gone = Arc::clone(&store);
    let gone = task::start(async move { gone.commit(&AT, put("a", "2")).await });
    held.until_somebody_waits(&server).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    // Its statement still waits for the counter; a read on its connection would wait with it.
    assert_eq!(text(&*store, "a").await.as_deref(), Some("1"));
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .unwrap(),
        "1"
    );
    drop(held);
    let version = store.commit(&AT, put("b", "1")).await.unwrap();
    let unchanged = Transaction::new();
    assert_eq!(store.commit(&AT, unchanged).await.unwrap(), version);
}
