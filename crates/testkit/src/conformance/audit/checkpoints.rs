//! Signed heads: they say what the bytes say, and only grow.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use eonpro_audit::{AuditError, Checkpoint, LogId};

use super::{Bed, Outcome, expect_error, leaves, log_of, root_of, signed};
use crate::conformance::report::{Mismatch, expect, expect_eq};

/// Expects that each head is the root of the entries that are read.
async fn expect_heads(bed: &Bed, heads: &[Checkpoint]) -> Result<BTreeMap<LogId, u64>, Mismatch> {
    let mut read = BTreeMap::new();
    let mut sizes: BTreeMap<LogId, u64> = BTreeMap::new();
    for head in heads {
        if let Entry::Vacant(unread) = read.entry(head.log) {
            unread.insert(leaves(&bed.read(head.log).await?));
        }
        let size = usize::try_from(head.size)?;
        let there = read.get(&head.log).and_then(|leaves| leaves.get(..size));
        let there = there.ok_or_else(|| Mismatch(format!("{head:?} covers more than is read")))?;
        expect_eq(
            &head.root,
            &root_of(there),
            &format!("the root in {head:?}"),
        )?;
        let before = sizes.insert(head.log, head.size);
        expect(
            before.is_none_or(|before| before < head.size),
            format!("{head:?} follows a head of size {before:?}"),
        )?;
    }
    Ok(sizes)
}

pub(super) async fn the_directory_signs_the_roots_of_what_is_read(bed: Bed) -> Outcome {
    bed.append(1, 5).await?;
    bed.append(2, 3).await?;
    bed.audit().append(&bed.system(), &bed.stopped()).await?;
    let head = bed.audit().checkpoint().await?;
    let directory = bed.read(LogId::Directory).await?;
    expect_eq(&(directory.len() as u64), &head.size, "signed heads")?;
    let root = root_of(&leaves(&directory));
    expect_eq(&head.root, &root, "the root of the directory")?;
    let sizes = expect_heads(&bed, &signed(&bed, &directory)?).await?;
    let logs: Vec<LogId> = sizes.keys().copied().collect();
    expect_eq(&logs, &vec![LogId::System, log_of(1), log_of(2)], "logs")?;
    let signed_all = [(log_of(1), 5), (log_of(2), 3), (LogId::System, 1)];
    for (log, least) in signed_all {
        let size = sizes.get(&log).copied().unwrap_or(0);
        expect(size >= least, format!("{log} is signed up to {size} only"))?;
    }
    expect_eq(&head.logs, &3, "how many logs there are")?;
    let entries = sizes.values().sum::<u64>();
    expect_eq(&head.entries, &entries, "how many entries there are")
}

pub(super) async fn heads_only_grow_and_agree_with_the_earlier_ones(bed: Bed) -> Outcome {
    let mut before = Vec::new();
    let mut head = bed.audit().checkpoint().await?;
    for round in 0..4 {
        bed.append(1 + round % 2, 3).await?;
        let next = bed.audit().checkpoint().await?;
        expect(next.size > head.size, "the directory grows with its logs")?;
        expect(next.entries >= head.entries + 3, "and counts their entries")?;
        let directory = bed.read(LogId::Directory).await?;
        let now = leaves(&directory);
        expect(
            now.starts_with(&before),
            "an earlier signed head was changed",
        )?;
        let size = usize::try_from(next.size)?;
        let covered = now.get(..size).map(root_of);
        expect_eq(&covered, &Some(next.root), "the root of the directory")?;
        expect_heads(&bed, &signed(&bed, &directory)?).await?;
        (before, head) = (now, next);
    }
    Ok(())
}

pub(super) async fn without_growth_the_head_stays(bed: Bed) -> Outcome {
    bed.append(1, 2).await?;
    let head = bed.audit().checkpoint().await?;
    for _ in 0..3 {
        expect_eq(&bed.audit().checkpoint().await?, &head, "the head")?;
    }
    Ok(())
}

pub(super) async fn verifying_tells_what_there_is_and_is_on_record(bed: Bed) -> Outcome {
    let audit = bed.audit();
    let denied = |error: &_| matches!(error, AuditError::Denied);
    expect_error(audit.verify(&bed.cx(1)).await, denied, "verifying")?;
    for round in 1..=3_u64 {
        bed.append(1, 4).await?;
        let report = audit.verify(&bed.system()).await?;
        expect(report.entries >= 4 * round, "fewer entries than there are")?;
        expect_eq(&report.unsigned, &0, "entries that nobody signed")?;
        let head = report.heads.iter().find(|head| head.log == log_of(1));
        let head = head.ok_or_else(|| Mismatch("a log is not in the report".to_owned()))?;
        expect(head.size >= 4 * round, "the report has an older head")?;
        let leaves = leaves(&bed.read(log_of(1)).await?);
        let covered = leaves.get(..usize::try_from(head.size)?).map(root_of);
        expect_eq(&covered, &Some(head.root), "the root of a log")?;
        let mut recorded = 0;
        for view in bed.read(LogId::System).await? {
            recorded += u64::from(view.entry()?.code == "AUD-005");
        }
        expect_eq(&recorded, &round, "AUD-005 in the system log")?;
    }
    Ok(())
}
