//! Pre-authentication encoding: several byte strings as one, unambiguously.
//!
//! `LE64(count) || (LE64(length) || bytes)*`, as PASETO and DSSE define it. Two different lists
//! never encode to the same bytes, so a MAC or a key derivation over the result binds each part.

/// Encodes `parts` into one byte string.
#[must_use]
pub fn encode(parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| 8 + part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    encode_into(parts, &mut out);
    out
}

/// Appends the encoding of `parts` to `out`.
pub fn encode_into(parts: &[&[u8]], out: &mut Vec<u8>) {
    visit(parts, |bytes| out.extend_from_slice(bytes));
}

/// Hands the encoding to `sink` piece by piece, for hashing without a buffer.
pub fn visit(parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    sink(&(parts.len() as u64).to_le_bytes());
    for part in parts {
        visit_part(part, &mut sink);
    }
}

/// Hands over one part, for callers that write the count themselves.
pub fn visit_part(part: &[u8], sink: &mut (impl FnMut(&[u8]) + ?Sized)) {
    sink(&(part.len() as u64).to_le_bytes());
    sink(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_example_encodes_as_published() {
        // PASETO specification, section 2.2.1.
        assert_eq!(encode(&[]), b"\x00\x00\x00\x00\x00\x00\x00\x00");
        assert_eq!(
            encode(&[b"test"]),
            b"\x01\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00test"
        );
    }

    proptest! {
        #[test]
        fn different_lists_never_encode_alike(
            left in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..4),
            right in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..4),
        ) {
            fn refs(list: &[Vec<u8>]) -> Vec<&[u8]> { list.iter().map(Vec::as_slice).collect() }
            prop_assert_eq!(left == right, encode(&refs(&left)) == encode(&refs(&right)));
        }
    }
}
