//! Root keys in files: passphrases, hostile files, postures.

use std::path::Path;
use std::sync::Arc;

use eonpro_core::component::{Component as _, Fitness};
use eonpro_core::port::kv::KeyValue;
use eonpro_core::port::{NoObserver, SealScope, Sealer as _};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::ManualClock;
use eonpro_encryption::backend::{EphemeralRoot, KeyFile, Keyring};
use eonpro_encryption::{CryptoError, KdfCost, KeyId, RootKey, Vault, VaultParts, WrapContext};
use eonpro_testkit::scope;

use crate::support::{House, MeddledStore, RECORDS, cell, open};

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn context() -> WrapContext {
    WrapContext {
        scope: SealScope::from(&scope(1)),
        key: KeyId::from_be_bytes([0, 0, 0, 1]),
    }
}

fn rewrite(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn a_keyring_opens_by_its_passphrase_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let made = Keyring::create(&path, &secret("right"), KdfCost::FLOOR)
        .await
        .unwrap();
    let key = KeyBytes::take(&mut [7; 32]);
    let wrapped = made.wrap(&key, &context()).await.unwrap();

    let opened = Keyring::open(&path, &secret("right")).await.unwrap();
    assert_eq!(opened.id(), made.id());
    assert!(opened.unwrap(&wrapped, &context()).await.unwrap() == key);
    for wrong in ["", "Right", "right "] {
        let refused = Keyring::open(&path, &secret(wrong)).await;
        assert!(matches!(refused, Err(CryptoError::Passphrase)), "{wrong:?}");
    }
    let refused = Keyring::create(&path, &secret("other"), KdfCost::FLOOR).await;
    assert!(matches!(refused, Err(CryptoError::File("exists already"))));
}

#[tokio::test]
async fn a_wrapped_key_unwraps_for_its_scope_and_id_only() {
    let root = EphemeralRoot::generate().unwrap();
    let key = KeyBytes::take(&mut [7; 32]);
    let wrapped = root.wrap(&key, &context()).await.unwrap();
    let others = [
        WrapContext {
            scope: SealScope::from(&scope(2)),
            ..context()
        },
        WrapContext {
            scope: SealScope::System,
            ..context()
        },
        WrapContext {
            key: KeyId::from_be_bytes([0, 0, 0, 2]),
            ..context()
        },
    ];
    for other in others {
        let refused = root.unwrap(&wrapped, &other).await;
        assert!(
            matches!(refused, Err(CryptoError::RootMismatch)),
            "{other:?}"
        );
    }
    let refused = EphemeralRoot::generate()
        .unwrap()
        .unwrap(&wrapped, &context())
        .await;
    assert!(matches!(refused, Err(CryptoError::RootMismatch)));
}

#[tokio::test]
async fn a_new_passphrase_keeps_the_root_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let made = Keyring::create(&path, &secret("old"), KdfCost::FLOOR)
        .await
        .unwrap();
    let key = KeyBytes::take(&mut [7; 32]);
    let wrapped = made.wrap(&key, &context()).await.unwrap();
    let cost = KdfCost {
        passes: 2,
        ..KdfCost::FLOOR
    };
    let refused = Keyring::change_passphrase(&path, &secret("bad"), &secret("new"), cost).await;
    assert!(matches!(refused, Err(CryptoError::Passphrase)));
    Keyring::change_passphrase(&path, &secret("old"), &secret("new"), cost)
        .await
        .unwrap();

    assert!(Keyring::open(&path, &secret("old")).await.is_err());
    let opened = Keyring::open(&path, &secret("new")).await.unwrap();
    assert!(opened.unwrap(&wrapped, &context()).await.unwrap() == key);
}

#[tokio::test]
async fn hostile_keyring_files_are_refused_before_they_cost_anything() {
    let changes = [
        ("\"memory_kib\": 1024", "\"memory_kib\": 1048577"),
        ("\"memory_kib\": 1024", "\"memory_kib\": 4294967295"),
        ("\"memory_kib\": 1024", "\"memory_kib\": 8"),
        ("\"passes\": 1", "\"passes\": 4294967295"),
        ("\"lanes\": 1", "\"lanes\": 16777215"),
    ];
    for (from, to) in changes {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        Keyring::create(&path, &secret("p"), KdfCost::FLOOR)
            .await
            .unwrap();
        rewrite(&path, from, to);
        let refused = Keyring::open(&path, &secret("p")).await;
        assert!(
            matches!(refused, Err(CryptoError::Config(_))),
            "{to}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn changed_keyring_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    Keyring::create(&path, &secret("p"), KdfCost::FLOOR)
        .await
        .unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    type Expected = fn(&CryptoError) -> bool;
    let changes: [(&str, &str, Expected); 6] = [
        ("\"version\": 2,", "\"version\": 3,", |error| {
            matches!(error, CryptoError::Version(3))
        }),
        ("argon2id", "argon2d", |error| {
            matches!(error, CryptoError::File(_))
        }),
        ("eonpro-keyring", "other", |error| {
            matches!(error, CryptoError::File(_))
        }),
        ("\"passes\": 1", "\"passes\": 2", |error| {
            matches!(error, CryptoError::Passphrase)
        }),
        ("\"keyring:", "\"keyring:0", |error| {
            matches!(error, CryptoError::Passphrase)
        }),
        ("{", "", |error| matches!(error, CryptoError::File(_))),
    ];
    for (from, to, expected) in changes {
        std::fs::write(&path, &good).unwrap();
        rewrite(&path, from, to);
        let refused = Keyring::open(&path, &secret("p")).await.unwrap_err();
        assert!(expected(&refused), "{to}: {refused:?}");
    }
    let absent = Keyring::open(dir.path().join("absent"), &secret("p")).await;
    assert!(matches!(absent, Err(CryptoError::File("does not exist"))));
}

#[tokio::test]
async fn a_root_says_what_it_is_fit_for() {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = secret("p");
    let cheap = Keyring::create(dir.path().join("a"), &passphrase, KdfCost::FLOOR);
    assert_eq!(cheap.await.unwrap().posture().fitness, Fitness::TestOnly);
    let good = Keyring::create(dir.path().join("b"), &passphrase, KdfCost::RECOMMENDED);
    assert_eq!(good.await.unwrap().posture().fitness, Fitness::Production);
    let file = KeyFile::open_or_generate(dir.path().join("c"))
        .await
        .unwrap();
    assert_eq!(file.posture().fitness, Fitness::Development);
    let none = EphemeralRoot::generate().unwrap();
    assert_eq!(none.posture().fitness, Fitness::TestOnly);
    let house = House::build().await;
    assert_eq!(
        house.vault.posture().fitness,
        Fitness::TestOnly,
        "a vault is as fit as its root"
    );
}

#[tokio::test]
async fn a_key_file_is_generated_once_and_opens_the_same_data_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    let house = House::build().await;
    let ours = SealScope::from(&scope(1));
    let state: Arc<dyn KeyValue> = Arc::<MeddledStore>::clone(&house.store);
    let emitter = || house.sink.emitter(Arc::<ManualClock>::clone(&house.clock));
    let root = Arc::new(KeyFile::open_or_generate(&path).await.unwrap());
    let first = open(root, Arc::clone(&state), emitter()).await;
    first.provision(ours).await.unwrap();
    let sealed = first.seal(ours, RECORDS, &cell(b"r"), b"x").await.unwrap();
    first.close().await;

    let root = Arc::new(KeyFile::open_or_generate(&path).await.unwrap());
    let second = open(root, state, emitter()).await;
    assert!(
        second
            .open(ours, RECORDS, &cell(b"r"), &sealed)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_vault_does_not_open_on_another_root_key() {
    let house = House::build().await;
    house.vault.provision(SealScope::System).await.unwrap();
    let parts = VaultParts {
        root: Arc::new(EphemeralRoot::generate().unwrap()),
        state: Arc::<MeddledStore>::clone(&house.store),
        emitter: house.sink.emitter(Arc::<ManualClock>::clone(&house.clock)),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    let refused = Vault::open(parts).await;
    assert!(matches!(refused, Err(CryptoError::RootMismatch)));
}
