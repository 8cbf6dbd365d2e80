//! AES-SIV: the same plaintext for the same place has the same ciphertext (RFC 5297, AES-256).
//!
//! The associated data is one string, the place without its row. Tink calls it `AES256_SIV`.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;

use crate::cobblestone::Cause;

/// By how much a message is longer than its plaintext: the synthetic IV.
pub(crate) const OVERHEAD: usize = 16;

/// An AES-SIV key of 64 bytes, expanded: the first half authenticates, the second encrypts.
///
/// The library wants its state exclusively, hence the lock; it wipes it on drop.
pub(crate) struct SivKey(Mutex<Box<Aes256Siv>>);

impl SivKey {
    pub(crate) fn new(key: &[u8; 64]) -> Self {
        Self(Mutex::new(Box::new(Aes256Siv::new(key.into()))))
    }

    /// The length of the message of `plain` bytes.
    pub(crate) const fn sealed_len(plain: usize) -> Option<usize> {
        plain.checked_add(OVERHEAD)
    }

    /// Appends synthetic IV and ciphertext to `out`.
    pub(crate) fn seal(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let mut siv = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = Self::sealed_len(plaintext.len()).ok_or(SealError::LimitExceeded)?;
        out.reserve_exact(length);
        let start = out.len();
        out.extend_from_slice(&[0; OVERHEAD]);
        out.extend_from_slice(plaintext);
        let message = out.get_mut(start..).ok_or(SealError::LimitExceeded)?;
        let (iv, body) = message
            .split_first_chunk_mut::<OVERHEAD>()
            .ok_or(SealError::LimitExceeded)?;
        let tag = siv
            .encrypt_inout_detached([aad], body.into())
            .map_err(|_| SealError::LimitExceeded)?;
        *iv = tag.into();
        Ok(())
    }

    pub(crate) fn open(&self, aad: &[u8], message: &[u8]) -> Result<SecretBytes, Cause> {
        let (iv, body) = message.split_first_chunk::<OVERHEAD>().ok_or(Cause::Tag)?;
        let mut out = SecretBytes::new(body.to_vec());
        let mut siv = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        siv.decrypt_inout_detached([aad], out.as_mut_slice().into(), iv.into())
            .map_err(|_| Cause::Tag)?;
        Ok(out)
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_plaintexts_for_one_place_are_equal_and_open() {
        let mut bytes = [0; 64];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(at).unwrap();
        }
        let key = SivKey::new(&bytes);
        let (mut one, mut two, mut other) = (vec![9], Vec::new(), Vec::new());
        key.seal(b"aad", b"secret", &mut one).unwrap();
        key.seal(b"aad", b"secret", &mut two).unwrap();
        key.seal(b"aae", b"secret", &mut other).unwrap();
        assert_eq!(one.split_first().unwrap(), (&9, two.as_slice()));
        assert_ne!(two, other);
        assert_eq!(two.len(), 6 + OVERHEAD);
        assert_eq!(&*key.open(b"aad", &two).unwrap(), b"secret");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let key = SivKey::new(&[7; 64]);
        let mut sealed = Vec::new();
        key.seal(b"aad", b"secret", &mut sealed).unwrap();
        for at in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(key.open(b"aad", &changed).unwrap_err(), Cause::Tag, "{at}");
        }
        for length in 0..sealed.len() {
            assert!(key.open(b"aad", &sealed[..length]).is_err(), "{length}");
        }
        assert!(key.open(b"aae", &sealed).is_err());
    }
}
