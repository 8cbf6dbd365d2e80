//! Conformance, the file, group commit, limits.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::{Component as _, Health};
use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction};
use eonpro_core::task;
use eonpro_core::time::{Clock as _, ManualClock, SharedClock, Timestamp};
use eonpro_redb::{RedbConfig, RedbKeyValue};
use eonpro_testkit::conformance::kv::{Subject, suite};
use futures_util::FutureExt as _;
use tempfile::TempDir;

const AT: Partition = Partition::system("test");

fn clock() -> SharedClock {
    Arc::new(ManualClock::at(Timestamp::EPOCH))
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    (folder, path)
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms() {
    let folders = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicUsize::new(0);
    let report = suite(async |clock: SharedClock| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folders.path().join(format!("{number}.redb"));
        let store = RedbKeyValue::open(&path, Arc::clone(&clock)).unwrap();
        Subject::volatile(Arc::new(store)).reopened_by(move || {
            let store = RedbKeyValue::open(&path, Arc::clone(&clock)).unwrap();
            async move { Arc::new(store) as Arc<dyn KeyValue> }.boxed()
        })
    })
    .await;
    report.assert_conforms();
}

#[tokio::test]
async fn the_file_is_private_even_if_it_was_not_before() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = RedbKeyValue::open(&path, clock()).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn opening_leaves_one_file_and_no_other() {
    let (folder, path) = folder();
    let _store = RedbKeyValue::open(&path, clock()).unwrap();
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [path]);
}

#[tokio::test]
async fn a_file_in_use_is_refused_until_it_is_closed_or_dropped() {
    let (_folder, path) = folder();
    let first = RedbKeyValue::open(&path, clock()).unwrap();
    assert!(RedbKeyValue::open(&path, clock()).is_err());
    first.close().await;
    let second = RedbKeyValue::open(&path, clock()).unwrap();
    drop(second);
    assert!(RedbKeyValue::open(&path, clock()).is_ok());
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"not a store").unwrap();
    assert!(RedbKeyValue::open(&path, clock()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"not a store");
}

#[tokio::test]
async fn a_store_that_was_dropped_without_close_keeps_what_it_acknowledged() {
    let (_folder, path) = folder();
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    let tx = Transaction::new().put(key("a"), "1");
    let version = store.commit(&AT, tx).await.unwrap();
    drop(store);
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    let found = store.get(&AT, &key("a")).await.unwrap().unwrap();
    assert_eq!(
        (found.value.as_ref(), found.version),
        (b"1".as_slice(), version)
    );
}

#[tokio::test]
async fn a_commit_whose_caller_went_away_is_all_or_nothing() {
    let (_folder, path) = folder();
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    for round in 0..20 {
        let tx = Transaction::new()
            .put(key(&format!("{round}/a")), "1")
            .put(key(&format!("{round}/b")), "1");
        // Polled once and dropped: queued or not, never half.
        let _ = store.commit(&AT, tx).now_or_never();
    }
    store.close().await;
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    for round in 0..20 {
        let prefix = format!("{round}/");
        let found = store.scan(&AT, prefix.as_bytes(), None, 10).await.unwrap();
        assert!(found.len() != 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_beyond_the_queue_wait_and_lose_nothing() {
    let (_folder, path) = folder();
    let mut config = RedbConfig::default();
    config.queue = 1;
    let store = Arc::new(RedbKeyValue::open_with(&path, clock(), config).unwrap());
    let commits = (0..200).map(|number| {
        let store = Arc::clone(&store);
        let tx = Transaction::new().put(key(&format!("{number:03}")), "1");
        task::start(async move { store.commit(&AT, tx).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    let found = store.scan(&AT, b"", None, 1_000).await.unwrap();
    assert_eq!(found.len(), 200);
}

#[tokio::test]
async fn expired_entries_leave_the_file_as_others_are_written() {
    let (_folder, path) = folder();
    let manual = ManualClock::at(Timestamp::EPOCH);
    let store = RedbKeyValue::open(&path, Arc::new(manual.clone())).unwrap();
    let soon = manual.wall().plus(Duration::from_secs(1));
    let tx = (0..40).fold(Transaction::new(), |tx, number| {
        tx.put_until(key(&format!("old-{number}")), "1", soon)
    });
    store.commit(&AT, tx).await.unwrap();
    manual.advance(Duration::from_secs(2));
    let tx = Transaction::new().put(key("new"), "1");
    store.commit(&AT, tx).await.unwrap();
    // Back in time nothing is expired: what is gone now was swept, not hidden.
    manual.step_wall(Timestamp::EPOCH);
    let found = store.scan(&AT, b"", None, 100).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_watch_ends_when_the_store_is_gone() {
    use futures_util::StreamExt as _;
    let (_folder, path) = folder();
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    let mut hints = store.watch(&AT, b"").await.unwrap();
    drop(store);
    assert_eq!(hints.next().await, None);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (_folder, path) = folder();
    let store = RedbKeyValue::open(&path, clock()).unwrap();
    assert_eq!(store.health().await, Health::Healthy);
    store.close().await;
    assert_eq!(store.health().await, Health::Unhealthy("closed"));
}
