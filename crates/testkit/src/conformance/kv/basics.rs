//! Reading, writing, deleting; partitions; limits; close.

use bytes::Bytes;
use eonpro_core::port::kv::{
    Key, KvError, MAX_KEY_BYTES, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES, Partition, Transaction,
};

use super::{Bed, Outcome, key, partition, put, text};
use crate::conformance::report::{Mismatch, expect, expect_eq};

pub(super) async fn a_value_is_read_back_with_its_version(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    expect_eq(&text(store, &at, "a").await?, &None, "an unwritten key")?;
    // Several times, so that a store that loses some writes is caught.
    for round in 0..8 {
        let (name, value) = (format!("key-{round}"), format!("value-{round}"));
        let version = store.commit(&at, put(&name, &value)?).await?;
        let found = store.get(&at, &key(&name)?).await?;
        let found = found.ok_or_else(|| Mismatch(format!("write {round} was lost")))?;
        expect_eq(&found.value, &Bytes::from(value), "the value")?;
        expect_eq(&found.version, &version, "the version")?;
    }
    for value in [Bytes::new(), Bytes::from(vec![0; MAX_VALUE_BYTES])] {
        let key = Key::new(vec![0xff; MAX_KEY_BYTES])?;
        let length = value.len();
        store
            .commit(&at, Transaction::new().put(key.clone(), value.clone()))
            .await?;
        let found = store.get(&at, &key).await?.map(|found| found.value);
        expect(
            found == Some(value),
            format!("a value of {length} bytes at the longest key is read back"),
        )?;
    }
    Ok(())
}

pub(super) async fn a_deleted_key_is_absent(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let tx = put("a", "1")?.put(key("b")?, "2");
    store.commit(&at, tx).await?;
    store
        .commit(&at, Transaction::new().delete(key("a")?))
        .await?;
    expect_eq(&text(store, &at, "a").await?, &None, "the deleted key")?;
    let kept = text(store, &at, "b").await?;
    expect_eq(&kept, &Some("2".to_owned()), "the other key")?;
    // Deleting what is absent is no error.
    store
        .commit(&at, Transaction::new().delete(key("a")?))
        .await?;
    Ok(())
}

pub(super) async fn partitions_are_isolated(bed: Bed) -> Outcome {
    let store = &*bed.subject.store;
    let all = [
        partition(1),
        partition(2),
        Partition::tenant(crate::tenant_id(1), "conformance2"),
        Partition::system("conformance"),
        Partition::system("conformance2"),
    ];
    for (number, at) in all.iter().enumerate() {
        store
            .commit(at, put("a", &format!("value of {number}"))?)
            .await?;
    }
    for (number, at) in all.iter().enumerate() {
        let expected = Some(format!("value of {number}"));
        expect_eq(
            &text(store, at, "a").await?,
            &expected,
            "each partition's own",
        )?;
        let entries = store.scan(at, b"", None, 10).await?;
        expect_eq(&entries.len(), &1, "entries of each partition")?;
        let version = entries.first().map(|entry| entry.versioned.version.0);
        expect_eq(&version, &Some(1), "commits are counted by partition")?;
    }
    Ok(())
}

pub(super) async fn limits_hold(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let too_large = Transaction::new().put(key("a")?, vec![0; MAX_VALUE_BYTES + 1]);
    let mut too_many = Transaction::new();
    for number in 0..=MAX_TRANSACTION_OPS {
        too_many = too_many.put(key(&format!("a{number}"))?, "");
    }
    let twice = put("a", "1")?.delete(key("a")?);
    for (tx, what) in [
        (too_large, "a value beyond 1 MiB"),
        (too_many, "a transaction beyond 1024 operations"),
        (twice, "a key written twice"),
    ] {
        let refused = store.commit(&at, tx).await;
        expect(
            matches!(refused, Err(KvError::Invalid(_))),
            format!("{what} is refused as invalid, got {refused:?}"),
        )?;
    }
    expect_eq(&store.scan(&at, b"", None, 10).await?.len(), &0, "entries")
}

pub(super) async fn a_closed_store_refuses(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    store.commit(&at, put("a", "1")?).await?;
    store.close().await;
    store.close().await;
    let outcomes = [
        ("get", store.get(&at, &key("a")?).await.err()),
        ("scan", store.scan(&at, b"", None, 1).await.err()),
        ("commit", store.commit(&at, put("a", "2")?).await.err()),
        ("watch", store.watch(&at, b"").await.err()),
    ];
    for (operation, error) in outcomes {
        expect(
            matches!(error, Some(KvError::Closed)),
            format!("{operation} after close is refused as closed, got {error:?}"),
        )?;
    }
    Ok(())
}
