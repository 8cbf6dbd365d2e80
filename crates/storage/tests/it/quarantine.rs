//! What is infected, refused or unscanned stays closed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::event::{Code, FieldValue, Severity};
use eonpro_core::id::DocumentId;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _, WrappedKey};
use eonpro_storage::{
    DocumentRef, DocumentStore, Expect, Held, Scan, ScanError, ScanInput, Scanner, ScannerId,
    StorageError, Verdict, VersionState,
};
use object_store::memory::InMemory;

use crate::support::{EXTENT, NOTE, World, eicar, note};

/// A scanner that fails at one step, or answers what it is told to.
#[derive(Debug, Clone)]
enum Double {
    FailsToBegin,
    FailsToFeed,
    FailsToFinish,
    Answers(Verdict),
}

#[async_trait]
impl Component for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn posture(&self) -> Posture {
        Posture::STRONGEST
    }

    async fn health(&self) -> Health {
        Health::Unhealthy("double")
    }

    async fn close(&self) {}
}

#[async_trait]
impl Scanner for Double {
    fn id(&self) -> ScannerId {
        ScannerId {
            engine: Code::constant("double:1"),
            signatures: Code::constant("none"),
        }
    }

    async fn begin(&self, _: ScanInput) -> Result<Box<dyn Scan>, ScanError> {
        match self {
            Self::FailsToBegin => Err(ScanError::Unavailable("down".into())),
            other => Ok(Box::new(other.clone())),
        }
    }
}

#[async_trait]
impl Scan for Double {
    async fn feed(&mut self, chunk: Bytes) -> Result<(), ScanError> {
        assert!(!chunk.is_empty());
        match self {
            Self::FailsToFeed => Err(ScanError::Protocol),
            _ => Ok(()),
        }
    }

    async fn finish(self: Box<Self>) -> Result<Verdict, ScanError> {
        match *self {
            Self::Answers(verdict) => Ok(verdict),
            _ => Err(ScanError::Timeout),
        }
    }
}

async fn world(scanner: Double) -> World {
    World::with(Arc::new(InMemory::new()), Arc::new(scanner)).await
}

fn refused(result: Result<Vec<u8>, StorageError>) -> Option<VersionState> {
    match result {
        Err(StorageError::Unreadable { state }) => Some(state),
        _ => None,
    }
}

fn infected(result: Result<eonpro_storage::VersionInfo, StorageError>) -> Held {
    match result {
        Err(StorageError::Infected(held)) => held,
        other => panic!("not infected: {other:?}"),
    }
}

#[tokio::test]
async fn an_infected_upload_ends_blocked_unreadable_and_audited() {
    let world = World::new().await;
    let held = infected(world.note(&eicar()).await);
    let state = refused(world.read(held.document).await);
    assert_eq!(state, Some(VersionState::Blocked));
    let events = world.audit.events();
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event.code, "FILE-005");
    assert_eq!(event.event.kind().severity, Severity::Critical);
    let signature = FieldValue::Code(Code::constant("Eicar-Test-File"));
    assert!(event.event.fields().contains(&("signature", signature)));
    assert!(
        event
            .event
            .fields()
            .contains(&("quarantined", FieldValue::Flag(true)))
    );
    // The evidence is kept: an extent and a record.
    assert_eq!(world.keys().await.len(), 2);
}

#[tokio::test]
async fn malware_across_the_border_of_two_extents_is_found() {
    let world = World::new().await;
    for before in [EXTENT - 67, EXTENT - 30, EXTENT - 1, EXTENT] {
        let content = [vec![b' '; before], eicar(), vec![b' '; EXTENT]].concat();
        infected(world.note(&content).await);
    }
}

#[tokio::test]
async fn an_infected_version_does_not_become_current() {
    let world = World::new().await;
    let clean = world.note(NOTE).await.unwrap();
    let new = note().on(Expect::Any(clean.document));
    let held = infected(world.documents.put(&world.ours, new, eicar().into()).await);
    assert_eq!(held.document, clean.document);
    assert_eq!(world.read(clean.document).await.unwrap(), NOTE);
    let at = DocumentRef::current(held.document).version(held.version);
    assert_eq!(refused(world.read(at).await), Some(VersionState::Blocked));
    let restored = world
        .documents
        .restore(&world.ours, held.document, held.version)
        .await;
    assert!(matches!(restored, Err(StorageError::Unreadable { .. })));
    let granted = world
        .documents
        .grant(&world.ours, &at, Default::default())
        .await;
    assert!(matches!(granted, Err(StorageError::Unreadable { .. })));
}

#[tokio::test]
async fn a_scanner_that_fails_releases_nothing_at_whatever_step() {
    for scanner in [
        Double::FailsToBegin,
        Double::FailsToFeed,
        Double::FailsToFinish,
    ] {
        let world = world(scanner.clone()).await;
        let held = match world.note(NOTE).await {
            Err(StorageError::Unscanned { held, .. }) => held,
            other => panic!("{scanner:?}: {other:?}"),
        };
        let state = refused(world.read(held.document).await);
        assert_eq!(state, Some(VersionState::Quarantined), "{scanner:?}");
        assert_eq!(world.audit.codes(), ["FILE-001"]);
        assert!(matches!(
            world.documents.health().await,
            Health::Degraded(_)
        ));
    }
}

#[tokio::test]
async fn what_the_scanner_refuses_to_judge_stays_closed() {
    let verdict = Verdict::Refused(Code::constant("encrypted"));
    let world = world(Double::Answers(verdict)).await;
    let held = match world.note(NOTE).await {
        Err(StorageError::Unscannable(held)) => held,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(world.read(held.document).await),
        Some(VersionState::Refused)
    );
}

/// The keys decide, not a check of states: readers' keys do not open what was not released.
#[tokio::test]
async fn the_key_of_unreleased_content_does_not_unwrap_for_readers() {
    let world = World::new().await;
    let held = infected(world.note(&eicar()).await);
    let record = record(&world, held.document).await;
    let key = record["events"][0]["key"].as_str().unwrap();
    assert!(!record.to_string().contains("released"));
    let wrapped = WrappedKey(base64url(key));
    let row = [held.document.to_string(), held.version.to_string()].concat();
    let row: Vec<u8> = hex(&row.replace('-', ""));
    let cell = Cell::new(
        Table::new("document"),
        Column::new("key"),
        Row::named(&row).unwrap(),
    );
    let scope = SealScope::from(&world.ours);
    let unwrap = |purpose| world.sealer.unwrap(scope, purpose, &cell, &wrapped);
    assert!(unwrap(KeyPurpose::QUARANTINE).await.is_ok());
    let files = unwrap(KeyPurpose::FILES).await;
    assert!(matches!(files, Err(SealError::Authentication)));
}

async fn record(world: &World, document: DocumentId) -> serde_json::Value {
    let sealed = world.bytes(&world.key("/d/").await).await;
    let mut row = hex(&document.to_string().replace('-', ""));
    row.extend_from_slice(&[0; 8]);
    let cell = Cell::new(
        Table::new("document"),
        Column::new("manifest"),
        Row::named(&row).unwrap(),
    );
    let scope = SealScope::from(&world.ours);
    let plain = world
        .sealer
        .open(scope, KeyPurpose::FILES, &cell, &sealed)
        .await
        .unwrap();
    serde_json::from_slice(&plain).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn base64url(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}
