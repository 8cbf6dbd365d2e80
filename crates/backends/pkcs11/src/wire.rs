//! A wrapped key: `version (1) || IV (12) || ciphertext (32) || tag (16)`.

use eonpro_encryption::CryptoError;

const VERSION: u8 = 1;
/// Bytes of a wrapped key.
pub(crate) const LEN: usize = 1 + IV_LEN + BODY_LEN;
pub(crate) const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
pub(crate) const TAG_BITS: u64 = 128;
/// Ciphertext and tag of a key.
pub(crate) const BODY_LEN: usize = 32 + TAG_LEN;

pub(crate) fn encode(iv: &[u8; IV_LEN], body: &[u8; BODY_LEN]) -> Vec<u8> {
    [&[VERSION], iv.as_slice(), body.as_slice()].concat()
}

/// # Errors
/// [`CryptoError::RootMismatch`] for anything that [`encode`] never gives.
pub(crate) fn decode(wrapped: &[u8]) -> Result<([u8; IV_LEN], [u8; BODY_LEN]), CryptoError> {
    let parse = || {
        let (version, rest) = wrapped.split_first()?;
        let (iv, body) = rest.split_first_chunk()?;
        let body = body.try_into().ok()?;
        (*version == VERSION).then_some((*iv, body))
    };
    parse().ok_or(CryptoError::RootMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_has_one_form_of_61_bytes() {
        let (iv, body) = ([1; IV_LEN], [2; BODY_LEN]);
        let wrapped = encode(&iv, &body);
        assert_eq!(wrapped.len(), 61);
        assert_eq!(decode(&wrapped).unwrap(), (iv, body));
        let mut newer = wrapped.clone();
        newer[0] = 2;
        let longer = [&wrapped, [0].as_slice()].concat();
        for other in [&newer, &longer, &wrapped[..60].to_vec(), &vec![], &vec![1]] {
            assert!(matches!(decode(other), Err(CryptoError::RootMismatch)));
        }
    }
}
