//! What a crash leaves is recovered; nothing acknowledged is lost by it.

use std::fs;

use eonpro_audit::{AuditLog as _, LogId, VerifyError, verify};
use eonpro_core::component::Component as _;
use eonpro_testkit::tenant_id;

use crate::house::House;

#[tokio::test]
async fn a_log_that_was_never_closed_opens_with_every_acknowledged_entry() {
    let house = House::new();
    let audit = house.open().await;
    let receipt = audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    // As a crash would: no close, no checkpoint. The lock goes with the copy.
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&house.log(), copy.path());
    drop(audit);

    let report = verify(copy.path(), &[house.key()]).unwrap();
    // The first entry of the system log was signed when the log was opened.
    assert_eq!((report.entries, report.unsigned), (2, 1));
    let mut other = House::new();
    fs::copy(
        house.dir.path().join("audit.key"),
        other.dir.path().join("audit.key"),
    )
    .unwrap();
    copy_tree(copy.path(), &other.log());
    other.clock = house.clock.clone();
    let audit = other.open().await;
    let views = audit
        .read(&other.system(), &receipt.log, 0..9)
        .await
        .unwrap();
    assert_eq!(views[0].leaf(), receipt.leaf);
    audit.close().await;
    assert_eq!(verify(&other.log(), &[house.key()]).unwrap().unsigned, 0);
}

#[tokio::test]
async fn a_torn_tail_is_dropped_kept_aside_and_on_record_wherever_it_was_torn() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    let clean = tempfile::tempdir().unwrap();
    copy_tree(&house.log(), clean.path());
    let name = "wal/0000000001.wal";
    let end = trimmed(&clean.path().join(name)).len();

    // One more batch that no checkpoint covers, torn at many places.
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.barrier().await.unwrap();
    let whole = trimmed(&house.log().join(name));
    drop(audit);
    for cut in (end + 8..whole.len() - 8).step_by(59) {
        let other = House::new();
        fs::copy(
            house.dir.path().join("audit.key"),
            other.dir.path().join("audit.key"),
        )
        .unwrap();
        copy_tree(clean.path(), &other.log());
        let mut torn = whole[..cut].to_vec();
        torn.resize(whole.len() + 4_096, 0);
        fs::write(other.log().join(name), torn).unwrap();
        let before = verify(&other.log(), &[house.key()]);
        let audit = other.open().await;
        let views = audit
            .read(&other.system(), &LogId::System, 0..9)
            .await
            .unwrap();
        let codes: Vec<String> = views
            .iter()
            .map(|view| view.entry().unwrap().code)
            .collect();
        let own = LogId::Tenant(tenant_id(1));
        let kept = audit.read(&other.system(), &own, 0..9).await.unwrap();
        assert!(!kept.is_empty(), "cut at {cut}");
        match before {
            Err(VerifyError::Unfinished { .. }) => {
                assert!(
                    codes.contains(&"AUD-011".to_owned()),
                    "cut at {cut}: {codes:?}"
                );
                assert_eq!(fs::read_dir(other.log().join("torn")).unwrap().count(), 1);
            }
            // The cut fell between two batches.
            Ok(_) => assert!(!codes.contains(&"AUD-011".to_owned()), "cut at {cut}"),
            Err(error) => panic!("cut at {cut}: {error}"),
        }
        audit.close().await;
        verify(&other.log(), &[house.key()]).unwrap();
    }
}

/// Files that say which inode they are show whether they were written anew.
#[cfg(unix)]
#[tokio::test]
async fn unsigned_entries_are_copied_and_synced_before_anybody_builds_on_them() {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |house: &House| {
        let path = house.log().join("wal/0000000001.wal");
        fs::metadata(path).unwrap().ino()
    };
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;
    let signed = inode(&house);
    let audit = house.open().await;
    assert_eq!(inode(&house), signed);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    drop(audit);
    let audit = open_soon(&house).await;
    assert_ne!(inode(&house), signed);
    let log = LogId::Tenant(tenant_id(1));
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 0);
    let kept = audit.read(&house.system(), &log, 0..9).await.unwrap();
    assert_eq!(kept.len(), 2);
}

/// Opens the log as soon as the writer of a dropped one has given its lock back.
async fn open_soon(house: &House) -> eonpro_audit::EmbeddedAudit {
    loop {
        match house.try_open().await {
            Err(eonpro_audit::AuditError::Locked) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_directory_is_closed_to_others_also_if_it_was_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new();
    fs::create_dir(house.log()).unwrap();
    fs::set_permissions(house.log(), fs::Permissions::from_mode(0o755)).unwrap();
    house.open().await.close().await;
    for path in [house.log(), house.log().join("wal")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[tokio::test]
async fn heads_in_a_batch_that_was_torn_do_not_count_as_signed() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let head = fs::read(house.log().join("checkpoint")).unwrap();
    audit.checkpoint().await.unwrap();
    let (path, torn) = (house.log().join("wal/0000000001.wal"), house.log());
    let mut bytes = trimmed(&path);
    drop(audit);
    // The batch of the heads lost its end, and so the directory's head was never stored or written.
    let end = bytes.len();
    bytes[end - 16..].fill(0);
    fs::write(&path, bytes).unwrap();
    fs::write(torn.join("checkpoint"), head).unwrap();
    eonpro_audit::forget_head(&*house.state).await.unwrap();
    let audit = open_soon(&house).await;
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 0);
    audit.close().await;
}

#[tokio::test]
async fn leftovers_of_a_cut_short_creation_are_removed() {
    let house = House::new();
    house.open().await.close().await;
    let left = house.log().join("wal/0000000002.wal.tmp");
    fs::write(&left, b"half").unwrap();
    assert!(verify(&house.log(), &[house.key()]).is_ok());
    house.open().await.close().await;
    assert!(!left.exists());
}

#[tokio::test]
async fn an_empty_directory_becomes_a_log_and_an_absent_one_has_none() {
    let house = House::new();
    assert!(matches!(
        verify(&house.log(), &[house.key()]),
        Err(VerifyError::NoLog)
    ));
    house.open().await.close().await;
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().entries, 1);
}

/// The bytes of a segment without the zeros behind them.
fn trimmed(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end.next_multiple_of(8));
    bytes
}

pub(crate) fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
