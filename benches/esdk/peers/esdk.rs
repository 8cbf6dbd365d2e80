//! Sealing a field measured against the AWS Encryption SDK, which seals a message.
//!
//! Ours is the whole API of a warmed [`TenantCipher`] in the default suite, as in the bench of
//! encryption: a key derived for each field from one that is at hand. The SDK draws a data key for
//! each message and wraps it. It is set up once, with what is cheapest for it offline: a raw AES
//! keyring, the default materials manager (one that caches does not exist in Rust), the default
//! commitment policy and frame length. Tenant, purpose, table, column and row are its encryption
//! context. `unsigned` is its committing suite without a signature, the nearest to ours; `signed` is
//! its default, with a fresh ECDSA P-384 key for each message.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use aws_esdk::client::Client;
use aws_esdk::material_providers;
use aws_esdk::material_providers::types::AesWrappingAlg;
use aws_esdk::material_providers::types::EsdkAlgorithmSuiteId as Algorithm;
use aws_esdk::material_providers::types::cryptographic_materials_manager::CryptographicMaterialsManagerRef;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;
use aws_esdk::types::error::Error;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::phi::{Cell, Column, FieldSealing, Row, Suite, Table};
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::port::{KeyPurpose, NoObserver, Sealer as _};
use eonpro_core::time::SystemClock;
use eonpro_encryption::backend::EphemeralRoot;
use eonpro_encryption::{
    Encryption as _, EncryptionConfig, KeyType, TenantCipher, Vault, VaultParts,
};
use tokio::runtime::Runtime;

/// A field, a note, a page, and a document of 100 KB.
const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 100_000];
const RECORDS: KeyPurpose = KeyPurpose::RECORDS;
const HOW: FieldSealing = FieldSealing::STANDARD;
const SUITES: [(&str, Algorithm); 2] = [
    ("unsigned", Algorithm::AlgAes256GcmHkdfSha512CommitKey),
    (
        "signed",
        Algorithm::AlgAes256GcmHkdfSha512CommitKeyEcdsaP384,
    ),
];

/// The SDK with one wrapping key.
struct Sdk {
    client: Client,
    materials: CryptographicMaterialsManagerRef,
    /// The SDK has no future that waits: it computes when it is polled first.
    runtime: Runtime,
}

impl Sdk {
    fn new() -> Self {
        let runtime = runtime();
        let materials = runtime.block_on(async {
            let config = MaterialProvidersConfig::builder().build().unwrap();
            let providers = material_providers::client::Client::from_conf(config).unwrap();
            let keyring = providers
                .create_raw_aes_keyring()
                .key_namespace("eonpro")
                .key_name("records")
                .wrapping_key(vec![7; 32])
                .wrapping_alg(AesWrappingAlg::AlgAes256GcmIv12Tag16)
                .send()
                .await
                .unwrap();
            providers
                .create_default_cryptographic_materials_manager()
                .keyring(keyring)
                .send()
                .await
                .unwrap()
        });
        let config = AwsEncryptionSdkConfig::builder().build().unwrap();
        Self {
            client: Client::from_conf(config).unwrap(),
            materials,
            runtime,
        }
    }

    fn seal(&self, suite: Algorithm, context: &HashMap<String, String>, plain: &[u8]) -> Vec<u8> {
        let request = self
            .client
            .encrypt()
            .plaintext(plain)
            .materials_manager(self.materials.clone())
            .encryption_context(context.clone())
            .algorithm_suite_id(suite);
        let output = self.runtime.block_on(request.send()).unwrap();
        output.ciphertext.unwrap().into_inner()
    }

    fn open(&self, context: &HashMap<String, String>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let request = self
            .client
            .decrypt()
            .ciphertext(sealed)
            .materials_manager(self.materials.clone())
            .encryption_context(context.clone());
        let output = self.runtime.block_on(request.send())?;
        Ok(output.plaintext.unwrap().into_inner())
    }
}

fn context() -> HashMap<String, String> {
    let context = [
        ("tenant", "00000000-0000-0000-0000-000000000001"),
        ("purpose", "records"),
        ("table", "patients"),
        ("column", "name"),
        ("row", "3d1f0a52-6d0f-4a53-9b0e-1a2b3c4d5e6f"),
    ];
    context
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Not measured but compared: what each side makes of the smallest field, and that it checks its context.
fn sizes(_: &mut Criterion) {
    let (cipher, cell, plain) = (warmed_cipher(), cell(), [b'a'; 64]);
    let ours = seal(&cipher, &cell, &plain);
    assert_eq!(
        *cipher.open_field(RECORDS, HOW, &cell, &ours).unwrap(),
        plain
    );
    println!("64 bytes sealed by eonpro: {} bytes", ours.len());

    let (sdk, context, mut other) = (Sdk::new(), context(), context());
    other.insert("column".to_owned(), "notes".to_owned());
    for (name, suite) in SUITES {
        let sealed = sdk.seal(suite, &context, &plain);
        assert_eq!(sdk.open(&context, &sealed).unwrap(), plain);
        assert!(sdk.open(&other, &sealed).is_err());
        println!(
            "64 bytes sealed by aws-esdk, {name}: {} bytes",
            sealed.len()
        );
    }
}

fn seals(c: &mut Criterion) {
    let (cipher, cell) = (warmed_cipher(), cell());
    let (sdk, context) = (Sdk::new(), context());
    for size in SIZES {
        let plain = vec![b'a'; size];
        let mut group = c.benchmark_group("seal");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("eonpro", size), |b| {
            b.iter(|| seal(&cipher, &cell, black_box(&plain)));
        });
        for (name, suite) in SUITES {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| sdk.seal(suite, &context, black_box(&plain)));
            });
        }
        group.finish();
    }
}

fn opens(c: &mut Criterion) {
    let (cipher, cell) = (warmed_cipher(), cell());
    let (sdk, context) = (Sdk::new(), context());
    for size in SIZES {
        let plain = vec![b'a'; size];
        let mut group = c.benchmark_group("open");
        group.throughput(Throughput::Bytes(size as u64));
        let sealed = seal(&cipher, &cell, &plain);
        group.bench_function(BenchmarkId::new("eonpro", size), |b| {
            b.iter(|| {
                cipher
                    .open_field(RECORDS, HOW, &cell, black_box(&sealed))
                    .unwrap()
            });
        });
        for (name, suite) in SUITES {
            let sealed = sdk.seal(suite, &context, &plain);
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| sdk.open(&context, black_box(&sealed)).unwrap());
            });
        }
        group.finish();
    }
}

fn seal(cipher: &TenantCipher, cell: &Cell<'_>, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cipher
        .seal_into(RECORDS, HOW, cell, plain, &mut out)
        .unwrap();
    out
}

fn cell() -> Cell<'static> {
    let row = RowId::random(&SeededEntropy::new(1));
    Cell::new(Table::new("patients"), Column::new("name"), Row::id(row))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn warmed_cipher() -> TenantCipher {
    let scope = eonpro_testkit::scope(1);
    let standard = KeyType {
        purpose: RECORDS,
        suite: Suite::Standard,
    };
    runtime().block_on(async {
        let clock = Arc::new(SystemClock::new());
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
        vault.warm_for(&scope, &[standard]).await.unwrap()
    })
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = sizes, seals, opens
}
criterion_main!(benches);
