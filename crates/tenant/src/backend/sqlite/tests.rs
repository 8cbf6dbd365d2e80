//! What SQL may not do, what a file remembers, and how many files are open.

use std::sync::Arc;

use eonpro_core::entropy::SeededEntropy;

use super::authorizer::Mode;
use super::database::{TenantDb, own, transact};
use super::error::DbError;
use super::file::{Files, Handle};
use super::migration::{Migration, migrate};
use super::pool::Pool;
use super::value::SqlValue;
use crate::config::SqliteConfig;
use crate::record::StorageId;

const SCHEMA: [Migration; 1] = [Migration::new(
    1,
    &[
        "CREATE TABLE patients (id TEXT PRIMARY KEY, sealed BLOB, n INTEGER) STRICT",
        "CREATE INDEX by_n ON patients (n)",
    ],
)];

struct Place {
    dir: tempfile::TempDir,
    files: Files,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::at(&dir.path().join("tenants"), SqliteConfig::default()).unwrap();
        Self { dir, files }
    }

    fn open(&self, seed: u64) -> Handle {
        let mut handle = self.files.create(storage(seed)).unwrap();
        migrate(&mut handle, &SCHEMA).unwrap();
        handle
    }

    fn path(&self, seed: u64) -> std::path::PathBuf {
        let name = format!("{}.db", storage(seed).uuid().simple());
        self.dir.path().join("tenants").join(name)
    }

    fn names(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("tenants"))
            .unwrap()
            .count()
    }
}

fn storage(seed: u64) -> StorageId {
    StorageId::random(&SeededEntropy::new(seed))
}

fn write<R>(
    handle: &mut Handle,
    work: impl FnOnce(&mut TenantDb<'_>) -> Result<R, DbError>,
) -> Result<R, DbError> {
    transact(handle, Mode::Write, 100, work)
}

fn count(handle: &mut Handle) -> i64 {
    let all = "SELECT count(*) FROM patients";
    write(handle, |db| db.query_first(all, &[], |row| row.integer(0)))
        .unwrap()
        .unwrap()
}

fn insert(db: &mut TenantDb<'_>, id: &str) -> Result<usize, DbError> {
    db.execute(
        "INSERT INTO patients (id, sealed, n) VALUES (?1, ?2, ?3)",
        &[id.into(), vec![1, 2].into(), SqlValue::Integer(3)],
    )
}

/// Every way out of the own tables that we know of.
const ESCAPES: [&str; 24] = [
    "ATTACH DATABASE 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH DATABASE main",
    "PRAGMA writable_schema = 1",
    "PRAGMA journal_mode = OFF",
    "PRAGMA database_list",
    "SELECT file FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('patients')",
    "SELECT load_extension('x')",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "SAVEPOINT s",
    "UPDATE sqlite_master SET sql = ''",
    "DELETE FROM sqlite_schema",
    "SELECT storage FROM eonpro_file",
    "UPDATE eonpro_migrations SET version = 9",
    "DROP TABLE eonpro_file",
    "CREATE TEMP TABLE t (a)",
    "CREATE VIRTUAL TABLE t USING fts5(a)",
    "CREATE VIRTUAL TABLE t USING dbstat",
    "SELECT * FROM dbstat",
    "ANALYZE",
    "ALTER TABLE eonpro_file RENAME TO mine",
];

#[test]
fn every_known_escape_is_refused_in_queries_and_in_migrations() {
    let place = Place::new();
    let mut handle = place.open(1);
    for sql in ESCAPES {
        // The defensive flag refuses the catalog before the authorizer is asked.
        let expected = [DbError::QueryRefused, DbError::Statement];
        let expected = &expected[..if sql.contains("FROM sqlite_schema")
            || sql.contains("UPDATE sqlite_master")
        {
            2
        } else {
            1
        }];
        let refused = write(&mut handle, |db| db.query(sql, &[], |row| row.value(0)));
        let refused = refused.unwrap_err();
        assert!(expected.contains(&refused), "query: {sql}: {refused}");
        let refused = write(&mut handle, |db| db.execute(sql, &[])).unwrap_err();
        assert!(expected.contains(&refused), "execute: {sql}: {refused}");
        let statements: &'static [&'static str] = Box::leak(Box::new([sql]));
        let steps = [SCHEMA[0], Migration::new(2, statements)];
        let refused = migrate(&mut handle, &steps).unwrap_err();
        assert!(expected.contains(&refused), "migration: {sql}: {refused}");
    }
    assert_eq!(migrate(&mut handle, &SCHEMA), Ok(0));
}

#[test]
fn the_schema_changes_in_migrations_only() {
    let place = Place::new();
    let mut handle = place.open(1);
    for sql in [
        "CREATE TABLE t (a)",
        "DROP TABLE patients",
        "ALTER TABLE patients ADD COLUMN b TEXT",
        "CREATE INDEX i ON patients (n)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON patients BEGIN DELETE FROM patients; END",
    ] {
        let refused = write(&mut handle, |db| db.execute(sql, &[]));
        assert_eq!(refused, Err(DbError::QueryRefused), "{sql}");
    }
    let more = Migration::new(
        2,
        &[
            "ALTER TABLE patients ADD COLUMN b TEXT",
            "ALTER TABLE patients RENAME COLUMN b TO c",
            "UPDATE patients SET c = 'x'",
            "CREATE VIEW v AS SELECT c FROM patients",
            "DROP INDEX by_n",
        ],
    );
    assert_eq!(migrate(&mut handle, &[SCHEMA[0], more]), Ok(1));
}

#[test]
fn vacuum_into_writes_no_file_inside_or_outside_a_transaction() {
    let place = Place::new();
    let mut handle = place.open(1);
    let target = place.dir.path().join("stolen.db");
    let sql: &'static str = format!("VACUUM INTO '{}'", target.display()).leak();
    assert!(write(&mut handle, |db| db.execute(sql, &[])).is_err());
    handle.gate.set(Mode::Write);
    assert!(handle.connection.execute_batch(sql).is_err());
    assert!(!target.exists());
}

#[test]
fn the_second_line_holds_without_the_authorizer() {
    let place = Place::new();
    let handle = place.open(1);
    for sql in [
        "ATTACH ':memory:' AS other",
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = 'x'",
        "SELECT load_extension('x')",
    ] {
        assert!(own(&handle, sql).is_err(), "{sql}");
    }
}

#[test]
fn the_connection_is_set_as_promised() {
    let place = Place::new();
    let handle = place.open(1);
    handle.gate.set(Mode::Own);
    for (pragma, expected) in [
        ("synchronous", 2),
        ("secure_delete", 1),
        ("temp_store", 2),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
    ] {
        let sql = format!("PRAGMA {pragma}");
        let value: i64 = handle
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
    let journal: String = handle
        .connection
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
}

#[cfg(unix)]
#[test]
fn files_and_their_directory_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let mut handle = place.open(1);
    assert_eq!(count(&mut handle), 0);
    let dir = place.dir.path().join("tenants");
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(dir).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_file_moved_to_another_tenants_name_is_refused() {
    let place = Place::new();
    drop((place.open(1), place.open(2)));
    std::fs::copy(place.path(2), place.path(1)).unwrap();
    assert_eq!(place.files.open(storage(1)).unwrap_err(), DbError::Foreign);
    std::fs::write(place.path(2), vec![b'x'; 4096]).unwrap();
    assert_eq!(place.files.open(storage(2)).unwrap_err(), DbError::Foreign);
}

#[test]
fn a_missing_file_is_an_error_and_not_an_empty_database() {
    let place = Place::new();
    assert_eq!(place.files.open(storage(1)).unwrap_err(), DbError::Missing);
    assert_eq!(place.names(), 0);
}

#[test]
fn deleting_leaves_no_file_and_may_be_repeated() {
    let place = Place::new();
    let mut handle = place.open(1);
    write(&mut handle, |db| insert(db, "a")).unwrap();
    assert!(place.names() >= 2, "the log lies beside the database");
    drop(handle);
    place.files.delete(storage(1)).unwrap();
    place.files.delete(storage(1)).unwrap();
    assert_eq!(place.names(), 0);
}

#[test]
fn a_call_takes_exactly_one_statement_with_its_parameters() {
    let place = Place::new();
    let mut handle = place.open(1);
    let two = "DELETE FROM patients; DELETE FROM patients";
    let refused = write(&mut handle, |db| db.execute(two, &[]));
    assert_eq!(refused, Err(DbError::NotOneStatement));
    let refused = write(&mut handle, |db| db.execute("", &[]));
    assert!(refused.is_err());
    let one = "DELETE FROM patients WHERE id = ?1";
    let refused = write(&mut handle, |db| db.execute(one, &[]));
    assert_eq!(refused, Err(DbError::Parameters));
    let refused = write(&mut handle, |db| db.execute("SELECT 1", &[]));
    assert_eq!(refused, Err(DbError::Statement));
    let refused = write(&mut handle, |db| db.execute("SELEC 1", &[]));
    assert_eq!(refused, Err(DbError::Statement));
}

#[test]
fn values_come_back_as_they_went_in() {
    let place = Place::new();
    let mut handle = place.open(1);
    let values = [
        SqlValue::from("a"),
        vec![0, 255].into(),
        SqlValue::Integer(-1),
    ];
    let read = write(&mut handle, |db| {
        db.execute("INSERT INTO patients VALUES (?1, ?2, ?3)", &values)?;
        db.query_first("SELECT id, sealed, n, NULL FROM patients", &[], |row| {
            assert_eq!(row.integer(0), Err(DbError::Type));
            assert_eq!(row.text(9), Err(DbError::Type));
            assert_eq!(row.is_null(3), Ok(true));
            Ok([row.value(0)?, row.value(1)?, row.value(2)?])
        })
    });
    assert_eq!(read.unwrap().unwrap(), values);
}

#[test]
fn work_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let mut handle = place.open(1);
    let failed = write(&mut handle, |db| {
        insert(db, "a")?;
        insert(db, "b")?;
        insert(db, "a")
    });
    assert_eq!(failed, Err(DbError::Conflict));
    assert_eq!(count(&mut handle), 0);
    let strict = "INSERT INTO patients (id, n) VALUES ('a', 'text')";
    let failed = write(&mut handle, |db| db.execute(strict, &[]));
    assert_eq!(failed, Err(DbError::Constraint));
}

#[test]
fn nothing_commits_on_its_own_after_a_conflict_clause_rolled_back() {
    let place = Place::new();
    let mut handle = place.open(1);
    write(&mut handle, |db| insert(db, "a")).unwrap();
    let result = write(&mut handle, |db| {
        let clause = "INSERT OR ROLLBACK INTO patients (id) VALUES ('a')";
        assert_eq!(db.execute(clause, &[]), Err(DbError::Conflict));
        assert_eq!(insert(db, "b"), Err(DbError::Aborted));
        Ok(())
    });
    assert_eq!(result, Err(DbError::Aborted));
    assert_eq!(count(&mut handle), 1);
}

#[test]
fn a_statement_prepared_for_writing_does_not_write_while_exporting() {
    let place = Place::new();
    let mut handle = place.open(1);
    write(&mut handle, |db| insert(db, "a")).unwrap();
    let refused = transact(&mut handle, Mode::Read, 100, |db| insert(db, "b"));
    assert_eq!(refused, Err(DbError::QueryRefused));
    let all = "SELECT id FROM patients";
    let read = transact(&mut handle, Mode::Read, 100, |db| {
        db.query(all, &[], |row| row.text(0).map(str::to_owned))
    });
    assert_eq!(read.unwrap(), ["a"]);
}

#[test]
fn a_query_returns_no_more_rows_than_its_limit() {
    let place = Place::new();
    let mut handle = place.open(1);
    write(&mut handle, |db| {
        (0..101).try_for_each(|n| insert(db, &n.to_string()).map(drop))
    })
    .unwrap();
    let all = write(&mut handle, |db| {
        db.query("SELECT id FROM patients", &[], |_| Ok(()))
    });
    assert_eq!(all, Err(DbError::TooManyRows));
    let most = write(&mut handle, |db| {
        db.query("SELECT id FROM patients LIMIT 100", &[], |_| Ok(()))
    });
    assert_eq!(most.unwrap().len(), 100);
}

#[test]
fn migrations_are_ordered_unchanged_and_all_or_nothing() {
    let place = Place::new();
    let mut handle = place.open(1);
    let second = Migration::new(2, &["CREATE TABLE t (a)"]);
    let broken = Migration::new(3, &["CREATE TABLE u (a)", "CREATE TABLE t (a)"]);
    let gap = [SCHEMA[0], broken];
    assert_eq!(migrate(&mut handle, &gap), Err(DbError::MigrationOrder));
    let all = [SCHEMA[0], second, broken];
    assert_eq!(migrate(&mut handle, &all), Err(DbError::Statement));
    assert_eq!(migrate(&mut handle, &all[..2]), Ok(1));
    assert_eq!(migrate(&mut handle, &all[..2]), Ok(0));
    assert_eq!(migrate(&mut handle, &SCHEMA), Err(DbError::SchemaTooNew));
    let changed = [SCHEMA[0], Migration::new(2, &["CREATE TABLE t (b)"])];
    assert_eq!(
        migrate(&mut handle, &changed),
        Err(DbError::MigrationChanged(2))
    );
}

#[test]
fn an_error_tells_no_sql_and_no_value() {
    let place = Place::new();
    let mut handle = place.open(1);
    let secret = "999-12-3456";
    let failed = write(&mut handle, |db| {
        insert(db, secret)?;
        insert(db, secret)
    });
    let refused = write(&mut handle, |db| db.execute("SELECT secret_column", &[]));
    for error in [failed.unwrap_err(), refused.unwrap_err()] {
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains(secret) && !text.contains("secret_column"),
            "{text}"
        );
    }
    assert!(!format!("{:?}", SqlValue::from(secret)).contains(secret));
}

async fn visit(pool: &Arc<Pool>, files: &Files, seed: u64) {
    let turn = pool.turn(storage(seed)).await.unwrap();
    let handle = turn.take(|storage| files.open(storage)).unwrap();
    turn.put_back(handle);
}

#[tokio::test]
async fn no_more_databases_are_open_than_the_limit_and_the_oldest_closes_first() {
    let place = Place::new();
    for seed in 1..=4 {
        drop(place.open(seed));
    }
    let pool = Pool::new(2, 8);
    for seed in [1, 2, 1, 3] {
        visit(&pool, &place.files, seed).await;
        assert!(pool.idle() <= 2);
    }
    // 2 was used least recently, so 1 is still open: it is found without opening.
    let turn = pool.turn(storage(1)).await.unwrap();
    let handle = turn.take(|_| Err(DbError::Missing)).unwrap();
    // While 1 works and 3 is idle, 4 needs the place of 3.
    visit(&pool, &place.files, 4).await;
    assert_eq!(pool.idle(), 1);
    turn.put_back(handle);
    drop(turn);
    let turn = pool.turn(storage(3)).await.unwrap();
    assert!(turn.take(|_| Err(DbError::Missing)).is_err());
}

#[tokio::test]
async fn a_tenants_queue_is_bounded_and_others_do_not_wait_in_it() {
    let pool = Pool::new(2, 1);
    let working = pool.turn(storage(1)).await.unwrap();
    let mut waiting = Box::pin(pool.turn(storage(1)));
    assert!(futures_poll(&mut waiting).await.is_none());
    let refused = pool.turn(storage(1)).await;
    assert_eq!(refused.unwrap_err(), DbError::Overloaded);
    assert!(pool.turn(storage(2)).await.is_ok());
    drop(working);
    assert!(waiting.await.is_ok());
    assert!(pool.turn(storage(1)).await.is_ok());
}

#[tokio::test]
async fn a_closed_pool_waits_for_its_work_and_takes_no_more() {
    let pool = Pool::new(2, 8);
    let working = pool.turn(storage(1)).await.unwrap();
    let mut closing = Box::pin(pool.close());
    assert!(futures_poll(&mut closing).await.is_none());
    let refused = pool.turn(storage(2)).await;
    assert_eq!(refused.unwrap_err(), DbError::Closed);
    drop(working);
    closing.await;
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}
