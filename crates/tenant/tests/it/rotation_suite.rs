//! The suite that judges every rotation source, on a table of the tenants' databases.

use std::sync::Arc;

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::phi::{Column, FieldSealing, PhiField, PhiSchema, RecordMode, Table};
use eonpro_core::port::{RotationCell, RotationSource};
use eonpro_tenant::{Migration, RowIds, SqlValue, SqliteRotation, SqliteTenants};
use eonpro_testkit::conformance::rotation::{self, Rows, Subject};
use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::house::House;

const NAME: Column = Column::new("name");
const SSN: Column = Column::new("ssn");
const HEAD: Column = Column::new("phi_head");
const ODD: Column = Column::new("ssn_odd");

const fn field(name: &'static str, column: Column) -> PhiField {
    PhiField {
        name,
        column,
        sealing: Some(FieldSealing::STANDARD),
        indexes: &[],
    }
}

const FIELDS: [PhiField; 2] = [field("name", NAME), field("ssn", SSN)];

const fn schema(mode: RecordMode) -> PhiSchema {
    PhiSchema {
        name: "Suite",
        table: Table::new("suite"),
        mode,
        fields: &FIELDS,
        compounds: &[],
    }
}

const TABLE: Migration = Migration::new(
    1,
    &[
        "CREATE TABLE suite (id ANY PRIMARY KEY, phi_head BLOB, name BLOB, ssn BLOB, ssn_odd BLOB) STRICT",
    ],
);
const RUIN: Migration = Migration::new(2, &["DROP TABLE suite"]);

/// Writes rows as an application does.
struct Application(Arc<SqliteTenants>, RowIds);

impl Application {
    fn id(&self, row: &[u8]) -> SqlValue {
        match self.1 {
            RowIds::Text => Uuid::from_slice(row)
                .unwrap()
                .hyphenated()
                .to_string()
                .into(),
            _ => row.into(),
        }
    }
}

#[async_trait]
impl Rows for Application {
    async fn put(&self, scope: &TenantScope, rows: Vec<(Vec<u8>, Vec<RotationCell>)>) {
        let named = rows.into_iter().map(|(row, cells)| (self.id(&row), cells));
        let rows: Vec<_> = named.collect();
        let done = self.0.run(scope, move |db| {
            for (id, cells) in rows {
                let insert = "INSERT INTO suite (id) VALUES (?1) ON CONFLICT DO NOTHING";
                db.execute(insert, std::slice::from_ref(&id))?;
                for cell in cells {
                    let update = match cell.column.as_str() {
                        "phi_head" => "UPDATE suite SET phi_head = ?2 WHERE id = ?1",
                        "name" => "UPDATE suite SET name = ?2 WHERE id = ?1",
                        "ssn" => "UPDATE suite SET ssn = ?2 WHERE id = ?1",
                        _ => "UPDATE suite SET ssn_odd = ?2 WHERE id = ?1",
                    };
                    db.execute(update, &[id.clone(), cell.bytes.into()])?;
                }
            }
            Ok(())
        });
        done.await.unwrap();
    }

    async fn delete(&self, scope: &TenantScope, row: &[u8]) {
        let id = self.id(row);
        let delete = "DELETE FROM suite WHERE id = ?1";
        let done = self.0.run(scope, move |db| db.execute(delete, &[id]));
        done.await.unwrap();
    }

    async fn ruin(&self, scope: &TenantScope) {
        self.0.migrate(scope, &[TABLE, RUIN]).await.unwrap();
    }
}

fn source(house: &House, mode: RecordMode, ids: RowIds) -> SqliteRotation {
    let databases = Arc::clone(&house.databases);
    let source = SqliteRotation::new(databases, &schema(mode), Column::new("id"));
    source.with_ids(ids).with_slots(&[ODD])
}

async fn subject(mode: RecordMode, ids: RowIds) -> Subject {
    let house = House::new();
    let mut scopes = Vec::new();
    for slug in ["ours", "theirs"] {
        let tenant = house.onboard(slug).await;
        let scope = house.scope(tenant.id()).await;
        house.databases.migrate(&scope, &[TABLE]).await.unwrap();
        scopes.push(scope);
    }
    let theirs = scopes.pop().unwrap();
    let cells = match mode {
        RecordMode::Whole => vec![HEAD, NAME, SSN],
        RecordMode::Fields => vec![NAME, SSN],
    };
    let rows = Application(Arc::clone(&house.databases), ids);
    let first = source(&house, mode, ids);
    let house = Arc::new(Mutex::new(Some(house)));
    let subject = Subject {
        source: Arc::new(first),
        rows: Arc::new(rows),
        ours: scopes.pop().unwrap(),
        theirs,
        cells,
        slots: vec![ODD],
        reopen: None,
    };
    subject.reopened_by(move || {
        let house = Arc::clone(&house);
        async move {
            let mut house = house.lock().await;
            let again = house.take().unwrap().reopened().await;
            let source = Arc::new(source(&again, mode, ids)) as Arc<dyn RotationSource>;
            *house = Some(again);
            source
        }
        .boxed()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_of_a_tenants_database_is_a_rotation_source() {
    for mode in [RecordMode::Fields, RecordMode::Whole] {
        for ids in [RowIds::Bytes, RowIds::Text] {
            let report = rotation::suite(async || subject(mode, ids).await).await;
            report.assert_conforms();
            assert_eq!(report.passed.len(), rotation::checks().count());
        }
    }
}
