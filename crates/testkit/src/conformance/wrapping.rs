//! What a root key and an epoch key have in common: the checks that both suites make.

use std::sync::Arc;

use eonpro_core::port::SealScope;
use eonpro_core::secret::KeyBytes;
use eonpro_core::{Classify as _, ErrorKind, task};
use eonpro_encryption::{CryptoError, EpochId, EpochKeys, KeyId, RootKey, WrapContext};
use futures_util::FutureExt as _;

use super::report::{Mismatch, expect, expect_eq};

pub(super) type Outcome = Result<(), Mismatch>;

/// The most bytes that a wrapped key may have.
const MAX_WRAPPED: usize = 4096;
/// Up to this length every bit is flipped and every truncation tried; beyond, one bit of each byte
/// and some truncations, since a provider may be a network away.
const SHORT: usize = 256;
const TASKS: u8 = 64;
const DROPS: u8 = 48;

/// A root key, or one epoch key of a custody.
#[derive(Clone)]
pub(super) enum Wrapper {
    Root(Arc<dyn RootKey>),
    Epoch(Arc<dyn EpochKeys>, EpochId),
}

impl Wrapper {
    pub(super) async fn wrap(
        &self,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        match self {
            Self::Root(root) => root.wrap(key, context).await,
            Self::Epoch(keys, epoch) => keys.wrap(epoch, key, context).await,
        }
    }

    pub(super) async fn unwrap(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        match self {
            Self::Root(root) => root.unwrap(wrapped, context).await,
            Self::Epoch(keys, epoch) => keys.unwrap(epoch, wrapped, context).await,
        }
    }

    /// Wraps the key numbered `number`.
    pub(super) async fn wrap_numbered(&self, number: u8) -> Result<Vec<u8>, CryptoError> {
        self.wrap(&key(number), &context(1, 1)).await
    }

    /// Expects that `wrapped` unwraps to the key numbered `number`.
    pub(super) async fn expect_numbered(&self, wrapped: &[u8], number: u8, what: &str) -> Outcome {
        let found = self.unwrap(wrapped, &context(1, 1)).await;
        let found = found.map_err(|error| Mismatch(format!("{what}: {error}")))?;
        expect(
            found == key(number),
            format!("{what}: another key came out"),
        )
    }

    /// Expects that `wrapped` is refused as another's.
    pub(super) async fn expect_mismatch(
        &self,
        wrapped: &[u8],
        context: &WrapContext,
        what: &str,
    ) -> Outcome {
        match self.unwrap(wrapped, context).await {
            Err(CryptoError::RootMismatch) => Ok(()),
            Err(other) => Err(Mismatch(format!("{what}: not a mismatch but {other}"))),
            Ok(_) => Err(Mismatch(format!("{what}: it unwraps"))),
        }
    }
}

pub(super) fn key(number: u8) -> KeyBytes<32> {
    KeyBytes::take(&mut [number; 32])
}

pub(super) fn context(tenant: u128, id: u32) -> WrapContext {
    WrapContext {
        scope: SealScope::from(&crate::scope(tenant)),
        key: KeyId::from_be_bytes(id.to_be_bytes()),
    }
}

pub(super) async fn comes_back(wrapper: &Wrapper) -> Outcome {
    let system = WrapContext {
        scope: SealScope::System,
        ..context(1, 1)
    };
    for (number, context) in [context(1, 1), context(1, u32::MAX), context(2, 1), system]
        .iter()
        .enumerate()
    {
        // All bits clear, all bits set, and what lies between.
        for byte in [0, 0xff, 0x5a] {
            let wrapped = wrapper.wrap(&key(byte), context).await?;
            expect(
                wrapped.len() <= MAX_WRAPPED,
                format!("a wrapped key has {} bytes of 4096", wrapped.len()),
            )?;
            let found = wrapper.unwrap(&wrapped, context).await?;
            expect(
                found == key(byte),
                format!("context {number}: another key came out"),
            )?;
        }
    }
    Ok(())
}

pub(super) async fn is_bound_to_its_context(wrapper: &Wrapper) -> Outcome {
    let system = WrapContext {
        scope: SealScope::System,
        ..context(1, 1)
    };
    let all = [
        ("tenant 1, key 1", context(1, 1)),
        ("tenant 1, key 2", context(1, 2)),
        ("tenant 1, key 1 << 24", context(1, 1 << 24)),
        ("tenant 2, key 1", context(2, 1)),
        ("the system, key 1", system),
    ];
    for (own, made_for) in &all {
        let wrapped = wrapper.wrap(&key(7), made_for).await?;
        for (other, asked_for) in all.iter().filter(|(name, _)| name != own) {
            let what = format!("wrapped for {own}, asked for {other}");
            wrapper.expect_mismatch(&wrapped, asked_for, &what).await?;
        }
    }
    Ok(())
}

/// Every changed form of `wrapped`, and what was done to it.
fn changed(wrapped: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = Vec::new();
    for (at, _) in wrapped.iter().enumerate() {
        let bits = if wrapped.len() <= SHORT {
            0..8
        } else {
            at % 8..at % 8 + 1
        };
        for bit in bits {
            let mut form = wrapped.to_vec();
            if let Some(byte) = form.get_mut(at) {
                *byte ^= 1 << bit;
            }
            forms.push((format!("bit {bit} of byte {at} flipped"), form));
        }
    }
    for length in 0..wrapped.len() {
        let few = [0, 1, 12, 16, wrapped.len() / 2, wrapped.len() - 1];
        if wrapped.len() <= SHORT || few.contains(&length) {
            let form = wrapped.iter().take(length).copied().collect();
            forms.push((format!("cut to {length} bytes"), form));
        }
    }
    let garbage = vec![0xa5; 1024 * 1024];
    forms.push(("a byte more".to_owned(), [wrapped, &[0]].concat()));
    forms.push(("a byte before".to_owned(), [&[0], wrapped].concat()));
    forms.push(("twice".to_owned(), [wrapped, wrapped].concat()));
    forms.push(("with 1 MiB behind".to_owned(), [wrapped, &garbage].concat()));
    forms.push(("1 MiB of garbage".to_owned(), garbage));
    forms
}

pub(super) async fn changes_are_refused(wrapper: &Wrapper) -> Outcome {
    let wrapped = wrapper.wrap_numbered(7).await?;
    for (change, form) in changed(&wrapped) {
        match wrapper.unwrap(&form, &context(1, 1)).await {
            Err(error) if error.kind() == ErrorKind::Integrity => {}
            Err(error) => return Err(Mismatch(format!("{change}: not integrity but {error}"))),
            Ok(found) if found == key(7) => return Err(Mismatch(format!("{change}: it unwraps"))),
            Ok(_) => return Err(Mismatch(format!("{change}: another key came out"))),
        }
    }
    wrapper
        .expect_numbered(&wrapped, 7, "the unchanged form")
        .await
}

pub(super) async fn several_wraps_stand(wrapper: &Wrapper) -> Outcome {
    let mut all = Vec::new();
    for number in [7, 7, 8] {
        all.push((number, wrapper.wrap_numbered(number).await?));
    }
    for (place, (number, wrapped)) in all.iter().enumerate() {
        // Twice each: unwrapping uses nothing up.
        for _ in 0..2 {
            let what = format!("wrap {place}");
            wrapper.expect_numbered(wrapped, *number, &what).await?;
        }
    }
    Ok(())
}

pub(super) async fn stands_concurrency(wrapper: &Wrapper) -> Outcome {
    let tasks = (0..TASKS).map(|number| {
        let wrapper = wrapper.clone();
        task::start(async move {
            let context = context(u128::from(number) + 1, u32::from(number) + 1);
            let wrapped = wrapper.wrap(&key(number), &context).await?;
            let found = wrapper.unwrap(&wrapped, &context).await?;
            Ok::<_, CryptoError>(found == key(number))
        })
    });
    let mut right = 0_u8;
    for running in tasks.collect::<Vec<_>>() {
        right += u8::from(running.await??);
    }
    expect_eq(&right, &TASKS, "tasks whose key came back")
}

/// Drops calls that have begun, then expects that everything still works.
pub(super) async fn survives_dropped_calls(wrapper: &Wrapper) -> Outcome {
    let (wrapped, context) = (wrapper.wrap_numbered(7).await?, context(1, 1));
    for number in 0..DROPS {
        let _dropped = wrapper.wrap_numbered(number).now_or_never();
        let _dropped = wrapper.unwrap(&wrapped, &context).now_or_never();
        // One that got a little further.
        tokio::select! {
            biased;
            _ = wrapper.unwrap(&wrapped, &context) => {}
            () = tokio::task::yield_now() => {}
        }
    }
    wrapper
        .expect_numbered(&wrapped, 7, "after dropped calls")
        .await?;
    stands_concurrency(wrapper).await
}
