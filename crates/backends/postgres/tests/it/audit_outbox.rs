//! Entries that commit with the rows that they tell of.

use std::collections::HashSet;
use std::sync::Arc;

use eonpro_audit::{AuditLog as _, LogId};
use eonpro_core::component::{Component as _, Health};
use eonpro_core::event::Event;
use eonpro_core::task;
use eonpro_postgres::{PgAudit, PgConfig, StagedEntry, migrate};
use eonpro_testkit::{Postgres, tenant_id};
use tokio_postgres::{Client, NoTls};

use crate::audit::{as_clinic, expect_all_once, grant, until};
use crate::audit_bed::{AuditBed, is_reading};
use crate::bed;

/// An application with a table of its own, and its own driver.
async fn application(server: &Postgres) -> Client {
    let url = format!(
        "host=127.0.0.1 port={} user=clinic password=clinic-password dbname={}",
        server.port(),
        Postgres::DATABASE
    );
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    drop(task::start(async move {
        let _ = connection.await;
    }));
    client
}

async fn world(server: &Postgres) -> (Arc<AuditBed>, PgConfig, Arc<PgAudit>) {
    migrate(&bed::config(server)).await.unwrap();
    grant(server);
    server
        .sql("CREATE TABLE visit (id text PRIMARY KEY)")
        .unwrap();
    server
        .sql("GRANT INSERT, SELECT ON visit TO clinic")
        .unwrap();
    let (bed, config) = (Arc::new(AuditBed::new()), as_clinic(server));
    let audit = bed.open(&config).await;
    (bed, config, audit)
}

/// Writes a visit and its entry, in the transaction that is open.
async fn visit(client: &Client, staged: &StagedEntry) {
    let insert = "INSERT INTO visit VALUES ($1)";
    client.execute(insert, &[&staged.id()]).await.unwrap();
    let (log, id, entry) = (staged.log(), staged.id(), staged.entry());
    client
        .query(staged.sql(), &[&log, &id, &entry])
        .await
        .unwrap();
}

async fn ids(bed: &AuditBed, audit: &PgAudit) -> Vec<String> {
    let log = LogId::Tenant(tenant_id(1));
    let views = audit.read(&bed.system(), &log, 0..4_000).await.unwrap();
    let own = views.iter().filter(|view| !is_reading(view));
    own.map(|view| view.entry().unwrap().id).collect()
}

async fn stage(bed: &AuditBed, audit: &PgAudit) -> (Arc<Event>, StagedEntry) {
    let event = bed.viewed();
    let staged = audit.stage(&bed.cx(1), &event).await.unwrap();
    (event, staged)
}

fn outbox_is_empty(server: &Postgres) -> bool {
    server
        .sql("SELECT count(*) FROM eonpro.audit_outbox")
        .unwrap()
        == "0"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_entry_commits_with_its_row_and_is_rolled_back_with_it() {
    let Some(server) = bed::server().await else {
        return;
    };
    let (bed, _, audit) = world(&server).await;
    let mut client = application(&server).await;
    let (kept, staged) = stage(&bed, &audit).await;
    client.batch_execute("BEGIN").await.unwrap();
    visit(&client, &staged).await;
    client.batch_execute("COMMIT").await.unwrap();
    let (_, undone) = stage(&bed, &audit).await;
    client.batch_execute("BEGIN").await.unwrap();
    visit(&client, &undone).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    until(|| outbox_is_empty(&server)).await;
    assert_eq!(ids(&bed, &audit).await, [kept.id().to_string()]);

    // A repeat by another way is folded, in both directions.
    let first = audit.append(&bed.cx(1), &kept).await.unwrap();
    assert_eq!(first.index, 0);
    let (appended, staged) = stage(&bed, &audit).await;
    let receipt = audit.append(&bed.cx(1), &appended).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let (log, id, entry) = (staged.log(), staged.id(), staged.entry());
    transaction
        .query(staged.sql(), &[&log, &id, &entry])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    until(|| outbox_is_empty(&server)).await;
    let all = [(kept, first), (appended, receipt)];
    assert_eq!(ids(&bed, &audit).await.len(), 2);
    expect_all_once(&bed, &audit, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn entries_come_in_the_order_of_their_transactions() {
    let Some(server) = bed::server().await else {
        return;
    };
    let (bed, _, audit) = world(&server).await;
    let (early, late) = (application(&server).await, application(&server).await);
    let (one, first) = stage(&bed, &audit).await;
    let (two, second) = stage(&bed, &audit).await;
    early.batch_execute("BEGIN").await.unwrap();
    visit(&early, &first).await;
    // Begins later, ends earlier.
    late.batch_execute("BEGIN").await.unwrap();
    visit(&late, &second).await;
    late.batch_execute("COMMIT").await.unwrap();
    // What is appended meanwhile does not wait for them.
    let between = bed.viewed();
    audit.append(&bed.cx(1), &between).await.unwrap();
    for _ in 0..3 {
        // The sequencer looks at the outbox after some rounds.
        for _ in 0..10 {
            audit.append(&bed.cx(2), &bed.viewed()).await.unwrap();
        }
        assert_eq!(ids(&bed, &audit).await, [between.id().to_string()]);
    }
    early.batch_execute("COMMIT").await.unwrap();
    until(|| outbox_is_empty(&server)).await;
    let expected = [between.id(), one.id(), two.id()].map(|id| id.to_string());
    assert_eq!(ids(&bed, &audit).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_committed_entry_is_there_once_however_often_the_sequencer_is_killed() {
    let Some(mut server) = bed::server().await else {
        return;
    };
    let (bed, config, audit) = world(&server).await;
    let other = bed.open(&config).await;
    let mut expected = HashSet::new();
    for round in 0..6 {
        let client = application(&server).await;
        for number in 0..30 {
            let (event, staged) = stage(&bed, &audit).await;
            client.batch_execute("BEGIN").await.unwrap();
            visit(&client, &staged).await;
            match number % 5 {
                0 => client.batch_execute("ROLLBACK").await.unwrap(),
                _ => {
                    client.batch_execute("COMMIT").await.unwrap();
                    expected.insert(event.id().to_string());
                }
            }
            if number % 10 == 9 {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                    WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'";
                server.sql(end).unwrap();
            }
        }
        if round % 2 == 1 {
            server.kill().unwrap();
            server.launch().await.unwrap();
        }
    }
    until(|| outbox_is_empty(&server)).await;
    let there = ids(&bed, &other).await;
    assert_eq!(there.len(), expected.len(), "each once");
    assert_eq!(there.into_iter().collect::<HashSet<_>>(), expected);
    let visits = server.sql("SELECT count(*) FROM visit").unwrap();
    assert_eq!(visits, expected.len().to_string());
    other.verify(&bed.system()).await.unwrap();
    let _ = audit;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_no_entry_of_that_log_fails_the_transaction_that_stages_it() {
    let Some(server) = bed::server().await else {
        return;
    };
    let (bed, _, audit) = world(&server).await;
    let client = application(&server).await;
    let (_, staged) = stage(&bed, &audit).await;
    let other = LogId::Tenant(tenant_id(2)).to_string();
    let directory = LogId::Directory.to_string();
    let foreign = "0190a1b2-0000-7000-8000-00000000000a";
    let mut longer = staged.entry().to_vec();
    longer.pop();
    longer.extend_from_slice(b",\"more\":\"");
    longer.resize(65_500, b'x');
    longer.extend_from_slice(b"\"}");
    for (log, id, entry) in [
        (other.as_str(), staged.id(), staged.entry()),
        (directory.as_str(), staged.id(), staged.entry()),
        ("eonpro/audit/nonsense", staged.id(), staged.entry()),
        (staged.log(), foreign, staged.entry()),
        (staged.log(), staged.id(), b"no entry".as_slice()),
        (staged.log(), staged.id(), b"}".as_slice()),
        (staged.log(), staged.id(), longer.as_slice()),
    ] {
        let refused = client.query(staged.sql(), &[&log, &id, &entry]).await;
        assert!(refused.is_err(), "{log} {id} {}", entry.len());
    }
    assert!(outbox_is_empty(&server));
    assert_eq!(ids(&bed, &audit).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_of_the_outbox_that_can_be_no_entry_holds_up_nobody() {
    let Some(server) = bed::server().await else {
        return;
    };
    let (bed, _, audit) = world(&server).await;
    let log = LogId::Tenant(tenant_id(1));
    let forged = format!(
        "INSERT INTO eonpro.audit_outbox (forwarded, log, ids, tails) VALUES \
         (false, '{log}', ARRAY[gen_random_uuid()], ARRAY['nonsense'::bytea]), \
         (false, 'nonsense', '{{}}', '{{}}')"
    );
    server.sql(&forged).unwrap();
    let client = application(&server).await;
    let (event, staged) = stage(&bed, &audit).await;
    visit(&client, &staged).await;
    let left = "SELECT count(*) FILTER (WHERE refused), count(*) FROM eonpro.audit_outbox";
    until(|| server.sql(left).unwrap() == "2|2").await;
    assert_eq!(ids(&bed, &audit).await, [event.id().to_string()]);
    assert_eq!(
        audit.health().await,
        Health::Degraded("staged entries were set aside")
    );
    audit.verify(&bed.system()).await.unwrap();
}
