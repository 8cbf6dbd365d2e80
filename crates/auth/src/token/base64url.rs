//! base64url as JOSE wants it: no padding, no white space, no bits left over.
//!
//! RFC 7515 section 2. A decoder that ignores trailing bits gives one signature several texts,
//! which defeats caches and block lists that are keyed by the text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Encodes without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes exactly what [`encode`] writes, and nothing else.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_string_has_one_text_only() {
        assert_eq!(decode("Zm8"), Some(b"fo".to_vec()));
        for other in ["Zm9", "Zm8=", "Zm8\n", " Zm8", "Zm+", "Zm/", "Z"] {
            assert_eq!(decode(other), None, "{other:?}");
        }
    }
}
