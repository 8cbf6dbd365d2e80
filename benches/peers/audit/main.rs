//! Entries made durable, and checked, against what else keeps entries.
//!
//! All keep the same number of entries of the same mean size in the same folder of one file system,
//! and acknowledge an entry only after the disk has it. Ours is called by 256 tasks on two threads,
//! which is what its group commit is made for; within our time are also the event, its JSON, the hash
//! chain, the Merkle tree and the signed checkpoints. SQLite (write-ahead log, `synchronous = FULL`)
//! and redb (`Durability::Immediate`) have one writer, so they insert in a loop, with ready-made bytes:
//! they neither pay for handing work over nor wait for a lock. PostgreSQL is called over 64
//! connections. The group commit without evidence makes JSON in its callers, too.

mod databases;
mod group_commit;
mod house;
mod raw;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eonpro_audit::{AuditLog as _, verify};
use eonpro_core::component::Component as _;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;

use databases::{Pg, Redb, sqlite};
use group_commit::GroupCommit;
use house::{CALLERS, EACH, House, runtime};
use raw::Entry;

const APPENDED: usize = CALLERS * EACH;
const CONNECTIONS: usize = 64;
/// The fan-out of a query that shows 200 patients: an entry each, and one for the query.
const BATCH: usize = 201;
const VERIFIED: usize = 100_000;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn durable_append(c: &mut Criterion) {
    let folder = folder();
    let mut group = c.benchmark_group("durable_append");
    group.throughput(Throughput::Elements(APPENDED as u64));
    let runtime = runtime();

    let house = Arc::new(runtime.block_on(House::open(folder.path())));
    group.bench_function("eonpro", |b| b.iter(|| house.append(&runtime)));
    let entry_bytes = house.entry_bytes();
    let stats = house.audit.stats();
    println!(
        "an entry takes {entry_bytes} bytes; {} entries per sync",
        stats.entries / stats.batches
    );
    runtime.block_on(house.audit.close());

    let committer = GroupCommit::open(&folder.path().join("peer.log"));
    let json = Entry::of(entry_bytes);
    group.bench_function("group_commit", |b| {
        b.iter(|| committer.append(&runtime, &json))
    });
    drop(committer);

    let entry = vec![b'a'; entry_bytes];
    let connection = sqlite(&folder.path().join("peer.sqlite"));
    group.bench_function("sqlite", |b| {
        let mut insert = connection
            .prepare("INSERT INTO entries (entry) VALUES (?1)")
            .unwrap();
        // Outside of a transaction each statement is one, made durable before it returns.
        b.iter(|| {
            for _ in 0..APPENDED {
                insert.execute([&entry]).unwrap();
            }
        });
    });

    let mut redb = Redb::open(&folder.path().join("peer.redb"));
    group.bench_function("redb", |b| {
        b.iter(|| {
            for _ in 0..APPENDED {
                redb.insert(&entry);
            }
        });
    });

    // Where it is missing its rows are missing, and the table says so.
    if let Some(postgres) = runtime.block_on(Pg::start(CONNECTIONS)) {
        group.bench_function("postgres", |b| {
            b.iter(|| postgres.insert(&runtime, &entry, APPENDED));
        });
    }
    group.finish();
}

fn one_caller(c: &mut Criterion) {
    let folder = folder();
    let mut group = c.benchmark_group("one_caller");
    let runtime = runtime();
    let house = runtime.block_on(House::open(folder.path()));
    let mut number = 0;
    group.bench_function("eonpro", |b| {
        b.iter(|| {
            number += 1;
            let event = house.viewed(number);
            runtime
                .block_on(house.audit.append(&house.cx, &event))
                .unwrap()
        });
    });
    let entry = vec![b'a'; house.entry_bytes()];
    runtime.block_on(house.audit.close());
    let mut file = raw::preallocated(&folder.path().join("raw"), 128 << 20);
    group.bench_function("raw", |b| {
        b.iter(|| {
            file.write_all(&entry).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.finish();
}

fn append_batch(c: &mut Criterion) {
    let folder = folder();
    let mut group = c.benchmark_group("append_batch");
    group.throughput(Throughput::Elements(BATCH as u64));
    let runtime = runtime();
    let house = runtime.block_on(House::open(folder.path()));
    group.bench_function("eonpro", |b| {
        b.iter(|| {
            let events: Vec<_> = (0..BATCH).map(|number| house.viewed(number)).collect();
            runtime
                .block_on(house.audit.append_batch(&house.cx, &events))
                .unwrap()
        });
    });
    let entry = vec![b'a'; house.entry_bytes()];
    runtime.block_on(house.audit.close());
    let mut connection = sqlite(&folder.path().join("peer.sqlite"));
    group.bench_function("sqlite", |b| {
        b.iter(|| {
            let transaction = connection.transaction().unwrap();
            let mut insert = transaction
                .prepare_cached("INSERT INTO entries (entry) VALUES (?1)")
                .unwrap();
            for _ in 0..BATCH {
                insert.execute([&entry]).unwrap();
            }
            drop(insert);
            transaction.commit().unwrap();
        });
    });
    group.finish();
}

fn whole_verify(c: &mut Criterion) {
    let folder = folder();
    let mut group = c.benchmark_group("verify");
    let runtime = runtime();
    let house = Arc::new(runtime.block_on(House::open(folder.path())));
    for _ in 0..VERIFIED / APPENDED {
        house.append(&runtime);
    }
    runtime.block_on(house.audit.close());
    let log = folder.path().join("audit");
    let bytes = segments(&log);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("eonpro", |b| {
        b.iter(|| verify(&log, &[house.key]).unwrap().entries);
    });
    group.bench_function("sha256", |b| b.iter(|| digest(&SHA256, &bytes)));
    group.finish();
}

/// The bytes of all segments, without the zeros that wait behind the last.
fn segments(log: &Path) -> Vec<u8> {
    let wal = std::fs::read_dir(log.join("wal")).unwrap();
    let mut files: Vec<_> = wal.map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    let mut bytes: Vec<u8> = files
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate(end + 1);
    bytes
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = durable_append, one_caller, append_batch, whole_verify
}
criterion_main!(benches);
