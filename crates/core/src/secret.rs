//! Secrets: no `Debug` of the content, no `Display`, no `Serialize`, wiped on drop.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `N` bytes of key material in one pinned heap allocation, wiped on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub struct KeyBytes<const N: usize>(Box<[u8; N]>);

impl<const N: usize> KeyBytes<N> {
    /// Takes over `bytes` and wipes the caller's copy.
    #[must_use]
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let mut own = Box::new([0; N]);
        own.copy_from_slice(bytes.as_slice());
        bytes.zeroize();
        Self(own)
    }

    /// Copies `bytes`; `None` if the length is not `N`.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        let mut own = Box::new([0; N]);
        if bytes.len() != N {
            return None;
        }
        own.copy_from_slice(bytes);
        Some(Self(own))
    }

    /// The key, for the primitive that needs it.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for KeyBytes<N> {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for KeyBytes<N> {}

impl<const N: usize> fmt::Debug for KeyBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

/// A secret text such as a password, a token or a passphrase.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretText {
    /// Compares in constant time for texts of one length.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_a_key_wipes_the_callers_copy() {
        let mut bytes = [7_u8; 32];
        let key = KeyBytes::take(&mut bytes);
        assert_eq!(bytes, [0; 32]);
        assert_eq!(key.expose(), &[7; 32]);
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let text = SecretText::new("hunter2".to_owned());
        assert_eq!(format!("{text:?}"), "[SECRET]");
        assert_eq!(
            format!("{:?}", KeyBytes::<4>::copy_from(b"abcd")),
            "Some([SECRET])"
        );
        assert_eq!(KeyBytes::<4>::copy_from(b"abc"), None);
    }
}
