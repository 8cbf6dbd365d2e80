//! Objects that were moved, changed, cut off or taken away do not open.

use bytes::Bytes;
use eonpro_storage::{DocumentRef, DocumentStore, Expect, StorageError};
use object_store::ObjectStoreExt as _;

use crate::support::{NOTE, World, long_text, note};

fn corrupt<T: std::fmt::Debug>(result: Result<T, StorageError>) {
    assert!(matches!(result, Err(StorageError::Corrupt)), "{result:?}");
}

#[tokio::test]
async fn an_extent_of_another_document_does_not_open() {
    let world = World::new().await;
    let ours = world.note(NOTE).await.unwrap();
    let other = world.note(NOTE).await.unwrap();
    let from = world.key(&other.version.to_string().replace('-', "")).await;
    let to = world.key(&ours.version.to_string().replace('-', "")).await;
    world.store.copy(&from, &to).await.unwrap();
    corrupt(world.read(ours.document).await);
    assert_eq!(world.read(other.document).await.unwrap(), NOTE);
}

#[tokio::test]
async fn extents_of_one_document_cannot_change_places() {
    let world = World::new().await;
    let stored = world.note(&long_text()).await.unwrap();
    let first = world.extent("/00000000").await;
    let second = world.extent("/00000001").await;
    world.store.copy(&first, &second).await.unwrap();
    corrupt(world.read(stored.document).await);
    world.store.delete(&second).await.unwrap();
    corrupt(world.read(stored.document).await);
}

#[tokio::test]
async fn a_manifest_of_another_document_does_not_open() {
    let world = World::new().await;
    let ours = world.note(NOTE).await.unwrap();
    let other = world.note(NOTE).await.unwrap();
    let from = world
        .key(&other.document.to_string().replace('-', ""))
        .await;
    let to = world.key(&ours.document.to_string().replace('-', "")).await;
    world.store.copy(&from, &to).await.unwrap();
    corrupt(world.read(ours.document).await);
}

#[tokio::test]
async fn any_changed_byte_is_noticed() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    for key in world.keys().await {
        let key = object_store::path::Path::parse(key).unwrap();
        let before = world.bytes(&key).await;
        for at in [0, before.len() / 2, before.len() - 1] {
            let mut bytes = before.to_vec();
            bytes[at] ^= 1;
            world.store.put(&key, bytes.into()).await.unwrap();
            corrupt(world.read(stored.document).await);
        }
        world.store.put(&key, before.into()).await.unwrap();
    }
    assert_eq!(world.read(stored.document).await.unwrap(), NOTE);
}

#[tokio::test]
async fn a_record_missing_in_the_middle_is_noticed() {
    let world = World::new().await;
    let stored = world.note(b"one").await.unwrap();
    for text in ["two", "three"] {
        let new = note().on(Expect::Any(stored.document));
        world
            .documents
            .put(&world.ours, new, Bytes::from(text))
            .await
            .unwrap();
    }
    world
        .store
        .delete(&world.key("/0000000000000001").await)
        .await
        .unwrap();
    corrupt(world.read(stored.document).await);
}

#[tokio::test]
async fn a_cut_off_history_is_noticed_by_whoever_knows_the_head() {
    let world = World::new().await;
    let first = world.note(b"one").await.unwrap();
    let new = note().on(Expect::Any(first.document));
    let second = world
        .documents
        .put(&world.ours, new, Bytes::from("two"))
        .await
        .unwrap();
    let at = DocumentRef::current(first.document);
    // Longer than what is known is fine.
    assert_eq!(world.read(at.known(first.head)).await.unwrap(), b"two");
    assert_eq!(world.read(at.known(second.head)).await.unwrap(), b"two");

    world
        .store
        .delete(&world.key("/0000000000000001").await)
        .await
        .unwrap();
    assert_eq!(world.read(at).await.unwrap(), b"one");
    let noticed = world.read(at.known(second.head)).await;
    assert!(matches!(noticed, Err(StorageError::Truncated)));

    world
        .store
        .delete(&world.key("/0000000000000000").await)
        .await
        .unwrap();
    let noticed = world.read(at.known(second.head)).await;
    assert!(matches!(noticed, Err(StorageError::Truncated)));
    assert!(matches!(world.read(at).await, Err(StorageError::NotFound)));
}

#[tokio::test]
async fn a_rewritten_history_is_noticed_by_whoever_knows_the_head() {
    let world = World::new().await;
    let first = world.note(b"one").await.unwrap();
    let new = || note().on(Expect::Any(first.document));
    let second = world
        .documents
        .put(&world.ours, new(), Bytes::from("two"))
        .await
        .unwrap();
    world
        .store
        .delete(&world.key("/0000000000000001").await)
        .await
        .unwrap();
    world
        .documents
        .put(&world.ours, new(), Bytes::from("2"))
        .await
        .unwrap();
    let at = DocumentRef::current(first.document).known(second.head);
    let noticed = world.documents.stat(&world.ours, &at).await;
    assert!(matches!(noticed, Err(StorageError::Truncated)));
}

#[tokio::test]
async fn an_object_planted_among_the_records_is_noticed() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let folder = world.key("/0000000000000000").await;
    let folder = folder.as_ref().trim_end_matches("0000000000000000");
    let planted = object_store::path::Path::from(format!("{folder}note"));
    world.store.put(&planted, "x".into()).await.unwrap();
    corrupt(world.read(stored.document).await);
}
