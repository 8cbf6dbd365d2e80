//! Full disks, short writes, late syncs, and a spool whose disk fails.

use std::collections::BTreeSet;
use std::fs;

use eonpro_core::task;
use eonpro_testkit::tenant_id;

use super::tests::Bed;
use super::*;

/// The events in the log of tenant 1, after the log was closed and opened again.
async fn found(bed: &Bed) -> BTreeSet<String> {
    let audit = bed.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let views = audit.read(&bed.cx(), &log, 0..u64::MAX).await.unwrap();
    audit.close().await;
    bed.verified();
    let ids = views.iter().map(|view| view.entry().unwrap().id);
    let distinct: BTreeSet<String> = ids.collect();
    assert_eq!(distinct.len(), views.len(), "an entry is there twice");
    distinct
}

fn segments(bed: &Bed) -> usize {
    fs::read_dir(bed.log().join("wal")).unwrap().count()
}

#[tokio::test]
async fn a_full_disk_refuses_clearly_keeps_what_it_took_and_goes_on_when_there_is_room() {
    let mut bed = Bed::new();
    bed.config.segment_bytes = 24 * 1024;
    bed.config.fill_bytes = 4 * 1024;
    let audit = bed.open().await;
    let (mut taken, mut refused) = (BTreeSet::new(), 0);
    for _ in 0..4 {
        // Room for a part of a segment, and not for whole writes.
        *bed.plan.room.lock().unwrap() = Some(17_000);
        for _ in 0..60 {
            let event = bed.viewed();
            match audit.append(&bed.cx(), &event).await {
                Ok(_) => assert!(taken.insert(event.id().to_string())),
                Err(error @ AuditError::NoRoom(_)) => {
                    assert_eq!(error.written(), Written::No);
                    refused += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        let full = segments(&bed);
        // Nothing but the log's own tries comes of more of them.
        for _ in 0..20 {
            audit.append(&bed.cx(), &bed.viewed()).await.unwrap_err();
        }
        assert!(segments(&bed) <= full + 1);
        *bed.plan.room.lock().unwrap() = None;
        let event = bed.viewed();
        audit.append(&bed.cx(), &event).await.unwrap();
        taken.insert(event.id().to_string());
    }
    assert!(
        refused > 40 && taken.len() > 40,
        "{refused} {}",
        taken.len()
    );
    audit.close().await;
    assert_eq!(found(&bed).await, taken);
}

#[tokio::test]
async fn zeros_that_cannot_be_synced_do_not_multiply_segments() {
    let bed = Bed::new();
    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    let before = segments(&bed);
    let mut refused = 0_u64;
    for _ in 0..60 {
        // The next sync of zeros fails; later a segment is created before it.
        bed.plan
            .fill
            .store(i64::from(refused > 0), Ordering::SeqCst);
        let appended = audit.append(&bed.cx(), &bed.viewed()).await;
        refused += u64::from(matches!(appended, Err(AuditError::NoRoom(_))));
    }
    bed.plan.fill.store(-1, Ordering::SeqCst);
    assert!(refused > 10, "{refused}");
    assert!(segments(&bed) <= before + 1, "{}", segments(&bed));
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    audit.close().await;
    bed.verified();
}

#[tokio::test]
async fn writes_that_take_a_few_bytes_at_a_time_are_finished() {
    let bed = Bed::new();
    bed.plan.short.store(7, Ordering::SeqCst);
    let audit = bed.open().await;
    let event = bed.viewed();
    audit.append(&bed.cx(), &event).await.unwrap();
    audit.close().await;
    assert_eq!(found(&bed).await, BTreeSet::from([event.id().to_string()]));
}

#[tokio::test]
async fn a_spool_that_fails_says_whether_the_entry_may_come_up_later() {
    let bed = Bed::new();
    let audit = bed.open().await;
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    bed.plan.dead.store(true, Ordering::SeqCst);
    audit.append(&bed.cx(), &bed.viewed()).await.unwrap_err();
    let first = bed.logout();
    audit.emit(&bed.cx(), &first).await.unwrap();

    // The sync fails, and the spool is cut back to what it was.
    bed.plan.spool.store(0, Ordering::SeqCst);
    let certain = bed.logout();
    let refused = audit.emit(&bed.cx(), &certain).await;
    assert!(
        matches!(refused, Err(EmitError::NotWritten(_))),
        "{refused:?}"
    );
    let second = bed.logout();
    audit.emit(&bed.cx(), &second).await.unwrap();

    // It cannot be cut back either.
    bed.plan.spool_dead.store(true, Ordering::SeqCst);
    let doubtful = bed.logout();
    let unknown = audit.emit(&bed.cx(), &doubtful).await;
    assert!(matches!(unknown, Err(EmitError::Unknown(_))), "{unknown:?}");
    bed.plan.spool_dead.store(false, Ordering::SeqCst);
    let third = bed.logout();
    audit.emit(&bed.cx(), &third).await.unwrap();
    bed.plan.dead.store(false, Ordering::SeqCst);
    audit.close().await;
    let found = found(&bed).await;
    for event in [first, second, third] {
        assert!(found.contains(&event.id().to_string()));
    }
    assert!(!found.contains(&certain.id().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_before_a_late_sync_returns() {
    let bed = Bed::new();
    let audit = Arc::new(bed.open().await);
    bed.plan.slow();
    let before = bed.plan.at_gate.load(Ordering::SeqCst);
    let (other, cx, event) = (Arc::clone(&audit), bed.cx(), bed.viewed());
    let appending = task::start(async move { other.append(&cx, &event).await });
    while bed.plan.at_gate.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    assert!(!appending.is_finished());
    assert_eq!(audit.stats().entries, 1);
    bed.plan.allow(1 << 40);
    appending.await.unwrap().unwrap();
    assert_eq!(audit.stats().entries, 2);
    audit.close().await;
}
