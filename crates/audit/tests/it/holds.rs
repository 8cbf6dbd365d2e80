//! A legal hold stands whatever else happens: erasures, prunings and the closing of the log give way to it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eonpro_audit::{
    AuditError, AuditParts, EmbeddedAudit, Erasure, ErasureCheck, HoldId, HoldScope, LogId,
    RetentionDuty,
};
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, RowId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction, Version,
    Versioned,
};
use eonpro_testkit::tenant_id;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::ages::{Ages, YEAR};
use crate::house::House;

const FREE: RetentionDuty = RetentionDuty {
    keep: Duration::ZERO,
    basis: Code::constant("none"),
};

fn own() -> LogId {
    LogId::Tenant(tenant_id(1))
}

fn erasure(house: &House, subject: SubjectId) -> Erasure {
    Erasure {
        log: own(),
        subject,
        request: RowId::random(&*house.entropy).uuid(),
        basis: Code::constant("gdpr-17-1"),
    }
}

async fn hold(house: &House, audit: &EmbeddedAudit, scope: HoldScope) -> HoldId {
    let id = HoldId::random(&*house.entropy);
    let by = Phi::from("Doe v. Clinic");
    audit.hold(&house.system(), id, scope, by).await.unwrap();
    id
}

async fn lift(house: &House, audit: &EmbeddedAudit, id: HoldId) {
    let by = Phi::from("settled");
    audit.lift(&house.system(), id, by).await.unwrap();
}

/// What the store is asked for.
enum Asked {
    Holds,
    Commit,
}

type Stop = Box<dyn Fn(&Asked) -> bool + Send>;

/// A store that stops once, in the middle of the call that it is told to.
struct Halting {
    inner: Arc<MemoryKeyValue>,
    stop: Mutex<Option<Stop>>,
    reached: Semaphore,
    go: Semaphore,
}

impl fmt::Debug for Halting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Halting")
    }
}

impl Halting {
    async fn open(house: &House) -> (EmbeddedAudit, Arc<Self>) {
        let store = Arc::new(Self {
            inner: Arc::clone(&house.state),
            stop: Mutex::default(),
            reached: Semaphore::new(0),
            go: Semaphore::new(0),
        });
        let parts = AuditParts {
            state: store.clone(),
            ..house.parts()
        };
        let audit = EmbeddedAudit::open(&house.log(), parts, house.config.clone()).await;
        (audit.unwrap(), store)
    }

    fn stop_at(&self, stop: impl Fn(&Asked) -> bool + Send + 'static) {
        *self.stop.lock().unwrap() = Some(Box::new(stop));
    }

    async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    fn go_on(&self) {
        self.go.add_permits(1);
    }

    async fn pass(&self, asked: Asked) {
        let stops = {
            let mut stop = self.stop.lock().unwrap();
            let here = stop.as_ref().is_some_and(|stop| stop(&asked));
            here.then(|| stop.take())
        };
        if stops.is_some() {
            self.reached.add_permits(1);
            self.go.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait::async_trait]
impl Component for Halting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait::async_trait]
impl KeyValue for Halting {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }

    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.inner.get(partition, key).await
    }

    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        if prefix == b"hold/" {
            self.pass(Asked::Holds).await;
        }
        self.inner.scan(partition, prefix, after, limit).await
    }

    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        self.pass(Asked::Commit).await;
        self.inner.commit(partition, tx).await
    }

    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.inner.watch(partition, prefix).await
    }
}

/// Lets everything else go on until `done`, or for long enough to see that it does not.
async fn others_go_on(done: &AtomicBool) {
    for _ in 0..4_000 {
        if done.load(Ordering::Acquire) {
            return;
        }
        tokio::task::spawn_blocking(std::thread::yield_now)
            .await
            .unwrap();
    }
}

/// All files below `dir`.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn no_patient_under_a_hold_is_erased_whatever_the_caller_asks() {
    let house = House::new();
    let audit = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let event = house.disclosed(ada, "to Dr. Babbage");
    eonpro_audit::AuditLog::append(&audit, &house.cx(1), &event)
        .await
        .unwrap();
    let id = hold(&house, &audit, HoldScope::Patient(ada)).await;
    let asked = erasure(&house, ada);
    let refused = audit.shred(&house.cx(1), &asked, &[&FREE]).await;
    assert!(
        matches!(&refused, Err(AuditError::Kept(basis)) if basis.as_str() == "legal-hold"),
        "{refused:?}"
    );
    let known = audit.pseudonym_of(&house.cx(1), &own(), ada).await.unwrap();
    assert!(known.is_some());
    lift(&house, &audit, id).await;
    let erased = audit.shred(&house.cx(1), &asked, &[&FREE]).await.unwrap();
    assert_eq!(erased.pseudonym, known);
}

#[tokio::test]
async fn no_hold_is_placed_between_the_decision_to_erase_and_the_erasure() {
    let house = House::new();
    let (audit, store) = Halting::open(&house).await;
    let ada = SubjectId::random(&*house.entropy);
    let event = house.disclosed(ada, "to Dr. Babbage");
    eonpro_audit::AuditLog::append(&audit, &house.cx(1), &event)
        .await
        .unwrap();
    store.stop_at(|asked| matches!(asked, Asked::Commit));
    let (cx, asked) = (house.cx(1), erasure(&house, ada));
    let checks: &[&dyn ErasureCheck] = &[&FREE];
    let placed = AtomicBool::new(false);
    let meanwhile = async {
        store.reached().await;
        let placing = async {
            hold(&house, &audit, HoldScope::Patient(ada)).await;
            placed.store(true, Ordering::Release);
        };
        let watching = async {
            others_go_on(&placed).await;
            let came_in_between = placed.load(Ordering::Acquire);
            store.go_on();
            came_in_between
        };
        tokio::join!(placing, watching).1
    };
    let (erased, came_in_between) = tokio::join!(audit.shred(&cx, &asked, checks), meanwhile);
    assert!(erased.unwrap().pseudonym.is_some());
    assert!(!came_in_between);
}

#[tokio::test]
async fn a_log_that_is_closed_is_pruned_no_further() {
    let ages = Ages::new();
    let (audit, store) = Halting::open(&ages.house).await;
    for _ in 0..6 {
        ages.views(&audit, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    let plan = ages.plan(&audit).await.unwrap();
    let log = ages.house.log();
    let under_way = log.join("pruning");
    store.stop_at(move |asked| matches!(asked, Asked::Holds) && under_way.exists());
    let closed = AtomicBool::new(false);
    let closing = async {
        store.reached().await;
        let close = async {
            audit.close().await;
            closed.store(true, Ordering::Release);
            files(&log)
        };
        let release = async {
            others_go_on(&closed).await;
            store.go_on();
        };
        tokio::join!(close, release).0
    };
    let (pruned, when_closed) = tokio::join!(ages.carry_out(&audit, &plan), closing);
    assert!(matches!(pruned, Err(AuditError::Closed)), "{pruned:?}");
    assert!(files(&log) == when_closed, "somebody wrote after the close");
    // Who has the directory now goes on with it.
    let audit = ages.house.open().await;
    assert!(ages.prune(&audit).await.unwrap().entries > 0);
    audit.close().await;
}
