//! Expiry, judged by the injected clock.

use std::time::Duration;

use eonpro_core::port::kv::{KvError, Transaction};
use eonpro_core::time::Clock as _;

use super::{Bed, Outcome, key, partition, put, text};
use crate::conformance::report::{expect, expect_eq};

const SPAN: Duration = Duration::from_secs(60);

fn until(bed: &Bed, name: &str, value: &str) -> Result<Transaction, KvError> {
    let expires = bed.clock.wall().plus(SPAN);
    Ok(Transaction::new().put_until(key(name)?, value.to_owned(), expires))
}

pub(super) async fn an_expired_entry_is_absent(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let version = store.commit(&at, until(&bed, "a", "1")?).await?;
    store.commit(&at, put("b", "stays")?).await?;
    bed.clock.advance(SPAN - Duration::from_nanos(1));
    let found = text(store, &at, "a").await?;
    expect_eq(&found.as_deref(), &Some("1"), "a nanosecond before expiry")?;
    bed.clock.advance(Duration::from_nanos(1));
    expect_eq(
        &text(store, &at, "a").await?,
        &None,
        "at the instant of expiry",
    )?;
    let names = store.scan(&at, b"", None, 10).await?;
    let names: Vec<_> = names.iter().map(|entry| entry.key.as_bytes()).collect();
    expect_eq(&names, &vec![b"b".as_slice()], "a scan after expiry")?;
    let required = put("c", "1")?.require(key("a")?, version);
    let refused = store.commit(&at, required).await;
    expect(
        matches!(refused, Err(KvError::Conflict)),
        "requiring the version of an expired key conflicts",
    )
}

pub(super) async fn a_key_lives_again_after_expiry(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let first = store.commit(&at, until(&bed, "a", "1")?).await?;
    bed.clock.advance(SPAN);
    let tx = put("a", "2")?.require_absent(key("a")?);
    let second = store.commit(&at, tx).await?;
    expect(first < second, "versions grow across expiry")?;
    let found = text(store, &at, "a").await?;
    expect_eq(&found.as_deref(), &Some("2"), "the new value")?;
    // Whatever swept the expired entry must leave the new one alone.
    for round in 0..4 {
        bed.clock.advance(SPAN);
        store.commit(&at, put(&format!("b{round}"), "1")?).await?;
    }
    let found = text(store, &at, "a").await?;
    expect_eq(&found.as_deref(), &Some("2"), "the new value, later")
}

pub(super) async fn a_later_write_decides_the_expiry(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    store.commit(&at, until(&bed, "shortened", "1")?).await?;
    store.commit(&at, until(&bed, "unbounded", "1")?).await?;
    store.commit(&at, put("unbounded", "2")?).await?;
    bed.clock.advance(SPAN / 2);
    store.commit(&at, until(&bed, "prolonged", "1")?).await?;
    bed.clock.advance(SPAN / 2);
    store.commit(&at, put("other", "1")?).await?;
    for (name, expected) in [
        ("shortened", None),
        ("unbounded", Some("2")),
        ("prolonged", Some("1")),
    ] {
        let found = text(store, &at, name).await?;
        expect_eq(&found.as_deref(), &expected, name)?;
    }
    Ok(())
}
