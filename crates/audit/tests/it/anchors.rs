//! What a head that was kept elsewhere shows: that the log is still the one it was.

use std::fs;

use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, Fault, LogId, Report, Unanchored, VerifyError,
    claimed_keys, forget_head, verify, verify_anchored,
};
use eonpro_core::component::Component as _;
use eonpro_testkit::tenant_id;

use crate::house::{House, copy};

const ONE: u128 = 1;

async fn append(house: &House, entries: usize) {
    let audit = house.open().await;
    for _ in 0..entries {
        let appended = audit.append(&house.cx(ONE), &house.viewed()).await;
        appended.unwrap();
    }
    audit.close().await;
}

/// The head of the directory log, as somebody else would keep it.
fn head(house: &House) -> Checkpoint {
    let note = fs::read_to_string(house.log().join("checkpoint")).unwrap();
    Checkpoint::open(&note, &[house.key()]).unwrap()
}

fn check(house: &House, anchors: &[Checkpoint]) -> Result<Report, VerifyError> {
    verify_anchored(&house.log(), &[house.key()], anchors)
}

fn fault(found: Result<Report, VerifyError>) -> (String, Fault) {
    match found {
        Err(VerifyError::Tampered { place, fault }) => (place.to_string(), fault),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_anchor_covers_what_was_signed_before_it_and_the_rest_is_named() {
    let house = House::new();
    append(&house, 3).await;
    let anchor = head(&house);
    let all = check(&house, &[anchor]).unwrap();
    assert_eq!(all.unanchored, []);
    append(&house, 2).await;

    let report = check(&house, &[anchor]).unwrap();
    let log = LogId::Tenant(tenant_id(ONE));
    let rest = |log, indexes| Unanchored { log, indexes };
    assert!(report.unanchored.contains(&rest(log, 3..5)));
    let bare = verify(&house.log(), &[house.key()]).unwrap();
    assert!(bare.unanchored.contains(&rest(log, 0..5)));
    assert_eq!(bare.checkpoints, report.checkpoints);
    // The head of a single log covers that log alone.
    let single = report.heads.iter().find(|head| head.log == log).unwrap();
    let report = check(&house, &[*single]).unwrap();
    assert!(report.unanchored.iter().all(|some| some.log != log));
    assert!(!report.unanchored.is_empty());
}

#[tokio::test]
async fn a_log_rewritten_with_its_own_key_differs_from_the_anchor_and_from_nothing_else() {
    let house = House::new();
    append(&house, 3).await;
    let anchor = head(&house);
    fs::remove_dir_all(house.log()).unwrap();
    forget_head(&*house.state).await.unwrap();
    append(&house, 3).await;

    check(&house, &[]).unwrap();
    let (place, fault) = fault(check(&house, &[anchor]));
    assert_eq!(fault, Fault::Anchor);
    assert!(place.starts_with("eonpro/audit/directory#"), "{place}");
}

#[tokio::test]
async fn a_log_put_back_to_an_older_state_ends_before_its_anchor() {
    let house = House::new();
    append(&house, 3).await;
    let old = house.dir.path().join("old");
    copy(&house.log(), &old);
    append(&house, 1).await;
    let anchor = head(&house);
    fs::remove_dir_all(house.log()).unwrap();
    copy(&old, &house.log());

    check(&house, &[]).unwrap();
    assert_eq!(fault(check(&house, &[anchor])).1, Fault::Missing);
}

#[tokio::test]
async fn an_anchor_of_nothing_fits_every_log_and_a_false_one_fits_none() {
    let house = House::new();
    append(&house, 1).await;
    let anchor = head(&house);
    let other = Checkpoint {
        root: eonpro_core::event::Digest::of(b"another"),
        ..anchor
    };
    let empty = Checkpoint {
        size: 0,
        root: eonpro_core::event::Digest::of(b""),
        ..anchor
    };
    assert!(!check(&house, &[empty]).unwrap().unanchored.is_empty());
    let false_empty = Checkpoint { size: 0, ..other };
    for wrong in [other, false_empty] {
        assert_eq!(fault(check(&house, &[anchor, wrong])).1, Fault::Anchor);
    }
}

#[tokio::test]
async fn the_log_says_whose_signatures_it_carries_and_is_not_believed_against_a_known_key() {
    let house = House::new();
    append(&house, 1).await;
    assert_eq!(claimed_keys(&house.log()).unwrap(), [house.key()]);
    let path = house.log().join("keys");
    let good = fs::read(&path).unwrap();
    let stranger = House::new();
    let other = stranger.key().vkey(&LogId::Directory) + "\n";
    let system = house.key().vkey(&LogId::System) + "\n";
    for bad in [b"".as_slice(), b"\n", other.as_bytes(), system.as_bytes()] {
        fs::write(&path, bad).unwrap();
        assert_eq!(
            fault(check(&house, &[])),
            ("keys@0".to_owned(), Fault::Keys)
        );
        assert!(matches!(
            house.try_open().await,
            Err(AuditError::Corrupt(_))
        ));
        assert_eq!(
            fs::read(&path).unwrap(),
            bad,
            "opening changed the evidence"
        );
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(fault(check(&house, &[])).1, Fault::Keys);
    fs::write(&path, good).unwrap();
    check(&house, &[]).unwrap();
}
