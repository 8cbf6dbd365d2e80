//! What the log calls a patient.

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::AuditError;
use crate::hex;

/// What a log calls a patient: 128 random bits that nothing was derived from, written as 32 lowercase
/// hexadecimal digits.
///
/// Only the patient's record says whose it is. Once that is gone nobody can tell, not even with a list
/// of all patients: a hash or a MAC of an id would still tell whoever can compute it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym([u8; 16]);

impl Pseudonym {
    /// A fresh one, from the operating system: never from the entropy of ids, which a test may seed.
    pub(crate) fn random() -> Result<Self, AuditError> {
        let mut bits = [0; 16];
        SystemRandom::new()
            .fill(&mut bits)
            .map_err(|_| AuditError::NoRandomness)?;
        Ok(Self(bits))
    }

    pub(crate) const fn from_bytes(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses 32 lowercase hexadecimal digits, the only spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = [0; 16];
        if text.len() != 32 {
            return None;
        }
        for (to, pair) in bits.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *to = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bits))
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::new();
        hex::push(&mut digits, &self.0);
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_has_one_spelling() {
        let one = Pseudonym::random().unwrap();
        assert_eq!(Pseudonym::parse(&one.to_string()), Some(one));
        let text = "00ff0a1b2c3d4e5f6071829300ff0a1b";
        assert_eq!(Pseudonym::parse(text).unwrap().to_string(), text);
        for bad in [
            "",
            "00ff0a1b2c3d4e5f6071829300ff0a1",
            "00ff0a1b2c3d4e5f6071829300ff0a1b0",
            "00FF0a1b2c3d4e5f6071829300ff0a1b",
            "00ff0a1b-2c3d-4e5f-6071-829300ff0a1",
            "00ff0a1b2c3d4e5f6071829300ff0ag1",
            "ää00ff0a1b2c3d4e5f6071829300ff0a",
        ] {
            assert_eq!(Pseudonym::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_are_never_alike() {
        assert_ne!(Pseudonym::random().unwrap(), Pseudonym::random().unwrap());
    }
}
