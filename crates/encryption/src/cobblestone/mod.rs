//! Cobblestone-256: C2SP chunked-encryption v1 with HKDF-Expand-SHA-512 and AES-256-GCM.
//!
//! Salt and commitment first, then chunks of 16 KiB, the last one always shorter. The commitment
//! binds a message to one key and one context, and is compared before anything is decrypted.
//! Specification: <https://c2sp.org/chunked-encryption>.

mod stream;

use std::fmt;

use eonpro_core::port::SealError;
use eonpro_core::secret::{KeyBytes, SecretBytes};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::primitives::Primitives;
use crate::random::fresh_salt;
use crate::schedule::{AesSchedule, NONCE_LEN, PrkSchedule};

pub use stream::{StreamOpener, StreamSealer};

/// Bytes of the salt.
pub const SALT_LEN: usize = crate::random::SALT_LEN;
/// Bytes of the commitment.
pub const COMMITMENT_LEN: usize = 32;
/// Bytes before the first chunk: salt and commitment.
pub const HEADER_LEN: usize = SALT_LEN + COMMITMENT_LEN;
/// Plaintext bytes of every chunk but the last.
pub const CHUNK_LEN: usize = 16 * 1024;
/// Bytes of a chunk's authentication tag.
pub const TAG_LEN: usize = crate::schedule::TAG_LEN;
/// The most slices of which a context may consist.
pub const MAX_CONTEXT_PARTS: usize = 20;

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
/// Key, base nonce and commitment of one message.
pub(crate) const DERIVED_LEN: usize = 32 + NONCE_LEN + COMMITMENT_LEN;
const MAX_CHUNKS: u64 = 1 << 38;

/// Why a message does not open. Told to the audit log, never to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No such key.
    Key,
    /// The key is suspended or compromised.
    Held,
    /// It opens, but its text does not fit the rule of the index.
    Unindexable,
    /// The commitment differs: another key, another context, or a changed header.
    Context,
    /// A chunk does not authenticate, or the length is impossible.
    Tag,
}

impl From<Cause> for SealError {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Unindexable => Self::Unsupported,
            Cause::Held => Self::Disabled,
            Cause::Key | Cause::Context | Cause::Tag => Self::Authentication,
        }
    }
}

/// The sealed length of a message of `plain` bytes; `None` if it does not fit `usize`.
#[must_use]
pub const fn sealed_len(plain: usize) -> Option<usize> {
    // At most usize::MAX / 16384 + 1 chunks, so the tags' length cannot overflow.
    let tags = (plain / CHUNK_LEN + 1) * TAG_LEN;
    match plain.checked_add(tags) {
        Some(body) => body.checked_add(HEADER_LEN),
        None => None,
    }
}

/// The plaintext length of a message of `sealed` bytes; `None` if no message has that length.
#[must_use]
pub const fn plain_len(sealed: usize) -> Option<usize> {
    let Some(body) = sealed.checked_sub(HEADER_LEN) else {
        return None;
    };
    let full = body / (CHUNK_LEN + TAG_LEN);
    match (body % (CHUNK_LEN + TAG_LEN)).checked_sub(TAG_LEN) {
        Some(last) => Some(full * CHUNK_LEN + last),
        None => None,
    }
}

/// The key under which messages are sealed: 32 uniformly random bytes, ready for derivation.
pub struct InputKey(PrkSchedule);

impl InputKey {
    /// From its bytes, which must be uniformly random.
    #[must_use]
    pub fn new(key: &KeyBytes<32>) -> Self {
        Self::with(Primitives::Ring, key)
    }

    /// The same, with another library at work.
    #[must_use]
    pub fn with(primitives: Primitives, key: &KeyBytes<32>) -> Self {
        Self(PrkSchedule::new(primitives, key.expose()))
    }

    /// Seals `plaintext` under a fresh salt. The context is the concatenation of its parts; make it
    /// unambiguous with [`eonpro_core::pae`].
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond [`MAX_CONTEXT_PARTS`] or the suite's length;
    /// [`SealError::Backend`] if the system has no randomness.
    pub fn seal(&self, context: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.seal_after(&[], context, plaintext, &mut out)?;
        Ok(out)
    }

    /// Opens a message that was sealed under this key for this context.
    ///
    /// # Errors
    /// [`SealError::Authentication`], whatever the reason.
    pub fn open(&self, context: &[&[u8]], message: &[u8]) -> Result<SecretBytes, SealError> {
        self.open_or_cause(context, message)
            .map_err(SealError::from)
    }

    /// Appends `prefix` and the sealed message to `out`, with one allocation.
    pub(crate) fn seal_after(
        &self,
        prefix: &[u8],
        context: &[&[u8]],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.seal_with_salt(&fresh_salt()?, prefix, context, plaintext, out)
    }

    pub(crate) fn seal_with_salt(
        &self,
        salt: &[u8; SALT_LEN],
        prefix: &[u8],
        context: &[&[u8]],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let length = sealed_len(plaintext.len()).ok_or(SealError::LimitExceeded)?;
        let message = self.message(salt, context)?;
        out.reserve_exact(prefix.len().saturating_add(length));
        out.extend_from_slice(prefix);
        out.extend_from_slice(salt);
        out.extend_from_slice(&message.commitment);
        let mut number = 0;
        let mut rest = plaintext;
        while let Some((chunk, after)) = rest.split_at_checked(CHUNK_LEN) {
            message.seal_chunk(number, chunk, out)?;
            number += 1;
            rest = after;
        }
        message.seal_chunk(number, rest, out)
    }

    pub(crate) fn open_or_cause(
        &self,
        context: &[&[u8]],
        message: &[u8],
    ) -> Result<SecretBytes, Cause> {
        let length = plain_len(message.len()).ok_or(Cause::Tag)?;
        let (header, body) = message.split_first_chunk().ok_or(Cause::Tag)?;
        let message = self.committed(header, context)?;
        // Room for one tag more: each chunk is opened in place, then loses its tag.
        let mut out = SecretBytes::with_capacity(length.saturating_add(TAG_LEN));
        let mut number = 0;
        let mut rest = body;
        while let Some((chunk, after)) = rest.split_at_checked(CHUNK_LEN + TAG_LEN) {
            message.open_chunk(number, chunk, &mut out)?;
            number += 1;
            rest = after;
        }
        message.open_chunk(number, rest, &mut out)?;
        Ok(out)
    }

    /// A further key: HKDF-Expand-SHA-512 over the concatenation of `info`. `info` must
    /// not begin as a message's does; all of ours begin with a PAE count.
    pub(crate) fn derive<const N: usize>(&self, info: &[&[u8]]) -> Result<KeyBytes<N>, SealError> {
        let mut key = [0; N];
        if !self.0.expand(info, &mut key) {
            return Err(SealError::LimitExceeded);
        }
        Ok(KeyBytes::take(&mut key))
    }

    /// HKDF-Expand-SHA-512 over the concatenation of `info`, into `out`.
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), SealError> {
        match self.0.expand(info, out) {
            true => Ok(()),
            false => Err(SealError::LimitExceeded),
        }
    }

    /// The message key for a header whose commitment fits.
    fn committed(&self, header: &[u8; HEADER_LEN], context: &[&[u8]]) -> Result<MessageKey, Cause> {
        let (salt, commitment) = header.split_first_chunk().ok_or(Cause::Tag)?;
        let message = self.message(salt, context).map_err(|_| Cause::Context)?;
        if bool::from(message.commitment.as_slice().ct_eq(commitment)) {
            Ok(message)
        } else {
            Err(Cause::Context)
        }
    }

    /// Which library is at work.
    pub(crate) fn primitives(&self) -> Primitives {
        self.0.primitives()
    }

    fn message(&self, salt: &[u8; SALT_LEN], context: &[&[u8]]) -> Result<MessageKey, SealError> {
        let mut info: [&[u8]; MAX_CONTEXT_PARTS + 2] = [&[]; MAX_CONTEXT_PARTS + 2];
        if context.len() > MAX_CONTEXT_PARTS {
            return Err(SealError::LimitExceeded);
        }
        let parts = [LABEL, salt].into_iter().chain(context.iter().copied());
        for (slot, part) in info.iter_mut().zip(parts) {
            *slot = part;
        }
        let mut derived = Zeroizing::new([0; DERIVED_LEN]);
        if !self.0.expand(&info, derived.as_mut_slice()) {
            return Err(SealError::LimitExceeded);
        }
        MessageKey::split(self.0.primitives(), &derived).ok_or(SealError::LimitExceeded)
    }
}

impl fmt::Debug for InputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

/// What one message is sealed with.
pub(crate) struct MessageKey {
    pub(crate) aes: AesSchedule,
    base_nonce: [u8; NONCE_LEN],
    pub(crate) commitment: [u8; COMMITMENT_LEN],
}

impl MessageKey {
    pub(crate) fn split(primitives: Primitives, derived: &[u8; DERIVED_LEN]) -> Option<Self> {
        let (key, rest) = derived.split_first_chunk()?;
        let (nonce, commitment) = rest.split_first_chunk()?;
        Some(Self {
            aes: AesSchedule::new(primitives, key)?,
            base_nonce: *nonce,
            commitment: commitment.try_into().ok()?,
        })
    }

    pub(crate) fn nonce(&self, number: u64) -> Option<[u8; NONCE_LEN]> {
        if number >= MAX_CHUNKS {
            return None;
        }
        let mut nonce = self.base_nonce;
        let counter = number.to_be_bytes();
        for (byte, count) in nonce.iter_mut().rev().zip(counter.iter().rev()) {
            *byte ^= count;
        }
        Some(nonce)
    }

    /// Appends the sealed chunk.
    fn seal_chunk(&self, number: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let nonce = self.nonce(number).ok_or(SealError::LimitExceeded)?;
        let start = out.len();
        out.reserve(chunk.len() + TAG_LEN);
        out.extend_from_slice(chunk);
        let Some(place) = out.get_mut(start..) else {
            return Err(SealError::LimitExceeded);
        };
        match self.aes.seal(nonce, &[], place) {
            Some(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            None => {
                place.zeroize();
                out.truncate(start);
                Err(SealError::LimitExceeded)
            }
        }
    }

    /// Appends the opened chunk, or nothing.
    fn open_chunk(&self, number: u64, chunk: &[u8], out: &mut SecretBytes) -> Result<(), Cause> {
        let nonce = self.nonce(number).ok_or(Cause::Tag)?;
        let start = out.len();
        out.extend_from_slice(chunk);
        let place = out.get_mut(start..).ok_or(Cause::Tag)?;
        let Some(length) = self.aes.open(nonce, &[], place) else {
            place.zeroize();
            out.truncate(start);
            return Err(Cause::Tag);
        };
        out.truncate(start + length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> InputKey {
        InputKey::new(&KeyBytes::take(&mut [byte; 32]))
    }

    #[test]
    fn lengths_agree_with_each_other_and_with_the_specification() {
        assert_eq!(sealed_len(0), Some(72));
        assert_eq!(sealed_len(CHUNK_LEN), Some(56 + 16384 + 32));
        for plain in [0, 1, 16383, 16384, 16385, 32768, 1 << 20] {
            assert_eq!(sealed_len(plain).and_then(plain_len), Some(plain));
        }
        for sealed in [0, 55, 56, 71, 56 + 16400, 56 + 16400 + 15] {
            assert_eq!(plain_len(sealed), None, "{sealed}");
        }
        assert_eq!(sealed_len(usize::MAX), None);
    }

    #[test]
    fn a_message_is_written_with_one_allocation_of_the_exact_size() {
        let sealed = key(1).seal(&[b"context"], &[7; 40_000]).unwrap();
        assert_eq!(Some(sealed.len()), sealed_len(40_000));
        assert_eq!(sealed.capacity(), sealed.len());
    }

    #[test]
    fn two_seals_of_one_value_share_nothing_but_their_length() {
        let (one, two) = (
            key(1).seal(&[], b"same").unwrap(),
            key(1).seal(&[], b"same").unwrap(),
        );
        assert_eq!(one.len(), two.len());
        assert_ne!(one.get(..SALT_LEN), two.get(..SALT_LEN));
        assert_ne!(one.get(HEADER_LEN..), two.get(HEADER_LEN..));
    }

    #[test]
    fn too_many_context_parts_are_refused_instead_of_dropped() {
        let parts = [b"x".as_slice(); MAX_CONTEXT_PARTS + 1];
        assert!(matches!(
            key(1).seal(&parts, b""),
            Err(SealError::LimitExceeded)
        ));
    }

    #[test]
    fn the_chunk_counter_ends_at_two_to_the_38th() {
        let message = MessageKey::split(Primitives::Ring, &[3; DERIVED_LEN]).unwrap();
        assert!(message.nonce(MAX_CHUNKS - 1).is_some());
        assert!(message.nonce(MAX_CHUNKS).is_none());
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..200, 16_370_usize..16_400, 32_760_usize..32_780,]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens_for_its_key_and_context_only(
            length in lengths(),
            context in prop::collection::vec(any::<u8>(), 0..40),
            other in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let plain = vec![0x5a; length];
            let sealed = key(1).seal(&[&context], &plain).unwrap();
            prop_assert_eq!(&*key(1).open(&[&context], &sealed).unwrap(), &plain);
            prop_assert!(key(2).open(&[&context], &sealed).is_err());
            prop_assert_eq!(other == context, key(1).open(&[&other], &sealed).is_ok());
        }

        #[test]
        fn any_flipped_bit_is_refused(length in lengths(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut sealed = key(1).seal(&[b"c"], &vec![1; length]).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(matches!(
                key(1).open(&[b"c"], &sealed),
                Err(SealError::Authentication)
            ));
        }

        #[test]
        fn any_truncation_and_any_extension_is_refused(
            length in lengths(),
            cut in any::<prop::sample::Index>(),
            tail in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let sealed = key(1).seal(&[b"c"], &vec![1; length]).unwrap();
            let cut = cut.index(sealed.len());
            prop_assert!(key(1).open(&[b"c"], &sealed[..cut]).is_err());
            let longer = [sealed.as_slice(), &tail].concat();
            prop_assert!(key(1).open(&[b"c"], &longer).is_err());
        }

        #[test]
        fn no_input_makes_opening_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(key(1).open(&[], &bytes).is_err());
        }
    }
}
