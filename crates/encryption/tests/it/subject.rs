//! Patients' keys: who opens what, and what happens to ciphers when a key is destroyed.

use std::time::Duration;

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _};
use eonpro_encryption::{
    CryptoError, Encryption as _, EncryptionExt as _, Phi, PhiRecord, Shredding as _,
    Subjects as _, Vault,
};
use eonpro_testkit::scope;

use crate::support::{House, RECORDS, cell};
use crate::wards::{Ward, open_in, patient, person};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Chart {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    name: Phi<String>,
    #[phi(seal, index(bits = 64, normalizer = "digits"))]
    ssn: Phi<String>,
}

fn is(error: &CryptoError, expected: &SealError) -> bool {
    let CryptoError::Seal(error) = error else {
        return false;
    };
    std::mem::discriminant(error) == std::mem::discriminant(expected)
}

#[tokio::test]
async fn a_record_opens_for_its_own_patient_only_and_is_found_by_the_tenants_index() {
    let ward = Ward::build().await;
    let chart = || Chart {
        id: RowId::random(&SeededEntropy::new(1)),
        name: "Ada Lovelace".into(),
        ssn: "999-12-3456".into(),
    };
    let (vault, tenant) = (&ward.vault, &ward.tenant);
    let sealed = || vault.seal_record_for(tenant, patient(1), chart());
    let (one, two) = (sealed().await.unwrap(), sealed().await.unwrap());
    let query = vault
        .query_slots(tenant, &Chart::SSN_INDEX, &"999123456".into())
        .await
        .unwrap();
    assert_eq!(one.ssn_index, query);
    let opened: Chart = vault
        .open_record_for(tenant, patient(1), one)
        .await
        .unwrap();
    assert_eq!(opened.name.expose(), "Ada Lovelace");

    vault.provision_subject(tenant, patient(2)).await.unwrap();
    let other = vault
        .open_record_for::<Chart>(tenant, patient(2), two)
        .await;
    assert!(is(&other.err().unwrap(), &SealError::Authentication));
}

#[tokio::test]
async fn what_a_patients_key_sealed_is_nothing_to_the_tenants_keys_and_the_other_way_round() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let tenant = ward.vault.warm(&ward.tenant).await.unwrap();
    for purpose in [RECORDS, KeyPurpose::new("subject")] {
        let refused = tenant.open(purpose, &cell(b"r"), &sealed);
        assert!(matches!(refused, Err(SealError::Authentication)));
    }
    let record = tenant.seal(RECORDS, &cell(b"r"), b"y").unwrap();
    let refused = ward.open(1, &record).await.unwrap_err();
    assert!(is(&refused, &SealError::Authentication));
}

#[tokio::test]
async fn a_patient_without_a_key_opens_nothing_and_gets_none_by_asking() {
    let ward = Ward::build().await;
    for _ in 0..2 {
        let refused = ward.vault.warm_subject(&ward.tenant, patient(1)).await;
        assert!(is(&refused.err().unwrap(), &SealError::UnknownKey));
    }
}

#[tokio::test]
async fn a_key_is_made_once_and_told_once_by_all_processes() {
    let ward = Ward::build().await;
    let other = ward.another_process().await;
    ward.sink.clear();
    let provision = |vault: &Vault| {
        let (vault, tenant) = (vault.clone(), ward.tenant.clone());
        async move { vault.provision_subject(&tenant, patient(1)).await }
    };
    provision(&ward.vault).await.unwrap();
    provision(&other).await.unwrap();
    provision(&ward.vault).await.unwrap();
    // The tenant's lock, the epoch's key, the patient's.
    assert_eq!(ward.sink.codes(), ["KEY-001", "KEY-001", "KEY-001"]);
    let sealed = ward.seal(1, b"x").await;
    let opened = open_in(&other, &ward.tenant, 1, &sealed).await.unwrap();
    assert_eq!(opened, b"x");
}

#[tokio::test]
async fn a_key_whose_creation_was_not_recorded_is_told_again() {
    let ward = Ward::build().await;
    ward.seal(9, b"x").await;
    ward.sink.clear();
    ward.sink.set_down(true);
    let provision = || ward.vault.provision_subject(&ward.tenant, patient(1));
    assert!(matches!(provision().await, Err(CryptoError::Unaudited(_))));
    ward.sink.set_down(false);
    provision().await.unwrap();
    provision().await.unwrap();
    assert_eq!(ward.sink.codes(), ["KEY-001"]);
}

#[tokio::test]
async fn a_record_put_in_another_patients_place_does_not_unlock() {
    use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction};
    let ward = Ward::build().await;
    ward.seal(1, b"x").await;
    let place = |number| format!("subject/{}", patient(number));
    let record = ward.table.text(&ward.tenant, &place(1)).await.unwrap();
    let partition = Partition::tenant(ward.tenant.tenant(), "encryption");
    let key = Key::new(place(2).into_bytes()).unwrap();
    let tx = Transaction::new().put(key, record.into_bytes());
    ward.table.commit(&partition, tx).await.unwrap();
    let refused = ward.vault.warm_subject(&ward.tenant, patient(2)).await;
    assert!(matches!(refused, Err(CryptoError::Record(_))));
}

#[tokio::test]
async fn turning_the_tenants_keys_touches_nothing_that_a_patients_key_sealed() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let cx = person("clerk");
    let purpose = KeyPurpose::new("subject");
    ward.vault
        .turn_epoch(&cx, ward.scope(), purpose.into())
        .await
        .unwrap();
    ward.vault.rewrap_keys(&cx, ward.scope()).await.unwrap();
    let fresh = ward.another_process().await;
    let opened = open_in(&fresh, &ward.tenant, 1, &sealed).await.unwrap();
    assert_eq!(opened, b"x");
}

#[tokio::test]
async fn a_shredded_patient_closes_every_cipher_of_this_process_and_nobody_elses() {
    let ward = Ward::build().await;
    let (one, two) = (ward.seal(1, b"x").await, ward.seal(2, b"y").await);
    let held = ward
        .vault
        .warm_subject(&ward.tenant, patient(1))
        .await
        .unwrap();
    let other = ward.another_process().await;
    let there = other.warm_subject(&ward.tenant, patient(1)).await.unwrap();
    let receipt = ward.shred(1).await;

    for refused in [
        held.open(&cell(b"r"), &one).err(),
        held.seal(&cell(b"r"), b"z").err(),
    ] {
        assert!(matches!(refused, Some(SealError::Shredded)));
    }
    assert!(is(
        &ward.open(1, &one).await.unwrap_err(),
        &SealError::Shredded
    ));
    let again = ward.vault.provision_subject(&ward.tenant, patient(1)).await;
    assert!(is(&again.unwrap_err(), &SealError::Shredded));
    assert_eq!(ward.open(2, &two).await.unwrap(), b"y");

    // Another process that hears nothing is closed out when the receipt says so.
    let wait = receipt.facts.exposed_until.since(receipt.facts.at);
    assert_eq!(wait, Duration::from_secs(300));
    ward.clock.advance(wait);
    assert!(there.open(&cell(b"r"), &one).is_err());
    let refused = open_in(&other, &ward.tenant, 1, &one).await.unwrap_err();
    assert!(is(&refused, &SealError::Shredded));
}

#[tokio::test]
async fn a_shredded_tenant_closes_its_patients_and_their_epochs_with_it() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let backup = ward.table.backup().await;
    let held = ward
        .vault
        .warm_subject(&ward.tenant, patient(1))
        .await
        .unwrap();
    ward.vault.destroy_scope(ward.scope()).await.unwrap();
    let refused = held.open(&cell(b"r"), &sealed);
    assert!(matches!(refused, Err(SealError::Shredded)));
    assert!(is(
        &ward.open(1, &sealed).await.unwrap_err(),
        &SealError::Shredded
    ));
    assert_eq!(ward.vault.shred_epoch(ward.scope()).await.unwrap(), None);

    ward.table.restore(&backup).await;
    let restored = ward.another_process().await;
    let refused = open_in(&restored, &ward.tenant, 1, &sealed).await;
    assert!(matches!(refused, Err(CryptoError::EpochGone)));
}

#[tokio::test]
async fn a_cipher_from_before_a_rewrap_is_closed_by_a_shred_as_well() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let early = house.vault.warm(&ours).await.unwrap();
    let sealed = early.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    let ours = SealScope::from(&ours);
    house
        .vault
        .rewrap_keys(&person("clerk"), ours)
        .await
        .unwrap();
    house.vault.destroy_scope(ours).await.unwrap();
    let refused = early.open(RECORDS, &cell(b"r"), &sealed);
    assert!(matches!(refused, Err(SealError::Shredded)));
}

#[tokio::test]
async fn a_vault_without_custody_says_that_it_cannot() {
    let house = House::with_tenants(&[&scope(1)]).await;
    let refused = house
        .vault
        .provision_subject(&scope(1), patient(1))
        .await
        .unwrap_err();
    assert!(is(&refused, &SealError::Unsupported));
    let scope = SealScope::from(&scope(1));
    let refused = house
        .vault
        .end_shred_epoch(&person("clerk"), scope)
        .await
        .unwrap_err();
    assert!(is(&refused, &SealError::Unsupported));
}

#[tokio::test]
async fn a_closed_vault_closes_its_patients_ciphers() {
    use eonpro_core::component::Component as _;
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let held = ward
        .vault
        .warm_subject(&ward.tenant, patient(1))
        .await
        .unwrap();
    ward.vault.close().await;
    assert!(matches!(
        held.open(&cell(b"r"), &sealed),
        Err(SealError::Disabled)
    ));
}
