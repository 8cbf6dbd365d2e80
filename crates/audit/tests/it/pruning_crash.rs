//! A pruning that ends anywhere leaves a log that verifies, and the next one goes on from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use eonpro_audit::{
    AuditLog as _, AuditParts, EmbeddedAudit, HoldId, HoldScope, LogId, VerifyError, forget_head,
    verify,
};
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::phi::Phi;
use eonpro_core::port::kv::{
    Change, Entry, Key, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction, Version,
    Versioned,
};
use eonpro_core::port::{KeyValue, SignError, Signer};
use eonpro_core::time::{Clock as _, Timestamp};
use eonpro_testkit::tenant_id;
use futures_util::stream::BoxStream;

use crate::ages::{Ages, All, YEAR, all, heads, nothing_else_changed, verified};

const OLD: u64 = 1_600_000_000;
const FOLDER: &str = "EONPRO_AUDIT_PRUNING_FOLDER";

/// Keeps what the disk holds each time that the log asks it for something.
#[derive(Debug)]
struct Camera {
    log: PathBuf,
    album: PathBuf,
    pictures: Mutex<Vec<PathBuf>>,
}

impl Camera {
    fn snap(&self) {
        let mut pictures = self.pictures.lock().unwrap();
        let to = self.album.join(pictures.len().to_string());
        copy(&self.log, &to);
        // What a crash may leave of the next replacement.
        fs::write(to.join("wal/0000000001.wal.tmp"), b"half").unwrap();
        fs::write(to.join("pruning.tmp"), b"half").unwrap();
        pictures.push(to);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // A file that is replaced meanwhile is there under one name or the other.
            let _gone = fs::copy(&path, &target);
        }
    }
}

#[derive(Debug)]
struct SeenState(Arc<MemoryKeyValue>, Arc<Camera>);

#[derive(Debug)]
struct SeenSigner(Arc<dyn Signer>, Arc<Camera>);

#[async_trait]
impl Component for SeenState {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn posture(&self) -> Posture {
        self.0.posture()
    }
    async fn health(&self) -> Health {
        self.0.health().await
    }
    async fn close(&self) {}
}

#[async_trait]
impl KeyValue for SeenState {
    fn capabilities(&self) -> KvCapabilities {
        self.0.capabilities()
    }
    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.0.get(partition, key).await
    }
    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.1.snap();
        self.0.scan(partition, prefix, after, limit).await
    }
    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        self.0.commit(partition, tx).await
    }
    async fn watch(
        &self,
        partition: &Partition,
        prefix: &[u8],
    ) -> Result<BoxStream<'static, Change>, KvError> {
        self.0.watch(partition, prefix).await
    }
}

#[async_trait]
impl Component for SeenSigner {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn posture(&self) -> Posture {
        self.0.posture()
    }
    async fn health(&self) -> Health {
        self.0.health().await
    }
    async fn close(&self) {}
}

#[async_trait]
impl Signer for SeenSigner {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key()
    }
    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.1.snap();
        self.0.sign(message).await
    }
}

fn logs() -> [LogId; 4] {
    let [one, two, three] = [1, 2, 3].map(|number| LogId::Tenant(tenant_id(number)));
    [LogId::System, one, two, three]
}

/// A closed log in which 512 entries of two tenants are old.
async fn old(ages: &Ages) {
    let audit = ages.house.open().await;
    for _ in 0..9 {
        ages.views(&audit, 1, 30).await;
        ages.views(&audit, 2, 30).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    audit.close().await;
}

/// Opens a picture, whose state is from the time of the picture: it does not know later heads.
async fn open(ages: &Ages, dir: &Path, parts: AuditParts) -> EmbeddedAudit {
    forget_head(&*parts.state).await.unwrap();
    EmbeddedAudit::open(dir, parts, ages.house.config.clone())
        .await
        .unwrap()
}

/// What a crash left in `dir` verifies; the pruning goes on, to the same end.
async fn recovered(ages: &Ages, dir: &Path, before: &All, hold: Option<u64>) {
    let name = dir.display();
    match verify(dir, &[ages.house.key()]) {
        // The alert of AUD-009 may have been half written.
        Ok(_) | Err(VerifyError::Unfinished { .. }) => {}
        Err(error) => panic!("{name}: a crash looks like tampering: {error}"),
    }
    let audit = open(ages, dir, ages.house.parts()).await;
    audit.verify(&ages.house.system()).await.unwrap();
    let system = ages.house.system();
    if let Some(index) = hold {
        let scope = HoldScope::Range {
            log: LogId::Tenant(tenant_id(1)),
            from: index,
            until: index + 1,
        };
        let id = HoldId::random(&*ages.house.entropy);
        let by = || Phi::from("court");
        audit.hold(&system, id, scope, by()).await.unwrap();
        let gone = all(ages, &audit, &logs()).await;
        ages.prune(&audit).await.unwrap();
        let now = all(ages, &audit, &logs()).await;
        let at =
            |all: &All| all[&LogId::Tenant(tenant_id(1))][usize::try_from(index).unwrap()].pruned;
        // What was gone before it was held is gone; else it stays.
        assert_eq!(at(&now), at(&gone), "{name}");
        audit.verify(&system).await.unwrap();
        audit.lift(&system, id, by()).await.unwrap();
    }
    ages.prune(&audit).await.unwrap();
    let report = audit.verify(&system).await.unwrap();
    let gone: u64 = report.pruned.iter().map(|of| of.entries).sum();
    assert_eq!(gone, 512, "{name}");
    let now = all(ages, &audit, &logs()).await;
    nothing_else_changed(before, &now, &heads(before));
    audit.close().await;
    assert!(!dir.join("pruning").exists(), "{name}");
    verify(dir, &[ages.house.key()]).unwrap();
}

async fn pictures(ages: &Ages) -> (All, Vec<PathBuf>) {
    old(ages).await;
    let camera = Arc::new(Camera {
        log: ages.house.log(),
        album: ages.house.dir.path().join("album"),
        pictures: Mutex::default(),
    });
    let mut parts = ages.house.parts();
    parts.state = Arc::new(SeenState(ages.house.state.clone(), Arc::clone(&camera)));
    parts.signer = Arc::new(SeenSigner(
        Arc::new(ages.house.signer()),
        Arc::clone(&camera),
    ));
    let audit = open(ages, &ages.house.log(), parts).await;
    let before = all(ages, &audit, &logs()).await;
    camera.pictures.lock().unwrap().clear();
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 512);
    let taken = std::mem::take(&mut *camera.pictures.lock().unwrap());
    audit.close().await;
    verified(ages, &[]);
    assert!(taken.len() > 20, "{}", taken.len());
    let busy = taken.iter().filter(|dir| dir.join("pruning").exists());
    assert!(busy.count() > 18);
    (before, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_pruning_ends_the_log_verifies_and_the_next_one_ends_it() {
    let ages = Ages::new();
    let (before, taken) = pictures(&ages).await;
    for dir in &taken {
        recovered(&ages, dir, &before, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_placed_after_a_crash_keeps_what_is_still_there() {
    let ages = Ages::new();
    let (before, taken) = pictures(&ages).await;
    for (dir, held) in taken
        .iter()
        .step_by(3)
        .zip([5, 77, 130, 200, 255].into_iter().cycle())
    {
        recovered(&ages, dir, &before, Some(held)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_file_that_tells_what_was_to_go_half_a_pruning_is_tampering() {
    let ages = Ages::new();
    let (_, taken) = pictures(&ages).await;
    let middle = &taken[taken.len() - 8];
    let path = middle.join("pruning");
    let good = fs::read(&path).unwrap();
    let faulty = || match verify(middle, &[ages.house.key()]) {
        Err(VerifyError::Tampered { place, fault }) => {
            assert_eq!(fault, eonpro_audit::Fault::Pruned);
            place.to_string()
        }
        other => panic!("{other:?}"),
    };
    fs::remove_file(&path).unwrap();
    assert!(faulty().ends_with("#0"));
    for at in [0, 70, good.len() - 3] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_eq!(faulty(), "pruning@0");
    }
    fs::write(&path, good).unwrap();
    verify(middle, &[ages.house.key()]).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the test talks to its child")]
fn folder() -> Option<PathBuf> {
    std::env::var(FOLDER).ok().map(PathBuf::from)
}

/// The house of the child, and of its parent, in a folder that both know.
fn house_in(folder: &Path) -> (Ages, AuditParts) {
    let ages = Ages::new();
    let mut parts = ages.house.parts();
    let signer = eonpro_audit::KeyFileSigner::open_or_create(&folder.join("audit.key"));
    parts.signer = Arc::new(signer.unwrap());
    (ages, parts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the kill test; does nothing by itself"]
async fn child_prunes_until_it_is_killed() {
    let Some(folder) = folder() else { return };
    let (ages, parts) = house_in(&folder);
    ages.time.advance(6 * YEAR);
    let audit = open(&ages, &folder.join("audit"), parts).await;
    ages.prune(&audit).await.unwrap();
    // It waits to be killed, in case nobody did yet.
    std::future::pending::<()>().await;
}

/// How many bytes all segments have together.
fn bytes(log: &Path) -> u64 {
    let files = fs::read_dir(log.join("wal")).unwrap();
    files
        .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_pruning_leaves_verifies_and_the_next_one_ends_it() {
    let mut halves = 0;
    for round in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit");
        let (ages, parts) = house_in(dir.path());
        assert_eq!(
            ages.time.wall(),
            Timestamp::from_seconds(i64::try_from(OLD).unwrap())
        );
        let key = parts.verifying_key();
        let audit = open(&ages, &log, parts).await;
        for _ in 0..9 {
            ages.views(&audit, 1, 30).await;
            ages.views(&audit, 2, 30).await;
        }
        ages.new_segment(&audit).await;
        let before = all(&ages, &audit, &logs()).await;
        audit.close().await;
        let full = bytes(&log);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["pruning_crash::child_prunes_until_it_is_killed", "--exact"])
            .args(["--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Some 15 KB go with each segment.
        while bytes(&log) + round * 40_000 > full {
            assert_eq!(child.try_wait().unwrap(), None, "the child died by itself");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        halves += u32::from(log.join("pruning").exists());
        match verify(&log, &[key]) {
            Ok(_) | Err(VerifyError::Unfinished { .. }) => {}
            Err(error) => panic!("round {round}: a kill looks like tampering: {error}"),
        }
        let (ages, parts) = house_in(dir.path());
        ages.time.advance(6 * YEAR);
        let audit = open(&ages, &log, parts).await;
        ages.prune(&audit).await.unwrap();
        let report = audit.verify(&ages.house.system()).await.unwrap();
        assert_eq!(report.pruned.iter().map(|of| of.entries).sum::<u64>(), 512);
        let now = all(&ages, &audit, &logs()).await;
        nothing_else_changed(&before, &now, &heads(&before));
        audit.close().await;
    }
    assert!(halves > 0, "no kill came half way");
}
