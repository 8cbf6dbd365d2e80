//! Whose log it is.

use eonpro_audit::{AuditError, LogId};
use eonpro_core::RequestContext;

use super::batches::deleted;
use super::{Bed, Outcome, everything, expect_error, expect_once, log_of};
use crate::conformance::report::expect_eq;
use crate::tenant_id;

pub(super) async fn every_tenant_has_a_log_of_its_own(bed: Bed) -> Outcome {
    let mut puts = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..4 {
        for (tenant, own) in (1..).zip(&mut puts) {
            own.extend(bed.append(tenant, 1).await?);
        }
    }
    for (tenant, own) in (1..).zip(&puts) {
        for put in own {
            expect_eq(&put.receipt.log, &log_of(tenant), "the log of an entry")?;
        }
        let views = bed.read(log_of(tenant)).await?;
        expect_once(&views, own)?;
        for view in &views {
            let named = view.entry()?.tenant;
            let expected = Some(tenant_id(tenant).to_string());
            expect_eq(&named, &expected, "the tenant of an entry")?;
        }
    }
    Ok(())
}

pub(super) async fn the_system_log_takes_what_is_not_a_tenants(bed: Bed) -> Outcome {
    let audit = bed.audit();
    let none = audit.append(&bed.system(), &bed.stopped()).await?;
    expect_eq(&none.log, &LogId::System, "the log without a tenant")?;
    let deletion = deleted(&bed)?;
    let receipt = audit.append(&bed.cx(1), &deletion).await?;
    expect_eq(&receipt.log, &LogId::System, "the log of TEN-003")?;
    let views = bed.read(LogId::System).await?;
    let mut places = Vec::new();
    for view in &views {
        if view.entry()?.id == deletion.id().to_string() {
            places.push(view.index);
        }
    }
    expect_eq(&places, &vec![receipt.index], "where TEN-003 stands")?;
    // A tenant that is out of service has its log all the same.
    let suspended = bed.suspended(2);
    let receipt = audit.append(&suspended, &bed.viewed()).await?;
    expect_eq(&receipt.log, &log_of(2), "the log of a suspended tenant")
}

pub(super) async fn a_log_is_read_by_its_tenant_and_by_the_system_only(bed: Bed) -> Outcome {
    let audit = bed.audit();
    let (ours, theirs) = (bed.append(1, 2).await?, bed.append(2, 2).await?);
    audit.checkpoint().await?;
    let nobody = RequestContext::anonymous(&bed.clock, &*bed.entropy);
    for (cx, log) in [
        (bed.cx(1), log_of(2)),
        (bed.cx(1), LogId::System),
        (bed.cx(1), LogId::Directory),
        (bed.suspended(1), log_of(1)),
        (nobody, log_of(1)),
    ] {
        let denied = |error: &_| matches!(error, AuditError::Denied);
        expect_error(audit.read(&cx, &log, 0..9).await, denied, "reading")?;
    }
    expect_once(&everything(audit, &bed.cx(1), log_of(1)).await?, &ours)?;
    expect_once(&everything(audit, &bed.cx(2), log_of(2)).await?, &theirs)?;
    for log in [log_of(1), LogId::System, LogId::Directory] {
        audit.read(&bed.system(), &log, 0..9).await?;
    }
    let beyond = audit.read(&bed.system(), &log_of(1), 1_000..2_000).await?;
    expect_eq(&beyond.len(), &0, "entries beyond the end")
}
