//! Padding, so that a ciphertext does not tell how long its plaintext is (ISO/IEC 7816-4).
//!
//! One byte `0x80`, then zeros up to a multiple of the field's class. Removing it does not need the
//! class, so the class may change. It is inside of what is authenticated.

use eonpro_core::phi::FieldSealing;
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;

const MARK: u8 = 0x80;

/// `plaintext`, padded to a multiple of `class` bytes, which must be 1 to 4096.
pub(crate) fn pad(plaintext: &[u8], class: u16) -> Result<SecretBytes, SealError> {
    if class == 0 || class > FieldSealing::MAX_PAD {
        return Err(SealError::Unsupported);
    }
    let length = plaintext
        .len()
        .checked_add(1)
        .and_then(|marked| marked.checked_next_multiple_of(usize::from(class)))
        .ok_or(SealError::LimitExceeded)?;
    // Reserved once, so that growing leaves no copies behind.
    let mut out = SecretBytes::with_capacity(length);
    out.extend_from_slice(plaintext);
    out.push(MARK);
    out.resize(length, 0);
    Ok(out)
}

/// Takes the padding off. `false`, and nothing left, if there is none; the caller has authenticated
/// the bytes, so that is no oracle.
#[must_use]
pub(crate) fn unpad(padded: &mut SecretBytes) -> bool {
    let mark = padded.iter().rposition(|byte| *byte != 0);
    let marked = mark.is_some_and(|at| padded.get(at) == Some(&MARK));
    padded.truncate(mark.filter(|_| marked).unwrap_or(0));
    marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_padding_is_as_the_standard_says() {
        assert_eq!(&**pad(b"ab", 4).unwrap(), b"ab\x80\0");
        assert_eq!(&**pad(b"abc", 4).unwrap(), b"abc\x80");
        assert_eq!(&**pad(b"abcd", 4).unwrap(), b"abcd\x80\0\0\0");
        assert_eq!(&**pad(b"", 1).unwrap(), b"\x80");
        for class in [0, FieldSealing::MAX_PAD + 1] {
            assert!(matches!(pad(b"", class), Err(SealError::Unsupported)));
        }
    }

    #[test]
    fn what_has_no_padding_is_refused_and_gone() {
        for bad in [&b""[..], b"\0\0", b"ab", b"ab\x80\x01"] {
            let mut bytes = SecretBytes::new(bad.to_vec());
            assert!(!unpad(&mut bytes), "{bad:?}");
            assert!(bytes.is_empty());
        }
    }

    proptest! {
        #[test]
        fn padding_comes_off_whatever_its_class(
            plain in prop::collection::vec(prop::sample::select(vec![0, 0x80, 1]), 0..70),
            class in 1_u16..80,
        ) {
            let mut padded = pad(&plain, class).unwrap();
            prop_assert_eq!(padded.len() % usize::from(class), 0);
            prop_assert!(padded.len() > plain.len());
            prop_assert!(unpad(&mut padded));
            prop_assert_eq!(&**padded, &plain[..]);
        }
    }
}
