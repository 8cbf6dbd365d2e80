//! The bytes of one data key, and how long they are.

use std::fmt;

use eonpro_core::phi::Suite;
use eonpro_core::port::SealError;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::random::fill_random;

/// Key bytes, wiped on drop and compared in constant time.
pub(crate) struct KeyMaterial(Zeroizing<Box<[u8]>>);

impl KeyMaterial {
    /// The length of a key of that suite: AES-SIV takes two keys of 32 bytes (RFC 5297).
    pub(crate) const fn length(suite: Suite) -> usize {
        match suite {
            Suite::Standard | Suite::Compact => 32,
            Suite::Deterministic => 64,
        }
    }

    /// A fresh key.
    pub(crate) fn random(suite: Suite) -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new(vec![0; Self::length(suite)].into_boxed_slice());
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Copies `bytes`; `None` if the suite takes another length.
    pub(crate) fn copy_from(suite: Suite, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::length(suite)).then(|| Self(Zeroizing::new(bytes.into())))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for KeyMaterial {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}
