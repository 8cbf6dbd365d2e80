//! Several events: all or nothing, side by side.

use std::sync::Arc;

use eonpro_audit::{AuditError, BatchFault, Receipt, Written};
use eonpro_core::event::Event;
use eonpro_core::event::catalogue::tenant;
use eonpro_core::id::ActorId;
use eonpro_core::task;

use super::{Bed, Outcome, Put, expect_error, expect_once, log_of};
use crate::conformance::report::{Mismatch, expect, expect_eq};
use crate::tenant_id;

fn puts(events: &[Arc<Event>], receipts: &[Receipt]) -> Vec<Put> {
    let both = events.iter().cloned().zip(receipts.iter().copied());
    both.map(|(event, receipt)| Put { event, receipt })
        .collect()
}

/// Expects that the receipts stand side by side, in their order.
fn expect_together(receipts: &[Receipt]) -> Outcome {
    let together = receipts.windows(2).all(|pair| match pair {
        [one, next] => (one.log, one.index + 1) == (next.log, next.index),
        _ => false,
    });
    let indexes: Vec<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    expect(together, format!("the batch is not together: {indexes:?}"))
}

pub(super) async fn a_batch_stands_together_in_its_order(bed: Bed) -> Outcome {
    let mut all = bed.append(1, 1).await?;
    for many in [1, 2, 7, 64] {
        let events = bed.views(many);
        let receipts = bed.audit().append_batch(&bed.cx(1), &events).await?;
        expect_eq(&receipts.len(), &many, "receipts of a batch")?;
        expect_together(&receipts)?;
        all.extend(puts(&events, &receipts));
    }
    expect_once(&bed.read(log_of(1)).await?, &all)
}

/// TEN-003 of tenant 1: an event that belongs to the system log.
pub(super) fn deleted(bed: &Bed) -> Result<Arc<Event>, Mismatch> {
    Ok(bed.event(tenant::Deleted {
        tenant: tenant_id(1),
        export: eonpro_core::event::Digest::of(b"export"),
        keys_destroyed: 7,
        log_size: 1,
        approver: ActorId::new("approver-1")?,
        second_approver: ActorId::new("approver-2")?,
    }))
}

pub(super) async fn a_refused_batch_writes_nothing(bed: Bed) -> Outcome {
    let (audit, cx) = (bed.audit(), bed.cx(1));
    let mut all = bed.append(1, 2).await?;
    let known: Vec<_> = all.iter().map(|put| Arc::clone(&put.event)).collect();
    let [known, ..] = known.as_slice() else {
        return Err(Mismatch("no receipts".to_owned()));
    };
    let fresh = bed.views(3);
    let mut repeats = vec![
        vec![Arc::clone(known), bed.viewed()],
        vec![bed.viewed(), Arc::clone(known)],
    ];
    let twice = bed.viewed();
    repeats.push(vec![Arc::clone(&twice), bed.viewed(), twice]);
    let mut refused: Vec<_> = repeats
        .into_iter()
        .map(|events| (events, BatchFault::PartialRepeat, Written::Unknown))
        .collect();
    refused.push((Vec::new(), BatchFault::Empty, Written::No));
    let mut mixed = fresh.clone();
    mixed.push(deleted(&bed)?);
    refused.push((mixed, BatchFault::SeveralLogs, Written::No));
    for (events, fault, written) in refused {
        let is_it = |error: &_| matches!(error, AuditError::Batch(found) if *found == fault);
        let refusal = audit.append_batch(&cx, &events).await;
        let error = expect_error(refusal, is_it, &format!("a batch: {fault}"))?;
        expect_eq(&error.written(), &written, "whether it was written")?;
        expect_once(&bed.read(log_of(1)).await?, &all)?;
    }
    // What stood in a refused batch is as fresh as before.
    let receipts = audit.append_batch(&cx, &fresh).await?;
    expect_together(&receipts)?;
    all.extend(puts(&fresh, &receipts));
    expect_once(&bed.read(log_of(1)).await?, &all)
}

pub(super) async fn batches_of_many_tasks_stay_together(bed: Bed) -> Outcome {
    let tasks = (0..8_usize).map(|number| {
        let (audit, cx) = (Arc::clone(&bed.subject.audit), bed.cx(1));
        let batches: Vec<_> = (0..6).map(|at| bed.views(1 + (number + at) % 5)).collect();
        task::start(async move {
            let mut all = Vec::new();
            for events in batches {
                let receipts = audit.append_batch(&cx, &events).await?;
                expect_together(&receipts)?;
                all.extend(puts(&events, &receipts));
            }
            Ok::<_, Mismatch>(all)
        })
    });
    let mut all = Vec::new();
    for running in tasks.collect::<Vec<_>>() {
        all.extend(running.await??);
    }
    expect_once(&bed.read(log_of(1)).await?, &all)
}
