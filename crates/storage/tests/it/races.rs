//! Several writers, callers that go away, deadlines.

use std::time::Duration;

use bytes::Bytes;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::Code;
use eonpro_core::time::Clock as _;
use eonpro_storage::{DocumentStore, Expect, HoldChange, StorageError};
use eonpro_testkit::{Actors, context, scope_with};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use std::sync::Arc;

use crate::crash::{Fault, FaultyStore};
use crate::support::{World, long_text, note};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_that_expect_the_same_head_one_wins() {
    let world = World::new().await;
    let first = world.note(b"first").await.unwrap();
    let on = Expect::Head {
        document: first.document,
        seq: 0,
    };
    let writers = (0..8).map(|n| {
        let body = Bytes::from(format!("writer {n}"));
        world.documents.put(&world.ours, note().on(on), body)
    });
    let (won, lost): (Vec<_>, Vec<_>) =
        join_all(writers).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|loser| matches!(loser, Err(StorageError::Conflict { head: Some(1) })))
    );
    // The losers' extents are gone: two versions, two records.
    assert_eq!(world.keys().await.len(), 4);
    assert_eq!(world.audit.count("FILE-001"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_expect_nothing_all_land_one_after_the_other() {
    let world = World::new().await;
    let first = world.note(b"first").await.unwrap();
    let document = first.document;
    let writers = (0..6).map(|n| {
        let body = Bytes::from(format!("writer {n}"));
        world
            .documents
            .put(&world.ours, note().on(Expect::Any(document)), body)
    });
    let holds = (0..4).map(|n| {
        let name = Code::new(format!("matter-{n}")).unwrap();
        world
            .documents
            .hold(&world.ours, document, HoldChange::Set(name))
    });
    let (puts, holds) = futures_util::join!(join_all(writers), join_all(holds));
    assert!(puts.iter().all(Result::is_ok), "{puts:?}");
    assert!(holds.iter().all(Result::is_ok), "{holds:?}");
    let history = world
        .documents
        .history(&world.ours, document)
        .await
        .unwrap();
    assert_eq!(history.len(), 11);
}

#[tokio::test]
async fn a_put_goes_on_after_its_caller_is_gone() {
    let store = FaultyStore::new(Fault::Waits { put: 1 });
    let world = World::on(store.clone()).await;
    store.arm();
    let mut put = Box::pin(world.note(b"still here"));
    tokio::select! {
        biased;
        done = &mut put => panic!("{done:?}"),
        () = store.waiting() => {}
    }
    drop(put);
    store.let_go();
    world.documents.close().await;
    assert_eq!(world.keys().await.len(), 2);
    assert_eq!(world.audit.codes(), ["FILE-001"]);
}

#[tokio::test]
async fn a_body_that_never_comes_ends_at_the_deadline_and_leaves_nothing() {
    let world = World::new().await;
    let entropy = SeededEntropy::new(3);
    let deadline = world.clock.monotonic().plus(Duration::from_secs(30));
    let cx = context(1, Actors::Clinician, &*world.clock, &entropy).with_deadline(deadline);
    let scope = scope_with(cx);
    let body = stream::iter([Ok(Bytes::from(long_text()))])
        .chain(stream::pending())
        .boxed();
    let put = world.documents.put_stream(&scope, note(), body);
    let (put, ()) = tokio::join!(put, async {
        while world.keys().await.is_empty() {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_secs(31));
    });
    assert!(matches!(put, Err(StorageError::Deadline)));
    assert_eq!(world.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_request_ends_an_upload() {
    let world = World::new().await;
    let token = world.ours.cx().cancellation().clone();
    let body = stream::iter([Ok(Bytes::from("x"))])
        .chain(stream::pending())
        .boxed();
    let put = world.documents.put_stream(&world.ours, note(), body);
    let (put, ()) = tokio::join!(put, async {
        tokio::task::yield_now().await;
        token.cancel();
    });
    assert!(matches!(put, Err(StorageError::Deadline)));
}

#[tokio::test]
async fn a_store_that_creates_twice_is_refused_by_name() {
    let store = FaultyStore::new(Fault::CreatesTwice);
    store.arm();
    let store: Arc<dyn object_store::ObjectStore> = store;
    let sealer = eonpro_testkit::TestSealer::ready_for(&[]);
    let scanner = Arc::new(eonpro_storage::SignatureScanner::built_in().unwrap());
    let clock = Arc::new(eonpro_core::time::ManualClock::at(
        eonpro_core::time::Timestamp::EPOCH,
    ));
    let emitter = eonpro_testkit::RecordingSink::new().emitter(clock);
    let opened = crate::support::open(&store, &sealer, scanner, emitter).await;
    assert!(matches!(opened, Err(StorageError::Unfit { .. })));
}
