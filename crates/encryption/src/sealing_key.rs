//! One data key at work, in the suite of its type.

use eonpro_core::phi::Suite;
use eonpro_core::port::SealError;
use eonpro_core::secret::{KeyBytes, SecretBytes};

use crate::cobblestone::{self, Cause, InputKey};
use crate::envelope::{PREFIX_LEN, Place, prefix};
use crate::keyset::KeyId;
use crate::material::KeyMaterial;
use crate::primitives::Primitives;
use crate::random::SALT_LEN;
use crate::siv::SivKey;
use crate::xaes::XaesKey;

/// See the [module](self).
#[derive(Debug)]
pub(crate) enum SealingKey {
    Standard(InputKey),
    Compact(XaesKey),
    Deterministic(SivKey),
}

impl SealingKey {
    /// Expands `material`; `None` if it has another length than the suite's keys.
    pub(crate) fn new(
        primitives: Primitives,
        suite: Suite,
        material: &KeyMaterial,
    ) -> Option<Self> {
        let bytes = material.expose();
        Some(match suite {
            Suite::Standard => {
                Self::Standard(InputKey::with(primitives, &KeyBytes::copy_from(bytes)?))
            }
            Suite::Compact => Self::Compact(XaesKey::new(primitives, bytes.try_into().ok()?)),
            Suite::Deterministic => Self::Deterministic(SivKey::new(bytes.try_into().ok()?)),
        })
    }

    pub(crate) fn suite(&self) -> Suite {
        match self {
            Self::Standard(_) => Suite::Standard,
            Self::Compact(_) => Suite::Compact,
            Self::Deterministic(_) => Suite::Deterministic,
        }
    }

    /// The key as one of the standard suite, which alone streams and derives.
    pub(crate) fn standard(&self) -> Option<&InputKey> {
        match self {
            Self::Standard(key) => Some(key),
            Self::Compact(_) | Self::Deterministic(_) => None,
        }
    }

    /// The length of a sealed value of `plain` bytes.
    pub(crate) fn sealed_len(suite: Suite, plain: usize) -> Option<usize> {
        let message = match suite {
            Suite::Standard => cobblestone::sealed_len(plain),
            Suite::Compact => XaesKey::sealed_len(plain),
            Suite::Deterministic => SivKey::sealed_len(plain),
        };
        message?.checked_add(PREFIX_LEN)
    }

    /// Appends the sealed value to `out`, which grows at most once. `salt` must be fresh; the
    /// deterministic suite takes none.
    pub(crate) fn seal(
        &self,
        place: &Place<'_>,
        id: KeyId,
        salt: impl FnOnce() -> Result<[u8; SALT_LEN], SealError>,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let length =
            Self::sealed_len(self.suite(), plaintext.len()).ok_or(SealError::LimitExceeded)?;
        let start = out.len();
        out.reserve_exact(length);
        let prefix = prefix(id);
        let sealed = match self {
            Self::Standard(key) => {
                let salt = salt()?;
                place.with_context(|context| {
                    key.seal_with_salt(&salt, &prefix, context, plaintext, out)
                })
            }
            Self::Compact(key) => {
                let salt = salt()?;
                out.extend_from_slice(&prefix);
                place.with_aad(|aad| key.seal(&salt, aad, plaintext, out))
            }
            Self::Deterministic(key) => {
                out.extend_from_slice(&prefix);
                place.with_aad(|aad| key.seal(aad, plaintext, out))
            }
        };
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Opens the message of a sealed value that named this key.
    pub(crate) fn open(&self, place: &Place<'_>, message: &[u8]) -> Result<SecretBytes, Cause> {
        match self {
            Self::Standard(key) => {
                place.with_context(|context| key.open_or_cause(context, message))
            }
            Self::Compact(key) => place.with_aad(|aad| key.open(aad, message)),
            Self::Deterministic(key) => place.with_aad(|aad| key.open(aad, message)),
        }
    }
}
