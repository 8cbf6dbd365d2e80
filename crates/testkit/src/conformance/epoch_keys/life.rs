//! Epochs that live: what they wrap, who sees them, what a custody remembers.

use std::sync::Arc;

use eonpro_core::task;
use eonpro_encryption::EpochId;
use futures_util::FutureExt as _;

use super::{Subject, expect_living};
use crate::conformance::report::{Mismatch, expect, expect_eq};
use crate::conformance::wrapping::{self, Outcome, Wrapper, context};

pub(super) async fn a_wrapped_key_comes_back_and_is_short(subject: Subject) -> Outcome {
    wrapping::comes_back(&subject.wrapper().await?).await
}

pub(super) async fn a_wrapped_key_is_bound_to_its_context(subject: Subject) -> Outcome {
    wrapping::is_bound_to_its_context(&subject.wrapper().await?).await
}

pub(super) async fn a_changed_wrapped_key_is_refused(subject: Subject) -> Outcome {
    wrapping::changes_are_refused(&subject.wrapper().await?).await
}

pub(super) async fn several_wraps_of_one_key_all_unwrap(subject: Subject) -> Outcome {
    wrapping::several_wraps_stand(&subject.wrapper().await?).await
}

pub(super) async fn concurrent_calls_do_not_mix(subject: Subject) -> Outcome {
    wrapping::stands_concurrency(&subject.wrapper().await?).await
}

pub(super) async fn dropped_calls_leave_it_usable(subject: Subject) -> Outcome {
    let wrapper = subject.wrapper().await?;
    for _ in 0..4 {
        let _dropped = subject.keys.create().now_or_never();
        let _dropped = subject.keys.epochs().now_or_never();
    }
    wrapping::survives_dropped_calls(&wrapper).await?;
    // A dropped call may have left a key; if it is listed, it must be one.
    for epoch in subject.keys.epochs().await? {
        let wrapper = subject.at(&epoch);
        let wrapped = wrapper.wrap_numbered(7).await?;
        wrapper
            .expect_numbered(&wrapped, 7, "a listed epoch")
            .await?;
    }
    Ok(())
}

pub(super) async fn one_epoch_unwraps_nothing_of_another(subject: Subject) -> Outcome {
    let (one, other) = (subject.wrapper().await?, subject.wrapper().await?);
    let wrapped = one.wrap_numbered(7).await?;
    let what = "wrapped under one epoch, asked of another";
    other
        .expect_mismatch(&wrapped, &context(1, 1), what)
        .await?;
    one.expect_numbered(&wrapped, 7, "its own epoch").await
}

pub(super) async fn concurrent_creates_give_different_epochs(subject: Subject) -> Outcome {
    let second = (subject.second)().await;
    let tasks = (0..16).map(|number| {
        // From two handles, as from two processes.
        let keys = Arc::clone(if number % 2 == 0 {
            &subject.keys
        } else {
            &second
        });
        task::start(async move { keys.create().await })
    });
    let mut made: Vec<EpochId> = Vec::new();
    for running in tasks.collect::<Vec<_>>() {
        made.push(running.await??);
    }
    made.sort_unstable();
    made.dedup();
    expect_eq(&made.len(), &16, "different epochs")?;
    for epoch in &made {
        let wrapper = subject.at(epoch);
        let wrapped = wrapper.wrap_numbered(7).await?;
        wrapper.expect_numbered(&wrapped, 7, "each epoch").await?;
    }
    let all: Vec<&EpochId> = made.iter().collect();
    expect_living(&*subject.keys, &all, "after concurrent creates").await?;
    second.close().await;
    Ok(())
}

pub(super) async fn a_second_handle_uses_every_epoch(subject: Subject) -> Outcome {
    let before = subject.keys.create().await?;
    let second = (subject.second)().await;
    let after = subject.keys.create().await?;
    let theirs = second.create().await?;
    for (epoch, when) in [
        (&before, "made before the second handle"),
        (&after, "made after the second handle"),
        (&theirs, "made by the second handle"),
    ] {
        let wrapped = subject.at(epoch).wrap_numbered(7).await;
        let wrapped = wrapped.map_err(|error| Mismatch(format!("{when}: {error}")))?;
        Wrapper::Epoch(Arc::clone(&second), epoch.clone())
            .expect_numbered(&wrapped, 7, when)
            .await?;
    }
    let all = [&before, &after, &theirs];
    expect_living(&*subject.keys, &all, "of the first handle").await?;
    expect_living(&*second, &all, "of the second handle").await?;
    second.close().await;
    Ok(())
}

pub(super) async fn an_epoch_survives_reopening(subject: Subject) -> Outcome {
    let mut wrapped = Vec::new();
    for number in 0..3 {
        let epoch = subject.keys.create().await?;
        let bytes = subject.at(&epoch).wrap_numbered(number).await?;
        wrapped.push((number, epoch, bytes));
    }
    subject.keys.close().await;
    let reopen = Arc::clone(&subject.reopen);
    drop(subject);
    let keys = reopen().await;
    for (number, epoch, bytes) in &wrapped {
        Wrapper::Epoch(Arc::clone(&keys), epoch.clone())
            .expect_numbered(bytes, *number, "after reopening")
            .await?;
    }
    let all: Vec<&EpochId> = wrapped.iter().map(|(_, epoch, _)| epoch).collect();
    expect_living(&*keys, &all, "after reopening").await?;
    keys.close().await;
    Ok(())
}

pub(super) async fn exactly_the_living_are_listed(subject: Subject) -> Outcome {
    let keys = &*subject.keys;
    expect_living(keys, &[], "of a fresh custody").await?;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(keys.create().await?);
        let all: Vec<&EpochId> = made.iter().collect();
        expect_living(keys, &all, "after each create").await?;
    }
    while let Some(epoch) = made.pop() {
        keys.destroy(&epoch).await?;
        let all: Vec<&EpochId> = made.iter().collect();
        expect_living(keys, &all, "after each destruction").await?;
    }
    let again = keys.create().await?;
    expect(
        keys.epochs().await? == [again],
        "a custody that was emptied lists what is made next",
    )
}

pub(super) async fn a_custody_keeps_its_name(subject: Subject) -> Outcome {
    let name = subject.keys.custody_id().to_owned();
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    expect(fits, format!("{name:?} is no name"))?;
    let second = (subject.second)().await;
    expect_eq(&second.custody_id(), &&*name, "of the second handle")?;
    second.close().await;
    subject.keys.close().await;
    let reopen = Arc::clone(&subject.reopen);
    drop(subject);
    let keys = reopen().await;
    expect_eq(&keys.custody_id(), &&*name, "after reopening")?;
    keys.close().await;
    Ok(())
}
