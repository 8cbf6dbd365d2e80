//! Epochs that are gone: for every call, in every handle, for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use eonpro_core::task;
use eonpro_encryption::{CryptoError, Destruction, EpochId, EpochKeys};

use super::{Subject, expect_living};
use crate::conformance::report::{Mismatch, expect};
use crate::conformance::wrapping::{Outcome, Wrapper, context};

/// Expects that `epoch` neither wraps nor unwraps.
async fn expect_gone(
    keys: &Arc<dyn EpochKeys>,
    epoch: &EpochId,
    wrapped: &[u8],
    when: &str,
) -> Outcome {
    let wrapper = Wrapper::Epoch(Arc::clone(keys), epoch.clone());
    let unwrapped = wrapper.unwrap(wrapped, &context(1, 1)).await;
    expect(
        matches!(unwrapped, Err(CryptoError::EpochGone)),
        format!("{when}, unwrap: {unwrapped:?}"),
    )?;
    let again = wrapper.wrap_numbered(7).await;
    let outcome = again.as_ref().map(|_| "it wraps");
    expect(
        matches!(again, Err(CryptoError::EpochGone)),
        format!("{when}, wrap: {outcome:?}"),
    )
}

/// A fresh epoch with what it wrapped; used, so that whoever caches has it cached.
async fn used(subject: &Subject) -> Result<(EpochId, Vec<u8>), Mismatch> {
    let epoch = subject.keys.create().await?;
    let wrapper = subject.at(&epoch);
    let wrapped = wrapper.wrap_numbered(7).await?;
    wrapper.expect_numbered(&wrapped, 7, "before").await?;
    Ok((epoch, wrapped))
}

pub(super) async fn a_destroyed_epoch_neither_wraps_nor_unwraps(subject: Subject) -> Outcome {
    let (epoch, wrapped) = used(&subject).await?;
    subject.keys.destroy(&epoch).await?;
    expect_gone(&subject.keys, &epoch, &wrapped, "after the destruction").await?;
    // Bytes that are none are no way to find out more.
    expect_gone(&subject.keys, &epoch, b"none", "asked with garbage").await
}

pub(super) async fn other_epochs_live_on(subject: Subject) -> Outcome {
    let (one, wrapped) = used(&subject).await?;
    let (gone, _) = used(&subject).await?;
    let (other, also) = used(&subject).await?;
    subject.keys.destroy(&gone).await?;
    for (epoch, wrapped) in [(&one, &wrapped), (&other, &also)] {
        let wrapper = subject.at(epoch);
        wrapper.expect_numbered(wrapped, 7, "another epoch").await?;
        let more = wrapper.wrap_numbered(8).await?;
        wrapper.expect_numbered(&more, 8, "another epoch").await?;
    }
    expect_living(&*subject.keys, &[&one, &other], "that live on").await
}

pub(super) async fn a_second_handle_sees_the_destruction(subject: Subject) -> Outcome {
    let (epoch, wrapped) = used(&subject).await?;
    let second = (subject.second)().await;
    Wrapper::Epoch(Arc::clone(&second), epoch.clone())
        .expect_numbered(&wrapped, 7, "the second handle, before")
        .await?;
    subject.keys.destroy(&epoch).await?;
    expect_gone(&second, &epoch, &wrapped, "the second handle").await?;
    expect_living(&*second, &[], "of the second handle").await?;
    // And the other way round.
    let (epoch, wrapped) = used(&subject).await?;
    second.destroy(&epoch).await?;
    expect_gone(&subject.keys, &epoch, &wrapped, "the first handle").await?;
    second.close().await;
    Ok(())
}

pub(super) async fn a_destroyed_epoch_is_gone_after_reopening(subject: Subject) -> Outcome {
    let (epoch, wrapped) = used(&subject).await?;
    let (other, kept) = used(&subject).await?;
    subject.keys.destroy(&epoch).await?;
    subject.keys.close().await;
    let reopen = Arc::clone(&subject.reopen);
    drop(subject);
    let keys = reopen().await;
    expect_gone(&keys, &epoch, &wrapped, "after reopening").await?;
    Wrapper::Epoch(Arc::clone(&keys), other.clone())
        .expect_numbered(&kept, 7, "another epoch after reopening")
        .await?;
    expect_living(&*keys, &[&other], "after reopening").await?;
    keys.close().await;
    Ok(())
}

pub(super) async fn destroying_again_is_no_error(subject: Subject) -> Outcome {
    let (epoch, wrapped) = used(&subject).await?;
    let second = (subject.second)().await;
    let first = subject.keys.destroy(&epoch).await?;
    for (keys, handle) in [(&subject.keys, "first"), (&second, "second")] {
        let again = keys.destroy(&epoch).await;
        let again = again.map_err(|error| Mismatch(format!("the {handle} handle: {error}")))?;
        expect(
            again == first || again == Destruction::Done,
            format!("the {handle} handle: {again:?} after {first:?}"),
        )?;
    }
    expect_gone(&subject.keys, &epoch, &wrapped, "after several").await?;
    second.close().await;
    Ok(())
}

pub(super) async fn an_epoch_that_never_was_is_gone(subject: Subject) -> Outcome {
    let (lives, wrapped) = used(&subject).await?;
    for name in ["never-made", "eonpro", "0", "../x", "a/b:c"] {
        let epoch = EpochId::new(name).ok_or_else(|| Mismatch(format!("id {name}")))?;
        expect_gone(&subject.keys, &epoch, &wrapped, name).await?;
    }
    subject
        .at(&lives)
        .expect_numbered(&wrapped, 7, "an epoch that is one")
        .await
}

pub(super) async fn what_cannot_be_its_own_is_not_called_destroyed(subject: Subject) -> Outcome {
    let (lives, wrapped) = used(&subject).await?;
    for name in ["never-made", "eonpro", "0", "../x", "a/b:c"] {
        let epoch = EpochId::new(name).ok_or_else(|| Mismatch(format!("id {name}")))?;
        let refused = subject.keys.destroy(&epoch).await;
        expect(
            matches!(refused, Err(CryptoError::ForeignCustody)),
            format!("{name}: {refused:?}"),
        )?;
    }
    subject
        .at(&lives)
        .expect_numbered(&wrapped, 7, "an epoch that is one")
        .await
}

pub(super) async fn an_id_is_never_given_again(subject: Subject) -> Outcome {
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let mut made = Vec::new();
        for _ in 0..3 {
            made.push(subject.keys.create().await?);
        }
        for epoch in made {
            subject.keys.destroy(&epoch).await?;
            expect(
                seen.insert(epoch.clone()),
                format!("round {round}: {epoch} once more"),
            )?;
        }
    }
    subject.keys.close().await;
    let reopen = Arc::clone(&subject.reopen);
    drop(subject);
    let keys = reopen().await;
    for _ in 0..3 {
        let epoch = keys.create().await?;
        expect(
            seen.insert(epoch.clone()),
            format!("after reopening: {epoch} once more"),
        )?;
    }
    keys.close().await;
    Ok(())
}

pub(super) async fn a_destruction_ends_what_runs_beside_it(subject: Subject) -> Outcome {
    let (epoch, first) = used(&subject).await?;
    let tasks = (0..8).map(|_| {
        let wrapper = subject.at(&epoch);
        task::start(async move {
            let mut wrapped = Vec::new();
            for _ in 0..16 {
                match wrapper.wrap_numbered(7).await {
                    Ok(bytes) => wrapped.push(bytes),
                    Err(CryptoError::EpochGone) => break,
                    Err(error) => return Err(Mismatch(format!("beside it: {error}"))),
                }
            }
            Ok(wrapped)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::task::yield_now().await;
    subject.keys.destroy(&epoch).await?;
    expect_gone(&subject.keys, &epoch, &first, "at once").await?;
    for running in tasks {
        for wrapped in running.await?? {
            expect_gone(&subject.keys, &epoch, &wrapped, "wrapped beside it").await?;
        }
    }
    Ok(())
}
