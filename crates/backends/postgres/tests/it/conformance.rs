//! The suite of `KeyValue`, each check in a schema of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eonpro_core::port::kv::KeyValue;
use eonpro_core::time::SharedClock;
use eonpro_postgres::{PgConfig, PgKeyValue, migrate};
use eonpro_testkit::Postgres;
use eonpro_testkit::conformance::kv::{Subject, suite};
use futures_util::FutureExt as _;

use crate::bed;

fn config(server: &Postgres, number: usize) -> PgConfig {
    PgConfig {
        schema: format!("check_{number}"),
        connections: 4,
        ..bed::config(server)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms() {
    let Some(server) = bed::server().await else {
        return;
    };
    let server = Arc::new(server);
    let number = AtomicUsize::new(0);
    let report = suite(async |clock: SharedClock| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        migrate(&config(&server, number)).await.unwrap();
        let server = Arc::clone(&server);
        let again = move || {
            let (server, clock) = (Arc::clone(&server), Arc::clone(&clock));
            async move {
                let store = PgKeyValue::open(&config(&server, number), clock).await;
                Arc::new(store.unwrap()) as Arc<dyn KeyValue>
            }
            .boxed()
        };
        Subject::volatile(again().await)
            .shared_by(again.clone())
            .reopened_by(again)
    })
    .await;
    report.assert_conforms();
}
