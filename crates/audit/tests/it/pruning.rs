//! What is old enough loses its bytes, what is held or young does not, and nothing that was proven changes.

use std::fs;

use eonpro_audit::{
    Approvals, AuditError, AuditLog as _, EmbeddedAudit, HoldError, HoldId, HoldScope, LogId,
    PruneRefusal, RetentionClass, RetentionPolicy, verify,
};
use eonpro_core::component::Component as _;
use eonpro_core::event::catalogue::finance;
use eonpro_core::event::{Code, ObjectRef};
use eonpro_core::id::{ActorId, RowId, SubjectId};
use eonpro_core::phi::Phi;
use eonpro_core::port::KeyValue as _;
use eonpro_core::port::kv::{Key, MemoryKeyValue, Partition, Transaction};
use eonpro_core::time::Timestamp;
use eonpro_testkit::tenant_id;
use proptest::prelude::*;

use crate::ages::{
    Ages, All, DAY, YEAR, all, approvers, class, heads, nothing_else_changed, verified,
};
use crate::house::every_byte;

const ONE: LogId = LogId::System;

fn tenant(number: u128) -> LogId {
    LogId::Tenant(tenant_id(number))
}

fn logs() -> [LogId; 4] {
    [ONE, tenant(1), tenant(2), tenant(3)]
}

/// 300 old entries of a tenant in closed segments.
async fn old(ages: &Ages) -> EmbeddedAudit {
    let audit = ages.house.open().await;
    for _ in 0..6 {
        ages.views(&audit, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    audit
}

fn pruned(all: &All, log: LogId) -> Vec<u64> {
    let views = all[&log].iter().filter(|view| view.pruned.is_some());
    views.map(|view| view.index).collect()
}

#[tokio::test]
async fn what_is_old_enough_goes_and_every_proof_of_what_stays_still_holds() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    audit.checkpoint().await.unwrap();
    let anchor = ages.head();
    let before = all(&ages, &audit, &logs()).await;
    let needle = before[&tenant(1)][7].bytes.clone();
    let found = |needle: &[u8]| {
        let disk = every_byte(&ages.house.log());
        disk.windows(needle.len()).any(|window| window == needle)
    };
    assert!(found(&needle[125..]));

    let plan = ages.plan(&audit).await.unwrap();
    assert_eq!(plan.entries(), 256);
    let of = &plan.logs[0];
    assert_eq!((of.log, of.minimum_index, of.held), (tenant(1), 256, 0));
    assert_eq!(of.by_class[&RetentionClass::Documentation], 256);
    assert!(of.takes(255) && !of.takes(256));
    let done = ages.carry_out(&audit, &plan).await.unwrap();
    assert_eq!((done.entries, done.held), (256, 0));
    assert!(done.segments > 3 && done.bytes > 256 * 300, "{done:?}");
    assert!(!found(&needle[125..]));

    let after = all(&ages, &audit, &logs()).await;
    assert_eq!(pruned(&after, tenant(1)), (0..256).collect::<Vec<u64>>());
    let report = audit.verify(&ages.house.system()).await.unwrap();
    assert_eq!(report.pruned.len(), 1);
    let of = &report.pruned[0];
    assert_eq!(
        (of.log, of.entries, of.minimum_index),
        (tenant(1), 256, 256)
    );
    // It is on record in the log itself, with those who approved.
    let entries = after[&tenant(1)]
        .iter()
        .filter_map(|view| view.entry().ok());
    let records: Vec<_> = entries.filter(|entry| entry.code == "AUD-009").collect();
    assert_eq!((records.len(), records[0].fields.len()), (1, 5));
    audit.close().await;
    assert!(!ages.house.log().join("pruning").exists());
    verified(&ages, &[anchor]);
    nothing_else_changed(&before, &after, &heads(&before));

    // Opened again it is the same, and there is nothing more to do.
    let audit = ages.house.open().await;
    assert_eq!(
        all(&ages, &audit, &[tenant(1)]).await[&tenant(1)],
        after[&tenant(1)]
    );
    assert_eq!(ages.plan(&audit).await.unwrap().entries(), 0);
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 0);
    audit.verify(&ages.house.system()).await.unwrap();
    audit.close().await;
}

#[tokio::test]
async fn nothing_goes_a_day_too_early_and_each_class_goes_in_its_own_time() {
    let ages = Ages::new();
    let audit = ages.house.open().await;
    let posted = |_| {
        let row = RowId::random(&*ages.house.entropy);
        ages.house.event(finance::TransactionPosted {
            ledger: Code::constant("l"),
            amount_token: Code::constant("t"),
            source_document: ObjectRef::new(Code::constant("invoice"), row),
            poster: ActorId::new("poster").unwrap(),
        })
    };
    let posted: Vec<_> = (0..100).map(posted).collect();
    ages.views(&audit, 1, 100).await;
    ages.append(&audit, 1, &posted).await;
    ages.views(&audit, 1, 100).await;
    ages.time.advance(6 * 365 * DAY + 2 * DAY - DAY);
    ages.new_segment(&audit).await;
    assert_eq!(ages.plan(&audit).await.unwrap().entries(), 0);
    // The log dates entries of one instant a nanosecond apart.
    ages.time.advance(DAY + DAY / 86_400);
    // The last 44 of the 300 stand in a bundle that is not full.
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 156);
    let some = all(&ages, &audit, &[tenant(1)]).await;
    let kept: Vec<_> = some[&tenant(1)]
        .iter()
        .filter(|view| view.pruned.is_none())
        .collect();
    assert!(
        kept.iter()
            .take(100)
            .all(|view| class(view) == RetentionClass::Finance)
    );
    ages.time.advance(YEAR);
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 100);
    let report = audit.verify(&ages.house.system()).await.unwrap();
    assert_eq!(report.pruned[0].entries, 256);
    audit.close().await;
    verify(&ages.house.log(), &[ages.house.key()]).unwrap();
}

#[tokio::test]
async fn an_anchor_bounds_what_goes_where_one_is_asked_for() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    let before = ages.head();
    let policy = RetentionPolicy::default();
    let system = ages.house.system();
    let plan = audit
        .plan_pruning(&system, &policy, &[before])
        .await
        .unwrap();
    assert_eq!(plan.entries(), 0);
    audit.checkpoint().await.unwrap();
    let plan = audit
        .plan_pruning(&system, &policy, &[ages.head()])
        .await
        .unwrap();
    assert_eq!(plan.entries(), 256);
    audit.close().await;
}

#[tokio::test]
async fn who_may_not_or_too_few_prune_nothing() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    let clinician = ages.house.cx(1);
    let policy = RetentionPolicy::default();
    let denied = audit.plan_pruning(&clinician, &policy, &[]).await;
    assert!(matches!(denied, Err(AuditError::Denied)));
    let plan = ages.plan(&audit).await.unwrap();
    let [one, other] = approvers();
    let denied = audit.prune(&clinician, &plan, &one, Some(&other)).await;
    assert!(matches!(denied, Err(AuditError::Denied)));
    for second in [None, Some(&one)] {
        let refused = audit.prune(&ages.house.system(), &plan, &one, second).await;
        let refusal = PruneRefusal::Approvals;
        assert!(matches!(refused, Err(AuditError::Refused(found)) if found == refusal));
    }
    let after = all(&ages, &audit, &[tenant(1)]).await;
    assert_eq!(pruned(&after, tenant(1)), [0_u64; 0]);

    let policy = policy.approved_by(Approvals::One);
    let plan = audit
        .plan_pruning(&ages.house.system(), &policy, &[])
        .await
        .unwrap();
    let done = audit
        .prune(&ages.house.system(), &plan, &one, None)
        .await
        .unwrap();
    assert_eq!(done.entries, 256);
    // That plan was carried out: it is no longer what would go.
    let again = audit.prune(&ages.house.system(), &plan, &one, None).await;
    assert!(matches!(
        again,
        Err(AuditError::Refused(PruneRefusal::PlanChanged))
    ));
    audit.close().await;
}

async fn hold(ages: &Ages, audit: &EmbeddedAudit, scope: HoldScope) -> HoldId {
    let id = HoldId::random(&*ages.house.entropy);
    let by = Phi::from("Doe v. Clinic");
    audit
        .hold(&ages.house.system(), id, scope, by)
        .await
        .unwrap();
    id
}

async fn lift(ages: &Ages, audit: &EmbeddedAudit, id: HoldId) {
    let by = Phi::from("settled");
    audit.lift(&ages.house.system(), id, by).await.unwrap();
}

#[tokio::test]
async fn what_is_held_stays_until_the_hold_is_lifted() {
    let ages = Ages::new();
    let audit = ages.house.open().await;
    let patient = SubjectId::random(&*ages.house.entropy);
    for _ in 0..6 {
        ages.views(&audit, 1, 49).await;
        ages.append(&audit, 1, &[ages.about(patient)]).await;
    }
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    let field = |name: &str| HoldScope::Field {
        name: name.to_owned(),
        value: patient.to_string(),
    };
    let scopes = [
        (HoldScope::Everything, 256),
        (HoldScope::Tenant(tenant_id(1)), 256),
        (HoldScope::Tenant(tenant_id(2)), 0),
        (HoldScope::Log(tenant(1)), 256),
        (HoldScope::Log(LogId::System), 0),
        (
            HoldScope::Range {
                log: tenant(1),
                from: 10,
                until: 20,
            },
            10,
        ),
        (HoldScope::Patient(patient), 5),
        (
            HoldScope::Patient(SubjectId::random(&*ages.house.entropy)),
            0,
        ),
        (field("patient"), 5),
        (field("resource"), 0),
    ];
    for (scope, held) in scopes {
        let id = hold(&ages, &audit, scope.clone()).await;
        let plan = ages.plan(&audit).await.unwrap();
        assert_eq!((plan.held, plan.entries()), (held, 256 - held), "{scope:?}");
        lift(&ages, &audit, id).await;
    }
    assert_eq!(audit.holds().list().await.unwrap(), []);
    let id = hold(&ages, &audit, HoldScope::Patient(patient)).await;
    let holds = audit.holds();
    assert!(holds.covers(tenant_id(1), patient).await.unwrap());
    let other = SubjectId::random(&*ages.house.entropy);
    assert!(!holds.covers(tenant_id(1), other).await.unwrap());
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 251);
    let after = all(&ages, &audit, &[tenant(1)]).await;
    let kept: Vec<u64> = after[&tenant(1)]
        .iter()
        .filter(|view| view.pruned.is_none())
        .map(|view| view.index)
        .collect();
    assert_eq!(
        kept.iter().take(6).copied().collect::<Vec<_>>(),
        [49, 99, 149, 199, 249, 256]
    );
    audit.verify(&ages.house.system()).await.unwrap();

    lift(&ages, &audit, id).await;
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 5);
    let report = audit.verify(&ages.house.system()).await.unwrap();
    assert_eq!(report.pruned[0].entries, 256);
    audit.close().await;
}

#[tokio::test]
async fn a_plan_from_before_a_hold_is_not_carried_out() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    let plan = ages.plan(&audit).await.unwrap();
    hold(&ages, &audit, HoldScope::Log(tenant(1))).await;
    let refused = ages.carry_out(&audit, &plan).await;
    assert!(
        matches!(refused, Err(AuditError::Refused(PruneRefusal::PlanChanged))),
        "{refused:?}"
    );
    assert_eq!(
        pruned(&all(&ages, &audit, &[tenant(1)]).await, tenant(1)),
        [0_u64; 0]
    );
    audit.close().await;
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_or_is_lost_holds_everything() {
    let mut ages = Ages::new();
    let audit = old(&ages).await;
    let state = Partition::system("audit");
    let key = Key::new(&b"hold/0"[..]).unwrap();
    let bad = Transaction::new().put(key.clone(), &b"{}"[..]);
    ages.house.state.commit(&state, bad).await.unwrap();
    for found in [
        ages.plan(&audit).await.map(|_| ()),
        ages.prune(&audit).await.map(|_| ()),
    ] {
        assert!(
            matches!(found, Err(AuditError::Hold(HoldError::Malformed))),
            "{found:?}"
        );
    }
    let away = Transaction::new().delete(key);
    ages.house.state.commit(&state, away).await.unwrap();

    // A hold that the log knows of, and a state that does not: somebody lost the state.
    let id = hold(&ages, &audit, HoldScope::Everything).await;
    audit.close().await;
    ages.house.state = std::sync::Arc::new(MemoryKeyValue::new(ages.house.clock.clone()));
    let audit = ages.house.open().await;
    let refused = ages.plan(&audit).await;
    assert!(
        matches!(refused, Err(AuditError::Refused(PruneRefusal::HoldMissing))),
        "{refused:?}"
    );
    // Placed again under its id it can be lifted.
    let by = || Phi::from("Doe v. Clinic");
    let system = ages.house.system();
    audit
        .hold(&system, id, HoldScope::Everything, by())
        .await
        .unwrap();
    let other = audit
        .hold(&system, id, HoldScope::Log(tenant(1)), by())
        .await;
    assert!(
        matches!(other, Err(AuditError::Hold(HoldError::Exists))),
        "{other:?}"
    );
    lift(&ages, &audit, id).await;
    assert_eq!(ages.prune(&audit).await.unwrap().entries, 256);
    let unknown = audit.lift(&system, id, by()).await;
    assert!(matches!(unknown, Err(AuditError::Hold(HoldError::Unknown))));
    let denied = audit
        .hold(&ages.house.cx(1), id, HoldScope::Everything, by())
        .await;
    assert!(matches!(denied, Err(AuditError::Denied)));
    audit.close().await;
}

#[tokio::test]
async fn whether_a_patients_entries_must_stay_is_told_with_the_time() {
    let ages = Ages::new();
    let audit = ages.house.open().await;
    let patient = SubjectId::random(&*ages.house.entropy);
    let policy = RetentionPolicy::default();
    let system = ages.house.system();
    let keeps = |of| audit.keeps(&system, tenant_id(1), of, &policy);
    assert_eq!(keeps(patient).await.unwrap().until, None);
    ages.append(&audit, 1, &[ages.about(patient)]).await;
    let recorded: Timestamp = all(&ages, &audit, &[tenant(1)]).await[&tenant(1)][0]
        .recorded()
        .unwrap();
    let end = recorded.plus(policy.duration(RetentionClass::Documentation));
    let found = keeps(patient).await.unwrap();
    assert_eq!((found.held, found.until), (false, Some(end)));
    hold(&ages, &audit, HoldScope::Tenant(tenant_id(1))).await;
    assert!(keeps(patient).await.unwrap().held);
    audit.close().await;
}

#[tokio::test]
async fn appends_and_reads_go_on_while_entries_are_pruned() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    let plan = ages.plan(&audit).await.unwrap();
    let log = tenant(1);
    let work = async {
        let mut rounds = 0;
        while rounds < 50 {
            ages.views(&audit, 2, 3).await;
            let views = audit
                .read(&ages.house.system(), &log, 0..300)
                .await
                .unwrap();
            assert_eq!(views.len(), 300);
            rounds += 1;
        }
    };
    let (done, ()) = tokio::join!(ages.carry_out(&audit, &plan), work);
    assert_eq!(done.unwrap().entries, 256);
    audit.verify(&ages.house.system()).await.unwrap();
    audit.close().await;
    verify(&ages.house.log(), &[ages.house.key()]).unwrap();
}

#[tokio::test]
async fn a_tail_that_was_torn_behind_pruned_segments_is_recovered_as_any_other() {
    let ages = Ages::new();
    let audit = old(&ages).await;
    ages.prune(&audit).await.unwrap();
    audit.close().await;
    let wal = ages.house.log().join("wal");
    let mut segments: Vec<_> = fs::read_dir(wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let last = segments.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    bytes.truncate(end);
    bytes.extend_from_slice(&[7; 40]);
    fs::write(last, bytes).unwrap();
    let audit = ages.house.open().await;
    ages.views(&audit, 1, 5).await;
    audit.verify(&ages.house.system()).await.unwrap();
    audit.close().await;
}

/// What happens to a log in one step of the property below.
#[derive(Debug, Clone)]
enum Step {
    Views {
        tenant: u128,
        entries: usize,
        about: Option<usize>,
    },
    Stops {
        entries: usize,
    },
    Time {
        days: u32,
    },
    Hold(Held),
    Checkpoint,
}

#[derive(Debug, Clone)]
enum Held {
    Patient(usize),
    Range(u128, u64, u64),
    Log(u128),
}

fn step() -> impl Strategy<Value = Step> {
    let held = prop_oneof![
        3 => (0_usize..3).prop_map(Held::Patient),
        2 => (1_u128..3, 0_u64..400, 1_u64..100).prop_map(|(t, from, many)| Held::Range(t, from, from + many)),
        1 => (2_u128..4).prop_map(Held::Log),
    ];
    prop_oneof![
        8 => (1_u128..4, 1_usize..120, prop::option::of(0_usize..3))
            .prop_map(|(tenant, entries, about)| Step::Views { tenant, entries, about }),
        2 => (1_usize..60).prop_map(|entries| Step::Stops { entries }),
        4 => (1_u32..900).prop_map(|days| Step::Time { days }),
        1 => held.prop_map(Step::Hold),
        1 => Just(Step::Checkpoint),
    ]
}

async fn pruned_as_it_must_be(steps: Vec<Step>) {
    let ages = Ages::new();
    let patients: [SubjectId; 3] = std::array::from_fn(|_| SubjectId::random(&*ages.house.entropy));
    let audit = ages.house.open().await;
    let mut held = Vec::new();
    for step in steps {
        match step {
            Step::Views {
                tenant,
                entries,
                about,
            } => {
                let event = |_| {
                    about.map_or_else(|| ages.house.viewed(), |which| ages.about(patients[which]))
                };
                let events: Vec<_> = (0..entries).map(event).collect();
                ages.append(&audit, tenant, &events).await;
            }
            Step::Stops { entries } => {
                let events: Vec<_> = (0..entries).map(|_| ages.house.stopped()).collect();
                ages.append(&audit, 2, &events).await;
            }
            Step::Time { days } => ages.time.advance(days * DAY),
            Step::Checkpoint => _ = audit.checkpoint().await.unwrap(),
            Step::Hold(what) => {
                let scope = match what.clone() {
                    Held::Patient(which) => HoldScope::Patient(patients[which]),
                    Held::Range(number, from, until) => HoldScope::Range {
                        log: tenant(number),
                        from,
                        until,
                    },
                    Held::Log(number) => HoldScope::Log(tenant(number)),
                };
                hold(&ages, &audit, scope).await;
                held.push(what);
            }
        }
    }
    ages.time.advance(3 * YEAR);
    ages.new_segment(&audit).await;
    audit.checkpoint().await.unwrap();
    let anchor = ages.head();
    let before = all(&ages, &audit, &logs()).await;
    let done = ages.prune(&audit).await.unwrap();
    let after = all(&ages, &audit, &logs()).await;

    // Who went, told without the code that chose them.
    let now = ages.house.clock.wall();
    let mut went = 0;
    for (log, views) in &before {
        let bundles = views.len() / 256 * 256;
        for view in views {
            let entry = view.entry().unwrap();
            let six = view.recorded().unwrap().plus(6 * 365 * DAY + 2 * DAY) <= now;
            let is_held = held.iter().any(|held| match held {
                Held::Patient(which) => {
                    let patient = patients[*which].to_string();
                    serde_json::to_string(&entry).unwrap().contains(&patient)
                }
                Held::Range(number, from, until) => {
                    *log == tenant(*number) && (*from..*until).contains(&view.index)
                }
                Held::Log(number) => *log == tenant(*number),
            });
            let index = usize::try_from(view.index).unwrap();
            let goes = six && !is_held && index < bundles && entry.code != "AUD-010";
            assert_eq!(
                after[log][index].pruned.is_some(),
                goes,
                "{log}#{index} {}",
                entry.code
            );
            went += u64::from(goes);
        }
    }
    assert_eq!(done.entries, went);
    audit.verify(&ages.house.system()).await.unwrap();
    audit.close().await;
    let report = verified(&ages, &[anchor]);
    assert_eq!(report.pruned.iter().map(|of| of.entries).sum::<u64>(), went);
    nothing_else_changed(&before, &after, &heads(&before));
    let audit = ages.house.open().await;
    let again = all(&ages, &audit, &logs()).await;
    for log in logs() {
        assert_eq!(
            again[&log][..before[&log].len()],
            after[&log][..before[&log].len()]
        );
    }
    audit.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_ages_and_holds_just_the_old_and_free_go_and_all_else_is_proven_as_before(
        steps in prop::collection::vec(step(), 5..25),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(pruned_as_it_must_be(steps));
    }
}
