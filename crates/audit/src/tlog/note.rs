//! Signed notes: a text, a blank line, and lines of signatures. Format: C2SP signed-note.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::error::{Classify, ErrorKind};

use super::verifier_key::{KeyId, KeyName, VerifierKey};

/// No note is longer: 512 KiB, which holds 64 signatures of the largest kind in use.
pub const MAX_NOTE_BYTES: usize = 512 * 1024;
/// No note has more signature lines.
pub const MAX_SIGNATURES: usize = 64;
/// What a signature line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// A note is not to be believed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoteError {
    /// It is no note, or beyond the limits.
    #[error("note is malformed")]
    Malformed,
    /// A line names a known key, which did not make its signature.
    #[error("note has a wrong signature of a known key")]
    Signature,
    /// No known key signed it.
    #[error("note is signed by no known key")]
    Unsigned,
}

impl Classify for NoteError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// One line of signature. Prints as the line, with its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    key_id: KeyId,
    signature: Vec<u8>,
}

impl SignatureLine {
    /// The line of a signature that the key `name` with `key_id` made.
    #[must_use]
    pub fn new(name: KeyName, key_id: KeyId, signature: &[u8]) -> Self {
        Self {
            name,
            key_id,
            signature: signature.to_vec(),
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What the key made: its meaning depends on the kind of the key.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Reads the line without its line feed.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (key_id, signature) = bytes.split_first_chunk()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: KeyName::parse(name)?,
            key_id: KeyId::from_bytes(*key_id),
            signature: signature.to_vec(),
        })
    }

    /// Reads lines, each with its line feed: at least one, at most [`MAX_SIGNATURES`].
    pub(super) fn parse_all(lines: &str) -> Option<Vec<Self>> {
        let lines = lines.strip_suffix('\n')?.split('\n');
        let found = lines.take(MAX_SIGNATURES + 1).map(Self::parse);
        let found = found.collect::<Option<Vec<Self>>>()?;
        (found.len() <= MAX_SIGNATURES).then_some(found)
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.as_bytes().to_vec();
        bytes.extend_from_slice(&self.signature);
        writeln!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A text with signatures, of which nothing is verified yet. Prints as the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// A signature of a note that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'k> {
    /// The key that made it.
    pub key: &'k VerifierKey,
    /// When, in seconds since 1970-01-01 UTC, by the word of a cosigner; other keys state no time.
    pub timestamp: Option<u64>,
}

impl Note {
    /// `text`, which ends in a line feed, with its signatures.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if the text has control characters or no line feed at its end, or if
    /// there are too many signatures, or none.
    pub fn new(text: impl Into<String>, signatures: Vec<SignatureLine>) -> Result<Self, NoteError> {
        let text = text.into();
        let number = (1..=MAX_SIGNATURES).contains(&signatures.len());
        if !number || !text.ends_with('\n') || !printable(&text) || text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed);
        }
        Ok(Self { text, signatures })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        Self::read(note).ok_or(NoteError::Malformed)
    }

    fn read(note: &str) -> Option<Self> {
        if note.len() > MAX_NOTE_BYTES || !printable(note) {
            return None;
        }
        // The last blank line ends the text, which keeps its own last line feed.
        let blank = note.rfind("\n\n")?;
        let (text, rest) = note.split_at_checked(blank + 1)?;
        let signatures = SignatureLine::parse_all(rest.strip_prefix('\n')?)?;
        Some(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The signed text, with its last line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Adds a line, such as that of a witness.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if there are [`MAX_SIGNATURES`] already.
    pub fn push(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::Malformed);
        }
        self.signatures.push(line);
        Ok(())
    }

    /// The signatures of `keys`, in the order of the lines; at least one. Lines of other keys are passed
    /// over, also if they share a name or an id with one of `keys`.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if one that claims to be of one of `keys` is not, whatever the others are;
    /// [`NoteError::Unsigned`] if there is none.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, NoteError> {
        let verified = verify_lines(&self.text, &self.signatures, keys)?;
        if verified.is_empty() {
            return Err(NoteError::Unsigned);
        }
        Ok(verified)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}

/// As [`Note::verify`], with lines that are not yet on a note; there may be none.
pub(super) fn verify_lines<'k>(
    text: &str,
    lines: &[SignatureLine],
    keys: impl IntoIterator<Item = &'k VerifierKey>,
) -> Result<Vec<Verified<'k>>, NoteError> {
    let keys = keys.into_iter().map(|key| (key.id(), key));
    let known: Vec<(KeyId, &VerifierKey)> = keys.collect();
    let mut verified = Vec::new();
    for line in lines {
        let of_line =
            |(id, key): &&(KeyId, &VerifierKey)| *id == line.key_id && *key.name() == line.name;
        for (_, key) in known.iter().filter(of_line) {
            let timestamp = key.verify(text, &line.signature)?;
            verified.push(Verified { key, timestamp });
        }
    }
    Ok(verified)
}

/// No control characters but line feeds.
fn printable(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::testing::Key;

    fn published() -> (Note, VerifierKey) {
        let note = "This is an example message.\n\n\u{2014} example.com/foo \
            Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        (Note::parse(note).unwrap(), VerifierKey::parse(key).unwrap())
    }

    #[test]
    fn the_specification_s_example_verifies() {
        let (note, key) = published();
        let keys = [key];
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified.len(), 1);
        assert_eq!(verified[0].key, &keys[0]);
        assert_eq!(verified[0].timestamp, None);
    }

    #[test]
    fn a_written_note_parses_to_its_parts() {
        let line = SignatureLine::new(
            KeyName::parse("log.example").unwrap(),
            KeyId::from_bytes([1, 2, 3, 4]),
            &[9; 64],
        );
        let note = Note::new("one\n\ntwo\n", vec![line.clone(), line]).unwrap();
        assert_eq!(Note::parse(&note.to_string()).unwrap(), note);
        assert_eq!(note.text(), "one\n\ntwo\n");
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = published().0.to_string();
        assert!(Note::parse(&good).is_ok());
        for bad in [
            "",
            "\n",
            "\n\n",
            "text\n",
            "text\n\n",
            "text\n\n\n",
            "text\n\n\u{2014} name\n",
            "text\n\n\u{2014} name \n",
            "text\n\n\u{2014} name !!!!\n",
            "text\n\n\u{2014} name AAAAAA==\n",
            "text\n\n\u{2014} name AAAAAAA\n",
            "text\n\n\u{2014} name AAAAAAB=\n",
            "text\n\n\u{2014} name AAAAAAAA \n",
            "text\n\n\u{2014}  AAAAAAAA\n",
            "text\n\n\u{2014} na+me AAAAAAAA\n",
            "text\n\n\u{2014} na\u{a0}me AAAAAAAA\n",
            "text\n\n\u{2014} na\u{2003}me AAAAAAAA\n",
            "text\n\n\u{2014}\u{a0}name AAAAAAAA\n",
            "text\n\n- name AAAAAAAA\n",
            "text\n\n\u{2014} name AAAAAAAA\nmore\n",
            "text\n\n\u{2014} name AAAAAAAA",
            "te\rxt\n\n\u{2014} name AAAAAAAA\n",
            "te\0xt\n\n\u{2014} name AAAAAAAA\n",
            "te\txt\n\n\u{2014} name AAAAAAAA\n",
            good.trim_end(),
        ] {
            assert_eq!(Note::parse(bad), Err(NoteError::Malformed), "{bad:?}");
        }
        // Control characters are those below U+0020; the specification names no others.
        for good in [
            "te\u{7f}xt\n\n\u{2014} name AAAAAAA=\n",
            "\n\n\u{2014} name AAAAAAA=\n",
        ] {
            assert!(Note::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_note_is_bounded_in_lines_and_bytes() {
        let line = "\u{2014} name AAAAAAA=\n";
        let lines = |count| format!("text\n\n{}", line.repeat(count));
        assert!(
            Note::parse(&lines(16)).is_ok(),
            "as the specification demands"
        );
        let mut most = Note::parse(&lines(MAX_SIGNATURES)).unwrap();
        assert!(Note::parse(&lines(MAX_SIGNATURES + 1)).is_err());
        let one_more = most.signatures()[0].clone();
        assert_eq!(most.push(one_more), Err(NoteError::Malformed));
        let text = "x".repeat(MAX_NOTE_BYTES);
        assert!(Note::parse(&format!("{text}\n\n{line}")).is_err());
        for text in ["", "no line feed", "tab\t\n"] {
            let lines = most.signatures().to_vec();
            assert!(Note::new(text, lines).is_err(), "{text:?}");
        }
        assert!(Note::new("text\n", Vec::new()).is_err());
    }

    #[test]
    fn lines_of_other_keys_are_passed_over_even_if_half_of_them_fits() {
        let (ours, other) = (Key::note("log.example", 1), Key::note("log.example", 2));
        let foreign = Key::note("other.example", 1);
        let text = "text\n";
        let mut same_id = other.line(text);
        same_id.name = KeyName::parse("other.example").unwrap();
        same_id.key_id = ours.vkey().id();
        let mut note = Note::new(text, vec![other.line(text), same_id]).unwrap();
        let keys = [ours.vkey(), foreign.vkey()];
        assert_eq!(note.verify(&keys), Err(NoteError::Unsigned));
        assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));
        note.push(ours.line(text)).unwrap();
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified.len(), 1);
        assert_eq!(*verified[0].key, ours.vkey());
    }

    #[test]
    fn a_wrong_signature_of_a_known_key_spoils_all_others() {
        let (one, two) = (Key::note("one.example", 1), Key::note("two.example", 2));
        let keys = [one.vkey(), two.vkey()];
        let text = "text\n";
        for wrong in [
            two.line("other\n").signature,
            vec![0; 64],
            vec![0; 63],
            vec![1],
        ] {
            let line = SignatureLine::new(two.vkey().name().clone(), two.vkey().id(), &wrong);
            for lines in [
                vec![one.line(text), line.clone()],
                vec![line, one.line(text)],
            ] {
                let note = Note::new(text, lines).unwrap();
                assert_eq!(note.verify(&keys), Err(NoteError::Signature));
            }
        }
        let good = Note::new(text, vec![one.line(text), two.line(text)]).unwrap();
        assert_eq!(good.verify(&keys).unwrap().len(), 2);
    }
}
