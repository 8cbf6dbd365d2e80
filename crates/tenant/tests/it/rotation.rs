//! Rotation over a tenant's own table: writers win, workers are fenced, and nobody sees another's rows.

use std::sync::Arc;

use eonpro_core::TenantScope;
use eonpro_core::phi::{Column, FieldSealing, PhiField, PhiSchema, RecordMode, Table};
use eonpro_core::port::{
    Checkpoint, Counted, Fence, JobName, Replaced, Replacement, RotationCell, RotationError,
    RotationSource,
};
use eonpro_tenant::{DbError, Migration, RowIds, SqlValue, SqliteRotation, TenantError};

use crate::house::House;

const SSN: Column = Column::new("ssn");
const ODD: Column = Column::new("ssn_odd");
const SCHEMA: PhiSchema = PhiSchema {
    name: "Patient",
    table: Table::new("patients"),
    mode: RecordMode::Fields,
    fields: &[PhiField {
        name: "ssn",
        column: SSN,
        sealing: Some(FieldSealing::STANDARD),
        indexes: &[],
    }],
    compounds: &[],
};
const TABLES: [Migration; 1] = [Migration::new(
    1,
    &[
        "CREATE TABLE patients (id BLOB PRIMARY KEY, ssn BLOB, ssn_odd BLOB UNIQUE) STRICT",
        "CREATE TABLE named (id TEXT PRIMARY KEY, ssn BLOB, ssn_odd BLOB) STRICT",
    ],
)];
const INSERT: &str = "INSERT INTO patients (id, ssn, ssn_odd) VALUES (?1, ?2, ?3)";

async fn open(house: &House, slug: &str) -> TenantScope {
    let tenant = house.onboard(slug).await;
    let scope = house.scope(tenant.id()).await;
    house.databases.migrate(&scope, &TABLES).await.unwrap();
    scope
}

fn source(house: &House) -> SqliteRotation {
    SqliteRotation::new(Arc::clone(&house.databases), &SCHEMA, Column::new("id")).with_slots(&[ODD])
}

async fn insert(house: &House, scope: &TenantScope, id: &[u8], ssn: &[u8]) {
    let row: [SqlValue; 3] = [id.into(), ssn.into(), SqlValue::Null];
    let done = house
        .databases
        .run(scope, move |db| db.execute(INSERT, &row));
    done.await.unwrap();
}

async fn stored(house: &House, scope: &TenantScope) -> Vec<Vec<u8>> {
    let all = "SELECT ssn FROM patients ORDER BY id";
    let rows = house.databases.run(scope, move |db| {
        db.query(all, &[], |row| row.blob(0).map(<[u8]>::to_vec))
    });
    rows.await.unwrap()
}

fn job() -> JobName {
    JobName::new("reseal/records").unwrap()
}

fn checkpoint(fence: u64, progress: &[u8]) -> Option<Checkpoint> {
    Some(Checkpoint {
        job: job(),
        fence: Fence(fence),
        progress: progress.to_vec(),
    })
}

fn change(id: &[u8], old: &[u8], new: &[u8]) -> Replacement {
    Replacement::of(id.to_vec(), SSN, old.to_vec(), new.to_vec())
}

#[tokio::test]
async fn every_row_is_seen_once_in_the_order_of_its_id_and_nobody_elses() {
    let house = House::new();
    let (ours, theirs) = (open(&house, "ours").await, open(&house, "theirs").await);
    for id in [b"c", b"a", b"b"] {
        insert(&house, &ours, id, id).await;
    }
    insert(&house, &theirs, b"x", b"theirs").await;
    let source = source(&house);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let rows = source.batch(&ours, after.as_ref(), 2).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(last.at.clone());
        seen.extend(
            rows.into_iter()
                .map(|row| (row.row, row.cells[0].bytes.clone())),
        );
    }
    let expected = [b"a", b"b", b"c"].map(|id| (id.to_vec(), Some(id.to_vec())));
    assert_eq!(seen, expected);
    assert_eq!(source.count(&ours, Counted::Rows).await.unwrap(), 3);
    let lost = source
        .replace(&ours, vec![change(b"x", b"theirs", b"new")], None)
        .await;
    assert_eq!(
        lost.unwrap(),
        Replaced {
            updated: 0,
            lost: 1
        }
    );
    assert_eq!(stored(&house, &theirs).await, [b"theirs"]);
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, b"a", b"newer").await;
    insert(&house, &scope, b"b", b"old").await;
    let changes = vec![
        change(b"a", b"old", b"resealed"),
        change(b"b", b"old", b"resealed"),
        change(b"gone", b"old", b"resealed"),
    ];
    let done = source(&house).replace(&scope, changes, None).await.unwrap();
    assert_eq!(
        done,
        Replaced {
            updated: 1,
            lost: 2
        }
    );
    assert_eq!(stored(&house, &scope).await, [&b"newer"[..], b"resealed"]);
}

#[tokio::test]
async fn a_token_is_set_only_beside_the_value_that_it_was_made_from() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, b"a", b"newer").await;
    let cell = |column, bytes: Option<&[u8]>| RotationCell {
        column,
        bytes: bytes.map(<[u8]>::to_vec),
    };
    let token_of = |value: &[u8]| Replacement {
        row: b"a".to_vec(),
        expect: vec![cell(ODD, None), cell(SSN, Some(value))],
        set: vec![cell(ODD, Some(b"\x01token"))],
    };
    let source = source(&house);
    let lacking = Counted::Lacking {
        has: SSN,
        lacks: ODD,
    };
    let lost = source
        .replace(&scope, vec![token_of(b"old")], None)
        .await
        .unwrap();
    assert_eq!(
        (lost.lost, source.count(&scope, lacking).await.unwrap()),
        (1, 1)
    );
    let done = source
        .replace(&scope, vec![token_of(b"newer")], None)
        .await
        .unwrap();
    assert_eq!(
        (done.updated, source.count(&scope, lacking).await.unwrap()),
        (1, 0)
    );
    assert_eq!(
        source
            .count(&scope, Counted::Holding { slot: ODD })
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_worker_that_was_superseded_changes_nothing() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, b"a", b"old").await;
    let source = source(&house);
    assert_eq!(source.claim(&scope, &job(), Fence(5)).await.unwrap(), None);
    source
        .replace(&scope, Vec::new(), checkpoint(5, b"half"))
        .await
        .unwrap();
    let taken = source.claim(&scope, &job(), Fence(7)).await.unwrap();
    assert_eq!(taken.as_deref(), Some(&b"half"[..]));

    let late = source
        .replace(
            &scope,
            vec![change(b"a", b"old", b"new")],
            checkpoint(5, b"more"),
        )
        .await;
    assert!(matches!(late, Err(RotationError::Fenced)));
    let late = source.claim(&scope, &job(), Fence(6)).await;
    assert!(matches!(late, Err(RotationError::Fenced)));
    let never = source
        .replace(
            &scope,
            vec![change(b"a", b"old", b"new")],
            checkpoint(9, b"more"),
        )
        .await;
    assert!(matches!(never, Err(RotationError::Fenced)));
    assert_eq!(stored(&house, &scope).await, [b"old"]);
    let kept = source.claim(&scope, &job(), Fence(7)).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"half"[..]));
}

#[tokio::test]
async fn rows_and_progress_are_there_together_or_not_at_all() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, b"a", b"old").await;
    insert(&house, &scope, b"b", b"old").await;
    let source = source(&house);
    source.claim(&scope, &job(), Fence(1)).await.unwrap();
    let token = |id: &[u8]| Replacement {
        row: id.to_vec(),
        expect: vec![RotationCell {
            column: ODD,
            bytes: None,
        }],
        set: vec![RotationCell {
            column: ODD,
            bytes: Some(b"same".to_vec()),
        }],
    };
    // The second token violates the unique constraint: all of the batch goes, its progress too.
    let refused = source
        .replace(
            &scope,
            vec![token(b"a"), token(b"b")],
            checkpoint(1, b"next"),
        )
        .await;
    assert!(matches!(refused, Err(RotationError::Backend(_))));
    assert_eq!(
        source
            .count(&scope, Counted::Holding { slot: ODD })
            .await
            .unwrap(),
        0
    );
    assert_eq!(source.claim(&scope, &job(), Fence(1)).await.unwrap(), None);

    let foreign = Replacement::of(
        b"a".to_vec(),
        Column::new("id"),
        b"a".to_vec(),
        b"z".to_vec(),
    );
    let refused = source
        .replace(&scope, vec![foreign], checkpoint(1, b"next"))
        .await;
    assert!(refused.is_err());
    assert_eq!(source.claim(&scope, &job(), Fence(1)).await.unwrap(), None);
}

#[tokio::test]
async fn values_are_counted_by_the_key_that_they_name() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    for (id, ssn) in [
        (b"a", &b"\x01\0\0\0\x07rest"[..]),
        (b"b", b"\x01\0\0\0\x08rest"),
        (b"c", b"\x01\0\0"),
    ] {
        insert(&house, &scope, id, ssn).await;
    }
    let source = source(&house);
    for (key, expected) in [(7, 1), (8, 1), (9, 0)] {
        let what = Counted::Sealed([1, 0, 0, 0, key]);
        assert_eq!(source.count(&scope, what).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn the_applications_sql_does_not_reach_the_progress() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    let source = source(&house);
    source.claim(&scope, &job(), Fence(1)).await.unwrap();
    for sql in [
        "SELECT * FROM eonpro_rotations",
        "DELETE FROM eonpro_rotations",
    ] {
        let refused = house
            .databases
            .run(&scope, move |db| db.query(sql, &[], |_| Ok(())).map(drop));
        let refused = refused.await;
        assert!(
            matches!(refused, Err(TenantError::Database(DbError::QueryRefused))),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn ids_may_be_text_and_an_id_of_another_form_is_never_passed_over() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    let schema = PhiSchema {
        table: Table::new("named"),
        ..SCHEMA
    };
    let source = SqliteRotation::new(Arc::clone(&house.databases), &schema, Column::new("id"))
        .with_ids(RowIds::Text);
    let id = uuid::Uuid::from_u128(7);
    let put = async |id: String| {
        let row: [SqlValue; 2] = [id.into(), b"old".to_vec().into()];
        let insert = "INSERT INTO named (id, ssn) VALUES (?1, ?2)";
        let done = house
            .databases
            .run(&scope, move |db| db.execute(insert, &row));
        done.await.unwrap();
    };
    put(id.to_string()).await;
    let rows = source.batch(&scope, None, 10).await.unwrap();
    assert_eq!(rows[0].row, id.as_bytes());
    let done = source
        .replace(&scope, vec![change(id.as_bytes(), b"old", b"new")], None)
        .await;
    assert_eq!(done.unwrap().updated, 1);
    put("not-a-uuid".to_owned()).await;
    let refused = source.batch(&scope, None, 10).await;
    assert!(matches!(refused, Err(RotationError::Malformed(_))));
}
