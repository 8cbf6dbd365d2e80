//! Another tenant's documents are not there, and who reaches for them is recorded.

use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::FieldValue;
use eonpro_core::id::PublicId as _;
use eonpro_core::port::{SealScope, Sealer as _};
use eonpro_storage::{DocumentRef, DocumentStore, DocumentStoreExt, Expect, StorageError};
use object_store::ObjectStoreExt as _;

use crate::support::{NOTE, World, note};

#[tokio::test]
async fn a_foreign_tagged_id_is_refused_and_recorded() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let tagged = world.documents.tag(&world.ours, stored.document);
    let admitted = world.documents.admit(&world.ours, &tagged).await.unwrap();
    assert_eq!(admitted, stored.document);

    let refused = world
        .documents
        .admit(&world.theirs, &tagged)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TenantMismatch);
    assert_eq!(
        refused.public_message(),
        StorageError::NotFound.public_message()
    );
    let events = world.audit.events();
    let last = events.last().unwrap();
    assert_eq!(
        (last.code, last.tenant),
        ("TEN-004", Some(world.theirs.tenant()))
    );
    let object = last
        .event
        .fields()
        .iter()
        .find_map(|(_, value)| match value {
            FieldValue::Object(object) => Some(object.id),
            _ => None,
        });
    assert_eq!(object, Some(stored.document.uuid()));

    let malformed = world
        .documents
        .admit(&world.ours, "document_1_2")
        .await
        .unwrap_err();
    assert_eq!(malformed.kind(), ErrorKind::InvalidInput);
    assert_eq!(world.audit.count("TEN-004"), 1);
}

#[tokio::test]
async fn an_untagged_foreign_id_finds_nothing() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let at = DocumentRef::current(stored.document);
    let read = world.documents.read(&world.theirs, &at, 1 << 20).await;
    assert!(matches!(read, Err(StorageError::NotFound)));
    let new = note().on(Expect::Any(stored.document));
    let put = world.documents.put(&world.theirs, new, "x".into()).await;
    assert!(matches!(put, Err(StorageError::NotFound)));
}

#[tokio::test]
async fn a_document_copied_into_another_tenants_folder_does_not_open() {
    let world = World::new().await;
    let ours = world.note(NOTE).await.unwrap();
    let theirs = world
        .documents
        .put(&world.theirs, note(), NOTE.into())
        .await
        .unwrap();
    let id = theirs.document.to_string().replace('-', "");
    let folder = world.key(&id).await.to_string();
    let foreign = folder.split('/').next().unwrap().to_owned();
    for key in world.keys().await {
        let (tag, rest) = key.split_once('/').unwrap();
        if tag != foreign {
            let to = object_store::path::Path::from(format!("{foreign}/{rest}"));
            let from = object_store::path::Path::from(key.as_str());
            world.store.copy(&from, &to).await.unwrap();
        }
    }
    let at = DocumentRef::current(ours.document);
    let read = world.documents.read(&world.theirs, &at, 1 << 20).await;
    assert!(matches!(read, Err(StorageError::Corrupt)));
}

#[tokio::test]
async fn a_shredded_tenants_documents_are_gone_and_others_stay() {
    let world = World::new().await;
    let ours = world.note(NOTE).await.unwrap();
    let theirs = world
        .documents
        .put(&world.theirs, note(), NOTE.into())
        .await
        .unwrap();
    world
        .sealer
        .destroy_scope(SealScope::from(&world.ours))
        .await
        .unwrap();
    let gone = world.read(ours.document).await.unwrap_err();
    assert!(matches!(gone, StorageError::Shredded));
    let at = DocumentRef::current(theirs.document);
    let read = world
        .documents
        .read(&world.theirs, &at, 1 << 20)
        .await
        .unwrap();
    assert_eq!(read.as_slice(), NOTE);
}
