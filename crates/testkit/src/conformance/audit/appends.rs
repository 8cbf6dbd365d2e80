//! One event after the other: its place, its bytes, its time.

use eonpro_audit::LogId;
use eonpro_core::time::{Clock as _, Timestamp};

use super::{Bed, Outcome, Put, expect_chain, expect_once, leaf_of, log_of};
use crate::conformance::report::{Mismatch, expect, expect_eq};
use crate::tenant_id;

/// Appends to three logs by turns.
async fn by_turns(bed: &Bed, rounds: usize) -> Result<Vec<Put>, Mismatch> {
    let mut puts = Vec::new();
    for _ in 0..rounds {
        for tenant in 1..=3 {
            puts.extend(bed.append(tenant, 1).await?);
        }
    }
    Ok(puts)
}

fn of(puts: &[Put], log: LogId) -> Vec<Put> {
    let own = puts.iter().filter(|put| put.receipt.log == log);
    own.cloned().collect()
}

pub(super) async fn every_entry_is_read_once_at_its_receipts_index(bed: Bed) -> Outcome {
    let puts = by_turns(&bed, 12).await?;
    for tenant in 1..=3 {
        let log = log_of(tenant);
        let own = of(&puts, log);
        expect_eq(&own.len(), &12, "receipts of the log")?;
        expect_once(&bed.read(log).await?, &own)?;
    }
    Ok(())
}

pub(super) async fn a_receipt_tells_the_next_index_and_the_hash_of_the_bytes(bed: Bed) -> Outcome {
    let puts = by_turns(&bed, 5).await?;
    for tenant in 1..=3 {
        let own = of(&puts, log_of(tenant));
        let views = bed.read(log_of(tenant)).await?;
        let first = own.first().map(|put| put.receipt.index);
        expect_eq(&first, &Some(0), "the first index of a log")?;
        let grows = own.is_sorted_by(|a, b| a.receipt.index < b.receipt.index);
        expect(grows, "indexes grow")?;
        for put in &own {
            let index = usize::try_from(put.receipt.index)?;
            let view = views.get(index);
            let view = view.ok_or_else(|| Mismatch(format!("nothing is read at {index}")))?;
            expect_eq(&put.receipt.leaf, &leaf_of(&view.bytes), "the leaf's hash")?;
            let recorded = view.recorded()?;
            expect_eq(&put.receipt.recorded, &recorded, "the recording time")?;
        }
    }
    Ok(())
}

pub(super) async fn every_leaf_names_the_one_before_it(bed: Bed) -> Outcome {
    by_turns(&bed, 6).await?;
    bed.audit().append(&bed.system(), &bed.stopped()).await?;
    for log in [log_of(1), log_of(2), log_of(3), LogId::System] {
        expect_chain(log, &bed.read(log).await?)?;
    }
    Ok(())
}

pub(super) async fn recorded_grows_over_all_logs_whatever_the_clock_does(bed: Bed) -> Outcome {
    let mut latest: Option<Timestamp> = None;
    for step in 0..12_i64 {
        // Forwards, back and standing still by turns.
        match step % 3 {
            0 => bed
                .clock
                .step_wall(Timestamp::from_seconds(1_790_000_500 + step)),
            1 => bed.clock.step_wall(Timestamp::from_seconds(1_789_000_000)),
            _ => {}
        }
        let tenant = 1 + u128::from(step.unsigned_abs() % 3);
        for put in bed.append(tenant, 1).await? {
            let recorded = put.receipt.recorded;
            expect(
                latest.is_none_or(|latest| latest < recorded),
                format!("entry {step} was recorded at {recorded}, not after {latest:?}"),
            )?;
            expect(
                recorded >= bed.clock.wall(),
                format!("entry {step} was recorded before it was announced"),
            )?;
            latest = Some(recorded);
        }
    }
    Ok(())
}

pub(super) async fn an_entry_says_what_happened_and_who_did_it(bed: Bed) -> Outcome {
    let (cx, event) = (bed.cx(1), bed.viewed());
    let receipt = bed.audit().append(&cx, &event).await?;
    let views = bed.read(receipt.log).await?;
    let view = views.get(usize::try_from(receipt.index)?);
    let entry = view
        .ok_or_else(|| Mismatch("nothing is read".to_owned()))?
        .entry()?;
    expect_eq(&entry.id, &event.id().to_string(), "the id")?;
    expect_eq(&entry.code.as_str(), &"PHI-001", "the code")?;
    expect_eq(&entry.outcome, &0, "the outcome")?;
    expect_eq(&entry.occurred, &event.occurred().to_string(), "the time")?;
    expect_eq(&entry.tenant, &Some(tenant_id(1).to_string()), "the tenant")?;
    expect_eq(&entry.actor.id.as_str(), &"clinician-1", "the actor")?;
    expect_eq(&entry.aal, &2, "the assurance")?;
    expect_eq(&entry.request, &cx.request_id().to_string(), "the request")?;
    let trace = cx.trace().trace_id().to_string();
    expect_eq(&entry.trace, &trace, "the trace")?;
    expect_eq(&entry.purpose.as_deref(), &Some("TREAT"), "the purpose")?;
    expect_eq(&entry.fields.len(), &event.fields().len(), "clear fields")
}

pub(super) async fn a_read_shows_what_was_just_acknowledged(bed: Bed) -> Outcome {
    for _ in 0..6 {
        for put in bed.append(1, 1).await? {
            let at = put.receipt.index;
            let views = bed
                .audit()
                .read(&bed.cx(1), &put.receipt.log, at..at + 1)
                .await?;
            let found = views.first().map(|view| view.entry()).transpose()?;
            let found = found.map(|entry| entry.id);
            let expected = Some(put.event.id().to_string());
            expect_eq(&found, &expected, "what stands at the receipt's index")?;
        }
    }
    Ok(())
}
