//! A field sealed for its cell, against ring's AES-256-GCM alone under one key for all fields.
//!
//! Both draw fresh randomness per message and return a new buffer. What the difference buys: a key
//! per message, a commitment to key and context, and the binding to tenant, table, column and row.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{KeyPurpose, NoObserver, Sealer as _};
use eonpro_core::time::SystemClock;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{Encryption as _, EncryptionConfig, TenantCipher, Vault, VaultParts};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

const SIZES: [usize; 2] = [64, 16 * 1024];

fn field_seal(c: &mut Criterion) {
    let cipher = warmed_cipher();
    let row = RowId::random(&SeededEntropy::new(1));
    let cell = Cell::new(Table::new("patients"), Column::new("name"), Row::id(row));
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let random = SystemRandom::new();

    let mut group = c.benchmark_group("field_seal");
    for size in SIZES {
        let plain = vec![b'a'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("eonpro", size), &plain, |b, plain| {
            b.iter(|| cipher.seal(KeyPurpose::RECORDS, &cell, black_box(plain)));
        });
        group.bench_with_input(BenchmarkId::new("ring", size), &plain, |b, plain| {
            b.iter(|| ring_seal(&key, &random, black_box(plain)));
        });
    }
    group.finish();
}

/// Nonce, ciphertext, tag.
fn ring_seal(key: &LessSafeKey, random: &SystemRandom, plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).unwrap();
    let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let body = &mut out[NONCE_LEN..];
    let aad = Aad::from(b"patients/name");
    let tag = key.seal_in_place_separate_tag(nonce, aad, body).unwrap();
    out.extend_from_slice(tag.as_ref());
    out
}

fn warmed_cipher() -> TenantCipher {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let scope = eonpro_testkit::scope(1);
        let vault = Vault::open(VaultParts {
            root: Arc::new(EphemeralRoot::generate().unwrap()),
            state: Arc::new(MemoryKeyValue::new(clock.clone())),
            emitter: eonpro_testkit::RecordingSink::new().emitter(clock),
            observer: Arc::new(NoObserver),
            config: EncryptionConfig::default(),
        })
        .await
        .unwrap();
        vault.provision((&scope).into()).await.unwrap();
        vault.warm(&scope).await.unwrap()
    })
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = field_seal
}
criterion_main!(benches);
