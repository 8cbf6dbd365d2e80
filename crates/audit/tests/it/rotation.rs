//! A new signing key, and verifiers that know another one of the row.

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, KeyFileSigner, LogId, VerifyingKey, claimed_keys,
    followed_keys, prove, publish, verify, verify_anchored,
};
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::{SignError, Signer};

use crate::house::House;

fn signer(house: &House, name: &str) -> Arc<KeyFileSigner> {
    let path = house.dir.path().join(name);
    Arc::new(KeyFileSigner::open_or_create(&path).unwrap())
}

fn public(signer: &KeyFileSigner) -> VerifyingKey {
    VerifyingKey::from_bytes(signer.public_key())
}

/// Makes the key in the file `name` the house's own.
fn move_in(house: &House, name: &str) {
    fs::rename(
        house.dir.path().join(name),
        house.dir.path().join("audit.key"),
    )
    .unwrap();
}

/// A log that three keys signed, one after the other, and these keys.
async fn rotated_twice(house: &House) -> [VerifyingKey; 3] {
    let first = house.key();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let next = signer(house, "second");
    let second = public(&next);
    audit.rotate_key(&house.system(), next).await.unwrap();
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    move_in(house, "second");

    let audit = house.open().await;
    let next = signer(house, "third");
    let third = public(&next);
    audit.rotate_key(&house.system(), next).await.unwrap();
    audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    audit.close().await;
    move_in(house, "third");
    // Opened by its own key alone, without a word about the others.
    house.open().await.close().await;
    [first, second, third]
}

#[tokio::test]
async fn whoever_trusts_one_key_of_the_row_follows_to_all() {
    let house = House::new();
    let keys = rotated_twice(&house).await;
    for known in keys {
        let report = verify(&house.log(), &[known]).unwrap();
        assert_eq!((report.entries, report.unsigned), (6, 0));
        assert_eq!(followed_keys(&house.log(), &[known]).unwrap(), keys);
    }
    assert_eq!(claimed_keys(&house.log()).unwrap(), keys);
    assert!(verify(&house.log(), &keys).is_ok());
    assert!(verify(&house.log(), &[House::new().key()]).is_err());
}

#[tokio::test]
async fn an_anchor_of_a_retired_key_still_anchors() {
    let house = House::new();
    let audit = house.open().await;
    let old = house.key();
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    let anchor = fs::read_to_string(house.log().join("checkpoint")).unwrap();
    audit
        .rotate_key(&house.system(), signer(&house, "second"))
        .await
        .unwrap();
    audit.close().await;
    let keys = followed_keys(&house.log(), &[old]).unwrap();
    let anchor = Checkpoint::open(&anchor, &keys).unwrap();
    verify_anchored(&house.log(), &[old], &[anchor]).unwrap();
}

#[tokio::test]
async fn a_rotated_log_is_published_and_proves_its_entries() {
    let house = House::new();
    let keys = rotated_twice(&house).await;
    let to = house.dir.path().join("public");
    publish(&house.log(), &keys[..1], &to).unwrap();
    publish(&house.log(), &keys[2..], &to).unwrap();
    for index in 0..2 {
        let log = LogId::Tenant(eonpro_testkit::tenant_id(1));
        prove(&to, &keys, log, index).unwrap();
    }
}

#[tokio::test]
async fn a_key_that_has_handed_over_opens_the_log_no_more_and_never_comes_back() {
    let house = House::new();
    let audit = house.open().await;
    let second = signer(&house, "second");
    audit
        .rotate_key(&house.system(), second.clone())
        .await
        .unwrap();
    for used in [second, Arc::new(house.signer())] {
        let refused = audit.rotate_key(&house.system(), used).await;
        assert!(matches!(refused, Err(AuditError::Config(_))), "{refused:?}");
    }
    let by_a_tenant = audit
        .rotate_key(&house.cx(1), signer(&house, "third"))
        .await;
    assert!(matches!(by_a_tenant, Err(AuditError::Denied)));
    audit.close().await;
    let refused = house.try_open().await;
    assert!(matches!(refused, Err(AuditError::Config(_))), "{refused:?}");
    move_in(&house, "second");
    house.open().await.close().await;
}

#[tokio::test]
async fn without_the_old_key_s_word_a_new_key_is_trusted_only_where_somebody_says_so() {
    let mut house = House::new();
    house.open().await.close().await;
    let old = house.key();
    signer(&house, "second");
    move_in(&house, "second");
    assert!(house.try_open().await.is_err());
    house.config.previous_keys = vec![old];
    house.open().await.close().await;
    for key in [old, house.key()] {
        assert!(verify(&house.log(), &[key]).is_err());
    }
    assert!(verify(&house.log(), &[old, house.key()]).is_ok());
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_rotation_leaves_a_log_of_the_new_key() {
    let house = House::new();
    let audit = house.open().await;
    let old = house.key();
    let before = ["checkpoint", "keys"].map(|name| {
        let path = house.log().join(name);
        (path.clone(), fs::read(path).unwrap())
    });
    let next = signer(&house, "second");
    audit.rotate_key(&house.system(), next).await.unwrap();
    audit.close().await;
    // As if only the leaf had been written: neither the head that the new key signed, nor its name.
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    eonpro_audit::forget_head(&*house.state).await.unwrap();
    assert!(matches!(house.try_open().await, Err(AuditError::Config(_))));
    move_in(&house, "second");
    house.open().await.close().await;
    for key in [old, house.key()] {
        assert_eq!(verify(&house.log(), &[key]).unwrap().unsigned, 0);
    }
}

/// A signer that is out of reach, or signs something else.
#[derive(Debug)]
struct Bad {
    inner: KeyFileSigner,
    reachable: bool,
}

#[async_trait]
impl Signer for Bad {
    fn public_key(&self) -> [u8; 32] {
        self.inner.public_key()
    }

    async fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignError> {
        match self.reachable {
            true => self.inner.sign(b"something else").await,
            false => Err(SignError("the test refuses".into())),
        }
    }
}

#[async_trait]
impl Component for Bad {
    fn name(&self) -> &'static str {
        "bad"
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_new_key_that_does_not_sign_changes_nothing() {
    for reachable in [true, false] {
        let house = House::new();
        let audit = house.open().await;
        let inner = KeyFileSigner::open_or_create(&house.dir.path().join("bad")).unwrap();
        let bad = Arc::new(Bad { inner, reachable });
        let refused = audit.rotate_key(&house.system(), bad).await;
        assert!(matches!(refused, Err(AuditError::Sign(_))), "{refused:?}");
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        audit.close().await;
        assert_eq!(claimed_keys(&house.log()).unwrap(), [house.key()]);
        assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 0);
    }
}
