//! Expanded keys, wiped on drop: the only place where ring's key objects live.
//!
//! ring never zeroizes. Each expanded key is therefore overwritten, in the place where it lies,
//! with the schedule of an all-zero key. Copies that the compiler leaves on the stack while a key
//! moves are out of reach.

use std::fmt;
use std::hint::black_box;
use std::sync::OnceLock;

use eonpro_core::secret::KeyBytes;
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA512, KeyType, Prk};
use ring::hmac;

/// An HKDF-SHA-512 pseudorandom key with its HMAC states at hand, in one heap box.
pub(crate) struct PrkSchedule(Box<Prk>);

impl PrkSchedule {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(Prk::new_less_safe(HKDF_SHA512, key)))
    }

    /// HKDF-Expand over the concatenation of `info`. `false` if `out` is longer than HKDF allows.
    #[must_use]
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> bool {
        self.0
            .expand(info, OutputLength(out.len()))
            .and_then(|okm| okm.fill(out))
            .is_ok()
    }
}

impl Drop for PrkSchedule {
    fn drop(&mut self) {
        *self.0 = Prk::new_less_safe(HKDF_SHA512, &[0; 32]);
        black_box(&*self.0);
    }
}

struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// The AES-256-GCM schedule of one message.
pub(crate) struct AesSchedule(LessSafeKey);

impl AesSchedule {
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        let unbound = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self(LessSafeKey::new(unbound)))
    }

    pub(crate) fn key(&self) -> &LessSafeKey {
        &self.0
    }
}

impl Drop for AesSchedule {
    fn drop(&mut self) {
        static BLANK: OnceLock<Option<LessSafeKey>> = OnceLock::new();
        let blank = BLANK.get_or_init(|| {
            let unbound = UnboundKey::new(&AES_256_GCM, &[0; 32]).ok()?;
            Some(LessSafeKey::new(unbound))
        });
        if let Some(blank) = blank {
            self.0.clone_from(blank);
            black_box(&self.0);
        }
    }
}

/// An HMAC-SHA-256 key with its states at hand, in one heap box.
pub(crate) struct MacSchedule(Box<hmac::Key>);

impl MacSchedule {
    pub(crate) fn new(key: &KeyBytes<32>) -> Self {
        Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.0
    }
}

impl Drop for MacSchedule {
    fn drop(&mut self) {
        *self.0 = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
        black_box(&*self.0);
    }
}

macro_rules! print_nothing {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[SECRET]")
            }
        }
    )*};
}

print_nothing!(PrkSchedule, AesSchedule, MacSchedule);
