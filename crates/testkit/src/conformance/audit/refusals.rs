//! What is refused, and what the refusal says about the entry.

use std::sync::Arc;

use eonpro_audit::{AuditError, Query, Written};
use eonpro_core::component::Health;
use eonpro_core::event::catalogue::security;
use eonpro_core::event::{Code, Event};
use eonpro_core::time::Clock as _;

use super::{Bed, Outcome, Subject, expect_error, expect_once, log_of};
use crate::conformance::report::{Mismatch, expect, expect_eq};

/// An event whose leaf is longer than 65,535 bytes.
fn large(bed: &Bed) -> Result<Arc<Event>, Mismatch> {
    let evidence = Code::new("e".repeat(120))?;
    Ok(bed.event(security::AlertRaised {
        rule: Code::constant("conformance"),
        rule_version: 1,
        window_start: bed.clock.wall(),
        window_end: bed.clock.wall(),
        subjects: Vec::new(),
        evidence: vec![evidence; 600],
    }))
}

pub(super) async fn an_entry_that_is_too_large_leaves_nothing(bed: Bed) -> Outcome {
    let (audit, cx) = (bed.audit(), bed.cx(1));
    let mut puts = bed.append(1, 1).await?;
    let too_large = |error: &_| matches!(error, AuditError::TooLarge);
    let refused = audit.append(&cx, &large(&bed)?).await;
    let error = expect_error(refused, too_large, "an entry that is too large")?;
    expect_eq(&error.written(), &Written::No, "whether it was written")?;
    let batch = [bed.viewed(), large(&bed)?, bed.viewed()];
    let refused = audit.append_batch(&cx, &batch).await;
    let error = expect_error(refused, too_large, "a batch with such an entry")?;
    expect_eq(&error.written(), &Written::No, "whether it was written")?;
    puts.extend(bed.append(1, 1).await?);
    expect_once(&bed.read(log_of(1)).await?, &puts)
}

pub(super) async fn a_closed_log_refuses_and_says_so(bed: Bed) -> Outcome {
    let puts = bed.append(1, 2).await?;
    let (audit, cx) = (bed.audit(), bed.cx(1));
    let unhealthy = |health| matches!(health, Health::Unhealthy(_));
    expect(!unhealthy(audit.health().await), "unhealthy from the start")?;
    audit.close().await;
    audit.close().await;
    let closed = |error: &_| matches!(error, AuditError::Closed);
    let late = [bed.viewed()];
    let refused = audit.append_batch(&cx, &late).await;
    let error = expect_error(refused, closed, "a batch after the close")?;
    expect_eq(&error.written(), &Written::No, "whether it was written")?;
    for event in &late {
        let refused = audit.append(&cx, event).await;
        let error = expect_error(refused, closed, "an append after the close")?;
        expect_eq(&error.written(), &Written::No, "whether it was written")?;
    }
    expect_error(audit.barrier().await, closed, "a barrier after the close")?;
    expect_error(audit.checkpoint().await, closed, "a checkpoint after it")?;
    let read = audit.read(&bed.system(), &log_of(1), 0..9).await;
    expect_error(read, closed, "reading after the close")?;
    expect_error(audit.verify(&bed.system()).await, closed, "verifying")?;
    let page = audit.query(&bed.system(), &Query::new(log_of(1))).await;
    expect_error(page, closed, "a query after the close")?;
    let head = audit.signed_head(&bed.system(), &log_of(1)).await;
    expect_error(head, closed, "a signed head after the close")?;
    expect(unhealthy(audit.health().await), "healthy after the close")?;

    let audit = (bed.subject.reopen)().await;
    let subject = Subject {
        audit,
        ..bed.subject
    };
    let bed = Bed { subject, ..bed };
    let found = bed.read(log_of(1)).await;
    bed.audit().close().await;
    expect_once(&found?, &puts)
}
