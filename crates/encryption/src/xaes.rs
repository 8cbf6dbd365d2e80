//! XAES-256-GCM: AES-256-GCM with a nonce of 192 bits and a derived key for each message.
//!
//! Half of the nonce goes into the key derivation (SP 800-108r1 in counter mode with CMAC-AES-256),
//! the other half is the nonce of AES-256-GCM. A key seals 2^80 messages under random nonces.
//! Specification: <https://c2sp.org/XAES-256-GCM>; Tink calls it `XAES_256_GCM_192_BIT_NONCE`.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256, Block};
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;
use zeroize::{Zeroize as _, Zeroizing};

use crate::cobblestone::Cause;
use crate::primitives::Primitives;
use crate::schedule::{AesSchedule, NONCE_LEN, TAG_LEN};

/// Bytes of the nonce at the start of a message.
pub(crate) const XNONCE_LEN: usize = 24;
/// By how much a message is longer than its plaintext.
pub(crate) const OVERHEAD: usize = XNONCE_LEN + TAG_LEN;

/// An XAES-256-GCM key, expanded.
pub(crate) struct XaesKey {
    primitives: Primitives,
    aes: Box<Aes256>,
    /// The first CMAC subkey.
    subkey: Zeroizing<[u8; 16]>,
}

impl XaesKey {
    pub(crate) fn new(primitives: Primitives, key: &[u8; 32]) -> Self {
        let aes = Box::new(Aes256::new(key.into()));
        let mut block = Block::default();
        aes.encrypt_block(&mut block);
        let subkey = Zeroizing::new(double(u128::from_be_bytes(block.into())).to_be_bytes());
        block.zeroize();
        Self {
            primitives,
            aes,
            subkey,
        }
    }

    /// The length of the message of `plain` bytes.
    pub(crate) const fn sealed_len(plain: usize) -> Option<usize> {
        plain.checked_add(OVERHEAD)
    }

    /// Appends nonce, ciphertext and tag to `out`. The nonce must be fresh and random.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; XNONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let (key, iv) = self.message_key(nonce);
        let message = AesSchedule::new(self.primitives, &key).ok_or(SealError::LimitExceeded)?;
        let length = Self::sealed_len(plaintext.len()).ok_or(SealError::LimitExceeded)?;
        out.reserve_exact(length);
        out.extend_from_slice(nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let place = out.get_mut(start..).ok_or(SealError::LimitExceeded)?;
        match message.seal(iv, aad, place) {
            Some(tag) => out.extend_from_slice(&tag),
            None => {
                place.zeroize();
                out.truncate(start);
                return Err(SealError::LimitExceeded);
            }
        }
        Ok(())
    }

    /// The plaintext, alone in a buffer of its own.
    pub(crate) fn open(&self, aad: &[u8], message: &[u8]) -> Result<SecretBytes, Cause> {
        let (nonce, sealed) = message.split_first_chunk().ok_or(Cause::Tag)?;
        let (key, iv) = self.message_key(nonce);
        let message = AesSchedule::new(self.primitives, &key).ok_or(Cause::Tag)?;
        let mut out = SecretBytes::new(sealed.to_vec());
        match message.open(iv, aad, &mut out) {
            Some(length) => out.truncate(length),
            None => {
                out.zeroize();
                return Err(Cause::Tag);
            }
        }
        Ok(out)
    }

    /// The derived key and the nonce under it.
    fn message_key(&self, nonce: &[u8; XNONCE_LEN]) -> (Zeroizing<[u8; 32]>, [u8; NONCE_LEN]) {
        let (mut derivation, mut iv) = ([0; 12], [0; NONCE_LEN]);
        for (to, from) in derivation.iter_mut().chain(&mut iv).zip(nonce) {
            *to = *from;
        }
        let mut blocks = [
            self.counter_block(1, &derivation),
            self.counter_block(2, &derivation),
        ];
        self.aes.encrypt_blocks(&mut blocks);
        let mut key = Zeroizing::new([0; 32]);
        let halves = key.chunks_exact_mut(16).zip(&mut blocks);
        for (half, block) in halves {
            half.copy_from_slice(block);
            block.zeroize();
        }
        (key, iv)
    }

    /// `0x00 || counter || "X" || 0x00 || first half of the nonce`, exclusive-or the CMAC subkey: the
    /// one and last block of the CMAC.
    fn counter_block(&self, counter: u8, nonce: &[u8; 12]) -> Block {
        let mut block = [0; 16];
        let (head, tail) = block.split_at_mut(4);
        head.copy_from_slice(&[0, counter, b'X', 0]);
        tail.copy_from_slice(nonce);
        for (byte, key) in block.iter_mut().zip(self.subkey.iter()) {
            *byte ^= key;
        }
        block.into()
    }
}

/// Doubling in the field of CMAC (RFC 4493), without a branch on the secret.
fn double(block: u128) -> u128 {
    let carry = (block >> 127) * 0x87;
    (block << 1) ^ carry
}

impl fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The two vectors of the specification.
    #[test]
    fn the_published_vectors_come_out() {
        let nonce = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (byte, aad, expected) in [
            (
                1,
                &b""[..],
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                3,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ] {
            for &primitives in Primitives::ALL {
                let key = XaesKey::new(primitives, &[byte; 32]);
                let mut out = Vec::new();
                key.seal(&nonce, aad, b"XAES-256-GCM", &mut out).unwrap();
                assert_eq!(out.get(..24), Some(&nonce[..]));
                assert_eq!(out.get(24..), Some(&unhex(expected)[..]));
                assert_eq!(&*key.open(aad, &out).unwrap(), b"XAES-256-GCM");
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let key = XaesKey::new(Primitives::Ring, &[7; 32]);
        let mut sealed = Vec::new();
        key.seal(&[9; 24], b"aad", b"secret", &mut sealed).unwrap();
        assert_eq!(sealed.capacity(), sealed.len());
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
