//! The tables, made by numbered steps: explicitly, once, by one at a time.
//!
//! A step that was applied never changes; its digest is kept beside its number. A schema with a step
//! that this version does not know is refused, by the migration and by the store.

use eonpro_core::digest::Digest;
use eonpro_core::pae;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::config::PgConfig;
use crate::connect::Connector;
use crate::error::PgError;
use crate::pool::{Connections, column};

/// The steps. The condition stands twice in the first, hence apart.
const STEPS: &[&[(&str, &str)]] = &[
    &[
        ("schema.sql", include_str!("schema.sql")),
        ("holds.sql", include_str!("holds.sql")),
    ],
    &[("audit.sql", include_str!("audit.sql"))],
];

/// The oldest server: what the tests run on.
const OLDEST: i32 = 150_000;

/// How many steps there are.
fn needed() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// The statements of a step, for the schema of that name.
fn statements(step: &[(&str, &str)], schema: &str) -> String {
    let mut parts = step.iter().map(|(_, text)| *text);
    let body = parts.next().unwrap_or_default();
    let holds = parts.next().unwrap_or_default().trim();
    body.replace("{holds}", holds).replace("{schema}", schema)
}

fn digest(step: &[(&str, &str)]) -> Digest {
    Digest::of(statements(step, "{schema}").as_bytes())
}

/// Brings the schema to the version that this version needs, in one transaction. The schema itself
/// is made if it is missing. Repeating it does nothing, and two at a time wait for each other.
///
/// Run it as the role that is to own the tables; the role of [`PgKeyValue`](crate::PgKeyValue) needs
/// less (`docs/runbooks/postgres.md`). If the future is dropped nothing was done, or all.
///
/// # Errors
/// [`PgError::UnknownSchema`] if it has a step that this version does not know, or one that was
/// another; [`PgError::TooOld`]; otherwise as the server refuses. Nothing was done then, except that
/// after [`PgError::Connection`] and [`PgError::Timeout`] the outcome is unknown.
pub async fn migrate(config: &PgConfig) -> Result<(), PgError> {
    let (client, reading) = Connector::new(config)?.run().await?;
    let outcome = migrate_on(&client, &config.schema).await;
    // The server rolls back what was not committed.
    drop(client);
    reading.abort();
    outcome
}

async fn migrate_on(client: &Client, schema: &str) -> Result<(), PgError> {
    let version = client.query_typed(VERSION, &[]).await?;
    check_age(&version)?;
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; \
        SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '240s'";
    client.batch_execute(begin).await?;
    let lock = lock_of(schema);
    let turn = "SELECT pg_advisory_xact_lock($1)::text";
    client.query_typed(turn, &[(&lock, Type::INT8)]).await?;

    // Whoever may not create schemas may not ask for one that is there.
    let known = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    let known = client.query_typed(known, &[(&schema, Type::TEXT)]).await?;
    if known.is_empty() {
        client
            .batch_execute(&format!("CREATE SCHEMA \"{schema}\""))
            .await?;
    }
    let table = format!(
        "CREATE TABLE IF NOT EXISTS \"{schema}\".migration \
         (version integer PRIMARY KEY, digest bytea NOT NULL)"
    );
    client.batch_execute(&table).await?;
    let applied = client.query_typed(&applied(schema), &[]).await?;
    let done = check_steps(&applied)?;
    let record = format!("INSERT INTO \"{schema}\".migration VALUES ($1, $2)");
    for (number, step) in (1..).zip(STEPS).skip(done) {
        client.batch_execute(&statements(step, schema)).await?;
        let digest = digest(step);
        let digest = digest.as_bytes().as_slice();
        let values: [crate::pool::Parameter<'_>; 2] =
            [(&number, Type::INT4), (&digest, Type::BYTEA)];
        client.execute_typed(&record, &values).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

const VERSION: &str = "SELECT current_setting('server_version_num')::int4, \
    current_setting('fsync') = 'on'";

fn applied(schema: &str) -> String {
    format!("SELECT version, digest FROM \"{schema}\".migration ORDER BY version")
}

fn lock_of(schema: &str) -> i64 {
    lock_key(&[b"eonpro/postgres/migration/v1", schema.as_bytes()])
}

/// A number for an advisory lock.
pub(crate) fn lock_key(parts: &[&[u8]]) -> i64 {
    let digest = Digest::of(&pae::encode(parts));
    let bytes = digest.as_bytes().first_chunk::<8>();
    i64::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// Whether the server syncs what it acknowledges.
fn check_age(rows: &[Row]) -> Result<bool, PgError> {
    let row = rows.first().ok_or(PgError::Malformed)?;
    match column(row, 0)? {
        OLDEST.. => column(row, 1),
        older => Err(PgError::TooOld(older)),
    }
}

/// How many of our steps were applied, if nothing else was.
fn check_steps(applied: &[Row]) -> Result<usize, PgError> {
    for (index, row) in applied.iter().enumerate() {
        let version: i32 = column(row, 0)?;
        let found: &[u8] = column(row, 1)?;
        let expected = STEPS.get(index).map(|step| digest(step));
        let is_ours = expected.is_some_and(|digest| digest.as_bytes() == found)
            && usize::try_from(version).ok() == Some(index + 1);
        if !is_ours {
            return Err(PgError::UnknownSchema(version));
        }
    }
    Ok(applied.len())
}

/// Checks that the store may work there; tells whether the server syncs what it acknowledges.
pub(crate) async fn check(connections: &Connections, schema: &str) -> Result<bool, PgError> {
    let syncs = check_age(&connections.read(VERSION, &[]).await?)?;
    let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
    let found = match connections.read(&applied(schema), &[]).await {
        Ok(applied) => check_steps(&applied)?,
        Err(PgError::Refused(code)) if missing.iter().any(|state| state.code() == code) => 0,
        Err(error) => return Err(error),
    };
    let found = i32::try_from(found).unwrap_or(i32::MAX);
    if found < needed() {
        return Err(PgError::Unmigrated {
            found,
            needed: needed(),
        });
    }
    Ok(syncs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_was_published_never_changes() {
        let digests: Vec<String> = STEPS.iter().map(|step| digest(step).to_string()).collect();
        assert_eq!(
            digests,
            [
                "63755d2ddfcccfba2806ea891fe93d3c30a595add9684661c3325c655753ad0e",
                "110911c1e01cbbb96fc911ef8003d8d0a59620f893135668322c7d0e0c037e48",
            ]
        );
    }

    #[test]
    fn statements_have_no_placeholder_left() {
        for step in STEPS {
            assert!(!statements(step, "s").contains('{'));
        }
    }
}
