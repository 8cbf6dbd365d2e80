//! Whatever the ages and holds: just the old and free goes, and all else is proven as before.

use std::collections::BTreeMap;

use eonpro_audit::{AuditLog as _, HoldScope, LogId};
use eonpro_core::component::Component as _;
use eonpro_core::id::SubjectId;
use proptest::prelude::*;

use crate::ages::{Ages, DAY, YEAR, all, heads, nothing_else_changed, verified};
use crate::pruning::{hold, logs, tenant};

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
    /// A patient whom no log knew then.
    Everything,
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
                    Held::Everything => HoldScope::Everything,
                };
                let mut known = !matches!(scope, HoldScope::Patient(_));
                if let HoldScope::Patient(patient) = scope {
                    let system = ages.house.system();
                    for log in &logs()[1..] {
                        let name = audit.pseudonym_of(&system, log, patient).await;
                        known |= name.unwrap().is_some();
                    }
                }
                hold(&ages, &audit, scope).await;
                held.push(if known { what } else { Held::Everything });
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
    let (mut names, system) = (BTreeMap::new(), ages.house.system());
    for (log, which) in logs()
        .into_iter()
        .flat_map(|log| (0..3).map(move |at| (log, at)))
    {
        let name = audit.pseudonym_of(&system, &log, patients[which]);
        names.insert((log, which), name.await.unwrap());
    }
    let now = ages.house.clock.wall();
    let mut went = 0;
    for (log, views) in &before {
        // The reading is on record, in the system log where there is no such log.
        let records = match log {
            LogId::System => 1 + before.values().filter(|views| views.is_empty()).count(),
            _ => 1,
        };
        let bundles = (views.len() + records) / 256 * 256;
        for view in views {
            let entry = view.entry().unwrap();
            let six = view.recorded().unwrap().plus(6 * 365 * DAY + 2 * DAY) <= now;
            let is_held = held.iter().any(|held| match held {
                Held::Patient(which) => {
                    let text = serde_json::to_string(&entry).unwrap();
                    let name = &names[&(*log, *which)];
                    name.is_some_and(|name| text.contains(&name.to_string()))
                }
                Held::Range(number, from, until) => {
                    *log == tenant(*number) && (*from..*until).contains(&view.index)
                }
                Held::Log(number) => *log == tenant(*number),
                Held::Everything => true,
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
