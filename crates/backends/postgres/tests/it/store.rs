//! Contention of several processes, limits, errors, connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::{Component as _, Health, Validation};
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::port::KvError;
use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction, Version};
use eonpro_core::secret::SecretText;
use eonpro_core::task;
use eonpro_core::time::{Clock as _, ManualClock, Timestamp};
use eonpro_postgres::{PgConfig, PgError, PgKeyValue, PgServer, PgTls, migrate};

use crate::bed::{self, AT, key, put, text};
use crate::held::Held;

/// Adds one by compare-and-swap; tells the versions of the commits.
async fn count(store: Arc<PgKeyValue>, times: usize) -> Vec<Version> {
    let mut versions = Vec::new();
    while versions.len() < times {
        let found = store.get(&AT, &key("counter")).await.unwrap();
        let (number, tx) = match &found {
            None => (0, Transaction::new().require_absent(key("counter"))),
            Some(found) => {
                let number = std::str::from_utf8(&found.value).unwrap();
                let tx = Transaction::new().require(key("counter"), found.version);
                (number.parse::<u64>().unwrap(), tx)
            }
        };
        let tx = tx.put(key("counter"), (number + 1).to_string());
        match store.commit(&AT, tx).await {
            Ok(version) => versions.push(version),
            Err(KvError::Conflict) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_several_pools_lose_no_increment() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let pools = [bed::open(&config).await, bed::open(&config).await].map(Arc::new);
    let tasks = (0..8).map(|number| task::start(count(Arc::clone(&pools[number % 2]), 20)));
    let mut versions = Vec::new();
    for counting in tasks.collect::<Vec<_>>() {
        versions.extend(counting.await.unwrap());
    }
    versions.sort_unstable();
    let expected: Vec<_> = (1..=160).map(Version).collect();
    assert_eq!(
        versions, expected,
        "each commit has a version of its own, without gaps"
    );
    assert_eq!(text(&*pools[0], "counter").await.as_deref(), Some("160"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn preconditions_are_judged_by_what_is_committed_when_the_turn_comes() {
    let Some(server) = bed::server().await else {
        return;
    };
    let store = Arc::new(bed::open(&bed::config(&server)).await);
    for round in 0..40 {
        let name = format!("{round}");
        let claims = (0..6).map(|claimant| {
            let (store, name) = (Arc::clone(&store), name.clone());
            let tx = put(&name, &claimant.to_string()).require_absent(key(&name));
            task::start(async move { store.commit(&AT, tx).await })
        });
        let mut won = 0;
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert!(matches!(error, KvError::Conflict), "{error:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
}

#[tokio::test]
async fn what_is_too_big_is_refused_before_it_is_sent() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        max_transaction_bytes: 1024 * 1024,
        ..bed::config(&server)
    };
    let store = bed::open(&config).await;
    let half = "x".repeat(512 * 1024);
    let tx = put("a", &half).put(key("b"), half.clone());
    let refused = store.commit(&AT, tx).await;
    assert!(matches!(refused, Err(KvError::Invalid(_))), "{refused:?}");
    let long = Partition::system(Box::leak("s".repeat(300).into_boxed_str()));
    let refused = store.get(&long, &key("a")).await;
    assert!(matches!(refused, Err(KvError::Invalid(_))), "{refused:?}");
    // The longest of both fit into the index together.
    let longest = Partition::system(Box::leak("s".repeat(248).into_boxed_str()));
    let incompressible: Vec<u8> = (0..512_u32).map(|n| (n * 167 % 251) as u8).collect();
    let key = Key::new(incompressible).unwrap();
    let tx = Transaction::new().put(key.clone(), "1");
    store.commit(&longest, tx).await.unwrap();
    assert!(store.get(&longest, &key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_scan_of_large_values_ends_its_page_early_and_goes_on() {
    let Some(server) = bed::server().await else {
        return;
    };
    let store = bed::open(&bed::config(&server)).await;
    let large = "x".repeat(1024 * 1024);
    let tx = (0..20).fold(Transaction::new(), |tx, number| {
        tx.put(key(&format!("{number:02}")), large.clone())
    });
    store.commit(&AT, tx).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(&AT, b"", after.as_ref(), 1_000).await.unwrap();
        assert!(page.len() <= 9, "{} entries in a page", page.len());
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.into_iter().map(|entry| entry.key));
    }
    let expected: Vec<_> = (0..20).map(|number| key(&format!("{number:02}"))).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn entries_leave_the_table_an_hour_after_they_expired() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let manual = ManualClock::at(Timestamp::EPOCH);
    let store = PgKeyValue::open(&config, Arc::new(manual.clone()))
        .await
        .unwrap();
    let soon = manual.wall().plus(Duration::from_secs(1));
    let tx = Transaction::new().put_until(key("old"), "1", soon);
    store.commit(&AT, tx).await.unwrap();
    let rows = || server.sql("SELECT count(*) FROM eonpro.kv_entry").unwrap();
    manual.advance(Duration::from_secs(3600));
    store.commit(&AT, put("new", "1")).await.unwrap();
    assert_eq!((rows(), text(&store, "old").await), ("2".to_owned(), None));
    manual.advance(Duration::from_secs(1));
    store.commit(&AT, put("new", "2")).await.unwrap();
    assert_eq!(rows(), "1");
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_connection_is_told() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        connections: 1,
        wait_timeout: Duration::from_millis(50),
        ..bed::config(&server)
    };
    let store = Arc::new(bed::open(&config).await);
    store.commit(&AT, put("a", "1")).await.unwrap();
    let held = Held::new(&server).await;
    let waiting = Arc::clone(&store);
    let waiting = task::start(async move { waiting.commit(&AT, put("a", "2")).await });
    held.until_somebody_waits(&server).await;
    let Err(KvError::Backend(refused)) = store.get(&AT, &key("a")).await else {
        panic!("the only connection is in use");
    };
    let refused = refused.downcast_ref::<PgError>();
    assert_eq!(refused, Some(&PgError::Busy));
    assert!(matches!(store.health().await, Health::Degraded(_)));
    drop(held);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_waits_too_long_for_its_turn_is_given_up_and_writes_nothing() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        lock_timeout: Duration::from_millis(50),
        ..bed::config(&server)
    };
    let store = bed::open(&config).await;
    store.commit(&AT, put("a", "1")).await.unwrap();
    let held = Held::new(&server).await;
    let refused = store.commit(&AT, put("a", "2")).await.unwrap_err();
    let KvError::Backend(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.downcast_ref(), Some(&PgError::Timeout));
    drop(held);
    assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn errors_and_debug_texts_tell_no_secret_and_no_value() {
    let Some(server) = bed::server().await else {
        return;
    };
    let wrong = PgConfig {
        password: SecretText::new("hunter2".to_owned()),
        ..bed::config(&server)
    };
    let refused = migrate(&wrong).await.unwrap_err();
    assert_eq!(refused, PgError::Refused("28P01".to_owned()));
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let store = bed::open(&bed::config(&server)).await;
    assert!(!format!("{store:?}").contains(eonpro_testkit::Postgres::PASSWORD));
    // Makes the server quote the row that it refuses.
    let rule = "ALTER TABLE eonpro.kv_entry ADD CHECK (length(value) < 9)";
    server.sql(rule).unwrap();
    let error = store
        .commit(&AT, put("a-key", "a-long-value"))
        .await
        .unwrap_err();
    let told = format!("{error:?} {error}");
    assert!(told.contains("23514"), "{told}");
    assert!(
        !told.contains("kv_entry") && !told.contains("612d6c6f6e67"),
        "{told}"
    );
}

#[tokio::test]
async fn a_unix_socket_serves_as_well_and_a_closed_store_says_so() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = PgConfig {
        servers: vec![PgServer::Unix {
            folder: PathBuf::from(server.socket_folder()),
            port: server.port(),
        }],
        ..bed::config(&server)
    };
    let store = bed::open(&config).await;
    store.commit(&AT, put("a", "1")).await.unwrap();
    assert_eq!(store.health().await, Health::Healthy);
    store.close().await;
    assert_eq!(store.health().await, Health::Unhealthy("closed"));
    let refused = store.commit(&AT, put("a", "1")).await;
    assert!(matches!(refused, Err(KvError::Closed)), "{refused:?}");
}

#[tokio::test]
async fn a_session_whose_role_asks_for_another_isolation_is_not_misled() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    let setting = "ALTER ROLE owner SET default_transaction_isolation = 'serializable'";
    server.sql(setting).unwrap();
    let store = bed::open(&config).await;
    store.commit(&AT, put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_server_is_believed_only_if_its_certificate_leads_to_the_roots_and_names_the_host() {
    let found = eonpro_testkit::servers::tool("openssl");
    let found = eonpro_testkit::servers::require(found, "openssl", "openssl");
    let (Some(mut server), Some(_)) = (bed::server().await, found) else {
        return;
    };
    server.kill().unwrap();
    let stale = server.launch_with_tls().await.unwrap();
    server.kill().unwrap();
    let roots = server.launch_with_tls().await.unwrap();
    let with = |roots: &str, host: &str| PgConfig {
        servers: vec![PgServer::Tcp {
            host: host.to_owned(),
            port: server.port(),
        }],
        tls: PgTls::Verified {
            roots: roots.to_owned(),
        },
        ..bed::config(&server)
    };
    let store = bed::open(&with(&roots, "127.0.0.1")).await;
    assert_eq!(store.posture().crypto, Validation::NotValidated);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'eonpro'";
    assert_eq!(server.sql(encrypted).unwrap(), "t");
    for (roots, host) in [(&stale, "127.0.0.1"), (&roots, "localhost")] {
        let refused = migrate(&with(roots, host)).await.unwrap_err();
        assert!(matches!(refused, PgError::Connection(_)), "{refused:?}");
    }
    let nothing = migrate(&with("", "127.0.0.1")).await;
    assert!(matches!(nothing, Err(PgError::Config(_))), "{nothing:?}");
    // A server without TLS is not spoken to in clear.
    server.kill().unwrap();
    server.launch().await.unwrap();
    assert!(
        migrate(&PgConfig {
            tls: PgTls::Verified { roots },
            ..bed::config(&server)
        })
        .await
        .is_err()
    );
}
