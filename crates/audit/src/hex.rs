//! Lowercase hexadecimal text without a format string: it stands on the append path.

/// Appends the lowercase hexadecimal digits of `bytes`.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_prints_as_the_standard_library_prints_it() {
        for byte in 0..=255_u8 {
            let mut out = Vec::new();
            push(&mut out, &[byte]);
            assert_eq!(out, format!("{byte:02x}").into_bytes());
        }
    }
}
