//! Secrets: no `Debug` of the content, no `Display`, no `Serialize`, wiped on drop.

use std::fmt;
use std::ops::{Deref, DerefMut};

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

/// Secret bytes of any length, such as an opened value: wiped on drop, spare capacity included.
///
/// Used as the [`Vec`] that it wraps. Growing beyond the capacity leaves a copy behind that nobody wipes;
/// reserve first.
#[derive(Clone, Default)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes`.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Empty, with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }
}

impl Deref for SecretBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl PartialEq for SecretBytes {
    /// Compares in constant time for bytes of one length.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Zeroize for SecretBytes {
    /// Wipes and empties it. As slices: those are filled at once, a [`Vec`] byte by byte.
    fn zeroize(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl fmt::Debug for SecretBytes {
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
    fn wiped_bytes_are_gone_and_take_new_ones() {
        let mut bytes = SecretBytes::new(b"secret".to_vec());
        bytes.zeroize();
        assert!(bytes.is_empty());
        bytes.extend_from_slice(b"new");
        assert_eq!(**bytes, *b"new");
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
