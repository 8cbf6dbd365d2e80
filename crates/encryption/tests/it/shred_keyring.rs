//! A patient shredded on real files: a passphrase keyring keeps root and epochs, the key table is
//! copied and restored.

use std::sync::Arc;

use eonpro_core::component::Component as _;
use eonpro_core::port::SealScope;
use eonpro_core::secret::SecretText;
use eonpro_encryption::backend::Keyring;
use eonpro_encryption::{
    BackupExposure, CryptoError, EncryptionConfig, EpochKeys, KdfCost, RootKey, ShredParts,
    Shredding as _, Vault,
};

use crate::wards::{Ward, open, open_in, person};

/// A process with the keyring at `path` on the ward's key table.
async fn process(ward: &Ward, path: &std::path::Path) -> Vault {
    let passphrase = SecretText::new("correct horse".to_owned());
    let keyring = Arc::new(Keyring::open(path, &passphrase).await.unwrap());
    let root: Arc<dyn RootKey> = keyring.clone();
    let epochs: Arc<dyn EpochKeys> = keyring;
    let parts = ShredParts {
        epochs,
        signer: ward.signer.clone(),
    };
    let config = EncryptionConfig::default();
    open(&root, &ward.table, &ward.sink, &ward.clock, &config, parts).await
}

#[tokio::test]
async fn a_restored_key_table_opens_nobody_once_the_keyring_has_destroyed_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring.json");
    let passphrase = SecretText::new("correct horse".to_owned());
    let created = Keyring::create(&path, &passphrase, KdfCost::FLOOR).await;
    created.unwrap().close().await;

    let mut ward = Ward::build().await;
    ward.table.restore(&Default::default()).await;
    ward.vault = process(&ward, &path).await;
    use eonpro_core::port::Sealer as _;
    let scope = SealScope::from(&ward.tenant);
    ward.vault.provision(scope).await.unwrap();
    let (one, two) = (ward.seal(1, b"x").await, ward.seal(2, b"y").await);
    let backup = ward.table.backup().await;
    let receipt = ward.shred(1).await;
    assert_eq!(&*receipt.facts.custody, "keyring");
    assert!(ward.open(1, &one).await.is_err());

    // Before the epoch ends a restored backup opens, in a fresh process: the receipt says so.
    assert!(matches!(receipt.facts.backups, BackupExposure::Until(_)));
    let after = ward.table.backup().await;
    ward.table.restore(&backup).await;
    let restored = process(&ward, &path).await;
    let opened = open_in(&restored, &ward.tenant, 1, &one).await;
    assert_eq!(opened.unwrap(), b"x");
    ward.table.restore(&after).await;

    let clerk = person("clerk");
    let ended = ward.vault.end_shred_epoch(&clerk, scope).await.unwrap();
    assert_eq!((ended.moved, ended.destroyed.len()), (1, 1));
    let fresh = process(&ward, &path).await;
    let opened = open_in(&fresh, &ward.tenant, 2, &two).await;
    assert_eq!(opened.unwrap(), b"y");

    ward.table.restore(&backup).await;
    let restored = process(&ward, &path).await;
    for (number, sealed) in [(1, &one), (2, &two)] {
        let refused = open_in(&restored, &ward.tenant, number, sealed).await;
        assert!(matches!(refused, Err(CryptoError::EpochGone)), "{number}");
    }
}
