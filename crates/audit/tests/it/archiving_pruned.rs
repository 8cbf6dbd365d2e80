//! An archive of a log that is pruned.

use std::fs;
use std::sync::Arc;

use eonpro_audit::archive::ArchiveError;
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, Status};
use eonpro_core::port::kv::MemoryKeyValue;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::ages::{Ages, YEAR};
use crate::archiving::{aged, archive, bucket, entries_of, store, tenant, verify};

#[tokio::test]
async fn a_log_that_was_pruned_after_it_was_archived_is_archived_further_from_its_beginning() {
    let ages = Ages::new();
    let house = &ages.house;
    let log = aged(&ages).await;
    let before = archive(house, &log, store(house)).await;
    before.run_with_tail().await.unwrap();
    assert_eq!(ages.prune(&log).await.unwrap().entries, 256);
    log.close().await;

    let log = Arc::new(house.open().await);
    ages.views(&log, 1, 300).await;
    let after = archive(house, &log, store(house)).await;
    after.run_with_tail().await.unwrap();
    assert_eq!(after.archived(&tenant(1)), 512);
    log.close().await;
    assert!(verify(house, &[]).await.unwrap().entries > 620);
    assert!(!house.alerts.codes().contains(&"AUD-006"));
}

#[tokio::test]
async fn an_archive_that_stood_in_a_segment_that_was_pruned_since_reads_it_anew() {
    let mut ages = Ages::new();
    ages.house.config.segment_bytes = 512 * 1024;
    let house = &ages.house;
    let log = Arc::new(house.open().await);
    ages.views(&log, 1, 300).await;
    let archive = archive(house, &log, store(house)).await;
    archive.run_with_tail().await.unwrap();
    ages.time.advance(6 * YEAR);
    for _ in 0..12 {
        ages.views(&log, 3, 100).await;
    }
    let done = ages.prune(&log).await.unwrap();
    assert_eq!((done.entries, done.segments), (256, 1));

    let first = archive.run_with_tail().await;
    assert!(
        matches!(first, Err(ArchiveError::Moved { .. })),
        "{first:?}"
    );
    assert_eq!(first.unwrap_err().status(), Status::Temporary);
    archive.run_with_tail().await.unwrap();
    assert!(verify(house, &[]).await.is_ok());
    assert_eq!(entries_of(house, &log, "AUD-006").await.len(), 0);
    log.close().await;
}

#[tokio::test]
async fn what_was_archived_before_it_was_pruned_is_found_again_and_the_rest_is_left_out() {
    let mut ages = Ages::new();
    let log = aged(&ages).await;
    let before = archive(&ages.house, &log, store(&ages.house)).await;
    before.run_with_tail().await.unwrap();
    assert_eq!(ages.prune(&log).await.unwrap().entries, 256);
    before.start_over().await.unwrap();
    let done = before.run_with_tail().await.unwrap();
    assert!(done.objects > 4, "{done:?}");
    assert_eq!(before.archived(&tenant(1)), 256);
    verify(&ages.house, &[]).await.unwrap();

    // Another bundle in its place is none of ours.
    let bundle = bucket(&ages.house).join(format!("{}/tile/entries/000", tenant(1)));
    let good = fs::read(&bundle).unwrap();
    let mut other = good.clone();
    other[100] ^= 1;
    fs::write(&bundle, other).unwrap();
    before.start_over().await.unwrap();
    let changed = before.run().await;
    assert!(
        matches!(changed, Err(ArchiveError::Changed(_))),
        "{changed:?}"
    );
    assert_eq!(entries_of(&ages.house, &log, "AUD-006").await.len(), 1);
    fs::write(&bundle, good).unwrap();

    // An archive that begins only now has no more of it, and says so, to another process as well.
    let fresh: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    ages.house.state = Arc::new(MemoryKeyValue::new(Arc::clone(&ages.house.clock)));
    ages.views(&log, 1, 300).await;
    for _ in 0..2 {
        let late = archive(&ages.house, &log, fresh.clone()).await;
        late.run_with_tail().await.unwrap();
        assert_eq!(late.archived(&tenant(1)), 0);
        ages.views(&log, 1, 300).await;
    }
    log.close().await;
}
