//! Records sealed as a whole: one derivation for the record, its fields under the derived key.
//!
//! `head = prefix || salt (24) || commitment (32)`; key, base nonce and commitment are expanded as
//! those of a Cobblestone-256 message, over the salt and the record's place. A field is
//! `number || AES-256-GCM(key, base nonce XOR number, PAE("eonpro/field/v1", column, class), ...)`,
//! numbered from 1 in the order of sealing. A record key seals each number once, because it lives for one
//! sealing only: a record is always written as a whole.

use eonpro_core::phi::{Column, FieldSealing, RecordHead, RecordOpener, RecordSealer};
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::cobblestone::{COMMITMENT_LEN, Cause, DERIVED_LEN, InputKey, MessageKey};
use crate::envelope::{PIECES, PREFIX_LEN, Place, joined, prefix};
use crate::keyset::KeyId;
use crate::padding;
use crate::random::SALT_LEN;
use crate::schedule::TAG_LEN;

/// The key of one record.
pub(crate) struct RecordKey {
    id: KeyId,
    salt: [u8; SALT_LEN],
    message: MessageKey,
    max_field: usize,
}

impl RecordKey {
    fn derive(
        key: &InputKey,
        id: KeyId,
        place: &Place<'_>,
        salt: [u8; SALT_LEN],
        max_field: usize,
    ) -> Result<Self, SealError> {
        let mut derived = Zeroizing::new([0; DERIVED_LEN]);
        place.with_context(|context| {
            let mut info: [&[u8]; PIECES + 1] = [&[]; PIECES + 1];
            // The context ends with its own last length, so nothing can be moved between it and the
            // salt, whose length is fixed.
            for (slot, piece) in info.iter_mut().zip(context.iter().chain([&&salt[..]])) {
                *slot = piece;
            }
            key.expand(&info, derived.as_mut_slice())
        })?;
        let message = MessageKey::split(key.primitives(), &derived);
        Ok(Self {
            id,
            salt,
            message: message.ok_or(SealError::LimitExceeded)?,
            max_field,
        })
    }

    /// The key of a record whose head was stored. The commitment is compared before anything is
    /// opened.
    pub(crate) fn resume(
        key: &InputKey,
        id: KeyId,
        place: &Place<'_>,
        header: &[u8],
        max_field: usize,
    ) -> Result<Self, Cause> {
        let (salt, commitment) = header.split_first_chunk().ok_or(Cause::Tag)?;
        if commitment.len() != COMMITMENT_LEN {
            return Err(Cause::Tag);
        }
        let own = Self::derive(key, id, place, *salt, max_field).map_err(|_| Cause::Context)?;
        if bool::from(own.message.commitment.as_slice().ct_eq(commitment)) {
            Ok(own)
        } else {
            Err(Cause::Context)
        }
    }
}

/// Binds a field to its column and to whether it is padded.
fn with_field<R>(sealing: FieldSealing, column: Column, use_it: impl FnOnce(&[u8]) -> R) -> R {
    const LABEL: &[u8] = b"eonpro/field/v1";
    let class: &[u8] = match sealing.pad {
        0 => b"plain",
        _ => b"padded",
    };
    let column = column.as_str().as_bytes();
    let count = 3_u64.to_le_bytes();
    let lengths = [LABEL, column, class].map(|part| (part.len() as u64).to_le_bytes());
    let [l0, l1, l2] = &lengths;
    joined(&[&count, l0, LABEL, l1, column, l2, class], use_it)
}

/// A record being sealed.
pub(crate) struct WholeSealer {
    key: RecordKey,
    sealed: u8,
}

impl WholeSealer {
    pub(crate) fn begin(
        key: &InputKey,
        id: KeyId,
        place: &Place<'_>,
        salt: [u8; SALT_LEN],
        max_field: usize,
    ) -> Result<Self, SealError> {
        Ok(Self {
            key: RecordKey::derive(key, id, place, salt, max_field)?,
            sealed: 0,
        })
    }

    fn seal_next(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let number = self.sealed.checked_add(1).ok_or(SealError::LimitExceeded)?;
        // Used up, whatever comes of it.
        self.sealed = number;
        let nonce = self.key.message.nonce(u64::from(number));
        let nonce = nonce.ok_or(SealError::LimitExceeded)?;
        let length = plaintext.len().checked_add(1 + TAG_LEN);
        let mut out = Vec::with_capacity(length.ok_or(SealError::LimitExceeded)?);
        out.push(number);
        out.extend_from_slice(plaintext);
        let place = out.get_mut(1..).ok_or(SealError::LimitExceeded)?;
        let tag = with_field(sealing, column, |aad| {
            self.key.message.aes.seal(nonce, aad, place)
        });
        match tag {
            Some(tag) => out.extend_from_slice(&tag),
            None => {
                out.zeroize();
                return Err(SealError::LimitExceeded);
            }
        }
        Ok(out)
    }
}

impl RecordSealer for WholeSealer {
    fn head(&self) -> RecordHead {
        let mut head = Vec::with_capacity(PREFIX_LEN + SALT_LEN + COMMITMENT_LEN);
        head.extend_from_slice(&prefix(self.key.id));
        head.extend_from_slice(&self.key.salt);
        head.extend_from_slice(&self.key.message.commitment);
        RecordHead::from_bytes(head)
    }

    fn seal(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > self.key.max_field {
            return Err(SealError::LimitExceeded);
        }
        match sealing.pad {
            0 => self.seal_next(sealing, column, plaintext),
            class => self.seal_next(sealing, column, &padding::pad(plaintext, class)?),
        }
    }
}

/// A record being opened.
pub(crate) struct WholeOpener<F> {
    key: RecordKey,
    /// Hears why a field did not open.
    refused: F,
}

impl<F: Fn(Column, Cause) -> SealError> WholeOpener<F> {
    pub(crate) fn new(key: RecordKey, refused: F) -> Self {
        Self { key, refused }
    }

    pub(crate) fn open_field(
        &self,
        sealing: FieldSealing,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, Cause> {
        let (number, body) = sealed.split_first().ok_or(Cause::Tag)?;
        let nonce = self
            .key
            .message
            .nonce(u64::from(*number))
            .ok_or(Cause::Tag)?;
        let mut out = SecretBytes::new(body.to_vec());
        let opened = with_field(sealing, column, |aad| {
            self.key.message.aes.open(nonce, aad, &mut out)
        });
        let Some(length) = opened else {
            out.zeroize();
            return Err(Cause::Tag);
        };
        out.truncate(length);
        if sealing.pad != 0 && !padding::unpad(&mut out) {
            return Err(Cause::Tag);
        }
        Ok(out)
    }
}

impl<F: Fn(Column, Cause) -> SealError> RecordOpener for WholeOpener<F> {
    fn open(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        // Padding and tag may make it longer than any value.
        let most = self
            .key
            .max_field
            .saturating_add(1 + TAG_LEN + usize::from(FieldSealing::MAX_PAD));
        if sealed.len() > most {
            return Err(SealError::LimitExceeded);
        }
        self.open_field(sealing, column, sealed)
            .map_err(|cause| (self.refused)(column, cause))
    }
}
