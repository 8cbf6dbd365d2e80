//! Expanded keys, wiped on drop: the only place where key objects of the libraries live.
//!
//! ring never zeroizes. Each expanded key is therefore overwritten, in the place where it lies,
//! with the schedule of an all-zero key. Copies that the compiler leaves on the stack while a key
//! moves are out of reach. AWS-LC wipes what it frees; the state of its HMAC keys is overwritten
//! here as well.

use std::fmt;
use std::hint::black_box;
use std::sync::OnceLock;

use ring::{aead, hkdf, hmac};

use crate::primitives::Primitives;

/// Bytes of an AES-256-GCM nonce.
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes of an AES-256-GCM tag.
pub(crate) const TAG_LEN: usize = 16;

/// An HKDF-SHA-512 pseudorandom key with its HMAC states at hand, in one heap box.
pub(crate) struct PrkSchedule(Prk);

enum Prk {
    Ring(Box<hkdf::Prk>),
    #[cfg(feature = "aws-lc")]
    AwsLc(Box<aws_lc_rs::hkdf::Prk>),
}

impl PrkSchedule {
    pub(crate) fn new(primitives: Primitives, key: &[u8]) -> Self {
        Self(match primitives {
            Primitives::Ring => Prk::Ring(Box::new(ring_prk(key))),
            #[cfg(feature = "aws-lc")]
            Primitives::AwsLc => Prk::AwsLc(Box::new(aws_lc_prk(key))),
        })
    }

    pub(crate) fn primitives(&self) -> Primitives {
        match self.0 {
            Prk::Ring(_) => Primitives::Ring,
            #[cfg(feature = "aws-lc")]
            Prk::AwsLc(_) => Primitives::AwsLc,
        }
    }

    /// HKDF-Expand over the concatenation of `info`. `false` if `out` is longer than HKDF allows.
    #[must_use]
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> bool {
        let length = OutputLength(out.len());
        match &self.0 {
            Prk::Ring(prk) => prk
                .expand(info, length)
                .and_then(|okm| okm.fill(out))
                .is_ok(),
            #[cfg(feature = "aws-lc")]
            Prk::AwsLc(prk) => prk
                .expand(info, length)
                .and_then(|okm| okm.fill(out))
                .is_ok(),
        }
    }
}

fn ring_prk(key: &[u8]) -> hkdf::Prk {
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA512, key)
}

#[cfg(feature = "aws-lc")]
fn aws_lc_prk(key: &[u8]) -> aws_lc_rs::hkdf::Prk {
    aws_lc_rs::hkdf::Prk::new_less_safe(aws_lc_rs::hkdf::HKDF_SHA512, key)
}

impl Drop for PrkSchedule {
    fn drop(&mut self) {
        match &mut self.0 {
            Prk::Ring(prk) => {
                **prk = ring_prk(&[0; 32]);
                black_box(&**prk);
            }
            #[cfg(feature = "aws-lc")]
            Prk::AwsLc(prk) => {
                **prk = aws_lc_prk(&[0; 32]);
                black_box(&**prk);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct OutputLength(usize);

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(feature = "aws-lc")]
impl aws_lc_rs::hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

/// The AES-256-GCM schedule of one message.
pub(crate) struct AesSchedule(Aes);

#[cfg_attr(
    feature = "aws-lc",
    expect(
        clippy::large_enum_variant,
        reason = "the key of one message lives on the stack; a box would allocate for each"
    )
)]
enum Aes {
    Ring(aead::LessSafeKey),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
}

impl AesSchedule {
    // Inlined, so that the schedule is made where it stays: a move would leave a copy on the stack.
    #[inline(always)]
    pub(crate) fn new(primitives: Primitives, key: &[u8; 32]) -> Option<Self> {
        Some(Self(match primitives {
            Primitives::Ring => Aes::Ring(ring_aes(key)?),
            #[cfg(feature = "aws-lc")]
            Primitives::AwsLc => {
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let unbound = UnboundKey::new(&AES_256_GCM, key).ok()?;
                Aes::AwsLc(LessSafeKey::new(unbound))
            }
        }))
    }

    /// Encrypts `place` and gives the tag; `None` beyond the length of AES-GCM. The nonce must never
    /// have been used with this key.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        place: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        match &self.0 {
            Aes::Ring(key) => {
                let nonce = aead::Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), place);
                sealed.ok()?.as_ref().try_into().ok()
            }
            #[cfg(feature = "aws-lc")]
            Aes::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(aad), place);
                sealed.ok()?.as_ref().try_into().ok()
            }
        }
    }

    /// Decrypts ciphertext and tag in place and gives the plaintext's length. What is left in `place`
    /// after a failure must be wiped.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        place: &mut [u8],
    ) -> Option<usize> {
        match &self.0 {
            Aes::Ring(key) => {
                let nonce = aead::Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, aead::Aad::from(aad), place);
                opened.ok().map(|plain| plain.len())
            }
            #[cfg(feature = "aws-lc")]
            Aes::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_in_place(nonce, Aad::from(aad), place);
                opened.ok().map(|plain| plain.len())
            }
        }
    }
}

#[inline(always)]
fn ring_aes(key: &[u8; 32]) -> Option<aead::LessSafeKey> {
    let unbound = aead::UnboundKey::new(&aead::AES_256_GCM, key).ok()?;
    Some(aead::LessSafeKey::new(unbound))
}

impl Drop for AesSchedule {
    fn drop(&mut self) {
        static BLANK: OnceLock<Option<aead::LessSafeKey>> = OnceLock::new();
        match &mut self.0 {
            Aes::Ring(key) => {
                if let Some(blank) = BLANK.get_or_init(|| ring_aes(&[0; 32])) {
                    key.clone_from(blank);
                    black_box(&*key);
                }
            }
            #[cfg(feature = "aws-lc")]
            Aes::AwsLc(_) => {}
        }
    }
}

/// An HMAC-SHA-256 key with its states at hand, in one heap box.
pub(crate) struct MacSchedule(Mac);

enum Mac {
    Ring(Box<hmac::Key>),
    #[cfg(feature = "aws-lc")]
    AwsLc(Box<aws_lc_rs::hmac::Key>),
}

impl MacSchedule {
    pub(crate) fn new(primitives: Primitives, key: &[u8]) -> Self {
        Self(match primitives {
            Primitives::Ring => Mac::Ring(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key))),
            #[cfg(feature = "aws-lc")]
            Primitives::AwsLc => Mac::AwsLc(Box::new(aws_lc_mac(key))),
        })
    }

    /// The MAC of what `write` hands over, piece by piece.
    pub(crate) fn sign(&self, write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; 32] {
        let mut out = [0; 32];
        match &self.0 {
            Mac::Ring(key) => {
                let mut mac = hmac::Context::with_key(key);
                write(&mut |bytes| mac.update(bytes));
                copy(mac.sign().as_ref(), &mut out);
            }
            #[cfg(feature = "aws-lc")]
            Mac::AwsLc(key) => {
                let mut mac = aws_lc_rs::hmac::Context::with_key(key);
                write(&mut |bytes| mac.update(bytes));
                copy(mac.sign().as_ref(), &mut out);
            }
        }
        out
    }
}

fn copy(tag: &[u8], out: &mut [u8; 32]) {
    for (to, from) in out.iter_mut().zip(tag) {
        *to = *from;
    }
}

#[cfg(feature = "aws-lc")]
fn aws_lc_mac(key: &[u8]) -> aws_lc_rs::hmac::Key {
    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key)
}

impl Drop for MacSchedule {
    fn drop(&mut self) {
        match &mut self.0 {
            Mac::Ring(key) => {
                **key = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
                black_box(&**key);
            }
            #[cfg(feature = "aws-lc")]
            Mac::AwsLc(key) => {
                **key = aws_lc_mac(&[0; 32]);
                black_box(&**key);
            }
        }
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
