//! Once and only once.

use eonpro_audit::{AuditError, BatchFault, Written};

use super::{Bed, Outcome, expect_error, expect_once, log_of};
use crate::conformance::report::expect_eq;

pub(super) async fn a_repeat_gives_the_first_receipt_and_writes_nothing(bed: Bed) -> Outcome {
    let (audit, cx) = (bed.audit(), bed.cx(1));
    let mut puts = bed.append(1, 3).await?;
    let batch = bed.views(4);
    let receipts = audit.append_batch(&cx, &batch).await?;
    puts.extend(bed.append(1, 2).await?);
    for put in &puts {
        let again = audit.append(&cx, &put.event).await?;
        expect_eq(&again, &put.receipt, "the receipt of a repeat")?;
    }
    let again = audit.append_batch(&cx, &batch).await?;
    expect_eq(&again, &receipts, "the receipts of a repeated batch")?;
    let batch = batch.into_iter().zip(receipts);
    puts.extend(batch.map(|(event, receipt)| super::Put { event, receipt }));
    expect_once(&bed.read(log_of(1)).await?, &puts)
}

pub(super) async fn a_repeat_is_known_after_reopening(bed: Bed) -> Outcome {
    let mut puts = bed.append(1, 4).await?;
    bed.audit().close().await;
    let audit = (bed.subject.reopen)().await;
    let bed = Bed {
        subject: super::Subject {
            audit,
            ..bed.subject
        },
        ..bed
    };
    for put in &puts {
        let again = bed.audit().append(&bed.cx(1), &put.event).await?;
        expect_eq(&again, &put.receipt, "the receipt of a repeat")?;
    }
    puts.extend(bed.append(1, 1).await?);
    let found = bed.read(log_of(1)).await;
    bed.audit().close().await;
    expect_once(&found?, &puts)
}

pub(super) async fn an_event_stands_in_one_log_only(bed: Bed) -> Outcome {
    let puts = bed.append(1, 1).await?;
    for put in &puts {
        let elsewhere = bed.audit().append(&bed.cx(2), &put.event).await;
        let other = |error: &_| matches!(error, AuditError::Batch(BatchFault::OtherLog));
        let error = expect_error(elsewhere, other, "an event of another log")?;
        expect_eq(&error.written(), &Written::No, "whether it was written")?;
    }
    expect_once(&bed.read(log_of(1)).await?, &puts)?;
    expect_once(&bed.read(log_of(2)).await?, &[])
}
