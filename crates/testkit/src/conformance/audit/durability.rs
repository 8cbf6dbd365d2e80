//! What was acknowledged stays, whoever goes away.

use std::sync::Arc;

use eonpro_audit::{AuditError, LogId};

use super::{Bed, Outcome, Put, Subject, expect_chain, expect_error, expect_once, log_of};
use crate::conformance::report::{expect, expect_eq};

/// The same log, closed and opened again.
async fn reopened(bed: Bed) -> Bed {
    bed.audit().close().await;
    let audit = (bed.subject.reopen)().await;
    let subject = Subject {
        audit,
        ..bed.subject
    };
    Bed { subject, ..bed }
}

pub(super) async fn what_was_acknowledged_is_there_after_reopening(bed: Bed) -> Outcome {
    let mut puts = bed.append(1, 5).await?;
    let events = bed.views(3);
    let receipts = bed.audit().append_batch(&bed.cx(1), &events).await?;
    let batch = events.into_iter().zip(receipts);
    puts.extend(batch.map(|(event, receipt)| Put { event, receipt }));
    let theirs = bed.append(2, 1).await?;
    let before = bed.read(log_of(1)).await?;

    let bed = reopened(bed).await;
    let after = bed.read(log_of(1)).await;
    let others = bed.read(log_of(2)).await;
    bed.audit().close().await;
    let (after, others) = (after?, others?);
    let (there, expected) = (after.len(), before.len());
    expect(
        after.starts_with(&before),
        format!("after reopening {there} entries and not the {expected} that were there"),
    )?;
    expect_once(&after, &puts)?;
    expect_once(&others, &theirs)
}

pub(super) async fn a_reopened_log_goes_on_where_it_was(bed: Bed) -> Outcome {
    let mut puts = bed.append(1, 3).await?;
    let head = bed.audit().checkpoint().await?;
    let mut bed = bed;
    for _ in 0..2 {
        bed = reopened(bed).await;
        puts.extend(bed.append(1, 2).await?);
    }
    let grows = puts.is_sorted_by(|a, b| {
        a.receipt.index < b.receipt.index && a.receipt.recorded < b.receipt.recorded
    });
    let views = bed.read(log_of(1)).await;
    let next = bed.audit().checkpoint().await;
    let system = bed.read(LogId::System).await;
    bed.audit().close().await;
    expect(grows, "index and recording time grow over reopenings")?;
    let views = views?;
    expect_once(&views, &puts)?;
    expect_chain(log_of(1), &views)?;
    expect_chain(LogId::System, &system?)?;
    expect(
        next?.size > head.size,
        "the directory grows over reopenings",
    )
}

pub(super) async fn a_cancelled_append_is_never_unwritten(bed: Bed) -> Outcome {
    let (audit, cx) = (bed.audit(), bed.cx(1));
    let events = bed.views(12);
    for (number, event) in events.iter().enumerate() {
        let mut append = Box::pin(audit.append(&cx, event));
        // Given up at once, or some turns later.
        for _ in 0..=number % 4 {
            tokio::select! {
                biased;
                _ = &mut append => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    audit.barrier().await?;
    let seen = bed.read(log_of(1)).await?;
    let mut puts = Vec::new();
    for event in events {
        let receipt = audit.append(&cx, &event).await?;
        puts.push(Put { event, receipt });
    }
    let after = bed.read(log_of(1)).await?;
    expect(after.starts_with(&seen), "what was read has changed")?;
    expect_once(&after, &puts)?;
    // What is in the log by now stays there.
    let audit = Arc::clone(&bed.subject.audit);
    let bed = reopened(bed).await;
    let closed = |error: &_| matches!(error, AuditError::Closed);
    let late = audit.append(&cx, &bed.viewed()).await;
    let found = bed.read(log_of(1)).await;
    bed.audit().close().await;
    expect_error(late, closed, "an append through a closed handle")?;
    expect_eq(&found?.starts_with(&after), &true, "what is there later")
}
