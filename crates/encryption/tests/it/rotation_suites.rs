//! Rotations of what is not sealed in the standard way: other suites, padding, columns, whole records.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::phi::{Binding, FieldSealing, RecordHead};
use eonpro_core::port::{SealError, SealScope};
use eonpro_encryption::{
    Column, CryptoError, Encryption as _, EncryptionExt as _, KeyState, KeyType, LazyResealer,
    Phase, Phi, PhiRecord, RotationConfig, RotationKind, RotationStatus, Rotator, RotatorParts,
    Sealed, Suite,
};
use eonpro_testkit::scope;
use futures_util::FutureExt as _;

use crate::rows::MemoryRows;
use crate::support::{House, RECORDS, chore};

/// Polls `work` and moves the clock whenever nothing else moves.
async fn drive<T>(house: &House, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        for _ in 0..200 {
            if let Some(done) = (&mut work).now_or_never() {
                return done;
            }
            tokio::task::yield_now().await;
        }
        house.advance(Duration::from_secs(1));
    }
}

async fn rotate(
    house: &House,
    ours: &eonpro_core::TenantScope,
    rows: &Arc<MemoryRows>,
    of: KeyType,
) -> RotationStatus {
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(rows)],
        config: RotationConfig::default(),
    })
    .unwrap();
    let kind = RotationKind::Reseal(of);
    rotator.plan(ours, &kind).await.unwrap();
    drive(house, rotator.run(ours, &kind)).await.unwrap()
}

fn sealing_of<R: PhiRecord>() -> BTreeMap<Column, FieldSealing> {
    let fields = R::SCHEMA.fields.iter();
    fields
        .filter_map(|field| Some((field.column, field.sealing?)))
        .collect()
}

async fn states(house: &House, ours: &eonpro_core::TenantScope, of: KeyType) -> Vec<KeyState> {
    let keys = house.vault.keys(SealScope::from(ours)).await.unwrap();
    let role = of.role();
    let ours = keys.iter().filter(|key| key.role.name() == role);
    ours.map(|key| key.state).collect()
}

#[derive(Debug, PhiRecord)]
#[phi(table = "patients")]
struct Mixed {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "compact", pad = 32)]
    note: Phi<String>,
    #[phi(seal, suite = "compact", bind = "column")]
    ward: Phi<String>,
    #[phi(seal)]
    name: Phi<String>,
}

#[tokio::test]
async fn a_rotation_of_one_suite_moves_its_values_only_and_they_open_as_before() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let id = RowId::random(&SeededEntropy::new(1));
    let mixed = Mixed {
        id,
        note: "a note".into(),
        ward: "seven".into(),
        name: "Ada".into(),
    };
    let sealed = house.vault.seal_record(&ours, mixed).await.unwrap();
    let columns = ["note", "ward", "name"];
    let mut rows = MemoryRows::new("patients", &columns.map(Column::new), &[]);
    rows.sealing = sealing_of::<Mixed>();
    assert_eq!(rows.sealing[&Column::new("ward")].bind, Binding::Column);
    let rows = Arc::new(rows);
    let row = eonpro_core::id::PublicId::uuid(id).into_bytes();
    for (column, bytes) in [
        ("note", sealed.note.as_bytes()),
        ("ward", sealed.ward.as_bytes()),
        ("name", sealed.name.as_bytes()),
    ] {
        rows.put(&ours, &row, column, bytes);
    }
    let compact = KeyType {
        purpose: RECORDS,
        suite: Suite::Compact,
    };
    for of in [compact, RECORDS.into()] {
        let scope = SealScope::from(&ours);
        house.vault.turn_epoch(&chore(), scope, of).await.unwrap();
    }
    let status = rotate(&house, &ours, &rows, compact).await;
    assert_eq!(status.phase, Phase::Completed);
    assert_eq!((status.updated, status.unopened), (2, 0));
    assert_eq!(
        states(&house, &ours, compact).await,
        [KeyState::Drained, KeyState::Primary]
    );
    assert_eq!(
        states(&house, &ours, RECORDS.into()).await,
        [KeyState::DecryptOnly, KeyState::Primary]
    );
    let get = |column| rows.get(&ours, &row, column).unwrap();
    assert_eq!(get("name"), sealed.name.as_bytes());
    assert_ne!(get("note"), sealed.note.as_bytes());
    let moved = SealedMixed {
        id,
        note: Sealed::from_bytes(get("note")),
        ward: Sealed::from_bytes(get("ward")),
        name: Sealed::from_bytes(get("name")),
    };
    assert_eq!(moved.note.as_bytes().len(), sealed.note.as_bytes().len());
    let opened: Mixed = house.vault.open_record(&ours, moved).await.unwrap();
    assert_eq!(opened.note.expose(), "a note");
    assert_eq!(opened.ward.expose(), "seven");
    assert_eq!(opened.name.expose(), "Ada");
}

#[derive(Debug, PhiRecord)]
#[phi(table = "patients", mode = "whole")]
struct Chart {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    name: Phi<String>,
    #[phi(seal, pad = 16)]
    status: Phi<String>,
    #[phi(seal)]
    photo: Option<Phi<Vec<u8>>>,
}

#[tokio::test]
async fn a_whole_record_is_moved_as_one_and_one_that_was_damaged_is_left_alone() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let columns = ["phi_head", "name", "status", "photo"];
    let mut rows = MemoryRows::new("patients", &columns.map(Column::new), &[]);
    rows.sealing = sealing_of::<Chart>();
    rows.head = Some(Column::new("phi_head"));
    let rows = Arc::new(rows);
    let mut ids = Vec::new();
    for number in 0..5 {
        let id = RowId::random(&SeededEntropy::new(number));
        let chart = Chart {
            id,
            name: "Ada".into(),
            status: "ok".into(),
            photo: None,
        };
        let sealed = house.vault.seal_record(&ours, chart).await.unwrap();
        let row = eonpro_core::id::PublicId::uuid(id).into_bytes();
        let mut status = sealed.status.as_bytes().to_vec();
        if number == 3 {
            status[5] ^= 1;
        }
        rows.put(&ours, &row, "phi_head", sealed.phi_head.as_bytes());
        rows.put(&ours, &row, "name", sealed.name.as_bytes());
        rows.put(&ours, &row, "status", &status);
        ids.push((id, row, sealed));
    }
    let at = SealScope::from(&ours);
    let turned = house.vault.turn_epoch(&chore(), at, RECORDS.into()).await;
    turned.unwrap();
    let status = rotate(&house, &ours, &rows, RECORDS.into()).await;
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!((status.updated, status.unopened), (4, 1));
    assert_eq!(
        states(&house, &ours, RECORDS.into()).await,
        [KeyState::DecryptOnly, KeyState::Primary],
        "a head still names it"
    );
    for (number, (id, row, before)) in ids.into_iter().enumerate() {
        let get = |column| rows.get(&ours, &row, column).unwrap();
        let moved = SealedChart {
            id,
            name: Sealed::from_bytes(get("name")),
            status: Sealed::from_bytes(get("status")),
            photo: None,
            phi_head: RecordHead::from_bytes(get("phi_head")),
        };
        let changed = moved.phi_head != before.phi_head;
        assert_eq!(changed, number != 3);
        let opened = house.vault.open_record::<Chart>(&ours, moved).await;
        assert_eq!(opened.is_ok(), number != 3);
    }
}

#[tokio::test]
async fn single_cells_of_whole_records_are_never_replaced() {
    let ours = scope(1);
    let mut rows = MemoryRows::new("patients", &["phi_head", "name"].map(Column::new), &[]);
    rows.head = Some(Column::new("phi_head"));
    let rows = Arc::new(rows);
    rows.put(&ours, b"row", "phi_head", b"old");
    let lazy = LazyResealer::start(Arc::<MemoryRows>::clone(&rows) as _, 2);
    let head = Column::new("phi_head");
    assert!(!lazy.offer(&ours, b"row", head, b"old".to_vec(), b"new".to_vec()));
    lazy.flush().await;
    assert_eq!(rows.get(&ours, b"row", "phi_head").unwrap(), b"old");
    assert_eq!(lazy.counts().dropped, 1);
}

#[tokio::test]
async fn the_key_of_patients_keys_is_not_rotated_by_rows() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let subject = eonpro_encryption::KeyPurpose::new("subject");
    let mut rows = MemoryRows::new("patients", &[Column::new("name")], &[]);
    rows.purpose = subject;
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::new(rows)],
        config: RotationConfig::default(),
    })
    .unwrap();
    let refused = rotator
        .plan(&ours, &RotationKind::Reseal(subject.into()))
        .await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Unsupported))
    ));
}
