//! Epoch keys in a keyring's file: what destruction leaves, who sees it, what a passphrase changes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use eonpro_core::port::{SealError, SealScope};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_encryption::backend::Keyring;
use eonpro_encryption::{
    CryptoError, Destruction, EpochId, EpochKeys as _, KdfCost, KeyId, WrapContext,
};
use eonpro_testkit::scope;
use serde_json::{Value, json};

/// Tells a child process which keyring it shall work on.
const KEYRING: &str = "EONPRO_TEST_KEYRING";
const CREATES: usize = 24;

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn context() -> WrapContext {
    WrapContext {
        scope: SealScope::from(&scope(1)),
        key: KeyId::from_be_bytes([0, 0, 0, 1]),
    }
}

fn key() -> KeyBytes<32> {
    KeyBytes::take(&mut [7; 32])
}

async fn created(path: &Path) -> Keyring {
    Keyring::create(path, &secret("old"), KdfCost::FLOOR)
        .await
        .unwrap()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn store(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

/// The sealed form of each epoch in the file.
fn sealed_epochs(path: &Path) -> Vec<String> {
    let keyring = json_of(path);
    let epochs = keyring["epochs"].as_array().unwrap();
    let sealed = epochs.iter().map(|epoch| epoch["sealed"].as_str().unwrap());
    sealed.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_destroyed_epoch_key_is_in_no_file_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    let gone = keyring.create().await.unwrap();
    let kept = keyring.create().await.unwrap();
    let before = sealed_epochs(&path);
    let [sealed, living] = before.as_slice() else {
        panic!("{before:?}");
    };
    let mut old = std::fs::File::open(&path).unwrap();
    // What a killed writer leaves, and what is not its business.
    let leftover = dir.path().join(".keyring.json.0123456789abcdef.tmp");
    std::fs::copy(&path, &leftover).unwrap();
    let other = dir.path().join(".keyring.json.notes.tmp");
    std::fs::write(&other, "kept").unwrap();

    let destroyed = keyring.destroy(&gone).await.unwrap();
    assert_eq!(destroyed, Destruction::Done);
    assert_eq!(keyring.epochs().await.unwrap(), [kept]);
    assert_eq!(sealed_epochs(&path), [living.as_str()]);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!content.contains(sealed) && !content.contains(gone.as_str()));
    }
    assert!(!leftover.exists() && other.exists());
    // Whoever still has the old file open finds nothing in it.
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut old, &mut content).unwrap();
    assert!(!content.is_empty() && content.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_keyring_stays_private_through_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let epoch = keyring.create().await.unwrap();
    assert_eq!(mode(&path), 0o600);
    keyring.destroy(&epoch).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("keyring.json.lock")), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = keyring.epochs().await;
    assert!(matches!(refused, Err(CryptoError::File(_))), "{refused:?}");
}

#[tokio::test]
async fn a_keyring_of_version_1_opens_and_becomes_version_2_with_its_first_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let made = created(&path).await;
    let wrapped = eonpro_encryption::RootKey::wrap(&made, &key(), &context())
        .await
        .unwrap();
    let mut value = json_of(&path);
    value["version"] = json!(1);
    value.as_object_mut().unwrap().remove("epochs");
    store(&path, &value);

    let opened = Keyring::open(&path, &secret("old")).await.unwrap();
    assert_eq!(opened.epochs().await.unwrap(), []);
    let none = EpochId::new(&format!("epoch:{:032x}", 7)).unwrap();
    opened.destroy(&none).await.unwrap();
    assert_eq!(json_of(&path)["version"], 1);
    let epoch = opened.create().await.unwrap();
    assert_eq!(json_of(&path)["version"], 2);
    let again = Keyring::open(&path, &secret("old")).await.unwrap();
    assert_eq!(again.epochs().await.unwrap(), [epoch]);
    let unwrapped = eonpro_encryption::RootKey::unwrap(&again, &wrapped, &context()).await;
    assert!(unwrapped.unwrap() == key());
}

#[tokio::test]
async fn a_version_and_its_epochs_must_fit_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    keyring.create().await.unwrap();
    let good = json_of(&path);
    let one = good["epochs"][0].clone();
    let changes: [(&str, Value); 5] = [
        ("version", json!(1)),
        ("epochs", Value::Null),
        ("epochs", json!([one, one])),
        ("epochs", json!([{"id": "UPPER", "sealed": ""}])),
        ("epochs", json!([{"id": "a", "sealed": "?"}])),
    ];
    for (field, value) in changes {
        let mut changed = good.clone();
        changed[field] = value;
        store(&path, &changed);
        let refused = Keyring::open(&path, &secret("old")).await;
        assert!(
            matches!(refused, Err(CryptoError::File(_))),
            "{field}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn an_epoch_moved_to_another_id_or_keyring_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    let one = keyring.create().await.unwrap();
    let two = keyring.create().await.unwrap();
    let mut value = json_of(&path);
    value["epochs"][0]["id"] = json!(two.as_str());
    value["epochs"][1]["id"] = json!(one.as_str());
    store(&path, &value);
    for epoch in [&one, &two] {
        let refused = keyring.wrap(epoch, &key(), &context()).await;
        assert!(matches!(refused, Err(CryptoError::Passphrase)));
    }
    std::fs::remove_file(&path).unwrap();
    created(&path).await;
    let refused = keyring.epochs().await;
    assert!(matches!(refused, Err(CryptoError::File("another keyring"))));
}

#[tokio::test]
async fn a_keyring_holds_512_epochs_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    keyring.create().await.unwrap();
    let mut value = json_of(&path);
    let sealed = value["epochs"][0]["sealed"].clone();
    let longest = "x".repeat(60);
    let entry = |number| json!({"id": format!("{longest}{number:04}"), "sealed": sealed});
    value["epochs"] = (0..511).map(entry).collect();
    store(&path, &value);

    let last = keyring.create().await.unwrap();
    assert_eq!(keyring.epochs().await.unwrap().len(), 512);
    let refused = keyring.create().await;
    assert!(
        matches!(refused, Err(CryptoError::Seal(SealError::LimitExceeded))),
        "{refused:?}"
    );
    keyring.destroy(&last).await.unwrap();
    keyring.create().await.unwrap();

    value["epochs"] = (0..513).map(entry).collect();
    store(&path, &value);
    let refused = Keyring::open(&path, &secret("old")).await;
    assert!(matches!(refused, Err(CryptoError::File("too many epochs"))));
}

#[tokio::test]
async fn a_new_passphrase_keeps_the_epochs_and_an_old_handle_may_still_destroy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let old = created(&path).await;
    let kept = old.create().await.unwrap();
    let gone = old.create().await.unwrap();
    let wrapped = old.wrap(&kept, &key(), &context()).await.unwrap();
    let before = sealed_epochs(&path);
    Keyring::change_passphrase(&path, &secret("old"), &secret("new"), KdfCost::FLOOR)
        .await
        .unwrap();
    assert!(sealed_epochs(&path).iter().all(|now| !before.contains(now)));

    let new = Keyring::open(&path, &secret("new")).await.unwrap();
    let unwrapped = new.unwrap(&kept, &wrapped, &context()).await;
    assert!(unwrapped.unwrap() == key());
    let refused = old.unwrap(&kept, &wrapped, &context()).await;
    assert!(matches!(refused, Err(CryptoError::Passphrase)));
    assert!(matches!(old.create().await, Err(CryptoError::Passphrase)));
    old.destroy(&gone).await.unwrap();
    assert_eq!(new.epochs().await.unwrap(), [kept]);
    let refused = old.wrap(&gone, &key(), &context()).await;
    assert!(matches!(refused, Err(CryptoError::EpochGone)));
}

#[tokio::test]
async fn a_keyring_that_is_gone_is_an_error_and_not_an_empty_custody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    let epoch = keyring.create().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let missing = CryptoError::File("does not exist").to_string();
    let wrapped = keyring.wrap(&epoch, &key(), &context()).await;
    assert_eq!(wrapped.unwrap_err().to_string(), missing);
    assert_eq!(keyring.epochs().await.unwrap_err().to_string(), missing);
    assert_eq!(keyring.create().await.unwrap_err().to_string(), missing);
    let destroyed = keyring.destroy(&epoch).await;
    assert_eq!(destroyed.unwrap_err().to_string(), missing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_epoch_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let keyring = created(&path).await;
    let first = keyring.create().await.unwrap();
    let wrapped = keyring.wrap(&first, &key(), &context()).await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "epochs::as_another_process"])
        .env(KEYRING, &path)
        .spawn()
        .unwrap();
    for _ in 0..CREATES {
        keyring.create().await.unwrap();
    }
    let ended = eonpro_core::task::blocking(move || child.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    // The other process has made as many, and has destroyed the first.
    assert_eq!(keyring.epochs().await.unwrap().len(), 2 * CREATES);
    let refused = keyring.unwrap(&first, &wrapped, &context()).await;
    assert!(matches!(refused, Err(CryptoError::EpochGone)));
}

#[tokio::test]
#[ignore = "the other process of two_processes_lose_no_epoch_of_each_other"]
#[expect(clippy::disallowed_methods, reason = "a word from the parent process")]
async fn as_another_process() {
    let Ok(path) = std::env::var(KEYRING) else {
        return;
    };
    let keyring = Keyring::open(path, &secret("old")).await.unwrap();
    let first = keyring.epochs().await.unwrap().remove(0);
    for _ in 0..CREATES {
        keyring.create().await.unwrap();
    }
    keyring.destroy(&first).await.unwrap();
}

#[tokio::test]
async fn a_killed_writer_loses_no_epoch_and_revives_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    created(&path).await;
    for round in 1..=6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "epochs::as_a_writer_that_is_killed"])
            .arg("--nocapture")
            .env(KEYRING, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let (mut living, mut lines) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if said.read_line(&mut line).unwrap() == 0 {
                break;
            }
            match line.trim().split_once(' ') {
                Some(("made", id)) => living.push(EpochId::new(id).unwrap()),
                Some(("gone", id)) => living.retain(|epoch| epoch.as_str() != id),
                _ => continue,
            }
            lines += 1;
            // What it says after that is still to be believed.
            if lines == 5 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(lines >= 5 * round, "the writer ended by itself");

        let keyring = Keyring::open(&path, &secret("old")).await.unwrap();
        let found = keyring.epochs().await.unwrap();
        // One change may have been done and not said.
        let lost = living.iter().filter(|epoch| !found.contains(epoch));
        let more = found.iter().filter(|epoch| !living.contains(epoch));
        assert!(lost.count() + more.count() <= 1, "{living:?} {found:?}");
        for epoch in found {
            keyring.wrap(&epoch, &key(), &context()).await.unwrap();
            keyring.destroy(&epoch).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "the other process of a_killed_writer_loses_no_epoch_and_revives_none"]
#[expect(clippy::disallowed_methods, reason = "a word from the parent process")]
async fn as_a_writer_that_is_killed() {
    let Ok(path) = std::env::var(KEYRING) else {
        return;
    };
    let keyring = Keyring::open(path, &secret("old")).await.unwrap();
    // More than the parent waits for.
    for _ in 0..400 {
        let epoch = keyring.create().await.unwrap();
        println!("\nmade {epoch}");
        let other = keyring.create().await.unwrap();
        println!("\nmade {other}");
        keyring.destroy(&epoch).await.unwrap();
        println!("\ngone {epoch}");
    }
}
