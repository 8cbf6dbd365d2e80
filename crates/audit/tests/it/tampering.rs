//! Whatever is changed on disk is named, and nothing that was not changed is accused.

use std::fs;
use std::path::{Path, PathBuf};

use eonpro_audit::{AuditError, AuditLog as _, LogId, Place, VerifyError, verify};
use eonpro_core::component::{Component as _, Health};
use eonpro_testkit::tenant_id;

use crate::house::House;

const SEGMENT: &str = "wal/0000000001.wal";

/// A closed log with three entries for each of two tenants.
async fn written() -> House {
    let house = House::new();
    let audit = house.open().await;
    for _ in 0..3 {
        for number in [1, 2] {
            audit
                .append(&house.cx(number), &house.viewed())
                .await
                .unwrap();
        }
    }
    audit.close().await;
    house
}

fn segment(house: &House) -> PathBuf {
    house.log().join(SEGMENT)
}

/// The end of what was written in the file.
fn end(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn position(bytes: &[u8], needle: &[u8], nth: usize) -> usize {
    let found = bytes.windows(needle.len()).enumerate();
    let mut found = found.filter(|(_, window)| *window == needle);
    found.nth(nth).unwrap().0
}

#[tokio::test]
async fn a_flipped_byte_in_an_entry_is_named_by_log_and_index() {
    let house = written().await;
    let path = segment(&house);
    let clean = fs::read(&path).unwrap();
    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(2));
    let views = audit.read(&house.system(), &log, 0..9).await.unwrap();
    audit.close().await;
    let clean_after = fs::read(&path).unwrap();
    for (index, view) in (0..).zip(&views) {
        let mut bad = clean_after.clone();
        let at = position(&clean, &view.bytes, 0) + view.bytes.len() / 2;
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let error = verify(&house.log(), &[house.key()]).unwrap_err();
        assert!(matches!(error, VerifyError::Tampered { .. }));
        assert_eq!(error.place(), Some(&Place::Entry { log, index }));
        assert_eq!(
            error.place().unwrap().to_string(),
            format!("eonpro/audit/{}#{index}", tenant_id(2))
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
    fs::write(&path, &clean_after).unwrap();
    verify(&house.log(), &[house.key()]).unwrap();
}

#[tokio::test]
async fn every_flipped_byte_of_a_signed_log_is_found() {
    let house = written().await;
    for name in [SEGMENT, "checkpoint", "keys"] {
        let path = house.log().join(name);
        let clean = fs::read(&path).unwrap();
        for at in (0..end(&path)).step_by(3) {
            let mut bad = clean.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let found = verify(&house.log(), &[house.key()]);
            assert!(
                matches!(found, Err(VerifyError::Tampered { .. })),
                "{name} at {at}: {found:?}"
            );
        }
        fs::write(&path, &clean).unwrap();
        verify(&house.log(), &[house.key()]).unwrap();
    }
}

#[tokio::test]
async fn a_signed_log_that_was_cut_is_named_wherever_it_was_cut() {
    let house = written().await;
    let path = segment(&house);
    let clean = fs::read(&path).unwrap();
    for cut in (128..end(&path)).step_by(61) {
        for zeroed in [false, true] {
            let mut bad = clean[..cut].to_vec();
            if zeroed {
                bad.resize(clean.len(), 0);
            }
            fs::write(&path, &bad).unwrap();
            let found = verify(&house.log(), &[house.key()]);
            assert!(
                matches!(found, Err(VerifyError::Tampered { .. })),
                "cut at {cut}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_does_not_belong_is_named() {
    let mut house = House::new();
    house.config.segment_bytes = 4 * 1024;
    house.config.fill_bytes = 1024;
    let audit = house.open().await;
    for _ in 0..30 {
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    }
    audit.close().await;
    let files: Vec<PathBuf> = fs::read_dir(house.log().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() > 3);
    for path in &files {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let found = verify(&house.log(), &[house.key()]);
        assert!(found.is_err(), "without {path:?}: {found:?}");
        assert!(house.try_open().await.is_err(), "without {path:?}");
        fs::write(path, bytes).unwrap();
    }
    let stray = house.log().join("wal/notes.txt");
    fs::write(&stray, b"").unwrap();
    assert!(verify(&house.log(), &[house.key()]).is_err());
    fs::remove_file(stray).unwrap();
    verify(&house.log(), &[house.key()]).unwrap();
}

#[tokio::test]
async fn signed_entries_cannot_be_made_unsigned_by_taking_the_signed_head_away() {
    let house = written().await;
    let path = segment(&house);
    let clean = fs::read(&path).unwrap();
    fs::remove_file(house.log().join("checkpoint")).unwrap();
    for cut in [end(&path), end(&path) / 2, 128] {
        let mut bad = clean[..cut].to_vec();
        bad.resize(clean.len(), 0);
        fs::write(&path, &bad).unwrap();
        let error = verify(&house.log(), &[house.key()]).unwrap_err();
        assert_eq!(error.place().unwrap().to_string(), "checkpoint@0");
        assert!(matches!(
            house.try_open().await,
            Err(AuditError::Corrupt(_))
        ));
    }
}

#[tokio::test]
async fn a_log_rewritten_under_another_key_does_not_verify_and_under_the_same_key_differs() {
    let (house, forger) = (written().await, written().await);
    assert!(verify(&forger.log(), &[house.key()]).is_err());
    // Only a head that was kept elsewhere tells two histories of one key apart.
    let kept = verify(&house.log(), &[house.key()]).unwrap();
    let other = verify(&forger.log(), &[forger.key()]).unwrap();
    assert_eq!(kept.directory.size, other.directory.size);
    assert_ne!(kept.directory.root, other.directory.root);
}

#[tokio::test]
async fn damage_found_while_signing_is_on_record_and_alerts() {
    let house = House::new();
    let audit = house.open().await;
    let receipt = audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let views = audit.read(&house.system(), &receipt.log, 0..1).await;
    let leaf = views.unwrap().remove(0).bytes;
    let path = segment(&house);
    let mut bytes = fs::read(&path).unwrap();
    let at = position(&bytes, &leaf, 0) + leaf.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let error = audit.checkpoint().await.unwrap_err();
    assert!(matches!(error, AuditError::Corrupt(_)), "{error}");
    assert!(matches!(audit.health().await, Health::Unhealthy(_)));
    let system = audit.read(&house.system(), &LogId::System, 0..9).await;
    // The alert itself may be on record behind it already.
    let mut recorded = system.unwrap().into_iter();
    assert!(recorded.any(|view| view.entry().unwrap().code == "AUD-006"));
    audit.close().await;
    assert!(house.alerts.codes().contains(&"AUD-006"));
}
