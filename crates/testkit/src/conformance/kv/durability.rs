//! What the store claims about itself, judged in both directions.

use eonpro_core::port::kv::Transaction;

use super::{Bed, Outcome, key, partition, put, text, version};
use crate::conformance::report::{Mismatch, expect, expect_eq};

pub(super) async fn durable_means_it_survives_reopening(bed: Bed) -> Outcome {
    let (store, at) = (bed.subject.store, partition(1));
    let durable = store.capabilities().durable;
    for number in 0..10 {
        store
            .commit(&at, put(&format!("k{number}"), "kept")?)
            .await?;
    }
    let last = store
        .commit(&at, Transaction::new().delete(key("k0")?))
        .await?;
    let Some(reopen) = bed.subject.reopen else {
        return expect(!durable, "claims to be durable and cannot be reopened");
    };
    store.close().await;
    drop(store);
    let store = reopen().await;
    if !durable {
        let found = text(&*store, &at, "k1").await?;
        store.close().await;
        return expect_eq(&found, &None, "claims to be volatile, and after reopening");
    }
    let expected = |number| (number != 0).then(|| "kept".to_owned());
    for number in 0..10 {
        let found = text(&*store, &at, &format!("k{number}")).await?;
        expect_eq(
            &found,
            &expected(number),
            &format!("k{number} after reopening"),
        )?;
    }
    let next = store.commit(&at, put("k0", "again")?).await?;
    expect(last < next, "versions grow across reopening")?;
    expect_eq(
        &version(&*store, &at, "k0").await?,
        &next,
        "the new version",
    )?;
    store.close().await;
    Ok(())
}

pub(super) async fn shared_means_a_second_handle_sees_it(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let shared = store.capabilities().shared;
    let Some(open) = &bed.subject.second else {
        return expect(!shared, "claims to be shared and opens no second handle");
    };
    let other = open().await;
    let first = store.commit(&at, put("a", "1")?).await?;
    let seen = version(&*other, &at, "a").await?;
    if !shared {
        other.close().await;
        return expect(seen != first, "claims not to be shared and is");
    }
    expect_eq(&seen, &first, "what the second handle sees")?;
    let tx = put("a", "2")?.require(key("a")?, first);
    let second = other.commit(&at, tx).await?;
    let seen = store.get(&at, &key("a")?).await?;
    let seen = seen.ok_or_else(|| Mismatch("the first handle sees nothing".to_owned()))?;
    expect_eq(&seen.version, &second, "what the first handle sees")?;
    other.close().await;
    Ok(())
}
