//! The embedded roots and custodies, judged by the suites that judge every backend.

use std::path::PathBuf;
use std::sync::Arc;

use eonpro_core::secret::SecretText;
use eonpro_encryption::backend::{EphemeralRoot, KeyFile, Keyring};
use eonpro_encryption::{EpochKeys, KdfCost, RootKey};
use eonpro_testkit::conformance::{epoch_keys, root_key};
use futures_util::FutureExt as _;
use tempfile::TempDir;

fn passphrase() -> SecretText {
    SecretText::new("correct horse".to_owned())
}

/// A path for a fresh file, and the folder that goes when both are dropped.
fn place() -> (Arc<TempDir>, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.json");
    (Arc::new(dir), path)
}

async fn created(path: &PathBuf) -> Arc<Keyring> {
    let keyring = Keyring::create(path, &passphrase(), KdfCost::FLOOR).await;
    Arc::new(keyring.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ephemeral_root_conforms() {
    let report = root_key(async || {
        root_key::Subject::volatile(Arc::new(EphemeralRoot::generate().unwrap()))
    });
    report.await.assert_conforms();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_key_file_conforms() {
    let report = root_key(async || {
        let (dir, path) = place();
        let root = KeyFile::open_or_generate(&path).await.unwrap();
        root_key::Subject::volatile(Arc::new(root)).reopened_by(move || {
            let (dir, path) = (Arc::clone(&dir), path.clone());
            async move {
                let root = KeyFile::open_or_generate(path).await.unwrap();
                drop(dir);
                Arc::new(root) as Arc<dyn RootKey>
            }
            .boxed()
        })
    });
    report.await.assert_conforms();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_keyring_conforms_as_a_root_key() {
    let report = root_key(async || {
        let (dir, path) = place();
        root_key::Subject::volatile(created(&path).await).reopened_by(move || {
            let (dir, path) = (Arc::clone(&dir), path.clone());
            async move {
                let root = Keyring::open(path, &passphrase()).await.unwrap();
                drop(dir);
                Arc::new(root) as Arc<dyn RootKey>
            }
            .boxed()
        })
    });
    report.await.assert_conforms();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_keyring_conforms_as_a_custody_of_epoch_keys() {
    let report = epoch_keys(async || {
        let (dir, path) = place();
        epoch_keys::Subject::new(created(&path).await, move || {
            let (dir, path) = (Arc::clone(&dir), path.clone());
            async move {
                let keys = Keyring::open(path, &passphrase()).await.unwrap();
                drop(dir);
                Arc::new(keys) as Arc<dyn EpochKeys>
            }
            .boxed()
        })
    });
    report.await.assert_conforms();
}
