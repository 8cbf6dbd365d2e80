//! Two custodies of epoch keys: each ends its own epochs, and says which ones the other has.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::id::ActorId;
use eonpro_core::port::Signer as _;
use eonpro_core::port::kv::KeyValue as _;
use eonpro_core::time::Clock as _;
use eonpro_encryption::backend::EphemeralEpochs;
use eonpro_encryption::{
    CryptoError, Encryption as _, EncryptionConfig, EpochId, ShredApproval, ShredReceipt,
    ShredTarget, Shredding as _, Subjects as _, Vault,
};

use crate::shred_epochs::put_epochs;
use crate::wards::{Ward, patient, person};

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
async fn the_end_of_an_epoch_is_refused_where_another_custody_is_configured() {
    let ward = Ward::build().await;
    let sealed = ward.seal(2, b"y").await;
    ward.seal(1, b"x").await;
    ward.shred(1).await;
    let (old, before) = (ward.present().await, ward.epochs_record().await);
    let elsewhere = ward.elsewhere().await;
    ward.sink.clear();
    let cx = person("clerk");
    let refused = elsewhere.end_shred_epoch(&cx, ward.scope());
    assert!(matches!(refused.await, Err(CryptoError::ForeignCustody)));
    assert_eq!(ward.epochs_record().await, before);
    assert!(ward.sink.codes().is_empty());

    let ended = ward.end_epoch().await;
    assert_eq!((ended.moved, ended.lost), (1, 0));
    assert_eq!(ended.destroyed, std::slice::from_ref(&old));
    assert!(ward.custody.keys.is_wiped(&old));
    assert_eq!(ward.open(2, &sealed).await.unwrap(), b"y");
}

#[tokio::test]
async fn a_process_with_another_custody_begins_no_epoch_for_its_next_patient() {
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let before = ward.epochs_record().await;
    let elsewhere = ward.elsewhere().await;
    let refused = elsewhere.provision_subject(&ward.tenant, patient(2)).await;
    assert!(
        matches!(refused, Err(CryptoError::ForeignCustody)),
        "{refused:?}"
    );
    assert_eq!(ward.epochs_record().await, before);

    // Of a record from before custodies had names, nobody knows better.
    let mut record = before;
    record["current"].as_object_mut().unwrap().remove("custody");
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.commit(&partition, tx).await.unwrap();
    elsewhere
        .provision_subject(&ward.tenant, patient(2))
        .await
        .unwrap();
}

#[tokio::test]
async fn patients_whose_epoch_another_custody_has_are_not_lost() {
    let mut config = EncryptionConfig::default();
    config.shred.epoch_settle = Duration::from_secs(3600);
    let ward = Ward::with(config).await;
    let sealed = ward.seal(1, b"x").await;
    let theirs = ward.present().await;
    // Once epochs began wherever a process was: another custody wraps, and the patient did not move.
    let elsewhere = ward.elsewhere().await;
    let named = ward.epochs_record().await;
    let mut record = named.clone();
    record["current"].as_object_mut().unwrap().remove("custody");
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.commit(&partition, tx).await.unwrap();
    elsewhere
        .provision_subject(&ward.tenant, patient(2))
        .await
        .unwrap();
    let mut record = ward.epochs_record().await;
    record["pending"][0]["custody"] = named["current"]["custody"].clone();
    let (partition, tx) = put_epochs(&ward, &record);
    ward.table.commit(&partition, tx).await.unwrap();
    ward.clock.advance(Duration::from_secs(3600));

    let cx = person("clerk");
    let ended = elsewhere.end_shred_epoch(&cx, ward.scope()).await.unwrap();
    assert_eq!((ended.moved, ended.lost, ended.destroyed), (0, 0, vec![]));
    assert_eq!(ended.foreign, std::slice::from_ref(&theirs));
    // Nor where their epoch is, although the present one's key cannot be had there.
    let ended = ward.end_epoch().await;
    assert_eq!((ended.moved, ended.lost, ended.destroyed), (0, 0, vec![]));
    assert!(!ward.custody.keys.is_wiped(&theirs));
    assert_eq!(ward.open(1, &sealed).await.unwrap(), b"x");
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
