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
use eonpro_core::event::catalogue::key::Destroyed;
use eonpro_core::id::{ActorId, PublicId as _, RowId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction, Version,
    Versioned,
};
use eonpro_core::port::{KeyValue, SealScope, Sealer as _};
use eonpro_testkit::{scope, tenant_id};
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

/// 300 old entries of tenant 1, each fiftieth of which is about `patient`, and `tenants` more with as many.
async fn old(ages: &Ages, patient: SubjectId, tenants: u128) -> EmbeddedAudit {
    let audit = ages.house.open().await;
    for tenant in 1..=tenants {
        for _ in 0..6 {
            ages.views(&audit, tenant, 49).await;
            let event = match tenant {
                1 => ages.about(patient),
                _ => ages.house.viewed(),
            };
            ages.append(&audit, tenant, &[event]).await;
        }
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    audit
}

/// Takes away every record of a patient, as an older copy of the state would.
async fn lose_records(house: &House) {
    for (partition, entry) in house.entries().await {
        if entry.key.as_bytes().starts_with(b"subject/") {
            let away = Transaction::new().delete(entry.key);
            house.state.commit(&partition, away).await.unwrap();
        }
    }
}

fn somebody(ages: &Ages) -> SubjectId {
    SubjectId::random(&*ages.house.entropy)
}

#[tokio::test]
async fn a_hold_knows_the_entries_of_its_patient_when_the_record_is_lost() {
    let ages = Ages::new();
    let ada = somebody(&ages);
    let audit = old(&ages, ada, 1).await;
    hold(&ages.house, &audit, HoldScope::Patient(ada)).await;
    lose_records(&ages.house).await;
    let own = audit.pseudonym_of(&ages.house.system(), &own(), ada).await;
    assert_eq!(own.unwrap(), None);
    let plan = ages.plan(&audit).await.unwrap();
    assert_eq!((plan.held, plan.entries()), (5, 251));
    assert_eq!(ages.carry_out(&audit, &plan).await.unwrap().entries, 251);
    audit.close().await;
}

#[tokio::test]
async fn a_hold_on_a_patient_whom_nobody_can_find_holds_everything() {
    let ages = Ages::new();
    let ada = somebody(&ages);
    let audit = old(&ages, ada, 1).await;
    lose_records(&ages.house).await;
    hold(&ages.house, &audit, HoldScope::Patient(ada)).await;
    let plan = ages.plan(&audit).await.unwrap();
    assert_eq!((plan.held, plan.entries()), (256, 0));
    // Not even a fresh record of the patient frees the old entries.
    ages.append(&audit, 1, &[ages.about(ada)]).await;
    assert_eq!(ages.plan(&audit).await.unwrap().entries(), 0);
    audit.close().await;
}

#[tokio::test]
async fn a_hold_finds_its_patient_in_codes_too() {
    let ages = Ages::new();
    let ada = somebody(&ages);
    let audit = ages.house.open().await;
    ages.append(&audit, 1, &[ages.about(ada)]).await;
    let place = format!("tenant/{}/subject/{}", tenant_id(1), ada.uuid());
    let destroyed = ages.house.event(Destroyed {
        key_id: Code::constant("k"),
        key_version: 1,
        approver: ActorId::anonymous(),
        second_approver: None,
        scope: Code::new(place).unwrap(),
    });
    ages.append(&audit, 1, &[destroyed]).await;
    for _ in 0..6 {
        ages.views(&audit, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    hold(&ages.house, &audit, HoldScope::Patient(ada)).await;
    let plan = ages.plan(&audit).await.unwrap();
    assert_eq!((plan.held, plan.entries()), (2, 254));
    audit.close().await;
}

#[tokio::test]
async fn a_log_without_keys_is_held_and_the_others_are_pruned() {
    let ages = Ages::new();
    let ada = somebody(&ages);
    let audit = old(&ages, ada, 2).await;
    hold(&ages.house, &audit, HoldScope::Patient(ada)).await;
    let gone = SealScope::from(&scope(2));
    ages.house.sealer.destroy_scope(gone).await.unwrap();
    let plan = ages.plan(&audit).await.unwrap();
    assert_eq!((plan.held, plan.entries()), (256 + 5, 251));
    assert_eq!(ages.carry_out(&audit, &plan).await.unwrap().entries, 251);
    audit.close().await;
}

#[tokio::test]
async fn the_state_does_not_tell_whom_somebody_holds() {
    let house = House::new();
    let audit = house.open().await;
    let ada = SubjectId::random(&*house.entropy);
    let event = house.disclosed(ada, "to Dr. Babbage");
    eonpro_audit::AuditLog::append(&audit, &house.cx(1), &event)
        .await
        .unwrap();
    let name = audit.pseudonym_of(&house.cx(1), &own(), ada).await.unwrap();
    let field = HoldScope::Field {
        name: "room".to_owned(),
        value: "ward-seven".to_owned(),
    };
    for scope in [HoldScope::Patient(ada), field] {
        let id = hold(&house, &audit, scope.clone()).await;
        let listed = audit.holds().list().await.unwrap();
        assert!(
            listed
                .iter()
                .any(|hold| hold.id == id && hold.scope == scope)
        );
    }
    let stored = String::from_utf8_lossy(&house.stored().await).to_lowercase();
    let secrets = [
        ada.to_string(),
        ada.uuid().to_string(),
        ada.uuid().simple().to_string(),
        name.unwrap().to_string(),
        "ward-seven".to_owned(),
    ];
    for secret in secrets {
        assert!(!stored.contains(&secret.to_lowercase()), "{secret}");
    }
}
