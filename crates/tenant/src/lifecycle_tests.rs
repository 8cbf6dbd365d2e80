//! The lifecycle, cell by cell, and its invariant on random paths.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn hold() -> Hold {
    Hold(Code::constant("litigation:1"))
}

fn export(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

fn actor(name: &str) -> ActorId {
    ActorId::new(name).unwrap()
}

fn approve(name: &str) -> Transition {
    Transition::Approve {
        approver: actor(name),
        export: export(1),
    }
}

fn record_export(n: u8) -> Transition {
    Transition::RecordExport {
        export: export(n),
        grace_until: NOW,
    }
}

fn after(path: &[Transition]) -> Lifecycle {
    path.iter().fold(Lifecycle::requested(), |life, step| {
        life.next(step).unwrap()
    })
}

/// One life per state; those that leave are one step before shredding where they can be.
fn lives() -> [Lifecycle; 9] {
    use Transition as T;
    let active = [T::Provision, T::Activate];
    let extend = |more: &[Transition]| after(&[&active[..], more].concat());
    let grace = [
        T::BeginOffboarding,
        record_export(1),
        approve("a"),
        approve("b"),
    ];
    [
        Lifecycle::requested(),
        after(&[T::Provision]),
        after(&[T::Provision, T::FailProvisioning]),
        after(&active),
        extend(&[T::Suspend(SuspendReason::Billing)]),
        extend(&[T::BeginOffboarding]),
        extend(&grace),
        extend(&[&grace[..], &[T::Shred(NOW)]].concat()),
        extend(&[&grace[..], &[T::Shred(NOW), T::Erase]].concat()),
    ]
}

#[test]
fn every_cell_of_the_table_is_as_written() {
    use Transition as T;
    // Columns in the order of `lives`. A letter names the next state, "-" a refusal.
    let rows: [(Transition, &str); 14] = [
        (T::Provision, "p-p------"),
        (T::FailProvisioning, "-f-------"),
        (T::Activate, "-a-------"),
        (T::Abandon, "--E------"),
        (T::Suspend(SuspendReason::Security), "---ss----"),
        (T::Resume(SuspendReason::Billing), "----a----"),
        (T::PlaceHold(hold()), "rpfasxg--"),
        (T::LiftHold(hold()), "---------"),
        (T::BeginOffboarding, "---xxx---"),
        (T::Reinstate, "-----aa--"),
        (record_export(2), "-----gg--"),
        (approve("c"), "------g--"),
        (T::Shred(NOW), "------SS-"),
        (T::Erase, "-------E-"),
    ];
    for (transition, row) in rows {
        let actual: String = lives()
            .iter()
            .map(|life| {
                life.next(&transition)
                    .map_or('-', |next| letter(next.state()))
            })
            .collect();
        assert_eq!(actual, row, "{transition:?}");
    }
}

fn letter(state: State) -> char {
    match state {
        State::Requested => 'r',
        State::Provisioning => 'p',
        State::ProvisionFailed => 'f',
        State::Active => 'a',
        State::Suspended => 's',
        State::Offboarding(Stage::Exporting) => 'x',
        State::Offboarding(Stage::Grace) => 'g',
        State::Offboarding(Stage::Shredding) => 'S',
        State::Erased => 'E',
    }
}

#[test]
fn only_an_active_state_stands_active() {
    for life in lives() {
        let active = life.state().standing() == Standing::Active;
        assert_eq!(active, life.state() == State::Active);
    }
}

#[test]
fn paying_the_bill_does_not_lift_a_suspension_for_security() {
    let both = lives()[3]
        .next(&Transition::Suspend(SuspendReason::Billing))
        .and_then(|life| life.next(&Transition::Suspend(SuspendReason::Security)))
        .unwrap();
    let paid = both
        .next(&Transition::Resume(SuspendReason::Billing))
        .unwrap();
    assert_eq!(paid.state(), State::Suspended);
    let safe = paid
        .next(&Transition::Resume(SuspendReason::Security))
        .unwrap();
    assert_eq!(safe.state(), State::Active);
}

#[test]
fn a_tenant_that_stays_is_as_suspended_as_before() {
    let life = lives()[4].clone();
    let stayed = life
        .next(&Transition::BeginOffboarding)
        .and_then(|life| life.next(&record_export(1)))
        .and_then(|life| life.next(&Transition::Reinstate))
        .unwrap();
    assert_eq!(stayed, life);
}

#[test]
fn each_thing_that_shredding_needs_is_needed() {
    let exporting = lives()[5].clone();
    let shred = Transition::Shred(NOW);
    let refusal = |life: &Lifecycle, step: &Transition| life.next(step).unwrap_err();
    assert_eq!(refusal(&exporting, &shred), Refusal::NoExport);
    let exported = exporting.next(&record_export(1)).unwrap();
    assert_eq!(refusal(&exported, &shred), Refusal::ApprovalsMissing);
    let once = exported.next(&approve("a")).unwrap();
    let twice_by_one = once.next(&approve("a")).unwrap();
    assert_eq!(twice_by_one, once);
    assert_eq!(refusal(&twice_by_one, &shred), Refusal::ApprovalsMissing);
    let approved = once.next(&approve("b")).unwrap();
    let early = Transition::Shred(NOW.minus(std::time::Duration::from_nanos(1)));
    assert_eq!(refusal(&approved, &early), Refusal::GracePending);
    let held = approved.next(&Transition::PlaceHold(hold())).unwrap();
    assert_eq!(refusal(&held, &shred), Refusal::HoldStands);
    let lifted = held.next(&Transition::LiftHold(hold())).unwrap();
    assert!(lifted.next(&shred).is_ok());
}

#[test]
fn another_export_voids_the_approvals() {
    let grace = lives()[6].clone();
    assert_eq!(grace.next(&record_export(1)).unwrap(), grace);
    let again = grace.next(&record_export(2)).unwrap();
    assert_eq!(again.approvers().count(), 0);
    assert_eq!(again.next(&approve("a")).unwrap_err(), Refusal::OtherExport);
}

#[test]
fn a_hold_also_keeps_a_failed_tenant_from_being_abandoned() {
    let held = lives()[2].next(&Transition::PlaceHold(hold())).unwrap();
    assert_eq!(held.next(&Transition::Abandon), Err(Refusal::HoldStands));
}

#[test]
fn holds_are_bounded() {
    let name = |n: usize| Hold(Code::new(format!("h{n}")).unwrap());
    let full = (0..MAX_HOLDS).fold(Lifecycle::requested(), |life, n| {
        life.next(&Transition::PlaceHold(name(n))).unwrap()
    });
    let more = full.next(&Transition::PlaceHold(name(MAX_HOLDS)));
    assert_eq!(more, Err(Refusal::TooMany));
    assert!(full.next(&Transition::PlaceHold(name(0))).is_ok());
}

fn any_transition() -> impl Strategy<Value = Transition> {
    use Transition as T;
    prop_oneof![
        1 => Just(T::Provision),
        1 => Just(T::FailProvisioning),
        1 => Just(T::Activate),
        1 => Just(T::Abandon),
        1 => Just(T::Suspend(SuspendReason::Legal)),
        1 => Just(T::Resume(SuspendReason::Legal)),
        1 => Just(T::PlaceHold(hold())),
        1 => Just(T::LiftHold(hold())),
        4 => Just(T::BeginOffboarding),
        1 => Just(T::Reinstate),
        3 => (1_u8..3).prop_map(record_export),
        8 => "[abc]".prop_map(|name| approve(&name)),
        4 => (-1_i64..2).prop_map(|s| T::Shred(Timestamp::from_seconds(1_000 + s))),
        1 => Just(T::Erase),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // The model remembers what happened by itself and never asks the lifecycle.
    #[test]
    fn no_path_reaches_shredding_held_unexported_early_or_with_one_approver(
        path in proptest::collection::vec(any_transition(), 0..200),
    ) {
        let mut life = after(&[Transition::Provision, Transition::Activate]);
        let (mut held, mut seen) = (false, None);
        let mut approvers = BTreeSet::new();
        for step in path {
            let Ok(next) = life.next(&step) else { continue };
            match &step {
                Transition::PlaceHold(_) => held = true,
                Transition::LiftHold(_) => held = false,
                Transition::RecordExport { export, .. } if seen != Some(*export) => {
                    seen = Some(*export);
                    approvers.clear();
                }
                Transition::Reinstate => {
                    seen = None;
                    approvers.clear();
                }
                Transition::Approve { approver, .. } => {
                    approvers.insert(approver.clone());
                }
                Transition::Shred(now) if life.state() != next.state() => {
                    prop_assert!(!held && seen.is_some() && approvers.len() >= 2 && *now >= NOW);
                }
                _ => {}
            }
            let destroyed = matches!(
                next.state(),
                State::Erased | State::Offboarding(Stage::Shredding)
            );
            if destroyed {
                prop_assert!(matches!(step, Transition::Shred(_) | Transition::Erase));
            }
            life = next;
        }
    }
}
