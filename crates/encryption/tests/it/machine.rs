//! The whole machine under random histories: patients come, requests are made, approved, cancelled,
//! held and carried out, epochs end, backups are restored and anything may crash at any call.

use std::collections::{BTreeMap, BTreeSet};

use eonpro_core::event::Code;
use eonpro_encryption::{
    CryptoError, ShredReceipt, ShredRefusal, ShredRequest, Shredding as _, Subjects as _,
};
use proptest::prelude::*;

use crate::support::cell;
use crate::wards::{Backup, Ward, open_in, patient, person, target};

const CASE: Code = Code::constant("case-7");
const PATIENTS: u128 = 4;

#[derive(Debug, Clone)]
enum Step {
    Seal(u128),
    Request(u128, usize),
    Approve(u128, usize),
    Cancel(u128),
    Hold(u128),
    Lift(u128),
    CarryOut(u128),
    EndEpoch,
    Backup,
    /// Restores the last backup, honours the receipts, as the runbook says.
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..PATIENTS;
    prop_oneof![
        3 => who.clone().prop_map(Step::Seal),
        2 => (who.clone(), 0..3_usize).prop_map(|(who, by)| Step::Request(who, by)),
        6 => (who.clone(), 0..3_usize).prop_map(|(who, by)| Step::Approve(who, by)),
        1 => who.clone().prop_map(Step::Cancel),
        1 => who.clone().prop_map(Step::Hold),
        1 => who.clone().prop_map(Step::Lift),
        4 => who.prop_map(Step::CarryOut),
        2 => Just(Step::EndEpoch),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ]
}

const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

/// What must be so, kept beside the machine.
#[derive(Default)]
struct Model {
    sealed: BTreeMap<u128, Vec<u8>>,
    requests: BTreeMap<u128, ShredRequest>,
    requesters: BTreeMap<u128, usize>,
    approvers: BTreeMap<u128, BTreeSet<usize>>,
    held: BTreeSet<u128>,
    shredded: BTreeMap<u128, Option<ShredReceipt>>,
    /// Backups, the newest last, with how many epochs had ended by then.
    backup: Option<(Backup, usize, BTreeMap<u128, Vec<u8>>)>,
    old: Vec<Backup>,
    ends: usize,
}

async fn run(steps: Vec<(Step, Option<i64>)>) {
    let mut ward = Ward::build().await;
    let mut model = Model::default();
    for (step, fuse) in steps {
        // A restore is an operator's, not a crashing process's.
        let crash = fuse.filter(|_| !matches!(step, Step::Backup | Step::Restore));
        if let Some(calls) = crash {
            ward.fuse.set(calls);
        }
        let done = take(&mut ward, &mut model, &step).await;
        ward.fuse.mend();
        if crash.is_some() && !done {
            // The process died: another one goes on and finishes what it finds.
            ward.vault = ward.another_process().await;
            take(&mut ward, &mut model, &step).await;
        }
        check(&ward, &model, &step).await;
    }
    // After the end of the epoch no backup ever taken opens a shredded patient.
    let cx = person("clerk");
    ward.vault.end_shred_epoch(&cx, ward.scope()).await.unwrap();
    check(&ward, &model, &Step::EndEpoch).await;
    let backups = model
        .old
        .iter()
        .chain(model.backup.iter().map(|one| &one.0));
    for backup in backups {
        ward.table.restore(backup).await;
        let restored = ward.another_process().await;
        for number in model.shredded.keys() {
            let Some(sealed) = model.sealed.get(number) else {
                continue;
            };
            let opened = open_in(&restored, &ward.tenant, *number, sealed).await;
            assert!(opened.is_err(), "{number} opens from a backup");
        }
    }
}

/// Takes a step; `false` if it failed for another reason than a rule.
async fn take(ward: &mut Ward, model: &mut Model, step: &Step) -> bool {
    let (vault, scope, clerk) = (&ward.vault.clone(), ward.scope(), person("clerk"));
    let outcome = match step {
        Step::Seal(who) => {
            let subject = patient(*who);
            let made = vault.provision_subject(&ward.tenant, subject).await;
            let warm = match made {
                Ok(()) => vault.warm_subject(&ward.tenant, subject).await,
                Err(error) => Err(error),
            };
            match warm {
                Ok(cipher) => {
                    assert!(!model.shredded.contains_key(who), "{who} came back");
                    let sealed = cipher.seal(&cell(b"r"), b"x").unwrap();
                    model.sealed.insert(*who, sealed);
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
        Step::Request(who, by) => {
            let cx = person(PEOPLE[*by]);
            let made = vault
                .request_shred(&cx, scope, target(*who), crate::wards::REASON)
                .await;
            sync(ward, model, *who).await;
            made.map(|_| ())
        }
        Step::Approve(who, by) => {
            let Some(request) = model.requests.get(who).cloned() else {
                return true;
            };
            let cx = person(PEOPLE[*by]);
            let approved = vault
                .approve_shred(&cx, scope, target(*who), request.id)
                .await;
            if approved.is_ok() {
                assert_ne!(model.requesters.get(who), Some(by), "approved its own");
                let fresh = model.approvers.entry(*who).or_default().insert(*by);
                assert!(fresh, "approved twice");
            }
            sync(ward, model, *who).await;
            approved.map(|_| ())
        }
        Step::Cancel(who) => {
            let Some(request) = model.requests.get(who).cloned() else {
                return true;
            };
            let done = vault
                .cancel_shred(&clerk, scope, target(*who), request.id)
                .await;
            sync(ward, model, *who).await;
            done.map(|_| ())
        }
        Step::Hold(who) => {
            let done = vault
                .set_hold(&clerk, scope, target(*who), CASE, "court".into())
                .await;
            sync_holds(ward, model).await;
            done
        }
        Step::Lift(who) => {
            let done = vault
                .lift_hold(&clerk, scope, target(*who), CASE, "court".into())
                .await;
            sync_holds(ward, model).await;
            done
        }
        Step::CarryOut(who) => carry_out(ward, model, *who).await,
        Step::EndEpoch => {
            let done = vault.end_shred_epoch(&clerk, scope).await;
            // Also if it failed: it may have gone some of the way.
            model.ends += 1;
            done.map(|_| ())
        }
        Step::Backup => {
            if let Some((old, ..)) = model.backup.take() {
                model.old.push(old);
            }
            let copy = ward.table.backup().await;
            model.backup = Some((copy, model.ends, model.sealed.clone()));
            Ok(())
        }
        Step::Restore => {
            restore(ward, model).await;
            Ok(())
        }
    };
    !matches!(
        outcome,
        Err(CryptoError::Store(_) | CryptoError::Root(_) | CryptoError::Conflict)
    )
}

async fn carry_out(ward: &Ward, model: &mut Model, who: u128) -> Result<(), CryptoError> {
    let Some(request) = model.requests.get(&who).cloned() else {
        return Ok(());
    };
    let held = model.held.contains(&who);
    let done = ward.carry_out(&request).await;
    sync(ward, model, who).await;
    let was = model.shredded.contains_key(&who);
    let stored = model.requests.get(&who).cloned();
    use eonpro_encryption::ShredState::Shredded;
    if stored.is_some_and(|one| matches!(one.state, Shredded(_))) {
        assert!(was || !held, "{who} was shredded in spite of a hold");
        let approvers = model.approvers.get(&who).map_or(0, BTreeSet::len);
        assert!(was || approvers == 2, "{who} was shredded by {approvers}");
        let receipt = model.shredded.entry(who).or_default();
        if let Ok(signed) = &done {
            *receipt = Some(signed.clone());
        }
    } else if let Err(CryptoError::Refused(ShredRefusal::Held)) = &done {
        assert!(held, "{who} was refused without a hold");
    }
    done.map(|_| ())
}

/// What is stored is what stands, whatever the crashed call answered.
async fn sync(ward: &Ward, model: &mut Model, who: u128) {
    ward.fuse.mend();
    let stored = ward
        .vault
        .shred_request(ward.scope(), target(who))
        .await
        .unwrap();
    match stored {
        None => {
            model.requests.remove(&who);
        }
        Some(request) => {
            let index = |name: &str| PEOPLE.iter().position(|one| *one == name).unwrap();
            let by = index(request.requested.by.as_str());
            let approvers: BTreeSet<_> = request
                .approvals
                .iter()
                .map(|one| index(one.by.as_str()))
                .collect();
            assert!(!approvers.contains(&by));
            assert_eq!(approvers.len(), request.approvals.len());
            model.requesters.insert(who, by);
            model.approvers.insert(who, approvers);
            model.requests.insert(who, request);
        }
    }
}

async fn sync_holds(ward: &Ward, model: &mut Model) {
    ward.fuse.mend();
    let holds = ward.vault.holds(ward.scope()).await.unwrap();
    let held = |who: &u128| holds.iter().any(|hold| hold.target == target(*who));
    model.held = (0..PATIENTS).filter(held).collect();
}

/// A backup is restored only while no epoch has ended since: afterwards it is of no use, which the
/// last part of the run proves.
async fn restore(ward: &mut Ward, model: &mut Model) {
    let Some((backup, ends, sealed)) = model.backup.clone() else {
        return;
    };
    let receipts_known = model.shredded.values().all(Option::is_some);
    if ends != model.ends || !receipts_known {
        return;
    }
    ward.table.restore(&backup).await;
    // All processes are stopped for a restore: a running one holds keys that are no longer stored.
    ward.vault = ward.another_process().await;
    // Patients taken in since are lost with their keys, like everything since a backup.
    model.sealed = sealed;
    sync_holds(ward, model).await;
    let lift: Vec<_> = model.held.iter().copied().collect();
    let (clerk, scope) = (person("clerk"), ward.scope());
    for who in lift {
        ward.vault
            .lift_hold(&clerk, scope, target(who), CASE, "court".into())
            .await
            .unwrap();
    }
    for receipt in model.shredded.values().flatten() {
        ward.vault
            .honour_receipt(&clerk, scope, receipt)
            .await
            .unwrap();
    }
    sync_holds(ward, model).await;
    for who in 0..PATIENTS {
        sync(ward, model, who).await;
    }
}

async fn check(ward: &Ward, model: &Model, step: &Step) {
    let fresh = ward.another_process().await;
    for (who, sealed) in &model.sealed {
        for vault in [&ward.vault, &fresh] {
            let opened = open_in(vault, &ward.tenant, *who, sealed).await;
            if model.shredded.contains_key(who) {
                assert!(opened.is_err(), "{who} opens after {step:?}");
            } else {
                assert_eq!(opened.unwrap(), b"x", "{who} is lost after {step:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_living_open_and_the_shredded_never_do(
        steps in prop::collection::vec((step(), prop::option::weighted(0.3, 1..30_i64)), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
