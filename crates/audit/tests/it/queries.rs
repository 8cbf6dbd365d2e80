//! What a query answers is what a look at every entry would have found, and the look is on record.

use std::sync::Arc;

use eonpro_audit::{
    AuditError, AuditLog as _, Effort, EmbeddedAudit, EntryValue, EntryView, LogId, Order, Page,
    Proofs, Query, TraceId,
};
use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::error::{Classify as _, ErrorKind};
use eonpro_core::event::catalogue::{phi, system};
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::scope::Standing;
use eonpro_core::time::Timestamp;
use eonpro_testkit::{Actors, context, standing_context, tenant_id};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::house::House;

/// Entries of a few patients, actors, outcomes and traces.
pub(crate) struct Mixed {
    pub(crate) patients: Vec<SubjectId>,
    pub(crate) contexts: Vec<RequestContext>,
    pub(crate) entries: Vec<EntryView>,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Success, Outcome::Minor, Outcome::Major];

fn viewed(house: &House, patient: SubjectId, outcome: Outcome) -> Arc<Event> {
    let viewed = phi::RecordViewed {
        patient,
        resource: ObjectRef::new(Code::constant("patient"), RowId::random(&*house.entropy)),
        record_source: Code::constant("local"),
    };
    Event::new(viewed, outcome, &*house.clock, &*house.entropy)
}

fn stopped(house: &House, outcome: Outcome) -> Arc<Event> {
    let stopped = system::Stopped {
        node: Code::constant("n1"),
        clean: true,
        last_index: 1,
    };
    Event::new(stopped, outcome, &*house.clock, &*house.entropy)
}

/// Appends `many` entries to the log of `tenant`.
pub(crate) async fn mixed(
    house: &House,
    audit: &EmbeddedAudit,
    tenant: u128,
    many: usize,
) -> Mixed {
    let random = || SubjectId::random(&*house.entropy);
    let patients: Vec<SubjectId> = (0..5).map(|_| random()).collect();
    let actors = [Actors::Clinician, Actors::Admin, Actors::Anonymous];
    let contexts: Vec<RequestContext> = (0..7)
        .map(|at| context(tenant, actors[at % 3], &*house.clock, &*house.entropy))
        .collect();
    let mut left = many;
    let mut turn = 0;
    while left > 0 {
        turn += 1;
        let events: Vec<_> = (0..left.min(1 + turn * 7 % 90))
            .map(|at| {
                let outcome = OUTCOMES[(at / 5 + turn) % 3];
                // The last patient is rare.
                match (at * turn) % 31 {
                    0 => stopped(house, outcome),
                    1 => viewed(house, patients[4], outcome),
                    other => viewed(house, patients[other % 4], outcome),
                }
            })
            .collect();
        let cx = &contexts[turn % contexts.len()];
        audit.append_batch(cx, &events).await.unwrap();
        left -= events.len();
    }
    let log = LogId::Tenant(tenant_id(tenant));
    let mut entries = Vec::new();
    while entries.len() < many {
        let from = entries.len() as u64;
        let range = from..many as u64;
        entries.extend(audit.read(&house.system(), &log, range).await.unwrap());
    }
    Mixed {
        patients,
        contexts,
        entries,
    }
}

/// Whether an entry is a hit, by what the whole of it says.
pub(crate) fn admits(query: &Query, view: &EntryView) -> bool {
    let entry = view.entry().unwrap();
    let patient = match entry.fields.get("patient") {
        Some(EntryValue::Text(patient)) => Some(patient.clone()),
        _ => None,
    };
    let recorded = view.recorded().unwrap();
    query
        .patient
        .is_none_or(|asked| patient == Some(asked.to_string()))
        && query
            .actor
            .as_ref()
            .is_none_or(|actor| actor.to_string() == entry.actor.id)
        && query
            .code
            .as_ref()
            .is_none_or(|code| code.as_str() == entry.code)
        && query.outcome.is_none_or(|out| out.code() == entry.outcome)
        && query
            .trace
            .as_ref()
            .is_none_or(|trace| trace.as_str() == entry.trace)
        && query.from.is_none_or(|from| recorded >= from)
        && query.until.is_none_or(|until| recorded < until)
}

/// What a look at every entry finds, in the order of the query.
fn naive(query: &Query, entries: &[EntryView]) -> Vec<EntryView> {
    let size = query.size.unwrap_or(u64::MAX);
    let mut found: Vec<EntryView> = entries
        .iter()
        .filter(|view| view.index < size && admits(query, view))
        .filter(|view| match (query.order, query.after) {
            (_, None) => true,
            (Order::OldestFirst, Some(after)) => view.index > after,
            (Order::NewestFirst, Some(after)) => view.index < after,
        })
        .cloned()
        .collect();
    if query.order == Order::NewestFirst {
        found.reverse();
    }
    found
}

/// All pages, one after the other, and their hits together.
pub(crate) async fn pages(
    audit: &EmbeddedAudit,
    cx: &RequestContext,
    query: &Query,
) -> (Vec<Page>, Vec<EntryView>) {
    let mut pages = Vec::new();
    let mut found = Vec::new();
    let mut next = Some(query.clone());
    while let Some(query) = next {
        let page = audit.query(cx, &query).await.unwrap();
        found.extend(page.hits.iter().map(|hit| hit.view.clone()));
        next = query.next_page(&page);
        pages.push(page);
    }
    (pages, found)
}

fn questions(entries: u64) -> impl Strategy<Value = Question> {
    let place = || prop::option::weighted(0.3, 0..entries + 2);
    let pick = |many: usize| prop::option::weighted(0.4, 0..many);
    (
        (pick(5), pick(3), pick(3), pick(4), pick(7)),
        (place(), place(), place(), place()),
        (1_usize..60, any::<bool>(), any::<bool>()),
    )
}

/// Patient, actor, outcome, code, trace; from, until, after, size; limit, newest first, by entries.
type Question = (
    (
        Option<usize>,
        Option<usize>,
        Option<usize>,
        Option<usize>,
        Option<usize>,
    ),
    (Option<u64>, Option<u64>, Option<u64>, Option<u64>),
    (usize, bool, bool),
);

fn query(question: &Question, mixed: &Mixed) -> Query {
    let ((patient, actor, outcome, code, trace), (from, until, after, size), rest) = question;
    let recorded = |at: &u64| -> Timestamp {
        let at = usize::try_from(*at).unwrap();
        let last = mixed.entries.len() - 1;
        mixed.entries[at.min(last)].recorded().unwrap()
    };
    let codes = ["PHI-001", "SYS-002", "AUD-003", "XXX-000"];
    let mut query = Query::new(LogId::Tenant(tenant_id(1)));
    query.patient = patient.map(|at| mixed.patients[at]);
    query.actor = actor.map(|at| mixed.contexts[at].actor().id.clone());
    query.outcome = outcome.map(|at| OUTCOMES[at]);
    query.code = code.map(|at| Code::constant(codes[at]));
    query.trace = trace.map(|at| TraceId::of(&mixed.contexts[at]));
    query.from = from.as_ref().map(recorded);
    query.until = until.as_ref().map(recorded);
    query.after = *after;
    let all = mixed.entries.len() as u64;
    query.size = Some(size.unwrap_or(all).min(all));
    query.limit = rest.0;
    query.order = [Order::OldestFirst, Order::NewestFirst][usize::from(rest.1)];
    query.effort = [Effort::Index, Effort::Entries][usize::from(rest.2)];
    query
}

/// Short pages, so that cursors matter, and more than one commit, segment and chunk of indexes.
#[test]
fn the_pages_of_a_query_are_what_a_look_at_every_entry_finds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for steps in [200, 100_000] {
        let mut house = House::new();
        house.config.query_steps = steps;
        house.config.segment_bytes = 400 * 1024;
        let audit = runtime.block_on(house.open());
        let mixed = runtime.block_on(mixed(&house, &audit, 1, 1_200));
        let cx = house.cx(1);
        let mut runner = TestRunner::new(Config {
            cases: 60,
            failure_persistence: None,
            ..Config::default()
        });
        let checked = runner.run(&questions(1_200), |question| {
            let query = query(&question, &mixed);
            let (pages, found) = runtime.block_on(pages(&audit, &cx, &query));
            for page in &pages {
                prop_assert!(page.hits.len() <= query.limit);
            }
            let expected = naive(&query, &mixed.entries);
            if found != expected {
                let indexes = |views: &[EntryView]| -> Vec<u64> {
                    views.iter().map(|view| view.index).collect()
                };
                return Err(TestCaseError::fail(format!(
                    "{query:?}: {:?} instead of {:?}",
                    indexes(&found),
                    indexes(&expected)
                )));
            }
            Ok(())
        });
        checked.unwrap();
        runtime.block_on(audit.close());
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_query_is_found_by_it() {
    let house = House::new();
    let audit = house.open().await;
    let patient = SubjectId::random(&*house.entropy);
    let mut query = Query::new(LogId::Tenant(tenant_id(1)));
    query.patient = Some(patient);
    for count in 1..=50 {
        let event = viewed(&house, patient, Outcome::Success);
        audit.append(&house.cx(1), &event).await.unwrap();
        let page = audit.query(&house.cx(1), &query).await.unwrap();
        assert_eq!(page.hits.len(), count);
        assert_eq!(page.next, None);
    }
    audit.close().await;
}

#[tokio::test]
async fn a_look_at_the_trail_is_on_record_with_what_was_asked_and_shown() {
    let house = House::new();
    let audit = house.open().await;
    let mixed = mixed(&house, &audit, 1, 60).await;
    let log = LogId::Tenant(tenant_id(1));
    let cx = context(1, Actors::Admin, &*house.clock, &*house.entropy);
    let mut query = Query::new(log);
    query.code = Some(Code::constant("PHI-001"));
    query.size = Some(60);
    let page = audit.query(&cx, &query).await.unwrap();
    let read = audit.read(&cx, &log, 0..1_000).await.unwrap();

    // The record of the query stood in the log before the reading came.
    let record = read.last().unwrap().entry().unwrap();
    assert_eq!(record.code, "AUD-003");
    assert_eq!(record.actor.id, cx.actor().id.to_string());
    assert_eq!(record.request, cx.request_id().to_string());
    assert_eq!(record.tenant, Some(tenant_id(1).to_string()));
    let count = |name: &str| record.fields.get(name).cloned();
    assert_eq!(
        count("rows"),
        Some(EntryValue::Count(page.hits.len() as u64))
    );
    let shown = |patient: &&SubjectId| {
        let patient = EntryValue::Text(patient.to_string());
        page.hits
            .iter()
            .any(|hit| hit.view.entry().unwrap().fields.get("patient") == Some(&patient))
    };
    let patients = mixed.patients.iter().filter(shown).count() as u64;
    assert_eq!(patients, 5);
    assert_eq!(count("patients"), Some(EntryValue::Count(patients)));
    // What was asked for is sealed, and not there in clear.
    assert!(record.sealed.contains_key("filter"));
    assert!(!record.fields.contains_key("filter"));

    let last = audit
        .read(&cx, &log, read.len() as u64..1_000)
        .await
        .unwrap();
    let record = last[0].entry().unwrap();
    assert_eq!(
        record.fields.get("rows"),
        Some(&EntryValue::Count(read.len() as u64))
    );
    audit.close().await;
}

#[tokio::test]
async fn nothing_is_shown_that_could_not_be_recorded() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let log = LogId::Tenant(tenant_id(1));
    house.sealer.fail_next(1);
    let read = audit.read(&house.cx(1), &log, 0..9).await;
    assert!(matches!(read, Err(AuditError::Seal(_))));
    house.sealer.fail_next(1);
    let page = audit.query(&house.cx(1), &Query::new(log)).await;
    assert!(matches!(page, Err(AuditError::Seal(_))));
    assert_eq!(audit.stats().entries, 2);
    audit.close().await;
}

#[tokio::test]
async fn a_look_of_the_system_is_on_record_where_it_can_be() {
    let house = House::new();
    let audit = house.open().await;
    // Tenant 9 has no keys and no log; looking must not give it one.
    let nobody = LogId::Tenant(tenant_id(9));
    let logs = audit.stats().logs;
    let views = audit.read(&house.system(), &nobody, 0..9).await.unwrap();
    assert_eq!(views, []);
    assert_eq!(audit.stats().logs, logs);
    // The log of tenant 1 is there, but this once its keys are not.
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    house.sealer.fail_next(1);
    let own = LogId::Tenant(tenant_id(1));
    assert_eq!(
        audit.read(&house.system(), &own, 0..9).await.unwrap().len(),
        1
    );

    let mut query = Query::new(LogId::System);
    query.code = Some(Code::constant("AUD-003"));
    let page = audit.query(&house.system(), &query).await.unwrap();
    let tenants = page.hits.iter().map(|hit| hit.view.entry().unwrap().tenant);
    let tenants: Vec<_> = tenants.map(Option::unwrap).collect();
    assert_eq!(
        tenants,
        [tenant_id(9).to_string(), tenant_id(1).to_string()]
    );
    // Heads are made to be published: looking at them is no event.
    let entries = audit.stats().entries;
    audit
        .read(&house.system(), &LogId::Directory, 0..9)
        .await
        .unwrap();
    assert_eq!(audit.stats().entries, entries);
    audit.close().await;
}

#[tokio::test]
async fn whoever_pages_does_not_meet_the_records_of_his_own_pages() {
    let house = House::new();
    let audit = house.open().await;
    mixed(&house, &audit, 1, 40).await;
    let mut query = Query::new(LogId::Tenant(tenant_id(1)));
    query.limit = 1;
    let (pages, found) = pages(&audit, &house.cx(1), &query).await;
    // The 41st is the record of the look that mixed() itself took.
    assert_eq!((pages.len(), found.len()), (41, 41));
    assert!(pages.iter().all(|page| page.size == 41));
    assert_eq!(found[40].entry().unwrap().code, "AUD-003");
    // Every page is one look.
    query.code = Some(Code::constant("AUD-003"));
    query.limit = 1_000;
    let page = audit.query(&house.cx(1), &query).await.unwrap();
    assert_eq!(page.hits.len(), 42);
    audit.close().await;
}

#[tokio::test]
async fn a_tenant_is_answered_about_its_own_log_only_and_only_while_active() {
    let house = House::new();
    let audit = house.open().await;
    let mixed = mixed(&house, &audit, 1, 50).await;
    audit.append(&house.cx(2), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    // The same question, to the other tenant's log, finds nothing of the first.
    let mut query = Query::new(LogId::Tenant(tenant_id(2)));
    query.patient = Some(mixed.patients[0]);
    let page = audit.query(&house.cx(2), &query).await.unwrap();
    assert_eq!(page.hits, []);

    let suspended = standing_context(
        1,
        Standing::Suspended,
        Actors::Admin,
        &*house.clock,
        &*house.entropy,
    );
    let own = LogId::Tenant(tenant_id(1));
    let denied = |error: AuditError| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let entries = audit.stats().entries;
    for (cx, log) in [
        (&house.cx(2), own),
        (&suspended, own),
        (&house.cx(1), LogId::System),
        (&house.cx(1), LogId::Directory),
    ] {
        denied(audit.query(cx, &Query::new(log)).await.unwrap_err());
        denied(audit.prove(cx, &log, 0, 1).await.unwrap_err());
        denied(audit.prove_growth(cx, &log, 1, 1).await.unwrap_err());
        denied(audit.signed_head(cx, &log).await.unwrap_err());
    }
    assert_eq!(audit.stats().entries, entries);
    audit.prove(&house.cx(1), &own, 0, 1).await.unwrap();
    audit.prove_growth(&house.cx(1), &own, 1, 2).await.unwrap();
    audit.signed_head(&house.cx(1), &own).await.unwrap();
    audit.close().await;
    let error = audit.query(&house.cx(1), &Query::new(own)).await;
    assert!(matches!(error, Err(AuditError::Closed)));
}

#[tokio::test]
async fn a_page_is_never_larger_than_the_configuration_allows() {
    let mut house = House::new();
    house.config.query_limit = 10;
    let audit = house.open().await;
    mixed(&house, &audit, 1, 40).await;
    let mut query = Query::new(LogId::Tenant(tenant_id(1)));
    query.limit = usize::MAX;
    let page = audit.query(&house.cx(1), &query).await.unwrap();
    assert_eq!((page.hits.len(), page.next), (10, Some(9)));
    query.limit = 0;
    let page = audit.query(&house.cx(1), &query).await.unwrap();
    assert_eq!((page.hits.len(), page.next), (1, Some(0)));
    audit.close().await;
    house.config.query_limit = 1_001;
    assert!(matches!(house.try_open().await, Err(AuditError::Config(_))));
}

#[tokio::test]
async fn the_directory_log_is_listed_and_says_nothing_else() {
    let house = House::new();
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let head = audit.checkpoint().await.unwrap();
    let mut query = Query::new(LogId::Directory);
    query.proofs = Proofs::With;
    let page = audit.query(&house.system(), &query).await.unwrap();
    assert_eq!(page.hits.len() as u64, head.size);
    assert!(page.hits.iter().all(|hit| hit.proof.is_some()));
    query.until = Some(house.clock.wall());
    let page = audit.query(&house.system(), &query).await.unwrap();
    assert_eq!(page.hits, []);
    audit.close().await;
}
