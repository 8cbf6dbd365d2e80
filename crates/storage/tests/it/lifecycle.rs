//! Storing, reading, versions, restoring.

use bytes::Bytes;
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, SubjectId};
use eonpro_storage::{
    Category, Change, DocumentRef, DocumentStore, Expect, StorageError, VersionState,
};
use futures_util::StreamExt as _;
use futures_util::stream;
use uuid::Uuid;

use crate::support::{EXTENT, NOTE, World, long_text, media, note};

#[tokio::test]
async fn a_small_document_is_two_objects_and_comes_back_as_it_was() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    assert_eq!(world.read(stored.document).await.unwrap(), NOTE);
    assert_eq!(stored.state, VersionState::Available);
    assert_eq!(stored.size, NOTE.len() as u64);
    assert_eq!(stored.sniffed.as_str(), "text");
    assert_eq!(world.keys().await.len(), 2);
    assert_eq!(world.audit.codes(), ["FILE-001", "FILE-002"]);
}

#[tokio::test]
async fn what_put_returns_is_what_stat_finds() {
    let world = World::new().await;
    let subject = SubjectId::from_uuid(Uuid::from_u128(9));
    let new = note().about(subject);
    let put = world
        .documents
        .put(&world.ours, new, Bytes::from_static(NOTE))
        .await
        .unwrap();
    let at = DocumentRef::current(put.document);
    let found = world.documents.stat(&world.ours, &at).await.unwrap();
    assert_eq!(format!("{put:?}"), format!("{found:?}"));
    assert_eq!(found.name.expose(), "miller_hiv_result.txt");
    assert_eq!(found.declared, media("text/plain"));
    assert_eq!(found.subject, Some(subject));
    assert_eq!(found.sha256.expose(), put.sha256.expose());
    assert_eq!(found.added, put.added);
    assert_eq!(world.audit.events()[0].event.subject(), Some(subject));
}

#[tokio::test]
async fn a_long_document_is_extents_and_any_range_of_it_opens() {
    let world = World::new().await;
    let text = long_text();
    let stored = world.note(&text).await.unwrap();
    let extents = text.len().div_ceil(EXTENT);
    assert!(extents > 2 && !text.len().is_multiple_of(EXTENT));
    assert_eq!(world.keys().await.len(), extents + 1);
    let at = DocumentRef::current(stored.document);
    let len = text.len();
    let edge = EXTENT as u64;
    for range in [
        0..1,
        edge - 1..edge + 1,
        edge..edge * 2,
        5..len as u64,
        len as u64 - 1..u64::MAX,
    ] {
        let opened = world
            .documents
            .open(&world.ours, &at, Some(range.clone()))
            .await
            .unwrap();
        let bytes = opened.bytes(len).await.unwrap();
        let end = usize::try_from(range.end).unwrap_or(len).min(len);
        assert_eq!(
            bytes.as_slice(),
            &text[range.start as usize..end],
            "{range:?}"
        );
    }
    let refused = world
        .documents
        .open(&world.ours, &at, Some(len as u64..len as u64 + 1))
        .await;
    assert!(matches!(
        refused,
        Err(StorageError::RangeNotSatisfiable { .. })
    ));
}

#[tokio::test]
async fn a_document_of_exactly_whole_extents_has_no_empty_one() {
    let world = World::new().await;
    let text = vec![b'a'; EXTENT * 2];
    let stored = world.note(&text).await.unwrap();
    assert_eq!(world.keys().await.len(), 3);
    assert_eq!(world.read(stored.document).await.unwrap(), text);
}

#[tokio::test]
async fn a_streamed_body_is_stored_however_it_is_chunked() {
    let world = World::new().await;
    let text = long_text();
    for size in [1_usize, 7, EXTENT - 1, EXTENT, EXTENT + 1, text.len()] {
        let chunks: Vec<_> = text.chunks(size).map(Bytes::copy_from_slice).collect();
        let body = stream::iter(chunks.into_iter().map(Ok)).boxed();
        let stored = world
            .documents
            .put_stream(&world.ours, note(), body)
            .await
            .unwrap();
        assert_eq!(world.read(stored.document).await.unwrap(), text, "{size}");
    }
}

#[tokio::test]
async fn an_upload_whose_body_fails_leaves_nothing() {
    let world = World::new().await;
    let broken = Err(StorageError::Body("connection reset".into()));
    let body = stream::iter([Ok(Bytes::from(long_text())), broken]).boxed();
    let refused = world.documents.put_stream(&world.ours, note(), body).await;
    assert!(matches!(refused, Err(StorageError::Body(_))));
    assert_eq!(world.keys().await, Vec::<String>::new());
    assert_eq!(world.audit.codes(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_new_version_supersedes_the_old_which_stays_readable() {
    let world = World::new().await;
    let first = world.note(b"first").await.unwrap();
    let on = Expect::Head {
        document: first.document,
        seq: first.head.seq,
    };
    let second = world
        .documents
        .put(&world.ours, note().on(on), Bytes::from_static(b"second"))
        .await
        .unwrap();
    assert_eq!(second.head.seq, 1);
    assert_eq!(world.read(first.document).await.unwrap(), b"second");
    let old = DocumentRef::current(first.document).version(first.version);
    assert_eq!(world.read(old).await.unwrap(), b"first");
    let state = world.documents.stat(&world.ours, &old).await.unwrap().state;
    assert_eq!(state, VersionState::Superseded);
}

#[tokio::test]
async fn an_old_version_can_be_restored_and_history_tells_it() {
    let world = World::new().await;
    let first = world.note(b"first").await.unwrap();
    let document = first.document;
    let on = note().on(Expect::Any(document));
    let second = world
        .documents
        .put(&world.ours, on, Bytes::from_static(b"second"))
        .await
        .unwrap();
    let restored = world
        .documents
        .restore(&world.ours, document, first.version)
        .await
        .unwrap();
    assert_eq!(restored.state, VersionState::Available);
    assert_eq!(world.read(document).await.unwrap(), b"first");
    let history = world
        .documents
        .history(&world.ours, document)
        .await
        .unwrap();
    let changes: Vec<_> = history
        .iter()
        .flat_map(|entry| entry.changes.clone())
        .collect();
    let (one, two) = (first.version, second.version);
    let told = [
        Change::Added(one),
        Change::Cleared(one),
        Change::Released(one),
        Change::Added(two),
        Change::Cleared(two),
        Change::Released(two),
        Change::Restored(one),
    ];
    assert_eq!(changes, told);
    assert_eq!(history[2].head, restored.head);
    assert_eq!(history[0].actor.as_str(), "clinician-1");
    // The bytes were not copied, and restoring what is current changes nothing.
    let keys = world.keys().await.len();
    let again = world
        .documents
        .restore(&world.ours, document, first.version)
        .await
        .unwrap();
    assert_eq!(again.head, restored.head);
    assert_eq!(world.keys().await.len(), keys);
    assert_eq!(world.audit.count("FILE-001"), 3);
}

#[tokio::test]
async fn versions_of_a_document_share_category_and_subject() {
    let world = World::new().await;
    let first = world.note(b"first").await.unwrap();
    let other = SubjectId::from_uuid(Uuid::from_u128(1));
    let on = Expect::Any(first.document);
    let mut elsewhere = note().on(on);
    elsewhere.category = Category::MessageAttachment;
    for new in [elsewhere, note().on(on).about(other)] {
        let refused = world
            .documents
            .put(&world.ours, new, Bytes::from_static(b"x"))
            .await;
        assert!(matches!(refused, Err(StorageError::Mismatched)));
    }
}

#[tokio::test]
async fn a_read_that_cannot_be_audited_hands_out_nothing() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    world.audit.set_down(true);
    let refused = world.read(stored.document).await;
    assert!(matches!(refused, Err(StorageError::Audit(_))));
}

#[tokio::test]
async fn a_store_that_cannot_be_audited_says_that_it_is_unaudited() {
    let world = World::new().await;
    world.audit.set_down(true);
    let unaudited = world.note(NOTE).await;
    assert!(matches!(unaudited, Err(StorageError::Unaudited(_))));
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    use eonpro_core::component::{Component as _, Health};
    let world = World::new().await;
    assert_eq!(world.documents.health().await, Health::Healthy);
    world.documents.close().await;
    world.documents.close().await;
    assert!(matches!(world.note(NOTE).await, Err(StorageError::Closed)));
    assert!(matches!(
        world.documents.health().await,
        Health::Unhealthy(_)
    ));
}

#[tokio::test]
async fn what_does_not_fit_the_policy_is_refused_before_anything_is_stored() {
    let world = World::new().await;
    let put = |declared: &str, content: &'static [u8]| {
        let mut new = note();
        new.declared = media(declared);
        world
            .documents
            .put(&world.ours, new, Bytes::from_static(content))
    };
    for (declared, content) in [
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice()),
        ("application/pdf", NOTE),
        ("text/plain", b"<html><body>"),
        ("text/plain", b"MZ\x90\0\x03\0\0\0"),
        ("text/plain", b"nul \0 byte"),
        ("text/plain", b""),
    ] {
        let refused = put(declared, content).await;
        assert!(
            matches!(refused, Err(StorageError::Rejected(_))),
            "{declared} {refused:?}"
        );
    }
    assert_eq!(world.keys().await, Vec::<String>::new());
    assert_eq!(world.audit.codes(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_delete_after_its_floor_is_audited_first_and_can_be_undone() {
    let world = World::new().await;
    let mut new = note();
    new.category = Category::MessageAttachment;
    let stored = world
        .documents
        .put(&world.ours, new, Bytes::from_static(NOTE))
        .await
        .unwrap();
    let rule = Code::constant("patient-request");
    world
        .documents
        .delete(&world.ours, stored.document, rule.clone())
        .await
        .unwrap();
    assert!(matches!(
        world.read(stored.document).await,
        Err(StorageError::NotFound)
    ));
    let again = world
        .documents
        .delete(&world.ours, stored.document, rule)
        .await
        .unwrap();
    assert_eq!(again.seq, 1);
    assert_eq!(world.audit.count("FILE-003"), 1);
    world
        .documents
        .restore(&world.ours, stored.document, stored.version)
        .await
        .unwrap();
    assert_eq!(world.read(stored.document).await.unwrap(), NOTE);
}

#[tokio::test]
async fn a_delete_that_cannot_be_audited_does_not_happen() {
    let world = World::new().await;
    let mut new = note();
    new.category = Category::MessageAttachment;
    let stored = world
        .documents
        .put(&world.ours, new, Bytes::from_static(NOTE))
        .await
        .unwrap();
    world.audit.set_down(true);
    let rule = Code::constant("patient-request");
    let refused = world
        .documents
        .delete(&world.ours, stored.document, rule)
        .await;
    assert!(matches!(refused, Err(StorageError::Audit(_))));
    world.audit.set_down(false);
    assert_eq!(world.read(stored.document).await.unwrap(), NOTE);
}
