//! Passes: every row once, whatever comes and goes.

use std::collections::BTreeMap;

use eonpro_core::port::{Cursor, MAX_ROTATION_BATCH, Replaced, Replacement, RotationCell};

use super::super::report::{expect, expect_eq};
use super::{Outcome, Subject, id, ids, numbered, sealed};

const ROWS: u64 = 23;

pub(super) async fn pages_cover_every_row_once_with_all_it_holds(subject: Subject) -> Outcome {
    let Subject { ours, theirs, .. } = &subject;
    expect(
        subject.pass(ours, 5, 0).await?.is_empty(),
        "a table without rows shows some",
    )?;
    subject.put(ours, 0..ROWS, 1).await;
    subject.put(theirs, 100..103, 1).await;
    let mut order = None;
    for limit in [1, 2, 7, 22, 23, 24] {
        let seen = subject.pass(ours, limit, ROWS as usize).await?;
        let what = format!("rows in pages of {limit}");
        expect_eq(&ids(&seen), &numbered(0..ROWS), &what)?;
        let rows: Vec<_> = seen.iter().map(|row| row.row.clone()).collect();
        let first = order.get_or_insert_with(|| rows.clone());
        expect(*first == rows, format!("{what} come in another order"))?;
        let mut held: BTreeMap<_, Vec<RotationCell>> = BTreeMap::new();
        for row in seen {
            held.insert(row.row, [row.cells, row.slots].concat());
        }
        for number in 0..ROWS {
            let expected = subject.cells_of(number, 1);
            let same = held.get(&id(number)) == Some(&expected);
            expect(
                same,
                format!("row {number} shows something else than it holds"),
            )?;
        }
    }
    Ok(())
}

pub(super) async fn rows_that_come_and_go_hide_no_other(subject: Subject) -> Outcome {
    let Subject { ours, rows, .. } = &subject;
    subject.put(ours, 0..40, 1).await;
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    let (mut after, mut fresh): (Option<Cursor>, u64) = (None, 1000);
    loop {
        let page = subject.source.batch(ours, after.as_ref(), 4).await?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            break;
        };
        // The row that the cursor names, one that was seen, and new ones on either side of it.
        for row in [first, last] {
            rows.delete(ours, &row.row).await;
            gone.push(row.row.clone());
        }
        if fresh < 1020 {
            subject.put(ours, fresh..fresh + 4, 1).await;
            fresh += 4;
        }
        after = Some(last.at.clone());
        seen.extend(page);
        expect(seen.len() <= 60, "a pass does not end")?;
    }
    let seen = ids(&seen);
    let once = seen.windows(2).all(|pair| pair.first() != pair.last());
    expect(once, "a row is seen twice")?;
    for number in 0..40 {
        let was_seen = seen.binary_search(&id(number)).is_ok();
        expect(was_seen, format!("row {number} is never seen"))?;
    }
    let left = ids(&subject.pass(ours, 7, 60).await?);
    let is_back = left.iter().any(|row| gone.contains(row));
    expect(!is_back, "a deleted row is shown")
}

pub(super) async fn a_page_is_no_longer_than_asked_and_than_the_limit(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    let all = MAX_ROTATION_BATCH + 5;
    subject.put(ours, 0..all as u64, 1).await;
    for limit in [
        0,
        1,
        5,
        MAX_ROTATION_BATCH,
        MAX_ROTATION_BATCH + 1,
        usize::MAX,
    ] {
        let page = source.batch(ours, None, limit).await?.len();
        let most = limit.min(MAX_ROTATION_BATCH);
        expect(
            page <= most,
            format!("{page} rows where {limit} were asked"),
        )?;
        expect(page > 0 || limit == 0, "no row, which means the end")?;
    }
    let seen = subject.pass(ours, usize::MAX, all).await?;
    expect_eq(&seen.len(), &all, "rows in the longest pages")
}

pub(super) async fn nobody_sees_or_changes_anothers_rows(subject: Subject) -> Outcome {
    let Subject { ours, theirs, .. } = &subject;
    let column = subject.column()?;
    subject.put(ours, 0..5, 1).await;
    subject.put(theirs, 3..9, 2).await;
    let before = subject.pass(theirs, 4, 6).await?;
    expect_eq(&ids(&before), &numbered(3..9), "the other tenant's rows")?;
    let seen = subject.pass(ours, 4, 5).await?;
    expect_eq(&ids(&seen), &numbered(0..5), "our rows")?;
    let reach = [3, 7]
        .map(|number| Replacement::of(id(number), column, sealed(2, number), sealed(9, number)));
    let done = subject.source.replace(ours, reach.to_vec(), None).await?;
    let none = Replaced {
        updated: 0,
        lost: 2,
    };
    expect_eq(&done, &none, "changes of another tenant's rows")?;
    let after = subject.pass(theirs, 4, 6).await?;
    expect(before == after, "another tenant's row was changed")
}

pub(super) async fn its_columns_are_as_it_says(subject: Subject) -> Outcome {
    let Subject { ours, source, .. } = &subject;
    subject.put(ours, 0..2, 1).await;
    for row in source.batch(ours, None, 10).await? {
        let cells: Vec<_> = row.cells.iter().map(|cell| cell.column).collect();
        expect_eq(&cells, &subject.cells, "the sealed columns")?;
        let slots: Vec<_> = row.slots.iter().map(|cell| cell.column).collect();
        expect_eq(&slots, &subject.slots, "the columns of tokens")?;
    }
    let head = source.head();
    expect(
        head.is_none_or(|head| subject.cells.contains(&head)),
        "the head is none of the sealed columns",
    )?;
    let name = source.name();
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    expect(fits, "the name is out of its limits")
}
