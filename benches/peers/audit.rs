//! Entries appended durably by many callers at once, against SQLite with a transaction for each.
//!
//! Both keep the same number of entries of the same mean size in the same folder of one file
//! system, and acknowledge an entry only after the disk has it: ours after `fdatasync`, the peer
//! with a write-ahead log and `synchronous = FULL`. Ours is called by 256 tasks on two threads,
//! which is what its group commit is made for. SQLite has one writer, so the peer inserts in a loop
//! on one connection, with a prepared statement and ready-made bytes: it neither pays for handing
//! work over nor waits for a lock. Within our time are also the hash chain, the Merkle tree and the
//! signed checkpoints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eonpro_audit::{AuditConfig, AuditLog as _, AuditParts, EmbeddedAudit, KeyFileSigner};
use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::{SeededEntropy, SharedEntropy};
use eonpro_core::event::catalogue::phi::RecordViewed;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{EncryptionConfig, Vault, VaultParts};
use eonpro_testkit::{Actors, RecordingAlerts, RecordingSink};
use tokio::runtime::Runtime;

const CALLERS: usize = 256;
const EACH: usize = 2;

fn durable_append(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut group = c.benchmark_group("durable_append");
    group.throughput(Throughput::Elements((CALLERS * EACH) as u64));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let house = Arc::new(runtime.block_on(House::open(folder.path())));
    group.bench_function("eonpro", |b| b.iter(|| house.append(&runtime)));
    let stats = house.audit.stats();
    let entry_bytes = usize::try_from(stats.bytes / stats.entries).unwrap();
    println!(
        "an entry takes {entry_bytes} bytes; {} entries per sync",
        stats.entries / stats.batches
    );
    runtime.block_on(house.audit.close());

    let sqlite = sqlite(&folder.path().join("peer.sqlite"));
    let entry = vec![b'a'; entry_bytes];
    group.bench_function("sqlite", |b| {
        let mut insert = sqlite
            .prepare("INSERT INTO entries (entry) VALUES (?1)")
            .unwrap();
        // Outside of a transaction each statement is one, made durable before it returns.
        b.iter(|| {
            for _ in 0..CALLERS * EACH {
                insert.execute([&entry]).unwrap();
            }
        });
    });
    group.finish();
}

struct House {
    audit: EmbeddedAudit,
    clock: SharedClock,
    entropy: SharedEntropy,
    cx: RequestContext,
}

impl House {
    async fn open(folder: &Path) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(1));
        let vault = Vault::open(VaultParts {
            root: Arc::new(EphemeralRoot::generate().unwrap()),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            emitter: RecordingSink::new().emitter(Arc::clone(&clock)),
            observer: Arc::new(NoObserver),
            config: EncryptionConfig::default(),
        })
        .await
        .unwrap();
        vault.provision(SealScope::System).await.unwrap();
        let tenant = eonpro_testkit::scope(1);
        vault.provision((&tenant).into()).await.unwrap();
        let parts = AuditParts {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            sealer: Arc::new(vault),
            signer: Arc::new(KeyFileSigner::open_or_create(&folder.join("audit.key")).unwrap()),
            state: Arc::new(MemoryKeyValue::new(Arc::clone(&clock))),
            alerts: RecordingAlerts::new(),
            observer: Arc::new(NoObserver),
            authority: eonpro_testkit::authority(),
        };
        let log = folder.join("audit");
        Self {
            audit: EmbeddedAudit::open(&log, parts, AuditConfig::default())
                .await
                .unwrap(),
            cx: eonpro_testkit::context(1, Actors::Clinician, &*clock, &*entropy),
            clock,
            entropy,
        }
    }

    fn append(self: &Arc<Self>, runtime: &Runtime) {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let house = Arc::clone(self);
                runtime.spawn(async move {
                    for _ in 0..EACH {
                        let event = house.viewed();
                        house.audit.append(&house.cx, &event).await.unwrap();
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for caller in callers {
                caller.await.unwrap();
            }
        });
    }

    fn viewed(&self) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        let viewed = RecordViewed {
            patient: SubjectId::random(&*self.entropy),
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        };
        Event::new(viewed, Outcome::Success, &*self.clock, &*self.entropy)
    }
}

fn sqlite(path: &Path) -> rusqlite::Connection {
    let sqlite = rusqlite::Connection::open(path).unwrap();
    sqlite
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;",
        )
        .unwrap();
    sqlite
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = durable_append
}
criterion_main!(benches);
