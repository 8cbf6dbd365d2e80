//! Who sequences, what is left when it dies, and who may write.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eonpro_audit::{AuditError, AuditLog as _, LogId, Proofs, Query, Receipt, Written};
use eonpro_core::component::{Component as _, Health};
use eonpro_core::event::{Code, Event, EventSink as _, FieldValue, Outcome};
use eonpro_core::id::SubjectId;
use eonpro_core::secret::SecretText;
use eonpro_core::task;
use eonpro_postgres::{PgAudit, PgConfig, migrate};
use eonpro_testkit::{Postgres, tenant_id};
use tokio::task::JoinHandle;

use crate::audit_bed::{AuditBed, is_reading};
use crate::bed;

/// An event with its receipt.
type Acknowledged = (Arc<Event>, Receipt);

/// Ends every session that sequences.
const END_SEQUENCER: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
    WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'";

pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// Expects that the tenant's log holds each acknowledged event once, at the index of its receipt, and
/// that everything verifies.
pub(crate) async fn expect_all_once(
    bed: &AuditBed,
    audit: &PgAudit,
    acknowledged: &[Acknowledged],
) {
    let log = LogId::Tenant(tenant_id(1));
    let mut places = HashSet::new();
    let mut ids = Vec::new();
    loop {
        let from = ids.len() as u64;
        let page = audit
            .read(&bed.system(), &log, from..u64::MAX)
            .await
            .unwrap();
        ids.extend(page.iter().map(|view| view.entry().unwrap().id));
        // Who reads on meets the records of his own readings.
        if page.iter().all(is_reading) {
            break;
        }
    }
    for (event, receipt) in acknowledged {
        assert!(places.insert(receipt.index), "two receipts for one place");
        assert_eq!(ids[receipt.index as usize], event.id().to_string());
    }
    let different: HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "an entry is there twice");
    audit.verify(&bed.system()).await.unwrap();
}

/// Appends one event after the other until told to stop; tells those that were acknowledged.
async fn write(
    bed: Arc<AuditBed>,
    audit: Arc<PgAudit>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let event = bed.viewed();
        let receipt = audit.append(&bed.cx(1), &event).await.unwrap();
        acknowledged.push((event, receipt));
        count.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

struct Writers {
    running: Vec<JoinHandle<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Writers {
    /// Writers on both handles by turns.
    fn start(bed: &Arc<AuditBed>, handles: &[Arc<PgAudit>]) -> Self {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let running = handles.iter().cycle().take(6).map(|audit| {
            let (bed, audit) = (Arc::clone(bed), Arc::clone(audit));
            task::start(write(bed, audit, Arc::clone(&stop), Arc::clone(&count)))
        });
        Self {
            running: running.collect(),
            stop: Arc::clone(&stop),
            count,
        }
    }

    /// Returns once `more` were acknowledged since.
    async fn progress(&self, more: usize) {
        let goal = self.count.load(Ordering::Relaxed) + more;
        until(|| self.count.load(Ordering::Relaxed) >= goal).await;
    }

    async fn end(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for running in self.running {
            all.extend(running.await.unwrap());
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_processes_sequences_and_the_other_takes_over_when_it_ends() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = Arc::new(AuditBed::new());
    let (one, other) = tokio::join!(bed.open(&config), bed.open(&config));
    assert_ne!(one.is_sequencing(), other.is_sequencing());
    let (first, second) = match one.is_sequencing() {
        true => (one, other),
        false => (other, one),
    };
    let mut acknowledged = Vec::new();
    for audit in [&second, &first, &second] {
        let event = bed.viewed();
        let receipt = audit.append(&bed.cx(1), &event).await.unwrap();
        acknowledged.push((event, receipt));
    }
    first.close().await;
    until(|| second.is_sequencing()).await;
    let event = bed.viewed();
    let receipt = second.append(&bed.cx(1), &event).await.unwrap();
    assert_eq!(receipt.index, 3);
    acknowledged.push((event, receipt));
    let epoch = server
        .sql("SELECT epoch FROM eonpro.audit_sequencer")
        .unwrap();
    assert_eq!(epoch, "2");
    expect_all_once(&bed, &second, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_once_however_often_the_sequencer_is_killed() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = Arc::new(AuditBed::new());
    let handles = [bed.open(&config).await, bed.open(&config).await];
    let writers = Writers::start(&bed, &handles);
    for _ in 0..8 {
        writers.progress(40).await;
        server.sql(END_SEQUENCER).unwrap();
    }
    writers.progress(40).await;
    let acknowledged = writers.end().await;
    let epoch = server
        .sql("SELECT epoch FROM eonpro.audit_sequencer")
        .unwrap();
    assert!(epoch.parse::<u32>().unwrap() > 4, "epoch {epoch}");
    for audit in &handles {
        expect_all_once(&bed, audit, &acknowledged).await;
    }
    let log = LogId::Tenant(tenant_id(1)).to_string();
    let size = format!(
        "SELECT count(*) FROM eonpro.audit_entry WHERE log = '{log}' \
         AND eonpro.audit_fact(bytes, '{{code}}') <> 'AUD-003'"
    );
    // Nothing was refused, so everything that was begun is there.
    assert_eq!(server.sql(&size).unwrap(), acknowledged.len().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_once_after_the_server_was_killed() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = Arc::new(AuditBed::new());
    let handles = [bed.open(&config).await, bed.open(&config).await];
    let writers = Writers::start(&bed, &handles);
    for _ in 0..3 {
        writers.progress(40).await;
        server.kill().unwrap();
        until(|| handles.iter().all(|audit| !audit.is_sequencing())).await;
        assert!(matches!(handles[0].health().await, Health::Unhealthy(_)));
        server.launch().await.unwrap();
    }
    writers.progress(40).await;
    let acknowledged = writers.end().await;
    expect_all_once(&bed, &handles[0], &acknowledged).await;
    assert_eq!(handles[0].health().await, Health::Healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_is_told_that_its_entry_is_in_doubt_while_the_server_is_down() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let mut bed = AuditBed::new();
    bed.audit.queue_wait = std::time::Duration::from_millis(300);
    let audit = bed.open(&config).await;
    server.kill().unwrap();
    let event = bed.viewed();
    let error = audit.append(&bed.cx(1), &event).await.unwrap_err();
    assert!(matches!(error, AuditError::InDoubt(_)), "{error:?}");
    assert_eq!(error.written(), Written::Unknown);
    server.launch().await.unwrap();
    // The repeat, with time, gives what the first attempt came to.
    let receipt = loop {
        match audit.append(&bed.cx(1), &event).await {
            Ok(receipt) => break receipt,
            Err(error) => assert_eq!(error.written(), Written::Unknown),
        }
    };
    assert_eq!(receipt.index, 0);
    expect_all_once(&bed, &audit, &[(event, receipt)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sequencer_of_an_earlier_epoch_is_refused() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = AuditBed::new();
    let audit = bed.open(&config).await;
    audit.append(&bed.cx(1), &bed.viewed()).await.unwrap();
    let entries = "SELECT count(*) FROM eonpro.audit_entry";
    let before = server.sql(entries).unwrap();
    let append = |epoch: &str| {
        format!(
            "SELECT eonpro.audit_append({epoch}, 9223372036854775807, \
             ARRAY['eonpro/audit/system'], ARRAY[1::bigint], ARRAY[sha256('')], ARRAY[1::bigint], \
             ARRAY['0190a1b2-0000-7000-8000-00000000000a'], ARRAY[9223372036854775807], \
             ARRAY['x'::bytea], ARRAY[sha256('\\x00'::bytea || 'x')], ARRAY[]::bigint[], 'c')"
        )
    };
    let epoch = "(SELECT epoch FROM eonpro.audit_sequencer)";
    assert_eq!(server.sql(&append(&format!("{epoch} - 1"))).unwrap(), "f");
    assert_eq!(server.sql(entries).unwrap(), before);
    // Under the present epoch it is the same statement that is taken: the test tells them apart.
    let taken = format!("BEGIN; {}; ROLLBACK", append(epoch));
    assert_eq!(server.sql(&taken).unwrap(), "t");

    // One whose epoch is over begins a new one, and nothing that it was given is lost.
    server
        .sql("UPDATE eonpro.audit_sequencer SET epoch = epoch + 7")
        .unwrap();
    let event = bed.viewed();
    let receipt = audit.append(&bed.cx(1), &event).await.unwrap();
    assert_eq!(receipt.index, 1);
    audit.verify(&bed.system()).await.unwrap();
}

fn patient_of(event: &Event) -> Option<SubjectId> {
    event.fields().iter().find_map(|(_, value)| match value {
        FieldValue::Subject(patient) => Some(*patient),
        _ => None,
    })
}

/// The statements of `docs/runbooks/postgres.md`.
const RUNBOOK: &str = include_str!("../../../../../docs/runbooks/postgres.md");

pub(crate) fn grant(server: &Postgres) {
    let role = "CREATE ROLE clinic LOGIN PASSWORD 'clinic-password'";
    server.sql(role).unwrap();
    for block in RUNBOOK.split("```sql\n").skip(1) {
        let (grants, _) = block.split_once("```").unwrap();
        server.sql(grants).unwrap();
    }
}

pub(crate) fn as_clinic(server: &Postgres) -> PgConfig {
    PgConfig {
        user: "clinic".to_owned(),
        password: SecretText::new("clinic-password".to_owned()),
        ..bed::config(server)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_works_with_no_more_than_the_runbook_grants_and_nobody_changes_it() {
    let Some(server) = bed::server().await else {
        return;
    };
    migrate(&bed::config(&server)).await.unwrap();
    grant(&server);
    let config = as_clinic(&server);
    let bed = Arc::new(AuditBed::new());
    let (audit, other) = (bed.open(&config).await, bed.open(&config).await);
    let mut acknowledged = Vec::new();
    for audit in [&audit, &other] {
        let event = bed.viewed();
        let receipt = audit.append(&bed.cx(1), &event).await.unwrap();
        acknowledged.push((event, receipt));
    }
    audit.emit(&bed.cx(2), &bed.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    expect_all_once(&bed, &audit, &acknowledged).await;
    let log = LogId::Tenant(tenant_id(1));
    let mut query = Query::new(log);
    query.code = Some(Code::constant("PHI-001"));
    query.outcome = Some(Outcome::Success);
    query.patient = acknowledged
        .first()
        .and_then(|(event, _)| patient_of(event));
    query.proofs = Proofs::With;
    let page = audit.query(&bed.cx(1), &query).await.unwrap();
    assert_eq!(page.hits.len(), 1);
    assert!(page.hits[0].proof.is_some());

    let clinic = |sql: &str| server.sql(&format!("SET ROLE clinic; {sql}"));
    let everything = "SELECT md5(string_agg(e::text, '')) FROM (SELECT * FROM \
        eonpro.audit_entry ORDER BY log, index) e";
    let before = server.sql(everything).unwrap();
    for table in ["entry", "head", "signed", "sequencer", "outbox"] {
        for change in [
            format!("DELETE FROM eonpro.audit_{table}"),
            format!("TRUNCATE eonpro.audit_{table}"),
            format!(
                "INSERT INTO eonpro.audit_{table} OVERRIDING SYSTEM VALUE SELECT * FROM eonpro.audit_{table}"
            ),
            format!("ALTER TABLE eonpro.audit_{table} DISABLE TRIGGER ALL"),
            format!("DROP TABLE eonpro.audit_{table}"),
        ] {
            let refused = clinic(&change).unwrap_err().to_string();
            let denied = refused.contains("permission denied") || refused.contains("must be owner");
            assert!(denied, "{change}: {refused}");
        }
    }
    let updates = [
        "UPDATE eonpro.audit_entry SET bytes = bytes",
        "UPDATE eonpro.audit_entry SET bytes = bytes WHERE false",
        "UPDATE eonpro.audit_head SET size = size - 1",
        "UPDATE eonpro.audit_head SET state = ''",
        "UPDATE eonpro.audit_signed SET note = ''",
        "UPDATE eonpro.audit_sequencer SET recorded = 0",
        "UPDATE eonpro.audit_sequencer SET epoch = 0",
        "DELETE FROM eonpro.audit_entry",
        "DELETE FROM eonpro.audit_head",
        "DELETE FROM eonpro.audit_signed",
        "TRUNCATE eonpro.audit_entry",
        "TRUNCATE eonpro.audit_head, eonpro.audit_entry",
        "TRUNCATE eonpro.audit_signed",
    ];
    for update in updates {
        clinic(update).unwrap_err();
        // The owner is a superuser here, and needs to disable the triggers first.
        for session in ["", "SET session_replication_role = replica; "] {
            let refused = server.sql(&format!("{session}{update}")).unwrap_err();
            assert!(
                refused.to_string().contains("only grows"),
                "{update}: {refused}"
            );
        }
    }
    for function in [
        "audit_put('eonpro/audit/system', '{}', '{}', true)",
        "audit_refuse()",
    ] {
        clinic(&format!("SELECT eonpro.{function}")).unwrap_err();
    }
    assert_eq!(server.sql(everything).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn entries_that_deserve_it_raise_an_alert_once_whoever_sequences() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = AuditBed::new();
    let (one, other) = (bed.open(&config).await, bed.open(&config).await);
    for audit in [&one, &other] {
        let event = bed.crossed();
        audit.append(&bed.cx(1), &event).await.unwrap();
        audit.append(&bed.cx(1), &event).await.unwrap();
    }
    until(|| bed.alerts.alerts().len() >= 2).await;
    one.close().await;
    other.close().await;
    assert_eq!(bed.alerts.codes(), ["TEN-004", "TEN-004"]);
    let log = LogId::Tenant(tenant_id(1)).to_string();
    let recorded = format!(
        "SELECT count(*) FROM eonpro.audit_entry WHERE log = '{log}' \
         AND convert_from(bytes, 'UTF8')::jsonb ->> 'code' = 'SEC-001'"
    );
    assert_eq!(server.sql(&recorded).unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_committed_under_a_session_that_died_before_it_heard_so_is_there_once() {
    let Some(server) = bed::server().await else {
        return;
    };
    let config = bed::config(&server);
    migrate(&config).await.unwrap();
    let bed = Arc::new(AuditBed::new());
    let audit = bed.open(&config).await;
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        // A commit is durable here and then waits for a standby that does not exist.
        server
            .sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            .unwrap();
        server.sql("SELECT pg_reload_conf()").unwrap();
        let (appending, event) = (Arc::clone(&audit), bed.viewed());
        let (cx, appended) = (bed.cx(1), Arc::clone(&event));
        let appending = task::start(async move { appending.append(&cx, &appended).await });
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE wait_event = 'SyncRep' AND query LIKE '%audit_append%'";
        until(|| server.sql(end).unwrap() == "1").await;
        server
            .sql("ALTER SYSTEM RESET synchronous_standby_names")
            .unwrap();
        server.sql("SELECT pg_reload_conf()").unwrap();
        acknowledged.push((event, appending.await.unwrap().unwrap()));
    }
    let indexes: Vec<u64> = acknowledged
        .iter()
        .map(|(_, receipt)| receipt.index)
        .collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(audit.stats().repeats, 3, "each was found to be there");
    expect_all_once(&bed, &audit, &acknowledged).await;
}
