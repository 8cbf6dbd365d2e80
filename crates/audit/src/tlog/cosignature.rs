//! What a witness says of a checkpoint: this was the largest consistent tree, as of this time.
//!
//! The message signed is two lines, `cosignature/v1` and `time <seconds>`, then the text of the
//! checkpoint with its extension lines. Format: C2SP tlog-cosignature, the Ed25519 kind.

use super::tree_head::TreeHead;

/// The largest time that may be stated.
const MAX_TIMESTAMP: u64 = i64::MAX.cast_unsigned();

/// The signature of a cosigner, with the time that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    timestamp: u64,
    signature: [u8; 64],
}

impl Cosignature {
    /// A signature that was made over [`message`](Self::message) at `timestamp`, in seconds since
    /// 1970-01-01 UTC; `None` beyond 2^63 - 1.
    #[must_use]
    pub fn new(timestamp: u64, signature: [u8; 64]) -> Option<Self> {
        (timestamp <= MAX_TIMESTAMP).then_some(Self {
            timestamp,
            signature,
        })
    }

    /// What has to be signed at `timestamp` (seconds) to cosign the checkpoint with this `text`; `None`
    /// if the text is no checkpoint, or the time is beyond 2^63 - 1.
    #[must_use]
    pub fn message(timestamp: u64, text: &str) -> Option<String> {
        TreeHead::parse(text)?;
        (timestamp <= MAX_TIMESTAMP).then(|| format!("cosignature/v1\ntime {timestamp}\n{text}"))
    }

    /// When it was made, in seconds since 1970-01-01 UTC, by its maker's word.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The Ed25519 signature.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// As it stands in a signature line after the key id: the time, 64 bits big endian, and the signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.timestamp.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads 72 bytes; `None` of others.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (timestamp, signature) = bytes.split_first_chunk()?;
        Self::new(u64::from_be_bytes(*timestamp), signature.try_into().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::testing::Key;
    use crate::tlog::{Note, NoteError, SignatureLine};

    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_message_is_that_of_the_specification() {
        assert_eq!(
            Cosignature::message(1_679_315_147, TEXT).unwrap(),
            format!("cosignature/v1\ntime 1679315147\n{TEXT}")
        );
        let extended = format!("{TEXT}extension\n");
        assert!(
            Cosignature::message(0, &extended)
                .unwrap()
                .ends_with("\nextension\n")
        );
    }

    #[test]
    fn only_checkpoints_are_cosigned() {
        for text in ["", "text\n", TEXT.trim_end(), "a\n1\nAAAA\n"] {
            assert_eq!(Cosignature::message(1, text), None, "{text:?}");
        }
        let witness = Key::cosigner("w", 1);
        let line = witness.vkey().line(&[0; 72]);
        let note = Note::new("text\n", vec![line]).unwrap();
        assert_eq!(note.verify(&[witness.vkey()]), Err(NoteError::Signature));
    }

    #[test]
    fn a_cosignature_is_bound_to_its_time_and_text() {
        let witness = Key::cosigner("w", 1);
        let keys = [witness.vkey()];
        let line = witness.line(TEXT);
        let note = Note::new(TEXT, vec![line.clone()]).unwrap();
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified[0].timestamp, Some(Key::TIME));

        let later = {
            let mut bytes = line.signature().to_vec();
            bytes[7] ^= 1;
            SignatureLine::new(line.name().clone(), line.key_id(), &bytes)
        };
        let other = TEXT.replace("20852163", "20852164");
        for (text, line) in [(TEXT, later), (&*other, line)] {
            let note = Note::new(text, vec![line]).unwrap();
            assert_eq!(note.verify(&keys), Err(NoteError::Signature));
        }
    }

    #[test]
    fn a_plain_signature_is_no_cosignature_and_the_other_way_round() {
        let (plain, cosigner) = (Key::note("w", 1), Key::cosigner("w", 1));
        let swapped = [(&plain, cosigner.line(TEXT)), (&cosigner, plain.line(TEXT))];
        for (key, line) in swapped {
            let key = key.vkey();
            let note = Note::new(TEXT, vec![key.line(line.signature())]).unwrap();
            assert_eq!(note.verify(&[key]), Err(NoteError::Signature));
        }
    }

    #[test]
    fn a_cosignature_is_seventy_two_bytes_and_its_time_has_sixty_three_bits() {
        let made = Cosignature::new(u64::MAX >> 1, [7; 64]).unwrap();
        assert_eq!(Cosignature::parse(&made.to_bytes()), Some(made));
        assert_eq!(Cosignature::new(1 << 63, [7; 64]), None);
        assert_eq!(Cosignature::message(1 << 63, TEXT), None);
        assert_eq!(Cosignature::parse(&[0xff; 72]), None);
        assert_eq!(Cosignature::parse(&[0; 71]), None);
        assert_eq!(Cosignature::parse(&[0; 73]), None);
        assert_eq!(Cosignature::parse(&[]), None);
    }
}
