//! The wire form of a wrapped key: a version byte, then the ciphertext blob of KMS as it came.

use zeroize::Zeroizing;

use eonpro_core::secret::KeyBytes;

const VERSION: u8 = 1;

/// The longest wrapped key, version byte included: the bound of `RootKey::wrap`.
const MAX_WRAPPED: usize = 4096;

/// The wire form of `blob`; `None` if it would be empty or too long.
pub(crate) fn encode(blob: &[u8]) -> Option<Vec<u8>> {
    if blob.is_empty() || blob.len() >= MAX_WRAPPED {
        return None;
    }
    let mut wrapped = Vec::with_capacity(blob.len().saturating_add(1));
    wrapped.push(VERSION);
    wrapped.extend_from_slice(blob);
    Some(wrapped)
}

/// The blob in `wrapped`; `None` if no version of ours made it.
pub(crate) fn decode(wrapped: &[u8]) -> Option<&[u8]> {
    match wrapped {
        [VERSION, blob @ ..] if !blob.is_empty() && wrapped.len() <= MAX_WRAPPED => Some(blob),
        _ => None,
    }
}

/// The key in `plaintext`, which is wiped; `None` if it is none of ours.
pub(crate) fn key(plaintext: Vec<u8>) -> Option<KeyBytes<32>> {
    KeyBytes::copy_from(&Zeroizing::new(plaintext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes_and_nothing_else_does() {
        let wrapped = encode(b"blob").unwrap();
        assert_eq!(wrapped, b"\x01blob");
        assert_eq!(decode(&wrapped), Some(b"blob".as_slice()));
        for foreign in [b"".as_slice(), b"\x01", b"\x00blob", b"\x02blob", b"blob"] {
            assert_eq!(decode(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn the_bound_of_four_kibibytes_holds_both_ways() {
        assert_eq!(encode(&[7; 4095]).map(|wrapped| wrapped.len()), Some(4096));
        assert_eq!(encode(&[7; 4096]), None);
        assert_eq!(encode(&[]), None);
        assert!(decode(&[VERSION; 4096]).is_some());
        assert_eq!(decode(&[VERSION; 4097]), None);
    }

    #[test]
    fn a_key_has_thirty_two_bytes() {
        assert!(key(vec![7; 32]).is_some());
        assert!(key(vec![7; 31]).is_none());
        assert!(key(vec![7; 33]).is_none());
    }
}
