//! What somebody can do who disables the triggers, and where verifying finds it.

use eonpro_audit::{AuditError, AuditLog as _, LogId};
use eonpro_core::component::{Component as _, Health};
use eonpro_postgres::{PgConfig, migrate};
use eonpro_testkit::tenant_id;

use crate::audit_bed::AuditBed;
use crate::bed;

/// What is changed in the log of tenant 1, of which entries 0 to 7 are signed and 8 and 9 are not; and what
/// verifying says of it, in which `T` stands for that log.
const CAMPAIGN: &[(&str, &str)] = &[
    (
        "UPDATE entry SET bytes = new, leaf = sha256('\\x00'::bytea || new) FROM (SELECT \
         overlay(bytes PLACING 'x' FROM 200) AS new FROM entry WHERE log = 'T' AND index = 3) n \
         WHERE log = 'T' AND index = 3",
        "T#3: entry does not match the hash chain",
    ),
    (
        "ALTER TABLE entry DROP CONSTRAINT audit_entry_leaf; UPDATE entry SET \
         bytes = overlay(bytes PLACING 'x' FROM 200) WHERE log = 'T' AND index = 3",
        "T#3: entry is malformed",
    ),
    (
        "UPDATE entry SET bytes = new, leaf = sha256('\\x00'::bytea || new) FROM (SELECT \
         overlay(bytes PLACING 'x' FROM 200) AS new FROM entry WHERE log = 'T' AND index = 7) n \
         WHERE log = 'T' AND index = 7; DELETE FROM entry WHERE log = 'T' AND index > 7",
        "T#7: entries up to here do not match the signed root",
    ),
    (
        "DELETE FROM entry WHERE log = 'T' AND index = 4",
        "T#4: index does not follow its predecessor",
    ),
    (
        "DELETE FROM entry WHERE log = 'T' AND index >= 5",
        "T#5: what was signed is missing",
    ),
    (
        "DELETE FROM entry WHERE log = 'T'; DELETE FROM head WHERE log = 'T'",
        "T#0: what was signed is missing",
    ),
    (
        "UPDATE entry SET recorded = recorded + 1 WHERE log = 'T' AND index = 2",
        "T#2: entry is malformed",
    ),
    (
        "UPDATE entry SET id = gen_random_uuid() WHERE log = 'T' AND index = 2",
        "T#2: entry is malformed",
    ),
    (
        "UPDATE head SET state = sha256('') || state WHERE log = 'T'",
        "T#9: entries up to here do not match the signed root",
    ),
    (
        "UPDATE head SET size = 9 WHERE log = 'T'",
        "T#9: index does not follow its predecessor",
    ),
    (
        "DELETE FROM signed WHERE log = 'eonpro/audit/directory'",
        "eonpro/audit/directory#0: what was signed is missing",
    ),
    (
        "DELETE FROM entry WHERE log = 'eonpro/audit/directory'; \
         DELETE FROM head WHERE log = 'eonpro/audit/directory'",
        "eonpro/audit/directory#0: what was signed is missing",
    ),
    (
        "UPDATE signed SET note = (SELECT note FROM signed WHERE log = 'T') \
         WHERE log = 'eonpro/audit/directory'",
        "eonpro/audit/directory#0: checkpoint is malformed or out of place",
    ),
    (
        "DELETE FROM head WHERE log = 'T'",
        "T#0: what was signed is missing",
    ),
    (
        "INSERT INTO entry SELECT 'eonpro/audit/0190a1b2-0000-7000-8000-00000000000a', index, \
         gen_random_uuid(), recorded, bytes, leaf FROM entry WHERE log = 'T' AND index = 0",
        "eonpro/audit/0190a1b2-0000-7000-8000-00000000000a#0: log is not declared as it must be",
    ),
];

pub(crate) fn statements(schema: &str, change: &str) -> String {
    let mut sql = String::new();
    for table in ["entry", "head", "signed"] {
        sql += &format!("ALTER TABLE {schema}.audit_{table} DISABLE TRIGGER ALL; ");
    }
    let change = change.replace("'T'", &format!("'{}'", LogId::Tenant(tenant_id(1))));
    let words: Vec<String> = change
        .split(' ')
        .map(|word| match word {
            "entry" | "head" | "signed" => format!("{schema}.audit_{word}"),
            other => other.to_owned(),
        })
        .collect();
    sql + &words.join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn verifying_names_the_first_bad_entry_that_a_superuser_made_and_nothing_is_signed_over_it() {
    let Some(server) = bed::server().await else {
        return;
    };
    for (number, (change, expected)) in CAMPAIGN.iter().enumerate() {
        let schema = format!("bad_{number}");
        let config = PgConfig {
            schema: schema.clone(),
            ..bed::config(&server)
        };
        migrate(&config).await.unwrap();
        let bed = AuditBed::new();
        let audit = bed.open(&config).await;
        for _ in 0..8 {
            audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
        }
        audit.verify(&bed.system()).await.unwrap();
        for _ in 0..2 {
            audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
        }
        server.sql(&statements(&schema, change)).unwrap();
        let expected = expected.replace("T#", &format!("{}#", LogId::Tenant(tenant_id(1))));
        // A process that has read nothing yet finds it when it signs; both do when they verify.
        let signed = format!("SELECT md5(string_agg(s::text, '')) FROM {schema}.audit_signed s");
        let before = server.sql(&signed).unwrap();
        let found = |error: AuditError| match error {
            AuditError::Corrupt(error) => error.to_string(),
            other => panic!("{change}: {other:?}"),
        };
        if !change.contains("INSERT") {
            let error = match bed.try_open(&config).await {
                Ok(fresh) => fresh.checkpoint().await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(found(error), expected, "{change}");
            assert_eq!(server.sql(&signed).unwrap(), before, "{change}");
        }
        let error = audit.verify(&bed.system()).await.unwrap_err();
        assert_eq!(found(error), expected, "{change}");
        let health = audit.health().await;
        assert_eq!(
            health,
            Health::Unhealthy("the rows are not what was written")
        );
        audit.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_whose_head_was_taken_away_holds_up_no_other_and_does_not_begin_anew() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = AuditBed::new();
    let (audit, other) = (bed.open(&config).await, bed.open(&config).await);
    for audit in [&audit, &other] {
        audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
    }
    let change = "DELETE FROM head WHERE log = 'T'";
    server.sql(&statements("eonpro", change)).unwrap();
    let staged = audit.stage(&bed.cx(1), &bed.viewed()).await.unwrap();
    let hex: String = staged
        .entry()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (log, id) = (staged.log(), staged.id());
    server
        .sql(&format!(
            "SELECT eonpro.audit_stage('{log}', '{id}', '\\x{hex}')"
        ))
        .unwrap();
    for _ in 0..3 {
        let sequencing = if audit.is_sequencing() {
            &audit
        } else {
            &other
        };
        let refused = sequencing
            .append(&bed.cx(1), &bed.viewed())
            .await
            .unwrap_err();
        assert!(matches!(refused, AuditError::Backend(_)), "{refused:?}");
        for audit in [&audit, &other] {
            audit.append(&bed.cx(2), &bed.viewed()).await.unwrap();
        }
    }
    let log = LogId::Tenant(tenant_id(1));
    let there = format!("SELECT count(*) FROM eonpro.audit_entry WHERE log = '{log}'");
    assert_eq!(server.sql(&there).unwrap(), "2");
}
