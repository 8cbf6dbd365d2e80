//! Each tenant's database through its scope.

use eonpro_core::TenantScope;
use eonpro_tenant::{
    Command, DbError, Migration, SqlValue, SuspendReason, TenantError, Tenants as _,
};

use crate::house::{House, idem};

const SCHEMA: [Migration; 1] = [Migration::new(
    1,
    &["CREATE TABLE patients (id TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT"],
)];
const INSERT: &str = "INSERT INTO patients VALUES (?1, ?2)";

async fn open(house: &House, slug: &str) -> TenantScope {
    let tenant = house.onboard(slug).await;
    let scope = house.scope(tenant.id()).await;
    house.databases.migrate(&scope, &SCHEMA).await.unwrap();
    scope
}

async fn ids(house: &House, scope: &TenantScope) -> Vec<String> {
    let all = "SELECT id FROM patients ORDER BY id";
    let ids = house.databases.run(scope, |db| {
        db.query(all, &[], |row| row.text(0).map(str::to_owned))
    });
    ids.await.unwrap()
}

async fn insert(house: &House, scope: &TenantScope, id: &str) -> Result<usize, TenantError> {
    let row: [SqlValue; 2] = [id.into(), vec![1].into()];
    let done = house
        .databases
        .run(scope, move |db| db.execute(INSERT, &row));
    done.await
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_nobody_elses() {
    let house = House::new();
    let (ours, theirs) = (open(&house, "ours").await, open(&house, "theirs").await);
    insert(&house, &ours, "our-row").await.unwrap();
    insert(&house, &theirs, "their-row").await.unwrap();
    assert_eq!(ids(&house, &ours).await, ["our-row"]);
    assert_eq!(ids(&house, &theirs).await, ["their-row"]);
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, "row").await.unwrap();
    let house = house.reopened().await;
    let scope = house.scope(scope.tenant()).await;
    assert_eq!(house.databases.migrate(&scope, &SCHEMA).await.unwrap(), 0);
    assert_eq!(ids(&house, &scope).await, ["row"]);
}

#[tokio::test]
async fn a_scope_of_a_tenant_that_is_not_in_the_directory_opens_nothing() {
    let house = House::new();
    open(&house, "clinic").await;
    let foreign = eonpro_testkit::scope(5);
    let refused = house.databases.run(&foreign, |_| Ok(())).await;
    assert!(matches!(refused, Err(TenantError::Unknown)));
}

#[tokio::test]
async fn a_suspension_bites_scopes_that_were_given_before_also_after_it_is_lifted() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    let order = async |command, key| {
        let version = house.record(scope.tenant()).await.version();
        house
            .tenants
            .apply(&house.cx(), scope.tenant(), command, version, idem(key))
            .await
            .unwrap()
    };
    order(Command::Suspend(SuspendReason::Security), "a").await;
    let refused = insert(&house, &scope, "row").await;
    assert!(matches!(refused, Err(TenantError::NotInService(_))));
    order(Command::Resume(SuspendReason::Security), "b").await;
    let refused = insert(&house, &scope, "row").await;
    assert!(matches!(refused, Err(TenantError::StaleScope)));
    let fresh = house.scope(scope.tenant()).await;
    insert(&house, &fresh, "row").await.unwrap();
}

#[tokio::test]
async fn a_key_that_exists_is_a_conflict() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    insert(&house, &scope, "row").await.unwrap();
    let again = insert(&house, &scope, "row").await;
    assert!(matches!(
        again,
        Err(TenantError::Database(DbError::Conflict))
    ));
}

#[tokio::test]
async fn work_that_panics_leaves_nothing_and_the_database_goes_on() {
    let house = House::new();
    let scope = open(&house, "clinic").await;
    let lost = house.databases.run(&scope, |db| {
        db.execute(INSERT, &["row".into(), vec![1].into()])?;
        if true {
            panic!("the test panics");
        }
        Ok(())
    });
    assert!(matches!(
        lost.await,
        Err(TenantError::Database(DbError::Lost))
    ));
    assert_eq!(ids(&house, &scope).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_write_at_once_each_into_its_own_file() {
    let house = std::sync::Arc::new(House::new());
    let mut writers = Vec::new();
    for n in 0..8 {
        let scope = open(&house, &format!("clinic-{n}")).await;
        for part in 0..3 {
            let (house, scope) = (std::sync::Arc::clone(&house), scope.clone());
            writers.push(eonpro_core::task::start(async move {
                let rows = move |db: &mut eonpro_tenant::TenantDb<'_>| {
                    (0..200).try_for_each(|row| {
                        let id = format!("{n}/{part}/{row}");
                        db.execute(INSERT, &[id.into(), vec![0; 64].into()])
                            .map(drop)
                    })
                };
                house.databases.run(&scope, rows).await.unwrap();
                scope
            }));
        }
    }
    for (index, writer) in writers.into_iter().enumerate() {
        let scope = writer.await.unwrap();
        let ids = ids(&house, &scope).await;
        let own = format!("{}/", index / 3);
        assert!(ids.iter().all(|id| id.starts_with(&own)));
    }
}
