//! Preconditions, atomicity, versions.

use eonpro_core::port::kv::{KvError, Transaction, Version};

use super::{Bed, Outcome, key, partition, put, text, version};
use crate::conformance::report::{expect, expect_eq};

fn is_conflict(outcome: &Result<Version, KvError>) -> bool {
    matches!(outcome, Err(KvError::Conflict))
}

pub(super) async fn preconditions_decide(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let create =
        || -> Result<Transaction, KvError> { Ok(put("a", "created")?.require_absent(key("a")?)) };
    let first = store.commit(&at, create()?).await?;
    let again = store.commit(&at, create()?).await;
    expect(is_conflict(&again), "creating what exists conflicts")?;
    let update = |version| -> Result<Transaction, KvError> {
        Ok(put("a", "updated")?.require(key("a")?, version))
    };
    let second = store.commit(&at, update(first)?).await?;
    let stale = store.commit(&at, update(first)?).await;
    expect(is_conflict(&stale), "updating an old version conflicts")?;
    let future = store.commit(&at, update(Version(second.0 + 1))?).await;
    expect(is_conflict(&future), "updating a version to come conflicts")?;
    let absent = put("b", "1")?.require(key("c")?, second);
    let absent = store.commit(&at, absent).await;
    expect(
        is_conflict(&absent),
        "requiring a version of an absent key conflicts",
    )?;
    let elsewhere = store.commit(&partition(2), update(second)?).await;
    expect(
        is_conflict(&elsewhere),
        "another partition's version conflicts",
    )
}

pub(super) async fn a_refused_commit_writes_nothing(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    store.commit(&at, put("taken", "first")?).await?;
    // The precondition that fails comes last, and so does its key.
    let tx = put("a", "1")?
        .put(key("b")?, "2")
        .delete(key("taken")?)
        .require_absent(key("a")?)
        .require_absent(key("taken")?);
    let refused = store.commit(&at, tx).await;
    expect(is_conflict(&refused), "the commit conflicts")?;
    for (name, expected) in [("a", None), ("b", None), ("taken", Some("first"))] {
        let found = text(store, &at, name).await?;
        expect_eq(&found.as_deref(), &expected, "after the refused commit")?;
    }
    let next = store.commit(&at, put("z", "")?).await?;
    expect_eq(&next, &Version(2), "a refused commit takes no version")
}

pub(super) async fn a_commit_writes_everything(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    store.commit(&at, put("old", "1")?).await?;
    let mut tx = Transaction::new().delete(key("old")?);
    for number in 0..100 {
        tx = tx.put(key(&format!("new-{number:03}"))?, format!("{number}"));
    }
    let committed = store.commit(&at, tx).await?;
    expect_eq(&text(store, &at, "old").await?, &None, "the deleted key")?;
    for number in 0..100 {
        let name = format!("new-{number:03}");
        let found = text(store, &at, &name).await?;
        expect_eq(&found, &Some(number.to_string()), "each put of one commit")?;
        let found = version(store, &at, &name).await?;
        expect_eq(&found, &committed, "the version of each put of one commit")?;
    }
    Ok(())
}

pub(super) async fn versions_only_grow(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let mut last = Version(0);
    let mut first = Version(0);
    for round in 0..5 {
        let created = store.commit(&at, put("a", "1")?).await?;
        if round == 0 {
            first = created;
        }
        let deleted = store
            .commit(&at, Transaction::new().delete(key("a")?))
            .await?;
        expect(
            last < created && created < deleted,
            format!("versions grow: {last:?}, then {created:?}, then {deleted:?}"),
        )?;
        last = deleted;
    }
    let recreated = store.commit(&at, put("a", "2")?).await?;
    expect_eq(
        &version(store, &at, "a").await?,
        &recreated,
        "the new key's version",
    )?;
    let stale = put("a", "3")?.require(key("a")?, first);
    let stale = store.commit(&at, stale).await;
    expect(
        is_conflict(&stale),
        "a version from before the key was deleted does not fit the key that came after",
    )
}

pub(super) async fn an_empty_commit_tells_the_counter(bed: Bed) -> Outcome {
    let (store, at) = (&*bed.subject.store, partition(1));
    let zero = store.commit(&at, Transaction::new()).await?;
    expect_eq(&zero, &Version(0), "the counter of a new partition")?;
    let one = store.commit(&at, put("a", "1")?).await?;
    let tx = Transaction::new().require(key("a")?, one);
    expect_eq(
        &store.commit(&at, tx).await?,
        &one,
        "the counter after one commit",
    )?;
    let tx = Transaction::new().require_absent(key("a")?);
    let refused = store.commit(&at, tx).await;
    expect(
        is_conflict(&refused),
        "preconditions are judged without writes too",
    )
}
