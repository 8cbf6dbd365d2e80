//! Two custodies of epoch keys: each ends its own epochs, and says which ones the other has.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::id::ActorId;
use eonpro_core::port::Signer as _;
use eonpro_core::port::kv::KeyValue as _;
use eonpro_core::time::Clock as _;
use eonpro_encryption::backend::EphemeralEpochs;
use eonpro_encryption::{
    Encryption as _, EncryptionConfig, EpochId, ShredApproval, ShredReceipt, ShredTarget,
    Shredding as _, Vault,
};

use crate::shred_epochs::put_epochs;
use crate::wards::{Ward, person};

impl Ward {
    /// Another process on the same key table and root, whose custody is another.
    async fn elsewhere(&self) -> Vault {
        let (parts, mut shredding) = self.parts();
        shredding.epochs = Arc::new(EphemeralEpochs::new());
        Vault::open_with_epochs(parts, shredding).await.unwrap()
    }

    async fn present(&self) -> EpochId {
        let status = self.vault.shred_epoch(self.scope()).await.unwrap();
        status.unwrap().id
    }

    async fn epochs_record(&self) -> serde_json::Value {
        let text = self.table.text(&self.tenant, "epoch").await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn the_end_of_an_epoch_is_not_claimed_by_a_custody_that_never_had_it() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    ward.shred(1).await;
    let old = ward
        .vault
        .shred_epoch(ward.scope())
        .await
        .unwrap()
        .unwrap()
        .id;
    let (parts, mut shredding) = ward.parts();
    shredding.epochs = Arc::new(EphemeralEpochs::new());
    let elsewhere = Vault::open_with_epochs(parts, shredding).await.unwrap();
    ward.sink.clear();
    let cx = person("clerk");
    let ended = elsewhere.end_shred_epoch(&cx, ward.scope()).await;
    assert_eq!(ended.unwrap().foreign, std::slice::from_ref(&old));
    assert!(!ward.sink.codes().contains(&"KEY-003"));
    let status = ward.vault.shred_epoch(ward.scope()).await.unwrap();
    assert_eq!(status.unwrap().pending, std::slice::from_ref(&old));
    assert!(!ward.custody.keys.is_wiped(&old));

    let ended = ward.end_epoch().await;
    assert_eq!(ended.destroyed, std::slice::from_ref(&old));
    assert!(ward.custody.keys.is_wiped(&old));
}

#[tokio::test]
async fn the_receipt_of_a_tenant_names_the_epochs_that_another_custody_has_to_end() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let old = ward.present().await;
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(Duration::from_secs(24 * 3600));
    let elsewhere = ward.elsewhere().await;
    let (cx, at) = (person("clerk"), ShredTarget::Tenant);
    for _ in 0..2 {
        let receipt = elsewhere.carry_out_shred(&cx, ward.scope(), at, request.id);
        let receipt = receipt.await.unwrap();
        assert_eq!(receipt.epochs_not_ended, std::slice::from_ref(&old));
        let text = receipt.to_json().unwrap();
        assert!(text.contains("\"v\":2}"), "{text}");
        let read = ShredReceipt::from_json(&text).unwrap();
        assert_eq!(read, receipt);
        let key = ward.signer.public_key();
        read.verify(&key).unwrap();
        let epochs_not_ended = Vec::new();
        let whitewashed = ShredReceipt {
            epochs_not_ended,
            ..read
        };
        assert!(whitewashed.verify(&key).is_err());
        let mislabelled = text.replace("\"v\":2}", "\"v\":1}");
        assert!(ShredReceipt::from_json(&mislabelled).is_err());
    }
    assert!(!ward.custody.keys.is_wiped(&old));
    let due = ward.vault.shred_epochs_due(ward.clock.wall()).await;
    assert_eq!(due.unwrap(), [ward.tenant.tenant()]);

    let receipt = ward.carry_out(&request).await.unwrap();
    assert!(ward.custody.keys.is_wiped(&old));
    assert_eq!(receipt.epochs_not_ended, []);
    assert!(receipt.to_json().unwrap().contains("\"v\":1}"));
}

#[tokio::test]
async fn a_tenant_whose_custody_is_gone_is_shredded_all_the_same() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let old = ward.present().await;
    let backup = ward.table.backup().await;
    let elsewhere = ward.elsewhere().await;
    let cx = person("clerk");
    let approval = ShredApproval {
        approver: ActorId::new("dr-grey").unwrap(),
        second_approver: None,
    };
    for _ in 0..2 {
        let done = elsewhere.shred(&cx, ward.scope(), approval.clone()).await;
        assert!(done.is_ok(), "{done:?}");
    }
    let ended = elsewhere.end_shred_epoch(&cx, ward.scope()).await.unwrap();
    assert_eq!((ended.destroyed, ended.foreign), (vec![], vec![old]));

    ward.table.restore(&backup).await;
    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(Duration::from_secs(24 * 3600));
    let receipt = ward.carry_out(&request).await.unwrap();
    ward.table.restore(&backup).await;
    let elsewhere = ward.elsewhere().await;
    for _ in 0..2 {
        let honoured = elsewhere.honour_receipt(&cx, ward.scope(), &receipt).await;
        assert!(honoured.is_ok(), "{honoured:?}");
    }
    assert!(elsewhere.warm(&ward.tenant).await.is_err());
}

#[tokio::test]
async fn what_was_destroyed_is_told_beside_what_another_custody_has_to_destroy() {
    let mut config = EncryptionConfig::default();
    config.shred.epoch_settle = Duration::from_secs(3600);
    let ward = Ward::with(config).await;
    ward.seal(1, b"x").await;
    let ours = ward.present().await;
    assert_eq!(ward.end_epoch().await.waiting, 1);
    let mut record = ward.epochs_record().await;
    let theirs = serde_json::json!({
        "id": "theirs", "custody": "keyring:1", "number": 7, "destroy_at": 0,
    });
    record["pending"].as_array_mut().unwrap().insert(0, theirs);
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.commit(&partition, tx).await.unwrap();
    ward.clock.advance(Duration::from_secs(3600));
    let ended = ward.end_epoch().await;
    assert_eq!(ended.destroyed, [ours]);
    assert_eq!(ended.foreign, [EpochId::new("theirs").unwrap()]);
    assert_eq!(ended.waiting, 0);
}
