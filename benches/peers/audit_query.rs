//! Finding and proving single entries among a million.
//!
//! **A query of 200 hits** for one patient, against SQLite with an index on the same columns and the same
//! bytes in each row. A look at the trail is itself recorded durably before anything is shown; so the peer
//! inserts a row that says who looked, with `synchronous = FULL`, before it selects. Both have 32 MiB of page
//! cache. Ours reads each entry from the log, checks its checksum and its leaf hash against the tree, and
//! compares it with the question.
//!
//! **An inclusion proof**, checked against the signed root, against what is promised: the 99th of a hundred
//! within 100 us. The peer is that promise and no program.
//!
//! `EONPRO_BENCH_ENTRIES` sets another number of entries, to try whether it runs.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use eonpro_audit::{
    AuditConfig, AuditLog as _, AuditParts, EmbeddedAudit, EntryView, KeyFileSigner, LogId, Query,
};
use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::{Entropy as _, SeededEntropy, SharedEntropy};
use eonpro_core::event::catalogue::phi::RecordViewed;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{EncryptionConfig, Vault, VaultParts};
use eonpro_testkit::{Actors, RecordingAlerts, RecordingSink, tenant_id};
use rusqlite::Connection;

const ENTRIES: usize = 1_000_000;
const HITS: usize = 200;
const BATCH: usize = 4_096;
const PROMISE: Duration = Duration::from_micros(100);
/// How many proofs one p99 is taken of, at least.
const PROOFS: usize = 2_000;

fn entries() -> usize {
    let set = std::env::var("EONPRO_BENCH_ENTRIES").ok();
    set.map_or(ENTRIES, |text| text.parse().unwrap())
}

fn audit_query(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let house = runtime.block_on(House::open(folder.path()));
    let many = entries();
    let patients: Vec<SubjectId> = (0..many.div_ceil(HITS))
        .map(|_| SubjectId::random(&*house.entropy))
        .collect();
    runtime.block_on(house.fill(&patients, many));

    let sqlite = sqlite(&folder.path().join("peer.sqlite"));
    runtime.block_on(house.copy(&sqlite, many));
    let began = Instant::now();
    runtime.block_on(house.query(patients[0]));
    println!("the index of {many} entries was built in {:?}", began.elapsed());

    let mut group = c.benchmark_group("query");
    let mut turn = 0;
    group.bench_function("eonpro", |b| {
        b.iter(|| {
            turn = (turn + 7) % patients.len();
            let found = runtime.block_on(house.query(patients[turn]));
            assert_eq!(found.len(), HITS);
            found
        });
    });
    group.bench_function("sqlite", |b| {
        let mut look = sqlite
            .prepare("INSERT INTO looks (who, what) VALUES (?1, ?2)")
            .unwrap();
        let mut select = sqlite
            .prepare("SELECT number, entry FROM entries WHERE patient = ?1 ORDER BY number LIMIT 200")
            .unwrap();
        b.iter(|| {
            turn = (turn + 7) % patients.len();
            let patient = patients[turn].to_string();
            look.execute([&"clinician", &patient.as_str()]).unwrap();
            let rows = select.query_map([&patient], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            });
            let found: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
            assert_eq!(found.len(), HITS);
            found
        });
    });
    group.finish();

    let mut group = c.benchmark_group("inclusion_proof_p99");
    group.bench_function("eonpro", |b| {
        b.iter_custom(|iterations| {
            let p99 = runtime.block_on(house.proof_p99(many as u64));
            p99 * u32::try_from(iterations).unwrap()
        });
    });
    group.bench_function("promise", |b| {
        b.iter_custom(|iterations| PROMISE * u32::try_from(iterations).unwrap());
    });
    group.finish();
    runtime.block_on(house.audit.close());
}

struct House {
    audit: EmbeddedAudit,
    clock: SharedClock,
    entropy: SharedEntropy,
    cx: RequestContext,
    log: LogId,
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
        vault
            .provision((&eonpro_testkit::scope(1)).into())
            .await
            .unwrap();
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
        // The index is built by the first query, so that its time can be told.
        let mut config = AuditConfig::default();
        config.checkpoint_every = 0;
        let log = folder.join("audit");
        Self {
            audit: EmbeddedAudit::open(&log, parts, config).await.unwrap(),
            cx: eonpro_testkit::context(1, Actors::Clinician, &*clock, &*entropy),
            log: LogId::Tenant(tenant_id(1)),
            clock,
            entropy,
        }
    }

    /// Every patient comes up once in each round, in another order.
    async fn fill(&self, patients: &[SubjectId], many: usize) {
        let events: Vec<usize> = (0..many).collect();
        for part in events.chunks(BATCH) {
            let viewed = part.iter().map(|at| {
                let round = at / patients.len();
                let place = (at + round * 31) % patients.len();
                self.viewed(patients[place])
            });
            let viewed: Vec<_> = viewed.collect();
            self.audit.append_batch(&self.cx, &viewed).await.unwrap();
        }
        self.audit.checkpoint().await.unwrap();
    }

    fn viewed(&self, patient: SubjectId) -> Arc<Event> {
        let row = RowId::random(&*self.entropy);
        let viewed = RecordViewed {
            patient,
            resource: ObjectRef::new(Code::constant("patient"), row),
            record_source: Code::constant("local"),
        };
        Event::new(viewed, Outcome::Success, &*self.clock, &*self.entropy)
    }

    /// Puts the same entries into the peer.
    async fn copy(&self, sqlite: &Connection, many: usize) {
        sqlite.execute_batch("BEGIN").unwrap();
        let mut insert = sqlite
            .prepare(
                "INSERT INTO entries (number, recorded, patient, actor, code, outcome, trace, entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .unwrap();
        let mut from = 0;
        while from < many as u64 {
            let range = from..many as u64;
            let views = self.audit.read(&self.cx, &self.log, range).await.unwrap();
            for view in &views {
                let entry = view.entry().unwrap();
                let json: serde_json::Value = serde_json::from_slice(&view.bytes).unwrap();
                let patient = json["fields"]["patient"].as_str().unwrap();
                let recorded = view.recorded().unwrap().to_string();
                insert
                    .execute(rusqlite::params![
                        i64::try_from(view.index).unwrap(),
                        recorded,
                        patient,
                        entry.actor.id,
                        entry.code,
                        entry.outcome,
                        entry.trace,
                        view.bytes,
                    ])
                    .unwrap();
            }
            from += views.len() as u64;
        }
        drop(insert);
        sqlite.execute_batch("COMMIT; ANALYZE;").unwrap();
    }

    async fn query(&self, patient: SubjectId) -> Vec<EntryView> {
        let mut query = Query::new(self.log);
        query.patient = Some(patient);
        query.limit = HITS;
        let page = self.audit.query(&self.cx, &query).await.unwrap();
        page.hits.into_iter().map(|hit| hit.view).collect()
    }

    /// The 99th percentile of the time that a proof takes its caller.
    async fn proof_p99(&self, size: u64) -> Duration {
        let mut times = Vec::with_capacity(PROOFS);
        for _ in 0..PROOFS {
            let mut random = [0; 8];
            self.entropy.fill(&mut random);
            let index = u64::from_le_bytes(random) % size;
            let began = Instant::now();
            let proof = self.audit.prove(&self.cx, &self.log, index, size);
            black_box(proof.await.unwrap());
            times.push(began.elapsed());
        }
        times.sort_unstable();
        times[PROOFS * 99 / 100]
    }
}

fn sqlite(path: &Path) -> Connection {
    let sqlite = Connection::open(path).unwrap();
    sqlite
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -32768;
             CREATE TABLE entries (
                 number INTEGER PRIMARY KEY, recorded TEXT NOT NULL, patient TEXT NOT NULL,
                 actor TEXT NOT NULL, code TEXT NOT NULL, outcome INTEGER NOT NULL,
                 trace TEXT NOT NULL, entry BLOB NOT NULL
             ) STRICT;
             CREATE INDEX by_recorded ON entries (recorded);
             CREATE INDEX by_patient ON entries (patient, number);
             CREATE INDEX by_actor ON entries (actor, number);
             CREATE INDEX by_code ON entries (code, number);
             CREATE INDEX by_trace ON entries (trace, number);
             CREATE TABLE looks (number INTEGER PRIMARY KEY, who TEXT NOT NULL, what TEXT NOT NULL)
             STRICT;",
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
    targets = audit_query
}
criterion_main!(benches);
