//! Messages as streams: one chunk in memory, and no byte released before its chunk authenticates.

use std::fmt;

use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;
use zeroize::Zeroize as _;

use super::{CHUNK_LEN, Cause, HEADER_LEN, InputKey, MessageKey, TAG_LEN};
use crate::random::fresh_salt;

/// Seals a message piece by piece.
///
/// Dropped without [`Self::finish`], it leaves a message that no reader accepts.
pub struct StreamSealer {
    message: MessageKey,
    number: u64,
    buffer: SecretBytes,
}

impl StreamSealer {
    /// Begins a message under a fresh salt and appends its header to `out`.
    ///
    /// # Errors
    /// As [`InputKey::seal`].
    pub fn begin(key: &InputKey, context: &[&[u8]], out: &mut Vec<u8>) -> Result<Self, SealError> {
        let salt = fresh_salt()?;
        let message = key.message(&salt, context)?;
        out.extend_from_slice(&salt);
        out.extend_from_slice(&message.commitment);
        Ok(Self {
            message,
            number: 0,
            buffer: SecretBytes::with_capacity(CHUNK_LEN),
        })
    }

    /// Takes more plaintext and appends the chunks that are full to `out`.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond 4 PiB.
    pub fn update(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        while !input.is_empty() {
            if self.buffer.is_empty()
                && let Some((chunk, later)) = input.split_at_checked(CHUNK_LEN)
            {
                self.message.seal_chunk(self.number, chunk, out)?;
                self.number += 1;
                input = later;
                continue;
            }
            let room = CHUNK_LEN.saturating_sub(self.buffer.len());
            let (now, later) = input.split_at_checked(room).unwrap_or((input, &[]));
            self.buffer.extend_from_slice(now);
            input = later;
            if self.buffer.len() == CHUNK_LEN {
                self.message.seal_chunk(self.number, &self.buffer, out)?;
                self.number += 1;
                self.buffer.zeroize();
            }
        }
        Ok(())
    }

    /// Appends the last chunk to `out`, which ends the message.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.message.seal_chunk(self.number, &self.buffer, out)
    }
}

impl fmt::Debug for StreamSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSealer(chunk {})", self.number)
    }
}

/// Opens a message piece by piece.
///
/// Each released chunk is authentic and in its place; that the message is whole is known only when
/// [`Self::finish`] succeeds. After an error every call fails.
pub struct StreamOpener {
    message: MessageKey,
    number: u64,
    buffer: Vec<u8>,
    failed: bool,
}

impl StreamOpener {
    /// Begins with the message's header: the commitment is compared here.
    ///
    /// # Errors
    /// [`SealError::Authentication`].
    pub fn begin(
        key: &InputKey,
        context: &[&[u8]],
        header: &[u8; HEADER_LEN],
    ) -> Result<Self, SealError> {
        Self::begin_or_cause(key, context, header).map_err(SealError::from)
    }

    pub(crate) fn begin_or_cause(
        key: &InputKey,
        context: &[&[u8]],
        header: &[u8; HEADER_LEN],
    ) -> Result<Self, Cause> {
        Ok(Self {
            message: key.committed(header, context)?,
            number: 0,
            buffer: Vec::with_capacity(CHUNK_LEN + TAG_LEN),
            failed: false,
        })
    }

    /// Takes more of the message and appends the plaintext of complete chunks to `out`.
    ///
    /// # Errors
    /// [`SealError::Authentication`], now and for ever after; `out` then ends with the last
    /// authentic chunk.
    pub fn update(&mut self, mut input: &[u8], out: &mut SecretBytes) -> Result<(), SealError> {
        if self.failed {
            return Err(SealError::Authentication);
        }
        while !input.is_empty() {
            if self.buffer.is_empty()
                && let Some((chunk, later)) = input.split_at_checked(CHUNK_LEN + TAG_LEN)
            {
                self.open_full(chunk, out)?;
                input = later;
                continue;
            }
            let room = (CHUNK_LEN + TAG_LEN).saturating_sub(self.buffer.len());
            let (now, later) = input.split_at_checked(room).unwrap_or((input, &[]));
            self.buffer.extend_from_slice(now);
            input = later;
            // The last chunk is shorter, so a full one is never the last.
            if self.buffer.len() == CHUNK_LEN + TAG_LEN {
                let chunk = std::mem::take(&mut self.buffer);
                self.open_full(&chunk, out)?;
                self.buffer = chunk;
                self.buffer.clear();
            }
        }
        Ok(())
    }

    /// How many bytes complete the chunk at hand: from 1 to those of a chunk.
    pub(crate) fn room(&self) -> usize {
        let missing = (CHUNK_LEN + TAG_LEN).saturating_sub(self.buffer.len());
        missing.max(1)
    }

    /// Opens a chunk that is not the last.
    fn open_full(&mut self, chunk: &[u8], out: &mut SecretBytes) -> Result<(), SealError> {
        let opened = self.message.open_chunk(self.number, chunk, out);
        self.failed = opened.is_err();
        opened?;
        self.number += 1;
        Ok(())
    }

    /// Opens the last chunk into `out`; the message was whole.
    ///
    /// # Errors
    /// [`SealError::Authentication`] if the message was cut, or the last chunk is not authentic.
    pub fn finish(self, out: &mut SecretBytes) -> Result<(), SealError> {
        if self.failed {
            return Err(SealError::Authentication);
        }
        self.message.open_chunk(self.number, &self.buffer, out)?;
        Ok(())
    }
}

impl fmt::Debug for StreamOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamOpener(chunk {})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::secret::KeyBytes;
    use proptest::prelude::*;

    fn key() -> InputKey {
        InputKey::new(&KeyBytes::take(&mut [9; 32]))
    }

    fn stream_open(message: &[u8], step: usize) -> (SecretBytes, Result<(), SealError>) {
        let mut out = SecretBytes::default();
        let Some((header, body)) = message.split_first_chunk() else {
            return (out, Err(SealError::Authentication));
        };
        let mut opener = match StreamOpener::begin(&key(), &[b"c"], header) {
            Ok(opener) => opener,
            Err(error) => return (out, Err(error)),
        };
        for piece in body.chunks(step) {
            if let Err(error) = opener.update(piece, &mut out) {
                assert!(opener.update(piece, &mut out).is_err(), "errors stick");
                assert!(opener.finish(&mut out).is_err(), "errors stick");
                return (out, Err(error));
            }
        }
        let result = opener.finish(&mut out);
        (out, result)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_stream_and_a_one_shot_message_are_the_same_format(
            length in prop_oneof![0_usize..100, 16_380_usize..16_390, 32_766_usize..32_770],
            step in 1_usize..20_000,
        ) {
            let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut streamed = Vec::new();
            let mut sealer = StreamSealer::begin(&key(), &[b"c"], &mut streamed).unwrap();
            for piece in plain.chunks(step) {
                sealer.update(piece, &mut streamed).unwrap();
            }
            sealer.finish(&mut streamed).unwrap();
            prop_assert_eq!(&*key().open(&[b"c"], &streamed).unwrap(), &plain);

            let whole = key().seal(&[b"c"], &plain).unwrap();
            let (opened, result) = stream_open(&whole, step);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&*opened, &plain);
        }
    }

    #[test]
    fn a_cut_or_changed_stream_releases_authentic_chunks_only() {
        let plain = vec![7; CHUNK_LEN * 2 + 5];
        let whole = key().seal(&[b"c"], &plain).unwrap();
        let second = HEADER_LEN + CHUNK_LEN + TAG_LEN;
        for cut in [second, second + 20, whole.len() - 21] {
            let (opened, result) = stream_open(&whole[..cut], 1000);
            assert!(result.is_err(), "{cut}");
            assert!(opened.len() % CHUNK_LEN == 0 && opened.len() <= 2 * CHUNK_LEN);
            assert!(opened.iter().all(|byte| *byte == 7));
        }
        let mut changed = whole.clone();
        changed[second + 3] ^= 1;
        let (opened, result) = stream_open(&changed, 1000);
        assert!(matches!(result, Err(SealError::Authentication)));
        assert_eq!(opened.len(), CHUNK_LEN);
    }
}
