//! An archive holds what the log signed, says what it holds, and is verified without the log.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_audit::archive::{
    Archive, ArchiveConfig, ArchiveError, ArchiveParts, DefaultLock, LockMode, LockProbe,
    ObjectFault, ObjectLock, RequiredLock, local, verify_archive,
};
use eonpro_audit::forget_head;
use eonpro_audit::{AuditLog as _, Checkpoint, EmbeddedAudit, EntryView, LogId, Report};
use eonpro_core::component::Component as _;
use eonpro_core::error::Source;
use eonpro_core::event::Digest;
use eonpro_core::port::NoObserver;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_testkit::tenant_id;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::ages::{Ages, YEAR};
use crate::house::House;
use crate::rotation::{move_in, public, signer};
use crate::stores::{FaultStore, Kind, files};

pub(crate) fn tenant(number: u128) -> LogId {
    LogId::Tenant(tenant_id(number))
}

pub(crate) fn bucket(house: &House) -> PathBuf {
    house.dir.path().join("bucket")
}

pub(crate) fn store(house: &House) -> Arc<dyn ObjectStore> {
    local(&bucket(house)).unwrap()
}

pub(crate) fn parts(
    house: &House,
    log: &Arc<EmbeddedAudit>,
    store: Arc<dyn ObjectStore>,
) -> ArchiveParts {
    ArchiveParts {
        log: Arc::clone(log),
        store,
        state: house.state.clone(),
        clock: Arc::clone(&house.clock),
        observer: Arc::new(NoObserver),
        lock: None,
    }
}

pub(crate) async fn archive(
    house: &House,
    log: &Arc<EmbeddedAudit>,
    store: Arc<dyn ObjectStore>,
) -> Archive {
    let parts = parts(house, log, store);
    Archive::open(parts, ArchiveConfig::default())
        .await
        .unwrap()
}

pub(crate) async fn append(house: &House, log: &EmbeddedAudit, number: u128, entries: usize) {
    let events: Vec<_> = (0..entries).map(|_| house.viewed()).collect();
    log.append_batch(&house.cx(number), &events).await.unwrap();
}

pub(crate) async fn verify(house: &House, anchors: &[Checkpoint]) -> Result<Report, ArchiveError> {
    verify_archive(store(house), "", None, &[house.key()], anchors).await
}

pub(crate) async fn entries_of(house: &House, log: &EmbeddedAudit, code: &str) -> Vec<EntryView> {
    let cx = house.system();
    let mut found = log.read(&cx, &LogId::System, 0..4_096).await.unwrap();
    found.retain(|view| view.entry().unwrap().code == code);
    found
}

#[tokio::test]
async fn an_archive_is_verified_without_the_log() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 600).await;
    append(&house, &log, 2, 1).await;
    let archive = archive(&house, &log, store(&house)).await;
    let done = archive.run_with_tail().await.unwrap();
    let head = log.checkpoint().await.unwrap();
    log.close().await;
    fs::remove_dir_all(house.log()).unwrap();

    let report = verify(&house, &[]).await.unwrap();
    assert_eq!(report.directory.size, done.cut);
    assert_eq!((report.logs, report.entries), (3, 602));
    let size = |number| {
        let mut heads = report.heads.iter();
        heads.find(|head| head.log == tenant(number)).unwrap().size
    };
    assert_eq!((size(1), size(2)), (600, 1));
    assert_eq!(report.unanchored.len(), 3);
    let anchored = verify(&house, &[report.directory]).await.unwrap();
    assert!(anchored.unanchored.is_empty());
    // The receipt of the manifest came after the cut.
    let later = Checkpoint {
        log: LogId::Directory,
        size: head.size,
        root: head.root,
    };
    assert!(matches!(
        verify(&house, &[later]).await,
        Err(ArchiveError::Log(_))
    ));
    let stranger = House::new();
    let other = verify_archive(store(&house), "", None, &[stranger.key()], &[]).await;
    assert!(
        matches!(other, Err(ArchiveError::Checkpoint(_))),
        "{other:?}"
    );
}

#[tokio::test]
async fn full_tiles_go_at_once_and_the_tail_when_it_is_due() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 300).await;
    let archive = archive(&house, &log, store(&house)).await;
    let first = archive.run().await.unwrap();
    assert!(first.cut > 0 && first.pages == 1, "{first:?}");
    assert_eq!(archive.archived(&tenant(1)), 256);
    assert!(archive.is_archived(&tenant(1), 255) && !archive.is_archived(&tenant(1), 256));

    append(&house, &log, 1, 10).await;
    let second = archive.run().await.unwrap();
    assert_eq!((second.objects, second.pages, second.cut), (0, 0, 0));
    append(&house, &log, 1, 300).await;
    let third = archive.run().await.unwrap();
    // One bundle and its tile; what a reader can verify is as before.
    assert_eq!((third.objects, third.cut), (2, 0));
    assert_eq!(archive.archived(&tenant(1)), 512);
    assert_eq!(verify(&house, &[]).await.unwrap().directory.size, first.cut);
    let fourth = archive.run_with_tail().await.unwrap();
    assert_eq!(
        verify(&house, &[]).await.unwrap().directory.size,
        fourth.cut
    );
    log.close().await;
}

#[tokio::test]
async fn an_archive_at_rest_makes_nothing_new() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 3).await;
    let archive = archive(&house, &log, store(&house)).await;
    archive.run_with_tail().await.unwrap();
    let (entries, there) = (log.stats().entries, files(&bucket(&house)));
    for _ in 0..3 {
        let done = archive.run_with_tail().await.unwrap();
        assert_eq!((done.objects, done.pages, done.cut), (0, 0, 0));
    }
    assert_eq!(log.stats().entries, entries);
    assert_eq!(files(&bucket(&house)), there);
    log.close().await;
}

#[tokio::test]
async fn each_page_of_the_manifest_has_its_receipt_in_the_log() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    let archive = archive(&house, &log, store(&house)).await;
    for _ in 0..3 {
        append(&house, &log, 1, 30).await;
        archive.run_with_tail().await.unwrap();
    }
    let pages: Vec<String> = files(&bucket(&house).join("manifest"))
        .values()
        .map(|page| Digest::of(page).to_string())
        .collect();
    assert_eq!(pages.len(), 3);
    let views = entries_of(&house, &log, "AUD-007").await;
    let json: Vec<serde_json::Value> = views
        .iter()
        .map(|view| serde_json::from_slice(&view.bytes).unwrap())
        .collect();
    let receipts: Vec<&str> = json
        .iter()
        .map(|entry| entry["fields"]["receipt"].as_str().unwrap())
        .collect();
    assert_eq!(receipts, pages);
    assert!(json.iter().all(|entry| entry["fields"]["anchor"] == "worm"));
    // Every object but the last page is listed, with its digest.
    let listed: String = files(&bucket(&house).join("manifest"))
        .into_values()
        .map(|page| String::from_utf8(page).unwrap())
        .collect();
    for (name, bytes) in files(&bucket(&house)) {
        let last = name.ends_with("00000000000000000002") && name.starts_with("manifest");
        if last || name == "archive" {
            continue;
        }
        let digest = Digest::of(&bytes).to_string();
        assert!(listed.contains(&name) && listed.contains(&digest), "{name}");
    }
    log.close().await;
}

#[tokio::test]
async fn a_name_that_is_taken_by_other_bytes_stops_the_archive_and_is_an_alert() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 300).await;
    let archive = archive(&house, &log, store(&house)).await;
    let planted = bucket(&house).join(format!("{}/tile/entries/000", tenant(1)));
    fs::create_dir_all(planted.parent().unwrap()).unwrap();
    fs::write(&planted, b"planted").unwrap();
    for _ in 0..2 {
        match archive.run().await {
            Err(ArchiveError::Conflict { key, found, .. }) => {
                assert!(key.ends_with("tile/entries/000"), "{key}");
                assert_eq!(found, Digest::of(b"planted"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&planted).unwrap(), b"planted");
        assert_eq!(archive.archived(&tenant(1)), 0);
    }
    fs::remove_file(&planted).unwrap();
    archive.run().await.unwrap();
    verify(&house, &[]).await.unwrap();
    assert_eq!(entries_of(&house, &log, "AUD-006").await.len(), 2);
    log.close().await;
    assert_eq!(house.alerts.codes(), ["AUD-006", "AUD-006"]);
}

#[tokio::test]
async fn an_archive_goes_on_where_another_process_left_it() {
    let house = House::new();
    let mut first = None;
    for round in 0..3 {
        let log = Arc::new(house.open().await);
        append(&house, &log, 1, 300).await;
        let counting = FaultStore::new(store(&house), Kind::Before);
        let archive = archive(&house, &log, counting.clone()).await;
        let before = counting.puts();
        let done = archive.run_with_tail().await.unwrap();
        // Each object and page is offered once.
        assert_eq!(
            counting.puts() - before,
            done.objects + done.pages,
            "{round}"
        );
        first.get_or_insert(done.objects);
        log.close().await;
        verify(&house, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_cursor_is_found_again_and_nothing_is_written_over() {
    let mut house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 600).await;
    let before = archive(&house, &log, store(&house)).await;
    before.run_with_tail().await.unwrap();
    let there = files(&bucket(&house));
    house.state = Arc::new(MemoryKeyValue::new(Arc::clone(&house.clock)));
    let after = archive(&house, &log, store(&house)).await;
    let done = after.run_with_tail().await.unwrap();
    assert!(done.objects > 4, "{done:?}");
    let now = files(&bucket(&house));
    for (name, bytes) in &there {
        assert_eq!(now.get(name), Some(bytes), "{name}");
    }
    assert_eq!(archive_pages(&now), 2);
    verify(&house, &[]).await.unwrap();
    assert!(
        after
            .check_sample(u64::MAX, 1)
            .await
            .unwrap()
            .findings
            .is_empty()
    );
    log.close().await;
}

fn archive_pages(files: &std::collections::BTreeMap<String, Vec<u8>>) -> usize {
    files
        .keys()
        .filter(|name| name.starts_with("manifest/"))
        .count()
}

#[tokio::test]
async fn another_log_is_not_archived_over_one_that_is() {
    for entries in [1, 700] {
        let house = House::new();
        let log = Arc::new(house.open().await);
        append(&house, &log, 1, 300).await;
        log.checkpoint().await.unwrap();
        append(&house, &log, 1, 1).await;
        let archiving = archive(&house, &log, store(&house)).await;
        archiving.run_with_tail().await.unwrap();
        drop(archiving);
        log.close().await;
        let there = files(&bucket(&house));
        fs::remove_dir_all(house.log()).unwrap();
        forget_head(&*house.state).await.unwrap();

        let log = Arc::new(house.open().await);
        for _ in 0..entries {
            append(&house, &log, 1, 1).await;
            if entries > 1 && log.stats().entries % 100 == 0 {
                log.checkpoint().await.unwrap();
            }
        }
        let archive = archive(&house, &log, store(&house)).await;
        let done = archive.run().await;
        assert!(matches!(done, Err(ArchiveError::OtherLog)), "{done:?}");
        assert_eq!(files(&bucket(&house)), there);
        assert_eq!(entries_of(&house, &log, "AUD-006").await.len(), 1);
        log.close().await;
    }
}

#[tokio::test]
async fn whatever_is_changed_in_an_archive_does_not_verify() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 300).await;
    let archive = archive(&house, &log, store(&house)).await;
    archive.run_with_tail().await.unwrap();
    log.close().await;
    for (name, good) in files(&bucket(&house)) {
        if !name.starts_with("eonpro/") {
            continue;
        }
        let path = bucket(&house).join(&name);
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(verify(&house, &[]).await.is_err(), "{name} at {at}");
            // Nor without the manifest.
            let hidden = house.dir.path().join("hidden");
            fs::rename(bucket(&house).join("manifest"), &hidden).unwrap();
            assert!(verify(&house, &[]).await.is_err(), "{name} at {at}");
            fs::rename(&hidden, bucket(&house).join("manifest")).unwrap();
        }
        fs::remove_file(&path).unwrap();
        assert!(verify(&house, &[]).await.is_err(), "{name} removed");
        fs::write(&path, good).unwrap();
    }
    verify(&house, &[]).await.unwrap();
}

#[tokio::test]
async fn a_check_finds_and_records_what_is_not_as_it_was() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 300).await;
    let archive = archive(&house, &log, store(&house)).await;
    archive.run_with_tail().await.unwrap();
    let good = archive.check_sample(u64::MAX, 1).await.unwrap();
    assert_eq!((good.checked, good.findings.len()), (good.rows, 0));
    assert_eq!(archive.check_sample(2, 7).await.unwrap().checked, 2);

    let bundle = format!("{}/tile/entries/000", tenant(1));
    let tile = format!("{}/tile/0/000", tenant(1));
    fs::write(bucket(&house).join(&bundle), b"other").unwrap();
    fs::remove_file(bucket(&house).join(&tile)).unwrap();
    let bad = archive.check_sample(u64::MAX, 2).await.unwrap();
    let mut found: Vec<_> = bad
        .findings
        .iter()
        .map(|finding| (finding.key.clone(), finding.fault))
        .collect();
    found.sort_by_key(|(key, _)| key.clone());
    assert_eq!(
        found,
        [(tile, ObjectFault::Missing), (bundle, ObjectFault::Bytes)]
    );
    let recorded = entries_of(&house, &log, "AUD-006").await;
    assert_eq!(recorded.len(), 2);
    log.close().await;
}

#[derive(Debug)]
struct Probe(Option<DefaultLock>);

#[async_trait]
impl LockProbe for Probe {
    async fn default_lock(&self) -> Result<Option<DefaultLock>, Source> {
        Ok(self.0)
    }

    async fn object_lock(&self, _: &str, _: &str) -> Result<Option<ObjectLock>, Source> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_required_lock_must_be_shown_firm_enough_and_long_enough() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let lock = |mode, retention| Some(Arc::new(Probe(Some(DefaultLock { mode, retention }))));
    for (probe, good) in [
        (None, false),
        (Some(Arc::new(Probe(None))), false),
        (lock(LockMode::Compliance, days(2_189)), false),
        (lock(LockMode::Governance, days(2_190)), false),
        (lock(LockMode::Compliance, days(2_190)), true),
    ] {
        let mut parts = parts(&house, &log, store(&house));
        parts.lock = probe.map(|probe| probe as Arc<dyn LockProbe>);
        let mut config = ArchiveConfig::default();
        config.require_lock = Some(RequiredLock {
            mode: LockMode::Compliance,
            retention: days(2_190),
        });
        match Archive::open(parts, config).await {
            Ok(_) => assert!(good),
            Err(error) => assert!(
                !good && matches!(error, ArchiveError::Unfit(_)),
                "{error:?}"
            ),
        }
    }
    log.close().await;
}

#[tokio::test]
async fn a_store_that_writes_over_objects_is_unfit() {
    let house = House::new();
    let log = Arc::new(house.open().await);
    let careless = FaultStore::new(Arc::new(InMemory::new()), Kind::Careless);
    let opened = Archive::open(parts(&house, &log, careless), ArchiveConfig::default()).await;
    assert!(matches!(opened, Err(ArchiveError::Unfit(_))));
    log.close().await;
}

/// One run that fails from the call `at` on, and the next, of this or of another process. False if there are
/// not so many calls.
async fn interrupted(kind: Kind, at: u64) -> bool {
    let house = House::new();
    let log = Arc::new(house.open().await);
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = FaultStore::new(memory.clone(), kind);
    let archiving = archive(&house, &log, store.clone()).await;
    append(&house, &log, 1, 100).await;
    archiving.run_with_tail().await.unwrap();
    append(&house, &log, 1, 200).await;
    store.fail_from(at);
    let done = archiving.run_with_tail().await;
    let failed = store.heal();
    assert_eq!(done.is_err(), failed, "{kind:?} {at}: {done:?}");
    let done = match at % 2 {
        0 => archiving.run_with_tail().await,
        _ => archive(&house, &log, store).await.run_with_tail().await,
    };
    done.unwrap_or_else(|error| panic!("{kind:?} {at}: {error:?}"));
    let report = verify_archive(memory, "", None, &[house.key()], &[]).await;
    let report = report.unwrap_or_else(|error| panic!("{kind:?} {at}: {error:?}"));
    let mut heads = report.heads.iter();
    let own = heads.find(|head| head.log == tenant(1)).unwrap();
    assert_eq!(own.size, 300);
    let checked = archiving.check_sample(u64::MAX, 1).await.unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    log.close().await;
    failed
}

#[tokio::test]
async fn an_archive_that_is_interrupted_at_any_call_is_made_good_by_the_next_run() {
    for kind in [Kind::Before, Kind::After] {
        let mut at = 0;
        while interrupted(kind, at).await {
            at += 1;
        }
        // Tiles, bundles and checkpoints of three logs, the head, and the page.
        assert!(at > 8, "{at}");
    }
}

#[tokio::test]
async fn an_archive_goes_on_over_changes_of_keys_and_any_key_of_the_row_verifies_it() {
    let house = House::new();
    let first = house.key();
    let log = Arc::new(house.open().await);
    append(&house, &log, 1, 300).await;
    let archiving = archive(&house, &log, store(&house)).await;
    archiving.run_with_tail().await.unwrap();
    let next = signer(&house, "second");
    let second = public(&next);
    log.rotate_key(&house.system(), next).await.unwrap();
    append(&house, &log, 1, 300).await;
    archiving.run_with_tail().await.unwrap();
    log.close().await;
    move_in(&house, "second");

    // Read from the beginning, by another process.
    let log = Arc::new(house.open().await);
    let next = signer(&house, "third");
    let third = public(&next);
    log.rotate_key(&house.system(), next).await.unwrap();
    append(&house, &log, 1, 7).await;
    let archiving = archive(&house, &log, store(&house)).await;
    let cut = archiving.run_with_tail().await.unwrap().cut;
    log.close().await;
    for key in [first, second, third] {
        let verified = verify_archive(store(&house), "", None, &[key], &[]).await;
        assert_eq!(verified.unwrap().directory.size, cut);
    }
    let stranger = House::new().key();
    let other = verify_archive(store(&house), "", None, &[stranger], &[]).await;
    assert!(
        matches!(other, Err(ArchiveError::Checkpoint(_))),
        "{other:?}"
    );
}

/// 300 entries of a tenant, the first 256 of which are old enough to go, in segments that are closed.
pub(crate) async fn aged(ages: &Ages) -> Arc<EmbeddedAudit> {
    let log = Arc::new(ages.house.open().await);
    for _ in 0..6 {
        ages.views(&log, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&log).await;
    log
}
