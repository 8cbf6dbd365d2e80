//! Signers that are far away: slow or out of reach, they hold up no append, and nothing is lost.

use std::sync::Arc;

use async_trait::async_trait;
use eonpro_audit::{AuditError, AuditLog as _, EmbeddedAudit, KeyFileSigner, verify};
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::{SignError, Signer};
use futures_util::future::{Either, select};
use tokio::sync::watch;

use crate::house::House;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    There,
    Slow,
    Gone,
}

#[derive(Debug)]
struct Distant {
    inner: KeyFileSigner,
    reach: watch::Sender<Reach>,
}

#[async_trait]
impl Signer for Distant {
    fn public_key(&self) -> [u8; 32] {
        self.inner.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut reach = self.reach.subscribe();
        let now = *reach.wait_for(|reach| *reach != Reach::Slow).await.unwrap();
        match now {
            Reach::Gone => Err(SignError("the test refuses".into())),
            _ => self.inner.sign(message).await,
        }
    }
}

#[async_trait]
impl Component for Distant {
    fn name(&self) -> &'static str {
        "distant"
    }

    fn posture(&self) -> Posture {
        self.inner.posture()
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

async fn opened(house: &House) -> (EmbeddedAudit, Arc<Distant>) {
    let signer = Arc::new(Distant {
        inner: house.signer(),
        reach: watch::Sender::new(Reach::There),
    });
    let mut parts = house.parts();
    parts.signer = signer.clone();
    let audit = EmbeddedAudit::open(&house.log(), parts, house.config.clone()).await;
    (audit.unwrap(), signer)
}

#[tokio::test]
async fn appends_go_on_while_a_signer_takes_its_time() {
    let house = House::new();
    let (audit, signer) = opened(&house).await;
    signer.reach.send_replace(Reach::Slow);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let appending = async {
        for _ in 0..50 {
            audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        }
    };
    let rest = match select(Box::pin(audit.checkpoint()), Box::pin(appending)).await {
        Either::Right(((), rest)) => rest,
        Either::Left((head, _)) => panic!("signed without a signer: {head:?}"),
    };
    signer.reach.send_replace(Reach::There);
    rest.await.unwrap();
    audit.close().await;
    let report = verify(&house.log(), &[house.key()]).unwrap();
    assert_eq!((report.entries, report.unsigned), (52, 0));
}

#[tokio::test]
async fn what_a_signer_did_not_sign_is_signed_later() {
    let house = House::new();
    let (audit, signer) = opened(&house).await;
    signer.reach.send_replace(Reach::Gone);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let refused = audit.checkpoint().await;
    assert!(matches!(refused, Err(AuditError::Sign(_))), "{refused:?}");
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 2);

    let (audit, signer) = opened(&house).await;
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 0);
    // A call that is dropped half way leaves nothing that the next one does not mend.
    audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    signer.reach.send_replace(Reach::Slow);
    let barrier = audit.barrier();
    drop(select(Box::pin(audit.checkpoint()), Box::pin(barrier)).await);
    signer.reach.send_replace(Reach::There);
    audit.checkpoint().await.unwrap();
    audit.close().await;
    let report = verify(&house.log(), &[house.key()]).unwrap();
    assert_eq!((report.entries, report.unsigned), (5, 0));
}
