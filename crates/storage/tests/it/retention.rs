//! What must be kept is kept: floors per category, holds.

use bytes::Bytes;
use eonpro_core::event::Code;
use eonpro_storage::{Category, DocumentStore, Expect, HoldChange, StorageError};

use crate::support::{NOTE, World, YEAR, eicar, note};

const RULE: Code = Code::constant("retention-over");
const MATTER: Code = Code::constant("matter-17");

#[tokio::test]
async fn a_document_cannot_be_deleted_before_its_floor_counted_from_its_newest_version() {
    let world = World::new().await;
    let first = world.note(NOTE).await.unwrap();
    let document = first.document;
    let delete = || world.documents.delete(&world.ours, document, RULE);
    let until = |result| match result {
        Err(StorageError::RetentionActive { until }) => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(delete().await), first.added.plus(YEAR * 10));

    world.clock.advance(YEAR * 9);
    let new = note().on(Expect::Any(document));
    let second = world
        .documents
        .put(&world.ours, new, Bytes::from("2"))
        .await
        .unwrap();
    world.clock.advance(YEAR * 2);
    assert_eq!(until(delete().await), second.added.plus(YEAR * 10));
    assert_eq!(world.audit.count("FILE-003"), 0);

    world.clock.advance(YEAR * 8);
    delete().await.unwrap();
    assert_eq!(world.audit.count("FILE-003"), 1);
    assert!(matches!(
        world.read(document).await,
        Err(StorageError::NotFound)
    ));
}

#[tokio::test]
async fn a_hold_outlasts_every_floor_until_it_is_cleared() {
    let world = World::new().await;
    let mut new = note();
    new.category = Category::MessageAttachment;
    let stored = world
        .documents
        .put(&world.ours, new, Bytes::from_static(NOTE))
        .await
        .unwrap();
    let document = stored.document;
    let hold = |change| world.documents.hold(&world.ours, document, change);
    let set = hold(HoldChange::Set(MATTER)).await.unwrap();
    assert_eq!(hold(HoldChange::Set(MATTER)).await.unwrap(), set);
    hold(HoldChange::Set(Code::constant("matter-18")))
        .await
        .unwrap();
    hold(HoldChange::Clear(MATTER)).await.unwrap();
    world.clock.advance(YEAR * 50);
    let refused = world.documents.delete(&world.ours, document, RULE).await;
    assert!(matches!(refused, Err(StorageError::OnHold)));

    hold(HoldChange::Clear(Code::constant("matter-18")))
        .await
        .unwrap();
    world
        .documents
        .delete(&world.ours, document, RULE)
        .await
        .unwrap();
    // Set twice, cleared twice; the repeat changed and recorded nothing.
    assert_eq!(world.audit.count("AUD-010"), 4);
}

#[tokio::test]
async fn infected_content_is_evidence_for_a_month_and_not_for_ten_years() {
    let world = World::new().await;
    let held = match world.note(&eicar()).await {
        Err(StorageError::Infected(held)) => held,
        other => panic!("{other:?}"),
    };
    let delete = || world.documents.delete(&world.ours, held.document, RULE);
    assert!(matches!(
        delete().await,
        Err(StorageError::RetentionActive { .. })
    ));
    world.clock.advance(YEAR / 12);
    delete().await.unwrap();
}

#[tokio::test]
async fn a_deleted_document_takes_no_new_version() {
    let world = World::new().await;
    let mut new = note();
    new.category = Category::MessageAttachment;
    let stored = world
        .documents
        .put(&world.ours, new.clone(), Bytes::from_static(NOTE))
        .await
        .unwrap();
    world
        .documents
        .delete(&world.ours, stored.document, RULE)
        .await
        .unwrap();
    let on = new.on(Expect::Any(stored.document));
    let refused = world
        .documents
        .put(&world.ours, on, Bytes::from_static(NOTE))
        .await;
    assert!(matches!(refused, Err(StorageError::NotFound)));
}
