//! Many tasks, and two handles where the backend allows them.

use std::sync::Arc;

use eonpro_audit::{AuditLog, LogId};
use eonpro_core::task;

use super::{Bed, Outcome, Put, expect_chain, expect_once, log_of};
use crate::conformance::report::{Mismatch, expect, expect_eq};

const TASKS: u128 = 12;
const EACH: usize = 15;

async fn handles(bed: &Bed) -> Vec<Arc<dyn AuditLog>> {
    let mut handles = vec![Arc::clone(&bed.subject.audit)];
    if let Some(open) = &bed.subject.second {
        handles.push(open().await);
    }
    handles
}

pub(super) async fn appends_of_many_tasks_are_all_there_once_without_gaps(bed: Bed) -> Outcome {
    let handles = handles(&bed).await;
    let handle = |number: u128| {
        let turn = usize::try_from(number).unwrap_or_default() % handles.len();
        handles.get(turn).map(Arc::clone)
    };
    let tasks = (0..TASKS).map(|number| {
        let audit = handle(number).unwrap_or_else(|| Arc::clone(&bed.subject.audit));
        let (cx, events) = (bed.cx(1 + number / 2 % 2), bed.views(EACH));
        task::start(async move {
            let mut puts = Vec::new();
            for event in events {
                let receipt = audit.append(&cx, &event).await?;
                puts.push(Put { event, receipt });
            }
            Ok::<_, Mismatch>(puts)
        })
    });
    let mut all = Vec::new();
    for running in tasks.collect::<Vec<_>>() {
        let puts = running.await??;
        let grows = puts.is_sorted_by(|a, b| {
            a.receipt.index < b.receipt.index && a.receipt.recorded < b.receipt.recorded
        });
        expect(grows, "each task's receipts grow")?;
        all.extend(puts);
    }
    let mut times: Vec<_> = all.iter().map(|put| put.receipt.recorded).collect();
    times.sort_unstable();
    times.dedup();
    expect_eq(&times.len(), &all.len(), "different recording times")?;
    for audit in &handles {
        for log in [log_of(1), log_of(2), LogId::System] {
            let views = super::everything(&**audit, &bed.system(), log).await?;
            expect_chain(log, &views)?;
            if log != LogId::System {
                let own = all.iter().filter(|put| put.receipt.log == log);
                expect_once(&views, &own.cloned().collect::<Vec<_>>())?;
            }
        }
    }
    for audit in handles.iter().skip(1) {
        audit.close().await;
    }
    Ok(())
}

pub(super) async fn one_event_of_many_tasks_is_one_entry(bed: Bed) -> Outcome {
    let handles = handles(&bed).await;
    let mut puts = Vec::new();
    for _ in 0..5 {
        let event = bed.viewed();
        let tasks = handles.iter().cycle().take(8).map(|audit| {
            let (audit, cx, event) = (Arc::clone(audit), bed.cx(1), Arc::clone(&event));
            task::start(async move { audit.append(&cx, &event).await })
        });
        let mut receipts = Vec::new();
        for running in tasks.collect::<Vec<_>>() {
            receipts.push(running.await??);
        }
        receipts.dedup();
        expect_eq(&receipts.len(), &1, "different receipts of one event")?;
        let receipts = receipts.into_iter();
        puts.extend(receipts.map(|receipt| Put {
            event: Arc::clone(&event),
            receipt,
        }));
    }
    let views = bed.read(log_of(1)).await?;
    for audit in handles.iter().skip(1) {
        audit.close().await;
    }
    expect_once(&views, &puts)
}
