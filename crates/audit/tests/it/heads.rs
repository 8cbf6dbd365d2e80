//! The head that is kept outside of the directory: it shows a directory that was put back, and stops the
//! second of two processes that sign copies of one log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use async_trait::async_trait;
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, EmbeddedAudit, Keeper, LogId, forget_head, verify,
};
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, MemoryKeyValue, Partition, Transaction, Version, Versioned,
};
use eonpro_core::port::{KeyValue, KvError};
use futures_util::stream::BoxStream;

use crate::house::{House, copy, every_byte};

const PARTITION: Partition = Partition::system("audit");

fn key() -> Key {
    Key::new("head/eonpro/audit/directory").unwrap()
}

async fn append(house: &House, entries: usize) {
    let audit = house.open().await;
    for _ in 0..entries {
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    }
    audit.close().await;
}

/// The note in the store.
async fn stored(house: &House) -> String {
    let found = house.state.get(&PARTITION, &key()).await.unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&found.value).unwrap();
    assert_eq!(value["v"], 1);
    value["note"].as_str().unwrap().to_owned()
}

fn published(house: &House) -> String {
    fs::read_to_string(house.log().join("checkpoint")).unwrap()
}

fn size(house: &House) -> u64 {
    let head = Checkpoint::open(&published(house), &[house.key()]);
    head.unwrap().size
}

#[tokio::test]
async fn the_store_has_what_is_published() {
    let house = House::new();
    append(&house, 2).await;
    assert_eq!(stored(&house).await, published(&house));
    append(&house, 1).await;
    assert_eq!(stored(&house).await, published(&house));
}

#[tokio::test]
async fn a_directory_put_back_to_an_older_state_is_refused_and_people_hear_of_it() {
    let house = House::new();
    append(&house, 1).await;
    let old = house.dir.path().join("old");
    copy(&house.log(), &old);
    let older = size(&house);
    append(&house, 1).await;
    let newer = size(&house);
    fs::remove_dir_all(house.log()).unwrap();
    copy(&old, &house.log());
    let before = every_byte(&house.log());

    let refused = house.try_open().await.unwrap_err();
    let AuditError::RolledBack(conflict) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!((conflict.kept_size, conflict.own.size), (newer, older));
    assert_eq!(conflict.keeper, Keeper::Store);
    assert_eq!(house.alerts.codes(), ["AUD-008"]);
    assert_eq!(
        every_byte(&house.log()),
        before,
        "opening changed the evidence"
    );
    // Nor does anything else help than to say so.
    assert!(house.try_open().await.is_err());
    assert!(forget_head(&*house.state).await.unwrap());
    append(&house, 1).await;
    assert_eq!(stored(&house).await, published(&house));
}

#[tokio::test]
async fn a_directory_that_is_gone_is_refused_as_well() {
    let house = House::new();
    append(&house, 1).await;
    fs::remove_dir_all(house.log()).unwrap();
    assert!(matches!(
        house.try_open().await,
        Err(AuditError::RolledBack(_))
    ));
    assert!(!house.log().join("checkpoint").exists());
}

#[tokio::test]
async fn another_history_is_a_fork_whatever_its_size() {
    for more in [0, 3] {
        let house = House::new();
        append(&house, 1).await;
        let kept = stored(&house).await;
        fs::remove_dir_all(house.log()).unwrap();
        forget_head(&*house.state).await.unwrap();
        append(&house, 1).await;
        for _ in 0..more {
            append(&house, 1).await;
        }
        put(&house, &kept).await;
        let refused = house.try_open().await.unwrap_err();
        assert!(
            matches!(refused, AuditError::Fork(_)),
            "{more}: {refused:?}"
        );
    }
}

async fn put(house: &House, note: &str) {
    let value = serde_json::json!({"v": 1, "note": note}).to_string();
    let tx = Transaction::new().put(key(), value);
    house.state.commit(&PARTITION, tx).await.unwrap();
}

#[tokio::test]
async fn a_crash_between_the_store_and_the_file_is_repaired() {
    let house = House::new();
    append(&house, 1).await;
    let before = published(&house);
    append(&house, 1).await;
    let after = published(&house);
    fs::write(house.log().join("checkpoint"), before).unwrap();
    // Opening signs more, so the repair shows in what it signed on top of.
    let audit = house.open().await;
    let head = Checkpoint::open(&after, &[house.key()]).unwrap();
    assert!(size(&house) > head.size);
    audit.close().await;
    verify(&house.log(), &[house.key()]).unwrap();
    let anchored = eonpro_audit::verify_anchored(&house.log(), &[house.key()], &[head]);
    anchored.unwrap();
}

#[tokio::test]
async fn a_store_that_lost_the_head_or_never_had_it_takes_the_directory_s() {
    let house = House::new();
    append(&house, 1).await;
    forget_head(&*house.state).await.unwrap();
    append(&house, 1).await;
    assert_eq!(stored(&house).await, published(&house));
    // Also under a running log.
    let audit = house.open().await;
    forget_head(&*house.state).await.unwrap();
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    assert_eq!(stored(&house).await, published(&house));
}

#[tokio::test]
async fn what_is_no_head_or_of_an_unknown_key_is_not_believed() {
    let house = House::new();
    append(&house, 1).await;
    let stranger = House::new();
    append(&stranger, 1).await;
    let good = stored(&house).await;
    for bad in [
        "",
        "x",
        &stored(&stranger).await,
        &good.replacen('\n', "\n9", 1),
    ] {
        put(&house, bad).await;
        let refused = house.try_open().await.unwrap_err();
        assert!(matches!(refused, AuditError::HeadMalformed), "{refused:?}");
    }
    put(&house, &good).await;
    append(&house, 1).await;
}

/// Opens the log in `dir` with what `house` has beside.
async fn open_at(house: &House, dir: &Path) -> Result<EmbeddedAudit, AuditError> {
    EmbeddedAudit::open(dir, house.parts(), house.config.clone()).await
}

#[tokio::test]
async fn of_two_processes_with_copies_of_a_log_the_second_to_sign_stops() {
    let house = House::new();
    append(&house, 1).await;
    let copied = house.dir.path().join("copy");
    copy(&house.log(), &copied);
    let one = house.open().await;
    // The first has signed that it began, so the copy is already older.
    let refused = open_at(&house, &copied).await.unwrap_err();
    assert!(matches!(refused, AuditError::RolledBack(_)), "{refused:?}");
    fs::remove_dir_all(&copied).unwrap();
    copy(&house.log(), &copied);
    let two = open_at(&house, &copied).await.unwrap();

    // More than the other: a larger size is no excuse.
    for tenant in [1, 2, 3] {
        let appended = one.append(&house.cx(tenant), &house.viewed()).await;
        appended.unwrap();
    }
    let stopped = one.checkpoint().await.unwrap_err();
    assert!(matches!(stopped, AuditError::Fork(_)), "{stopped:?}");
    assert!(matches!(one.health().await, Health::Unhealthy(_)));
    let refused = one.append(&house.cx(1), &house.viewed()).await;
    assert!(matches!(refused, Err(AuditError::Fork(_))), "{refused:?}");
    assert!(matches!(one.checkpoint().await, Err(AuditError::Fork(_))));
    one.close().await;
    assert_eq!(house.alerts.codes(), ["AUD-008", "AUD-008"]);
    let text = String::from_utf8_lossy(&every_byte(&house.log())).into_owned();
    assert_eq!(text.matches("\"code\":\"AUD-008\"").count(), 1);

    two.append(&house.cx(1), &house.viewed()).await.unwrap();
    two.checkpoint().await.unwrap();
    two.close().await;
}

/// A store that fails on demand.
#[derive(Debug)]
struct Flaky {
    inner: Arc<MemoryKeyValue>,
    down: AtomicBool,
    /// The next commit happens, and nobody hears of it.
    mute: AtomicBool,
}

impl Flaky {
    fn up(&self) -> Result<(), KvError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(gone()),
            false => Ok(()),
        }
    }
}

fn gone() -> KvError {
    KvError::Backend(io::Error::other("the test lets it fail").into())
}

#[async_trait]
impl KeyValue for Flaky {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.up()?;
        self.inner.get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.up()?;
        self.inner.scan(partition, prefix, after, limit).await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        self.up()?;
        let done = self.inner.commit(partition, tx).await;
        match self.mute.swap(false, Ordering::SeqCst) {
            true => Err(gone()),
            false => done,
        }
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.inner.watch(partition, prefix).await
    }
}

#[async_trait]
impl Component for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn without_the_store_nothing_is_signed_and_appends_go_on() {
    let house = House::new();
    let store = Arc::new(Flaky {
        inner: Arc::clone(&house.state),
        down: AtomicBool::new(true),
        mute: AtomicBool::new(false),
    });
    let mut parts = house.parts();
    parts.state = store.clone();
    let refused = EmbeddedAudit::open(&house.log(), parts, house.config.clone()).await;
    assert!(
        matches!(refused, Err(AuditError::HeadStore(_))),
        "{refused:?}"
    );

    store.down.store(false, Ordering::SeqCst);
    let mut parts = house.parts();
    parts.state = store.clone();
    let audit = EmbeddedAudit::open(&house.log(), parts, house.config.clone())
        .await
        .unwrap();
    let before = published(&house);
    store.down.store(true, Ordering::SeqCst);
    audit.append(&house.cx(1), &house.stopped()).await.unwrap();
    let refused = audit.checkpoint().await;
    assert!(
        matches!(refused, Err(AuditError::HeadStore(_))),
        "{refused:?}"
    );
    assert_eq!(published(&house), before);
    audit.append(&house.cx(1), &house.stopped()).await.unwrap();

    store.down.store(false, Ordering::SeqCst);
    audit.checkpoint().await.unwrap();
    assert_eq!(stored(&house).await, published(&house));

    // A commit of which the answer was lost is ours all the same, also if the log has grown since.
    for grows in [true, false] {
        audit.append(&house.cx(1), &house.stopped()).await.unwrap();
        store.mute.store(true, Ordering::SeqCst);
        let before = published(&house);
        let refused = audit.checkpoint().await;
        assert_eq!(published(&house), before, "published without being stored");
        assert!(
            matches!(refused, Err(AuditError::HeadStore(_))),
            "{refused:?}"
        );
        if grows {
            audit.append(&house.cx(1), &house.stopped()).await.unwrap();
        }
        audit.checkpoint().await.unwrap();
        assert_eq!(stored(&house).await, published(&house));
    }
    audit.close().await;
    let report = verify(&house.log(), &[house.key()]).unwrap();
    assert_eq!(report.unsigned, 0);
    assert!(report.heads.iter().any(|head| head.log == LogId::System));
}
