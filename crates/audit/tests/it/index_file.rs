//! The index is no evidence: removed, damaged, foreign or forged, it changes no answer.

use std::fs;
use std::path::PathBuf;

use eonpro_audit::merkle::{CompactRange, verify_consistency, verify_inclusion};
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, Effort, EmbeddedAudit, EntryView, LogId, Proofs, Query,
    verify,
};
use eonpro_core::component::Component as _;
use eonpro_core::event::Code;
use eonpro_testkit::tenant_id;
use redb::{Database, ReadableTable as _, TableDefinition};

use crate::house::House;
use crate::queries::{admits, mixed, pages};
use crate::restarts::copy_tree;

const TILES: TableDefinition<'static, &[u8; 13], &[u8]> = TableDefinition::new("tiles");
const POSTINGS: TableDefinition<'static, &[u8; 21], &[u8]> = TableDefinition::new("postings");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

const ENTRIES: u64 = 600;

fn file(house: &House) -> PathBuf {
    house.log().join("index/index.redb")
}

fn question() -> Query {
    let mut query = Query::new(LogId::Tenant(tenant_id(1)));
    query.code = Some(Code::constant("SYS-002"));
    query.size = Some(ENTRIES);
    query.proofs = Proofs::With;
    query
}

/// A closed log whose index is complete, and what the question finds in it.
async fn written() -> (House, Vec<EntryView>) {
    let house = House::new();
    let audit = house.open().await;
    let mixed = mixed(&house, &audit, 1, usize::try_from(ENTRIES).unwrap()).await;
    audit.checkpoint().await.unwrap();
    let query = question();
    let entries = mixed.entries.into_iter();
    let expected: Vec<EntryView> = entries.filter(|view| admits(&query, view)).collect();
    assert!(expected.len() > 5);
    right(&house, &audit, &expected).await;
    audit.close().await;
    (house, expected)
}

/// That the answers are those without an index, and their proofs hold.
async fn right(house: &House, audit: &EmbeddedAudit, expected: &[EntryView]) {
    let (pages, found) = pages(audit, &house.cx(1), &question()).await;
    assert_eq!(found, expected);
    for page in &pages {
        let note = page.head.as_ref().unwrap();
        let head = Checkpoint::open(note, &[house.key()]).unwrap();
        for hit in &page.hits {
            let proof = hit.proof.as_ref().unwrap();
            let (index, leaf) = (hit.view.index, hit.view.leaf());
            verify_inclusion(proof, index, &leaf, head.size, &head.root).unwrap();
        }
    }
}

async fn still_right(house: &House, expected: &[EntryView]) {
    let audit = house.open().await;
    right(house, &audit, expected).await;
    audit.close().await;
    verify(&house.log(), &[house.key()]).unwrap();
}

/// Opens the index as an outsider would, and changes it with every checksum right.
fn forge(house: &House, change: impl FnOnce(&redb::WriteTransaction)) {
    let store = Database::open(file(house)).unwrap();
    let write = store.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
}

#[tokio::test]
async fn an_index_that_is_gone_or_is_none_is_built_anew() {
    let (house, expected) = written().await;
    let good = fs::read(file(&house)).unwrap();
    for bad in [
        Vec::new(),
        b"not an index".to_vec(),
        vec![0; 1 << 16],
        good[..good.len() / 2].to_vec(),
    ] {
        fs::write(file(&house), bad).unwrap();
        still_right(&house, &expected).await;
    }
    fs::remove_dir_all(house.log().join("index")).unwrap();
    verify(&house.log(), &[house.key()]).unwrap();
    still_right(&house, &expected).await;
    assert!(file(&house).exists());
}

#[tokio::test]
async fn an_index_is_kept_over_a_restart() {
    let (house, expected) = written().await;
    let mark = |write: &redb::WriteTransaction| {
        let mut meta = write.open_table(META).unwrap();
        meta.insert("mark", [1_u8].as_slice()).unwrap();
    };
    forge(&house, mark);
    still_right(&house, &expected).await;
    let store = Database::open(file(&house)).unwrap();
    let read = redb::ReadableDatabase::begin_read(&store).unwrap();
    let meta = read.open_table(META).unwrap();
    assert!(meta.get("mark").unwrap().is_some());
}

#[tokio::test]
async fn a_byte_flipped_anywhere_in_the_index_changes_no_answer() {
    let (house, expected) = written().await;
    let good = fs::read(file(&house)).unwrap();
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    for at in used.iter().step_by(1 + used.len() / 60) {
        let mut bad = good.clone();
        bad[*at] ^= 0x11;
        fs::write(file(&house), bad).unwrap();
        still_right(&house, &expected).await;
    }
}

#[tokio::test]
async fn an_index_that_is_damaged_while_it_is_in_use_gives_no_wrong_answer() {
    let (house, expected) = written().await;
    let audit = house.open().await;
    right(&house, &audit, &expected).await;
    let length = fs::metadata(file(&house)).unwrap().len();
    use std::os::unix::fs::FileExt as _;
    let open = fs::File::options().write(true).open(file(&house)).unwrap();
    for at in (4_096..length).step_by(4_096) {
        open.write_all_at(&[0xa5; 64], at).unwrap();
    }
    drop(open);
    // It may still be read from memory; grown, it must be read and written.
    for _ in 0..20 {
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        right(&house, &audit, &expected).await;
    }
    audit.close().await;
    still_right(&house, &expected).await;
}

#[tokio::test]
async fn the_index_of_another_log_is_not_used() {
    let (house, expected) = written().await;
    let (other, _) = written().await;
    fs::copy(file(&other), file(&house)).unwrap();
    still_right(&house, &expected).await;
    // Nor is that of another version, or of a longer log.
    for number in [0, 1, 2, 3] {
        forge(&house, |write| {
            let mut meta = write.open_table(META).unwrap();
            let mut cursor = meta.get("cursor").unwrap().unwrap().value().to_vec();
            cursor[number * 8 + 6] ^= 1;
            meta.insert("cursor", cursor.as_slice()).unwrap();
        });
        still_right(&house, &expected).await;
    }
}

#[tokio::test]
async fn forged_tiles_prove_nothing_and_hide_nothing() {
    let (house, expected) = written().await;
    let good = fs::read(file(&house)).unwrap();
    for at in [0, 5_000, 16_000] {
        fs::write(file(&house), &good).unwrap();
        forge(&house, |write| {
            let mut tiles = write.open_table(TILES).unwrap();
            let rows: Vec<_> = tiles
                .iter()
                .unwrap()
                .map(|row| {
                    let (key, value) = row.unwrap();
                    (*key.value(), value.value().to_vec())
                })
                .collect();
            for (key, mut tile) in rows {
                let at = at.min(tile.len() - 1);
                tile[at] ^= 1;
                tiles.insert(&key, tile.as_slice()).unwrap();
            }
        });
        let audit = house.open().await;
        smaller_trees_are_right(&house, &audit).await;
        audit.close().await;
        still_right(&house, &expected).await;
    }
    forge(&house, |write| {
        write.delete_table(TILES).unwrap();
    });
    still_right(&house, &expected).await;
}

/// That proofs in trees before the signed one hold for the entries as they are.
async fn smaller_trees_are_right(house: &House, audit: &EmbeddedAudit) {
    let log = LogId::Tenant(tenant_id(1));
    let views = audit.read(&house.system(), &log, 0..100).await.unwrap();
    let root = |size: usize| {
        let mut tree = CompactRange::new();
        views
            .iter()
            .take(size)
            .for_each(|view| tree.append(view.leaf()));
        tree.root()
    };
    let cx = house.cx(1);
    let proof = audit.prove(&cx, &log, 3, 100).await.unwrap();
    verify_inclusion(&proof, 3, &views[3].leaf(), 100, &root(100)).unwrap();
    let proof = audit.prove_growth(&cx, &log, 37, 100).await.unwrap();
    verify_consistency(&proof, 37, &root(37), 100, &root(100)).unwrap();
}

/// Where in the file the list of the question stands.
fn lists(bytes: &[u8]) -> Vec<usize> {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(b"eonpro/audit/index\x03SYS-002");
    let mut list = vec![3];
    list.extend_from_slice(&hash[..8]);
    let windows = bytes.windows(list.len()).enumerate();
    windows
        .filter(|(_, window)| *window == list)
        .map(|(at, _)| at)
        .collect()
}

#[tokio::test]
async fn a_list_that_was_damaged_on_disk_hides_nothing() {
    let (house, expected) = written().await;
    let mut bytes = fs::read(file(&house)).unwrap();
    let places = lists(&bytes);
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 4] ^= 1;
    }
    fs::write(file(&house), bytes).unwrap();
    still_right(&house, &expected).await;
}

#[tokio::test]
async fn an_entry_that_was_changed_with_a_right_checksum_is_not_shown_as_a_hit() {
    let (house, expected) = written().await;
    let audit = house.open().await;
    right(&house, &audit, &expected).await;
    let path = house.log().join("wal/0000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    let leaf = &expected[2].bytes;
    let found = bytes.windows(leaf.len()).position(|window| window == leaf);
    let at = found.unwrap();
    let name = bytes[at..]
        .windows(4)
        .position(|window| window == b"\"n1\"");
    bytes[at + name.unwrap() + 1] = b'm';
    let frame = &bytes[at - 24..at + leaf.len()];
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..]);
    bytes[at - 20..at - 16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();

    // The frame is intact, so that it reads.
    let log = LogId::Tenant(tenant_id(1));
    let index = expected[2].index;
    let read = audit.read(&house.system(), &log, index..index + 1).await;
    assert_ne!(read.unwrap()[0].bytes, expected[2].bytes);
    let mut query = question();
    query.proofs = Proofs::Without;
    let page = audit.query(&house.cx(1), &query).await;
    assert!(matches!(page, Err(AuditError::Corrupt(_))), "{page:?}");
}

#[tokio::test]
async fn forged_lists_show_no_wrong_entry() {
    let (house, expected) = written().await;
    forge(&house, |write| {
        // Every list is said to hold what every other holds.
        let mut postings = write.open_table(POSTINGS).unwrap();
        let rows: Vec<_> = postings
            .iter()
            .unwrap()
            .map(|row| {
                let (key, value) = row.unwrap();
                (*key.value(), value.value().to_vec())
            })
            .collect();
        for (key, _) in &rows {
            for index in [0_u64, 1, 2, 590] {
                let mut more = *key;
                more[13..].copy_from_slice(&index.to_be_bytes());
                if postings.get(&more).unwrap().is_none() {
                    postings.insert(&more, [0_u8; 8].as_slice()).unwrap();
                }
            }
        }
    });
    let audit = house.open().await;
    let (_, found) = pages(&audit, &house.cx(1), &question()).await;
    assert!(found.iter().all(|view| admits(&question(), view)));
    let mut query = question();
    query.effort = Effort::Entries;
    let (_, found) = pages(&audit, &house.cx(1), &query).await;
    assert_eq!(found, expected);
    audit.close().await;
}

/// The one thing that a forger gains, and the way around it.
#[tokio::test]
async fn what_a_forged_index_hides_is_found_by_looking_at_the_entries() {
    let (house, expected) = written().await;
    forge(&house, |write| {
        let mut postings = write.open_table(POSTINGS).unwrap();
        postings.retain(|_, _| false).unwrap();
    });
    let audit = house.open().await;
    let (_, found) = pages(&audit, &house.cx(1), &question()).await;
    assert_eq!(found, []);
    let mut query = question();
    query.effort = Effort::Entries;
    let (_, found) = pages(&audit, &house.cx(1), &query).await;
    assert_eq!(found, expected);
    audit.close().await;
}

#[tokio::test]
async fn an_index_that_a_crash_left_half_done_is_gone_on_with() {
    let house = House::new();
    let audit = house.open().await;
    // Several commits, of which the last ones are not synced.
    let entries = mixed(&house, &audit, 1, 9_000).await.entries;
    let mut query = question();
    let expected = |size: u64| {
        let entries = entries.iter().filter(move |view| view.index < size);
        entries
            .filter(|view| admits(&question(), view))
            .cloned()
            .collect::<Vec<_>>()
    };
    query.size = Some(9_000);
    let (_, found) = pages(&audit, &house.cx(1), &query).await;
    assert_eq!(found, expected(9_000));
    for _ in 0..3 {
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        audit.query(&house.cx(1), &query).await.unwrap();
    }
    let other = House::new();
    copy_tree(&house.log(), &other.log());
    let key = house.dir.path().join("audit.key");
    fs::copy(key, other.dir.path().join("audit.key")).unwrap();
    audit.close().await;

    let audit = other.open().await;
    let (_, found) = pages(&audit, &other.cx(1), &query).await;
    assert_eq!(found, expected(9_000));
    audit.close().await;
    verify(&other.log(), &[other.key()]).unwrap();
}
