//! Sealing measured against its peers: the libraries that do the same, and the primitives alone.
//!
//! Ours is always the whole API of a warmed [`TenantCipher`]: the lease is checked, the key looked up,
//! the context of tenant, purpose, table, column and row encoded, a salt drawn. Every side that needs
//! randomness draws it as its own documentation says, and every side that takes associated data
//! gets a context of the same length. `raw` writes into a buffer that is there; so does ours beside
//! it. Libraries that return a new buffer are measured against ours returning one.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eonpro_core::event::{EmitError, Emitter, Event, EventSink};
use eonpro_core::{RequestContext, TenantScope};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::{RowId, TenantId};
use eonpro_core::phi::{
    Cell, Column, FieldSealing, IndexDef, IndexPart, Normalizer, Phi, Row, Suite, Table,
};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{KeyPurpose, NoObserver, Sealer as _};
use eonpro_core::time::SystemClock;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{
    Encryption as _, EncryptionConfig, KeyType, PhiRecord, TenantCipher, Vault, VaultParts,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const RECORDS: KeyPurpose = KeyPurpose::RECORDS;
const COMPACT: FieldSealing = FieldSealing {
    suite: Suite::Compact,
    ..FieldSealing::STANDARD
};
/// As long as the context of the cell below.
const CONTEXT: &[u8] = &[b'c'; 155];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn cell() -> Cell<'static> {
    let row = RowId::random(&SeededEntropy::new(1));
    Cell::new(Table::new("patients"), Column::new("name"), Row::id(row))
}

fn begin<'a>(c: &'a mut Criterion, name: &str, size: usize) -> Group<'a> {
    let mut group = c.benchmark_group(name.to_owned());
    group.throughput(Throughput::Bytes(size as u64));
    group
}

/// Ours, returning a new buffer.
fn ours(group: &mut Group<'_>, cipher: &TenantCipher, how: FieldSealing, plain: &[u8]) {
    let cell = cell();
    group.bench_function(BenchmarkId::new("eonpro", plain.len()), |b| {
        b.iter(|| {
            let mut out = Vec::new();
            cipher
                .seal_into(RECORDS, how, &cell, black_box(plain), &mut out)
                .unwrap();
            out
        });
    });
}

fn ours_open(group: &mut Group<'_>, cipher: &TenantCipher, how: FieldSealing, plain: &[u8]) {
    let cell = cell();
    let mut sealed = Vec::new();
    cipher
        .seal_into(RECORDS, how, &cell, plain, &mut sealed)
        .unwrap();
    group.bench_function(BenchmarkId::new("eonpro", plain.len()), |b| {
        b.iter(|| cipher.open_field(RECORDS, how, &cell, black_box(&sealed)).unwrap());
    });
}

/// The compact suite against the crate of the same construction.
fn compact(c: &mut Criterion) {
    let cipher = warmed_cipher();
    let key = xaes_256_gcm::Xaes256Gcm::new(&[7; 32].into());
    for size in [64, 16 * KIB] {
        let plain = vec![b'a'; size];
        let mut group = begin(c, "compact_seal", size);
        ours(&mut group, &cipher, COMPACT, &plain);
        group.bench_function(BenchmarkId::new("xaes-256-gcm", size), |b| {
            b.iter(|| {
                let nonce = fresh::<24>();
                let nonce = aes_gcm::aead::Nonce::<xaes_256_gcm::Xaes256Gcm>::from(nonce);
                let payload = Payload {
                    msg: black_box(&plain),
                    aad: CONTEXT,
                };
                key.encrypt(&nonce, payload).unwrap()
            });
        });
        group.finish();

        let mut group = begin(c, "compact_open", size);
        ours_open(&mut group, &cipher, COMPACT, &plain);
        let nonce = aes_gcm::aead::Nonce::<xaes_256_gcm::Xaes256Gcm>::from([3; 24]);
        let sealed = key
            .encrypt(&nonce, Payload { msg: &plain, aad: CONTEXT })
            .unwrap();
        group.bench_function(BenchmarkId::new("xaes-256-gcm", size), |b| {
            b.iter(|| {
                let payload = Payload {
                    msg: black_box(&sealed[..]),
                    aad: CONTEXT,
                };
                key.decrypt(&nonce, payload).unwrap()
            });
        });
        group.finish();
    }
}

/// The compact suite against ring alone: a key set up, and one value sealed under it.
fn compact_raw(c: &mut Criterion) {
    let cipher = warmed_cipher();
    let cell = cell();
    for size in [64, 16 * KIB] {
        let plain = vec![b'a'; size];
        let mut group = begin(c, "compact_raw", size);
        let mut out = Vec::with_capacity(size + 64);
        group.bench_function(BenchmarkId::new("eonpro", size), |b| {
            b.iter(|| {
                out.clear();
                cipher
                    .seal_into(RECORDS, COMPACT, &cell, black_box(&plain), &mut out)
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("ring", size), |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&plain));
                let key = UnboundKey::new(&AES_256_GCM, black_box(&[7; 32])).unwrap();
                let nonce = Nonce::assume_unique_for_key([1; NONCE_LEN]);
                LessSafeKey::new(key)
                    .seal_in_place_append_tag(nonce, Aad::from(CONTEXT), &mut out)
                    .unwrap();
            });
        });
        group.finish();
    }
}

/// The default suite against the crate of the same format.
fn standard(c: &mut Criterion) {
    let cipher = warmed_cipher();
    let key = cobblestone::Key256::from([7; 32]);
    for size in [64, MIB] {
        let plain = vec![b'a'; size];
        let mut group = begin(c, "standard_seal", size);
        ours(&mut group, &cipher, FieldSealing::STANDARD, &plain);
        group.bench_function(BenchmarkId::new("cobblestone", size), |b| {
            b.iter(|| cobblestone::encrypt(&key, CONTEXT, black_box(&plain)).unwrap());
        });
        group.finish();
        let mut group = begin(c, "standard_open", size);
        ours_open(&mut group, &cipher, FieldSealing::STANDARD, &plain);
        let sealed = cobblestone::encrypt(&key, CONTEXT, &plain).unwrap();
        group.bench_function(BenchmarkId::new("cobblestone", size), |b| {
            b.iter(|| cobblestone::decrypt(&key, CONTEXT, black_box(&sealed)).unwrap());
        });
        group.finish();
    }
}

/// A field against the libraries that people seal fields with.
fn field(c: &mut Criterion) {
    let cipher = warmed_cipher();
    tink_aead::init();
    let handle = tink_core::keyset::Handle::new(&tink_aead::aes256_gcm_key_template()).unwrap();
    let tink = tink_aead::new(&handle).unwrap();
    let vitaminc = vitaminc_encrypt::Aes256Cipher::new(&vitaminc_encrypt::Key::from([7; 32]));
    let vitaminc = vitaminc.unwrap();
    for size in [64, KIB, 16 * KIB] {
        let plain = vec![b'a'; size];
        let mut group = begin(c, "field_seal", size);
        ours(&mut group, &cipher, FieldSealing::STANDARD, &plain);
        group.bench_function(BenchmarkId::new("compact", size), |b| {
            let cell = cell();
            b.iter(|| {
                let mut out = Vec::new();
                cipher
                    .seal_into(RECORDS, COMPACT, &cell, black_box(&plain), &mut out)
                    .unwrap();
                out
            });
        });
        group.bench_function(BenchmarkId::new("tink-aead", size), |b| {
            b.iter(|| tink.encrypt(black_box(&plain), CONTEXT).unwrap());
        });
        group.bench_function(BenchmarkId::new("vitaminc", size), |b| {
            b.iter(|| vitaminc_encrypt::encrypt(black_box(&plain[..]), &vitaminc, CONTEXT).unwrap());
        });
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
        let random = SystemRandom::new();
        group.bench_function(BenchmarkId::new("ring", size), |b| {
            b.iter(|| ring_seal(&key, &random, black_box(&plain)));
        });
        group.finish();
    }
}

/// Nonce, ciphertext, tag: under one key for all fields.
fn ring_seal(key: &LessSafeKey, random: &SystemRandom, plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).unwrap();
    let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let body = &mut out[NONCE_LEN..];
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(CONTEXT), body)
        .unwrap();
    out.extend_from_slice(tag.as_ref());
    out
}

macro_rules! ten_fields {
    ($name:ident, $mode:literal) => {
        #[derive(PhiRecord)]
        #[phi(table = "patients", mode = $mode, crate = "eonpro_core")]
        struct $name {
            #[phi(row)]
            id: RowId,
            #[phi(seal)]
            a: Phi<String>,
            #[phi(seal)]
            b: Phi<String>,
            #[phi(seal)]
            c: Phi<String>,
            #[phi(seal)]
            d: Phi<String>,
            #[phi(seal)]
            e: Phi<String>,
            #[phi(seal)]
            f: Phi<String>,
            #[phi(seal)]
            g: Phi<String>,
            #[phi(seal)]
            h: Phi<String>,
            #[phi(seal)]
            i: Phi<String>,
            #[phi(seal)]
            j: Phi<String>,
        }

        impl $name {
            fn sample() -> Self {
                let text = || Phi::new("a".repeat(32));
                Self {
                    id: RowId::random(&SeededEntropy::new(1)),
                    a: text(),
                    b: text(),
                    c: text(),
                    d: text(),
                    e: text(),
                    f: text(),
                    g: text(),
                    h: text(),
                    i: text(),
                    j: text(),
                }
            }
        }
    };
}

ten_fields!(Whole, "whole");
ten_fields!(Parts, "fields");

/// A record of ten fields of 32 bytes, as a whole and field by field.
fn record(c: &mut Criterion) {
    let mut cipher = warmed_cipher();
    let mut group = begin(c, "record", 320);
    group.bench_function("whole", |b| {
        b.iter_batched(
            Whole::sample,
            |record| record.seal_fields(&mut cipher).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("fields", |b| {
        b.iter_batched(
            Parts::sample,
            |record| record.seal_fields(&mut cipher).unwrap(),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// 64 MiB in pieces of 64 KiB.
fn stream(c: &mut Criterion) {
    const TOTAL: usize = 64 * MIB;
    let cipher = warmed_cipher();
    let cell = cell();
    let piece = vec![b'a'; 64 * KIB];
    let mut group = begin(c, "stream", TOTAL);
    group.sample_size(10);
    let mut out = Vec::with_capacity(TOTAL + TOTAL / 512);
    group.bench_function("eonpro", |b| {
        b.iter(|| {
            out.clear();
            let mut sealer = cipher.seal_stream(RECORDS, &cell, &mut out).unwrap();
            for _ in 0..TOTAL / piece.len() {
                sealer.update(black_box(&piece), &mut out).unwrap();
            }
            sealer.finish(&mut out).unwrap();
        });
    });
    let recipient = age::x25519::Identity::generate().to_public();
    group.bench_function("age", |b| {
        b.iter(|| {
            out.clear();
            let recipients = std::iter::once(&recipient as &dyn age::Recipient);
            let encryptor = age::Encryptor::with_recipients(recipients).unwrap();
            let mut writer = encryptor.wrap_output(&mut out).unwrap();
            for _ in 0..TOTAL / piece.len() {
                writer.write_all(black_box(&piece)).unwrap();
            }
            writer.finish().unwrap();
        });
    });
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    group.bench_function("ring", |b| {
        b.iter(|| {
            out.clear();
            for number in 0..TOTAL / (16 * KIB) {
                let mut nonce = [0; NONCE_LEN];
                nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
                let start = out.len();
                out.extend_from_slice(black_box(&piece[..16 * KIB]));
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[start..])
                    .unwrap();
                out.extend_from_slice(tag.as_ref());
            }
        });
    });
    group.finish();
}

/// A blind index token against the HMAC alone, and a deterministic value against AES-SIV alone.
fn search(c: &mut Criterion) {
    const SSN: IndexDef = IndexDef {
        table: Table::new("patients"),
        name: "ssn",
        bits: 128,
        version: 1,
        parts: &[IndexPart {
            column: Column::new("ssn"),
            normalizer: Normalizer::Exact,
        }],
    };
    let cipher = warmed_cipher();
    let mut group = begin(c, "blind_index", 16);
    group.bench_function("eonpro", |b| {
        b.iter(|| cipher.index(&SSN, &[black_box("0123456789abcdef")]).unwrap());
    });
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
    group.bench_function("ring", |b| {
        b.iter(|| ring::hmac::sign(&key, black_box(b"0123456789abcdef")).as_ref().to_vec());
    });
    group.finish();

    let how = FieldSealing {
        suite: Suite::Deterministic,
        bind: eonpro_core::phi::Binding::Column,
        cardinality: FieldSealing::MIN_CARDINALITY,
        ..FieldSealing::STANDARD
    };
    let plain = [b'a'; 32];
    let mut group = begin(c, "deterministic", 32);
    ours(&mut group, &cipher, how, &plain);
    let mut siv = aes_siv::siv::Aes256Siv::new(&[7; 64].into());
    group.bench_function("aes-siv", |b| {
        b.iter(|| siv.encrypt([CONTEXT], black_box(&plain)).unwrap());
    });
    group.finish();
}

/// A look for the keys of one of ten thousand tenants, against moka's look for a shared pointer.
fn lookup(c: &mut Criterion) {
    const TENANTS: u128 = 10_000;
    let (scopes, vault, _runtime) = scope_and_vault(TENANTS);
    let cached: moka::sync::Cache<TenantId, Arc<u64>> = moka::sync::Cache::new(20_000);
    for scope in &scopes {
        cached.insert(scope.tenant(), Arc::new(1));
    }
    cached.run_pending_tasks();
    let mut group = c.benchmark_group("lookup");
    let mut at = 0;
    group.bench_function("eonpro", |b| {
        b.iter(|| {
            at = (at + 7919) % scopes.len();
            vault.warmed(black_box(&scopes[at])).unwrap()
        });
    });
    group.bench_function("moka", |b| {
        b.iter(|| {
            at = (at + 7919) % scopes.len();
            cached.get(black_box(&scopes[at].tenant())).unwrap()
        });
    });
    group.finish();
}

/// Not measured but counted: sealing into a buffer that has room allocates nothing.
fn allocations(_: &mut Criterion) {
    let cipher = warmed_cipher();
    let (cell, plain) = (cell(), [b'a'; 64]);
    let mut out = Vec::with_capacity(1024);
    for how in [FieldSealing::STANDARD, COMPACT] {
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                out.clear();
                cipher
                    .seal_into(RECORDS, how, &cell, black_box(&plain), &mut out)
                    .unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{how:?}");
    }
    println!("allocations of 200 seals into a buffer with room: 0");
}

/// Salt or nonce, as a peer's user draws it.
fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

/// Nobody reads the events of a measurement.
#[derive(Debug)]
struct Discard;

#[async_trait::async_trait]
impl EventSink for Discard {
    async fn emit(&self, _: &RequestContext, _: &Arc<Event>) -> Result<(), EmitError> {
        Ok(())
    }
}

fn scope_and_vault(tenants: u128) -> (Vec<TenantScope>, Vault, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let scopes: Vec<TenantScope> = (1..=tenants).map(eonpro_testkit::scope).collect();
    let vault = runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let mut config = EncryptionConfig::default();
        // A cache of exactly as many places as tenants would evict some.
        config.cache_scopes = 20_000;
        let vault = Vault::open(VaultParts {
            root: Arc::new(EphemeralRoot::generate().unwrap()),
            state: Arc::new(MemoryKeyValue::new(clock.clone())),
            emitter: Emitter::new(Arc::new(Discard), clock, Arc::new(SeededEntropy::new(1))),
            observer: Arc::new(NoObserver),
            config,
        })
        .await
        .unwrap();
        for scope in &scopes {
            vault.provision(scope.into()).await.unwrap();
        }
        vault
    });
    (scopes, vault, runtime)
}

fn warmed_cipher() -> TenantCipher {
    let (scopes, vault, runtime) = scope_and_vault(1);
    let types = Suite::ALL.map(|suite| KeyType {
        purpose: RECORDS,
        suite,
    });
    runtime.block_on(vault.warm_for(&scopes[0], &types)).unwrap()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = allocations, compact, compact_raw, standard, field, record, stream, search, lookup
}
criterion_main!(benches);
