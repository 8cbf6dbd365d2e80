//! Changes: a writer in between always wins, and what is counted is there.

use std::sync::Arc;

use eonpro_core::TenantScope;
use eonpro_core::phi::Column;
use eonpro_core::port::{
    Checkpoint, Counted, Fence, JobName, Replaced, Replacement, RotationCell, RotationError,
};
use eonpro_core::task;
use futures_util::future::join_all;

use super::super::report::{Mismatch, expect, expect_eq};
use super::{Outcome, Subject, expect_error, id, prefix, sealed};

const ELSEWHERE: Column = Column::new("not_a_column_of_this_source");

fn cell(column: Column, bytes: Option<Vec<u8>>) -> RotationCell {
    RotationCell { column, bytes }
}

/// What one column of one row holds.
async fn held(
    subject: &Subject,
    scope: &TenantScope,
    number: u64,
    column: Column,
) -> Result<Option<Vec<u8>>, Mismatch> {
    let rows = subject.pass(scope, 100, 1000).await?;
    let row = rows.into_iter().find(|row| row.row == id(number));
    let row = row.ok_or_else(|| Mismatch(format!("row {number} is not there")))?;
    let mut all = row.cells.into_iter().chain(row.slots);
    let found = all.find(|cell| cell.column == column);
    Ok(found.and_then(|cell| cell.bytes))
}

pub(super) async fn a_change_applies_only_while_what_it_expects_is_there(
    subject: Subject,
) -> Outcome {
    let Subject { ours, .. } = &subject;
    let column = subject.column()?;
    subject.put(ours, 0..4, 1).await;
    // Somebody else was quicker with row 1, and row 2 is gone.
    let newer = vec![cell(column, Some(sealed(5, 77)))];
    subject.rows.put(ours, vec![(id(1), newer)]).await;
    subject.rows.delete(ours, &id(2)).await;
    let change = |number| Replacement::of(id(number), column, sealed(1, number), sealed(2, number));
    let changes = (0..4).map(change).collect();
    let done = subject.source.replace(ours, changes, None).await?;
    let expected = Replaced {
        updated: 2,
        lost: 2,
    };
    expect_eq(&done, &expected, "of four changes, two of which are late")?;
    for (number, now) in [(0, sealed(2, 0)), (1, sealed(5, 77)), (3, sealed(2, 3))] {
        let found = held(&subject, ours, number, column).await?;
        expect(
            found == Some(now),
            format!("row {number} holds something else"),
        )?;
    }
    let rows = subject.source.count(ours, Counted::Rows).await?;
    expect_eq(&rows, &3, "rows after a change of a deleted one")
}

pub(super) async fn every_column_that_is_expected_counts(subject: Subject) -> Outcome {
    let Subject { ours, .. } = &subject;
    let first = subject.column()?;
    let others = subject.cells.iter().chain(&subject.slots).skip(1);
    for second in others.copied() {
        for present in [None, Some(sealed(3, 3))] {
            for expected in [None, Some(sealed(3, 3)), Some(sealed(4, 4))] {
                let now = vec![
                    cell(first, Some(sealed(1, 1))),
                    cell(second, present.clone()),
                ];
                subject.rows.put(ours, vec![(id(1), now)]).await;
                let change = Replacement {
                    row: id(1),
                    expect: vec![
                        cell(first, Some(sealed(1, 1))),
                        cell(second, expected.clone()),
                    ],
                    set: vec![cell(second, Some(sealed(9, 9)))],
                };
                let done = subject.source.replace(ours, vec![change], None).await?;
                let applies = u64::from(present == expected);
                let counted = Replaced {
                    updated: applies,
                    lost: 1 - applies,
                };
                expect_eq(&done, &counted, "a change that expects two columns")?;
                let after = match applies {
                    1 => Some(sealed(9, 9)),
                    _ => present.clone(),
                };
                let found = held(&subject, ours, 1, second).await?;
                expect(found == after, "the second column holds something else")?;
            }
        }
    }
    Ok(())
}

pub(super) async fn of_concurrent_changes_one_wins(subject: Subject) -> Outcome {
    let ours = subject.ours.clone();
    let column = subject.column()?;
    subject.put(&ours, 0..1, 1).await;
    for round in 0..8 {
        let before = held(&subject, &ours, 0, column).await?;
        let before = before.ok_or_else(|| Mismatch("the value is gone".to_owned()))?;
        let rivals = (0..16).map(|rival| {
            let (source, scope) = (Arc::clone(&subject.source), ours.clone());
            let fresh = sealed(2, round * 100 + rival);
            let change = Replacement::of(id(0), column, before.clone(), fresh.clone());
            task::outlive(async move {
                let done = source.replace(&scope, vec![change], None).await;
                done.map(|done| (done, fresh))
            })
        });
        let mut winner = None;
        for done in join_all(rivals).await {
            let (done, fresh) = done.map_err(|_| Mismatch("it panicked".to_owned()))??;
            expect_eq(&(done.updated + done.lost), &1, "outcomes of one change")?;
            if done.updated == 1 {
                expect(winner.is_none(), "two changes of one value both applied")?;
                winner = Some(fresh);
            }
        }
        let found = held(&subject, &ours, 0, column).await?;
        expect(winner.is_some(), "no change applied")?;
        expect(found == winner, "another change's value is there")?;
    }
    Ok(())
}

pub(super) async fn counts_are_of_what_is_there(subject: Subject) -> Outcome {
    let Subject {
        ours,
        theirs,
        source,
        ..
    } = &subject;
    subject.put(ours, 0..7, 1).await;
    subject.put(ours, 7..12, 2).await;
    subject.put(theirs, 0..20, 1).await;
    let named = |cell: &&RotationCell| match source.head() {
        Some(head) => cell.column == head,
        None => subject.cells.contains(&cell.column),
    };
    for (key, numbers) in [(1, 0..7), (2, 7..12), (3, 0..0)] {
        let cells: Vec<_> = numbers
            .flat_map(|number| subject.cells_of(number, key))
            .collect();
        let there = cells
            .iter()
            .filter(named)
            .filter(|cell| cell.bytes.is_some());
        let counted = source.count(ours, Counted::Sealed(prefix(key))).await?;
        expect_eq(&counted, &(there.count() as u64), "values under one key")?;
    }
    expect_eq(&source.count(ours, Counted::Rows).await?, &12, "rows")?;
    let column = subject.column()?;
    for slot in subject.slots.iter().copied() {
        let holding = source.count(ours, Counted::Holding { slot }).await?;
        expect_eq(&holding, &6, "rows that hold a token")?;
        let lacking = Counted::Lacking {
            has: column,
            lacks: slot,
        };
        let lacking = source.count(ours, lacking).await?;
        expect_eq(&lacking, &6, "rows that lack a token")?;
    }
    subject.rows.delete(ours, &id(4)).await;
    expect_eq(
        &source.count(ours, Counted::Rows).await?,
        &11,
        "rows after a delete",
    )
}

pub(super) async fn what_cannot_be_done_is_an_error(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    let column = subject.column()?;
    subject.put(ours, 0..2, 1).await;
    let unknown = Counted::Holding { slot: ELSEWHERE };
    match source.count(ours, unknown).await {
        Err(RotationError::Unsupported) => {}
        other => return Err(Mismatch(format!("a count of no column: {other:?}"))),
    }
    let job = JobName::new("conformance").ok_or_else(|| Mismatch("job".to_owned()))?;
    source.claim(ours, &job, Fence(1)).await?;
    let good = Replacement::of(id(0), column, sealed(1, 0), sealed(2, 0));
    for bad in [
        Replacement::of(id(1), ELSEWHERE, sealed(1, 1), sealed(2, 1)),
        Replacement {
            set: Vec::new(),
            ..good.clone()
        },
        Replacement {
            expect: Vec::new(),
            ..good.clone()
        },
    ] {
        let checkpoint = Checkpoint {
            job: job.clone(),
            fence: Fence(1),
            progress: b"done".to_vec(),
        };
        let both = vec![good.clone(), bad];
        let done = source.replace(ours, both, Some(checkpoint)).await;
        expect_error(done, "a change that names no column of this source")?;
        let found = held(&subject, ours, 0, column).await?;
        expect(
            found == Some(sealed(1, 0)),
            "a part of a refused list was done",
        )?;
        let progress = source.claim(ours, &job, Fence(1)).await?;
        expect_eq(&progress, &None, "progress of a refused list")?;
    }
    Ok(())
}

pub(super) async fn without_its_table_every_call_fails(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    let column = subject.column()?;
    subject.put(ours, 0..2, 1).await;
    subject.rows.ruin(ours).await;
    // No rows would mean that nothing is left under an old key, which may then be destroyed.
    expect_error(
        source.batch(ours, None, 10).await,
        "a batch without a table",
    )?;
    let kinds = [Counted::Rows, Counted::Sealed(prefix(1))];
    for what in kinds {
        expect_error(source.count(ours, what).await, "a count without a table")?;
    }
    let change = Replacement::of(id(0), column, sealed(1, 0), sealed(2, 0));
    let done = source.replace(ours, vec![change], None).await;
    expect_error(done, "a change without a table")
}
