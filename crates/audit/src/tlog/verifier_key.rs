//! Keys that notes are checked against, as the C2SP family writes them: `name+id+base64`.
//!
//! Two kinds are known: Ed25519 over the text itself (0x01), and Ed25519 cosignatures of checkpoints,
//! which also state a time (0x04). C2SP signed-note and tlog-cosignature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::error::{Classify, ErrorKind};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::cosignature::Cosignature;
use super::note::{NoteError, SignatureLine};
use crate::checkpoint::VerifyingKey;
use crate::log_id::LogId;
use crate::merkle::sha256;

/// A text is no verifier key that can be used here.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VerifierKeyError {
    /// It is no verifier key.
    #[error("verifier key is malformed")]
    Malformed,
    /// Its id is not that of its name and key.
    #[error("verifier key has the id of another key")]
    KeyId,
    /// It is of a kind that is not supported, such as ML-DSA-44.
    #[error("verifier key is of an unsupported kind")]
    Unsupported,
}

impl Classify for VerifierKeyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// The name of a key: not empty, without Unicode spaces, control characters and plus signs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// `None` if it is no name of a key.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let bad = |char: char| char == '+' || char < ' ' || char.is_whitespace();
        let good = !name.is_empty() && !name.chars().any(bad);
        good.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<LogId> for KeyName {
    /// The name of a log's own key is its origin, which has no spaces and no plus signs.
    fn from(log: LogId) -> Self {
        Self(log.to_string())
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The short id of a key: it tells keys of one name apart, and proves nothing. Prints as eight digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// From its four bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its four bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a key signs.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// The text: signature type 0x01.
    Note,
    /// A checkpoint, with a time: signature type 0x04, `cosignature/v1`.
    Cosignature,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Cosignature => 4,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Note),
            4 => Some(Self::Cosignature),
            _ => None,
        }
    }
}

/// A named Ed25519 key and what it signs. Prints as other tools of the C2SP family read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: KeyName,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The key under a name.
    #[must_use]
    pub const fn new(name: KeyName, kind: KeyKind, key: VerifyingKey) -> Self {
        Self { name, kind, key }
    }

    /// Reads `name+id+base64`.
    ///
    /// # Errors
    /// [`VerifierKeyError`].
    pub fn parse(text: &str) -> Result<Self, VerifierKeyError> {
        let malformed = VerifierKeyError::Malformed;
        let mut parts = text.splitn(3, '+');
        let mut next = || parts.next().ok_or(malformed);
        let (name, id, bytes) = (next()?, next()?, next()?);
        let name = KeyName::parse(name).ok_or(malformed)?;
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 8 || !id.bytes().all(digit) {
            return Err(malformed);
        }
        let bytes = STANDARD.decode(bytes).map_err(|_| malformed)?;
        let (kind, key) = bytes.split_first().ok_or(malformed)?;
        let kind = KeyKind::of(*kind).ok_or(VerifierKeyError::Unsupported)?;
        let key = VerifyingKey::from_bytes(key.try_into().map_err(|_| malformed)?);
        let found = Self { name, kind, key };
        if found.id().to_string() != id {
            return Err(VerifierKeyError::KeyId);
        }
        Ok(found)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Its id: the first four bytes of SHA-256 over name, line feed, kind and key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let kind = [self.kind.byte()];
        let name = self.name.as_str().as_bytes();
        let hash = sha256(&[name, b"\n", &kind, self.key.as_bytes()]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        KeyId([a, b, c, d])
    }

    /// The line of what it made, such as a signature of 64 bytes or [`Cosignature::to_bytes`].
    #[must_use]
    pub fn line(&self, signature: &[u8]) -> SignatureLine {
        SignatureLine::new(self.name.clone(), self.id(), signature)
    }

    /// Checks one signature over `text`, and gives the time that it states.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, NoteError> {
        let key = UnparsedPublicKey::new(&ED25519, self.key.as_bytes());
        let wrong = NoteError::Signature;
        match self.kind {
            KeyKind::Note => {
                let verified = key.verify(text.as_bytes(), signature);
                verified.map_err(|_| wrong)?;
                Ok(None)
            }
            KeyKind::Cosignature => {
                let found = Cosignature::parse(signature).ok_or(wrong)?;
                let message = Cosignature::message(found.timestamp(), text).ok_or(wrong)?;
                let verified = key.verify(message.as_bytes(), found.signature());
                verified.map_err(|_| wrong)?;
                Ok(Some(found.timestamp()))
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id(), STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::testing::Key;

    #[test]
    fn keys_are_read_and_written_as_go_writes_them() {
        // The example keys of golang.org/x/mod/sumdb/note and of C2SP signed-note.
        for published in [
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            let key = VerifierKey::parse(published).unwrap();
            assert_eq!(key.kind(), KeyKind::Note);
            assert_eq!(key.to_string(), published);
        }
    }

    #[test]
    fn the_kind_of_a_key_is_part_of_its_id() {
        let (note, cosigner) = (Key::note("a", 1).vkey(), Key::cosigner("a", 1).vkey());
        assert_eq!(note.key(), cosigner.key());
        assert_ne!(note.id(), cosigner.id());
        for key in [note, cosigner] {
            assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key));
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        use VerifierKeyError::{KeyId, Malformed, Unsupported};
        let good = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let mldsa = format!(
            "a+00000000+{}",
            STANDARD.encode([&[6_u8][..], &[0; 1312]].concat())
        );
        for (bad, error) in [
            (String::new(), Malformed),
            ("+".to_owned(), Malformed),
            ("example.com/foo+530d903a".to_owned(), Malformed),
            (good.replace("530d903a", "530d903b"), KeyId),
            (good.replace("530d903a", "530D903A"), Malformed),
            (good.replace("530d903a", "30d903a"), Malformed),
            (good.replace("example.com/foo", ""), Malformed),
            (good.replace("example.com/foo", "example.com/fop"), KeyId),
            (good.replace("example.com", "example com"), Malformed),
            (good.replace("AekyeR", "BekyeR"), Unsupported),
            (good.replace("v3U2k", "v3U2"), Malformed),
            (format!("{good}AAAA"), Malformed),
            (format!("{good}\n"), Malformed),
            (mldsa, Unsupported),
        ] {
            assert_eq!(VerifierKey::parse(&bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_name_has_no_spaces_of_any_script_and_no_plus() {
        for good in ["a", "example.com/a", "\u{e9}\u{4e2d}", "oid/1.2.3"] {
            assert_eq!(KeyName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            " ",
            "a b",
            "a+b",
            "a\nb",
            "a\u{a0}",
            "\u{3000}a",
            "a\u{2028}",
            "a\0",
        ] {
            assert_eq!(KeyName::parse(bad), None, "{bad:?}");
        }
    }
}
