//! Order, selection and paging of scans.

use eonpro_core::port::kv::{Key, KeyValue, KvError, MAX_SCAN, Partition, Transaction};

use super::{Bed, Outcome, partition};
use crate::conformance::report::{expect, expect_eq};

/// Prefix, after, limit, and the keys expected.
type Case<'a> = (&'a [u8], Option<&'a [u8]>, usize, &'a [&'a [u8]]);

async fn fill(store: &dyn KeyValue, at: &Partition, keys: &[&[u8]]) -> Result<(), KvError> {
    for key in keys {
        let key = Key::new(key.to_vec())?;
        let value = key.as_bytes().to_vec();
        store.commit(at, Transaction::new().put(key, value)).await?;
    }
    Ok(())
}

async fn names(
    store: &dyn KeyValue,
    at: &Partition,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, KvError> {
    let after = after.map(|key| Key::new(key.to_vec())).transpose()?;
    let entries = store.scan(at, prefix, after.as_ref(), limit).await?;
    Ok(entries
        .iter()
        .map(|entry| entry.key.as_bytes().to_vec())
        .collect())
}

fn list(keys: &[&[u8]]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.to_vec()).collect()
}

pub(super) async fn keys_come_in_byte_order(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    fill(
        store,
        &at,
        &[
            b"b",
            b"a",
            b"a\0",
            b"\xff",
            b"\0",
            b"aa",
            b"B",
            b"\xff\xff",
            b"ab",
        ],
    )
    .await?;
    let expected: &[&[u8]] = &[
        b"\0",
        b"B",
        b"a",
        b"a\0",
        b"aa",
        b"ab",
        b"b",
        b"\xff",
        b"\xff\xff",
    ];
    let found = names(store, &at, b"", None, 100).await?;
    expect_eq(&found, &list(expected), "the whole partition")?;
    let entries = store.scan(&at, b"", None, 100).await?;
    expect(
        entries
            .iter()
            .all(|entry| entry.versioned.value == entry.key.as_bytes()),
        "each entry carries its own value",
    )
}

pub(super) async fn prefix_after_and_limit_select(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let keys: &[&[u8]] = &[
        b"a",
        b"b",
        b"b/1",
        b"b/2",
        b"b/3",
        b"b0",
        b"c",
        b"\xff",
        b"\xff\x01",
    ];
    fill(store, &at, keys).await?;
    let cases: &[Case<'_>] = &[
        (b"b/", None, 100, &[b"b/1", b"b/2", b"b/3"]),
        (b"b/", None, 2, &[b"b/1", b"b/2"]),
        (b"b/", Some(b"b/1"), 100, &[b"b/2", b"b/3"]),
        (b"b/", Some(b"b/11"), 100, &[b"b/2", b"b/3"]),
        (b"b/", Some(b"a"), 100, &[b"b/1", b"b/2", b"b/3"]),
        (b"b/", Some(b"b/3"), 100, &[]),
        (b"b/", Some(b"c"), 100, &[]),
        (b"", Some(b"b0"), 100, &[b"c", b"\xff", b"\xff\x01"]),
        (b"\xff", None, 100, &[b"\xff", b"\xff\x01"]),
        (b"x", None, 100, &[]),
        (b"", None, 0, &[]),
        (b"", None, 3, &[b"a", b"b", b"b/1"]),
    ];
    for (prefix, after, limit, expected) in cases {
        let found = names(store, &at, prefix, *after, *limit).await?;
        let what = format!(
            "prefix {:?} after {:?} limit {limit}",
            prefix.escape_ascii().to_string(),
            after.map(|key| key.escape_ascii().to_string()),
        );
        expect_eq(&found, &list(expected), &what)?;
    }
    Ok(())
}

pub(super) async fn pages_cover_everything_once(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let total = MAX_SCAN + 300;
    let mut expected = Vec::with_capacity(total);
    for chunk in (0..total).collect::<Vec<_>>().chunks(500) {
        let mut tx = Transaction::new();
        for number in chunk {
            let name = format!("k{number:06}").into_bytes();
            tx = tx.put(Key::new(name.clone())?, "v");
            expected.push(name);
        }
        store.commit(&at, tx).await?;
    }
    let mut found: Vec<Vec<u8>> = Vec::with_capacity(total);
    for _ in 0..=total {
        let last = found.last().map(Vec::as_slice);
        let page = names(store, &at, b"k", last, usize::MAX).await?;
        expect(
            page.len() <= MAX_SCAN,
            format!("a scan returned {} entries", page.len()),
        )?;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    expect(
        found == expected,
        format!("pages covered {} of {total} keys", found.len()),
    )
}
