//! Signed notes (C2SP signed-note v1): a text, a blank line, and lines of signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::VerifyingKey;
use crate::merkle::sha256;

/// The signature type of Ed25519 keys.
const ED25519: u8 = 1;
/// More signature lines than anybody needs.
const MAX_SIGNATURES: usize = 64;

/// One line of signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureLine {
    pub(crate) name: String,
    pub(crate) key_id: [u8; 4],
    pub(crate) signature: Vec<u8>,
}

/// A parsed note, nothing about it verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note<'a> {
    /// The signed text, with its last line feed.
    pub(crate) text: &'a str,
    pub(crate) signatures: Vec<SignatureLine>,
}

/// The key id of an Ed25519 key under `name`.
pub(crate) fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[ED25519], key.as_bytes()]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// The key as C2SP writes verifier keys: `name+hash+base64`.
pub(crate) fn vkey(name: &str, key: &VerifyingKey) -> String {
    let id = u32::from_be_bytes(key_id(name, key));
    let mut bytes = vec![ED25519];
    bytes.extend_from_slice(key.as_bytes());
    format!("{name}+{id:08x}+{}", STANDARD.encode(bytes))
}

/// `text`, which ends in a line feed, and one signature over it.
pub(crate) fn write(text: &str, name: &str, key: &VerifyingKey, signature: &[u8; 64]) -> String {
    let mut bytes = key_id(name, key).to_vec();
    bytes.extend_from_slice(signature);
    format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

/// Parses a note; `None` if it is malformed.
pub(crate) fn parse(note: &str) -> Option<Note<'_>> {
    if note
        .chars()
        .any(|char| char.is_ascii_control() && char != '\n')
    {
        return None;
    }
    // The last blank line ends the text, which keeps its own last line feed.
    let blank = note.rfind("\n\n")?;
    let (text, lines) = note.split_at_checked(blank + 1)?;
    let lines = lines.strip_prefix('\n')?.strip_suffix('\n')?;
    let signatures = lines
        .split('\n')
        .take(MAX_SIGNATURES + 1)
        .map(signature)
        .collect::<Option<Vec<_>>>()?;
    if signatures.len() > MAX_SIGNATURES {
        return None;
    }
    Some(Note { text, signatures })
}

fn signature(line: &str) -> Option<SignatureLine> {
    let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    if name.is_empty() || name.contains('+') {
        return None;
    }
    let bytes = STANDARD.decode(bytes).ok()?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    Some(SignatureLine {
        name: name.to_owned(),
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: VerifyingKey = VerifyingKey::from_bytes([7; 32]);

    #[test]
    fn a_written_note_parses_to_its_parts() {
        let note = write("one\n\ntwo\n", "log.example", &KEY, &[9; 64]);
        let parsed = parse(&note).unwrap();
        assert_eq!(parsed.text, "one\n\ntwo\n");
        assert_eq!(
            parsed.signatures,
            [SignatureLine {
                name: "log.example".to_owned(),
                key_id: key_id("log.example", &KEY),
                signature: vec![9; 64],
            }]
        );
    }

    #[test]
    fn a_verifier_key_is_written_as_go_writes_it() {
        // The example key of golang.org/x/mod/sumdb/note.
        let published = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let (_, key) = published.rsplit_once('+').unwrap();
        let bytes: [u8; 33] = STANDARD.decode(key).unwrap().try_into().unwrap();
        let key = VerifyingKey::from_bytes(bytes[1..].try_into().unwrap());
        assert_eq!(vkey("PeterNeumann", &key), published);
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = write("text\n", "name", &KEY, &[1; 64]);
        assert!(parse(&good).is_some());
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n\u{2014} name\n",
            "text\n\n\u{2014} name !!!!\n",
            "text\n\n\u{2014} na+me AAAAAAAA\n",
            "text\n\n- name AAAAAAAA\n",
            "te\rxt\n\n\u{2014} name AAAAAAAA\n",
            good.trim_end(),
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
