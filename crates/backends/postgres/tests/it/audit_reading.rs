//! What somebody can do to readers who disables the triggers, and what queries and proofs make of it.

use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, Effort, Fault, LogId, Place, Proofs, Query, VerifyError,
};
use eonpro_core::event::Code;
use eonpro_postgres::migrate;
use eonpro_testkit::tenant_id;

use crate::audit_bed::AuditBed;
use crate::audit_verify::statements;
use crate::bed;

fn log() -> LogId {
    LogId::Tenant(tenant_id(1))
}

fn found(error: AuditError) -> (u64, Fault) {
    match error {
        AuditError::Corrupt(VerifyError::Tampered {
            place: Place::Entry { index, .. },
            fault,
        }) => (index, fault),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_entry_that_was_replaced_with_its_hash_is_proven_by_nobody() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = AuditBed::new();
    let audit = bed.open(&config).await;
    for _ in 0..300 {
        audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
    }
    audit.checkpoint().await.unwrap();
    let mut query = Query::new(log());
    query.proofs = Proofs::With;
    query.limit = 10;
    let cx = bed.system();
    let page = audit.query(&cx, &query).await.unwrap();
    assert!(page.hits.iter().all(|hit| hit.proof.is_some()));
    let head = Checkpoint::open(page.head.as_deref().unwrap(), &[bed.key()]).unwrap();
    let change = "UPDATE entry SET bytes = new, leaf = sha256('\\x00'::bytea || new) FROM (SELECT \
         overlay(bytes PLACING 'x' FROM 200) AS new FROM entry WHERE log = 'T' AND index = 3) n \
         WHERE log = 'T' AND index = 3";
    server.sql(&statements("eonpro", change)).unwrap();
    // Neither by a process that knows the groups' roots from before, nor by one that does not.
    let fresh = bed.open(&config).await;
    for audit in [&audit, &fresh] {
        for _ in 0..2 {
            let refused = audit.query(&cx, &query).await.unwrap_err();
            assert_eq!(found(refused), (head.size - 1, Fault::Root));
            let refused = audit.prove(&cx, &log(), 3, head.size).await.unwrap_err();
            assert_eq!(found(refused), (head.size - 1, Fault::Root));
        }
    }
    let refused = fresh.prove_growth(&cx, &log(), 5, head.size).await;
    assert_eq!(found(refused.unwrap_err()), (head.size - 1, Fault::Root));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_that_lies_hides_entries_but_shows_nothing_untrue_and_may_be_passed_over() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = AuditBed::new();
    let audit = bed.open(&config).await;
    for _ in 0..5 {
        audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
    }
    let cx = bed.system();
    let mut query = Query::new(log());
    query.code = Some(Code::constant("PHI-001"));
    assert_eq!(audit.query(&cx, &query).await.unwrap().hits.len(), 5);
    server
        .sql(
            "CREATE OR REPLACE FUNCTION eonpro.audit_fact(p_bytes bytea, p_path text[]) RETURNS text \
             LANGUAGE sql IMMUTABLE AS $$ SELECT 'PHI-002' $$; REINDEX TABLE eonpro.audit_entry",
        )
        .unwrap();
    assert_eq!(audit.query(&cx, &query).await.unwrap().hits.len(), 0);
    query.code = Some(Code::constant("PHI-002"));
    assert_eq!(audit.query(&cx, &query).await.unwrap().hits.len(), 0);
    query.code = Some(Code::constant("PHI-001"));
    query.effort = Effort::Entries;
    assert_eq!(audit.query(&cx, &query).await.unwrap().hits.len(), 5);
    // An entry that is gone is missed by whoever looks at all of them.
    let change = "DELETE FROM entry WHERE log = 'T' AND index = 2";
    server.sql(&statements("eonpro", change)).unwrap();
    let refused = audit.query(&cx, &query).await.unwrap_err();
    assert_eq!(found(refused), (2, Fault::Gap));
    let refused = audit.query(&cx, &Query::new(log())).await.unwrap_err();
    assert_eq!(found(refused), (2, Fault::Gap));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_condition_has_an_index_that_serves_it() {
    let Some(server) = bed::server().await else {
        return;
    };
    migrate(&bed::config(&server)).await.unwrap();
    let fact = |path: &str| format!("eonpro.audit_fact(bytes, ARRAY[{path}]) = 'x'");
    let conditions = [
        (fact("'code'"), "audit_entry_code"),
        (fact("'outcome'"), "audit_entry_outcome"),
        (fact("'actor', 'id'"), "audit_entry_actor"),
        (fact("'trace'"), "audit_entry_trace"),
    ];
    for (condition, index) in conditions {
        let plan = format!(
            "SET enable_seqscan = off; SET enable_sort = off; EXPLAIN SELECT bytes FROM \
             eonpro.audit_entry WHERE log = 'l' AND index >= 1 AND {condition} ORDER BY index LIMIT 9"
        );
        let plan = server.sql(&plan).unwrap();
        assert!(plan.contains(index), "{condition}: {plan}");
    }
    let plan = "SET enable_seqscan = off; EXPLAIN SELECT bytes FROM eonpro.audit_entry \
         WHERE log = 'l' AND recorded >= 7 ORDER BY recorded LIMIT 1";
    let plan = server.sql(plan).unwrap();
    assert!(plan.contains("audit_entry_recorded"), "{plan}");
    let plan = "SET enable_seqscan = off; SET enable_indexscan = off; EXPLAIN SELECT bytes FROM \
         eonpro.audit_entry WHERE eonpro.audit_patients(bytes) @> ARRAY['x']";
    let plan = server.sql(plan).unwrap();
    assert!(plan.contains("audit_entry_patients"), "{plan}");
}
