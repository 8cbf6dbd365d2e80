//! The proof of one entry that anybody can check later, without the log and without a network.
//!
//! A file of text: where the entry is, the way from its leaf to the root, and the checkpoint with its
//! signatures. Format: C2SP tlog-proof.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use super::note::{MAX_NOTE_BYTES, Note};
use super::policy::{Policy, TrustError, Trusted};
use super::tile::decimal;
use super::tree_head::{hash, write_hash};
use crate::merkle::{ProofError, verify_inclusion};

/// The most bytes of extra data: as many as an entry may have.
pub const MAX_EXTRA_BYTES: usize = 65_535;
/// The most hashes of a way: that of a tree of 64-bit size.
const MAX_PATH: usize = 64;
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No proof is longer: checkpoint, extra data in base64, way, and the lines between.
const MAX_BYTES: usize = MAX_NOTE_BYTES + MAX_EXTRA_BYTES / 3 * 4 + MAX_PATH * 45 + 128;

/// A proof file proves nothing.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OfflineProofError {
    /// It is no proof file, or beyond the limits.
    #[error("proof file is malformed")]
    Malformed,
    /// Its checkpoint is not to be believed.
    #[error("proof file: {0}")]
    Checkpoint(#[from] TrustError),
    /// Its way does not lead from the entry to the root.
    #[error("proof file: {0}")]
    Inclusion(#[from] ProofError),
}

impl Classify for OfflineProofError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// That an entry is in a log. Prints as the file, whose name should end in `.tlog-proof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineProof {
    extra: Vec<u8>,
    index: u64,
    path: Vec<Digest>,
    checkpoint: Note,
}

impl OfflineProof {
    /// The proof that the entry at `index` is in the log with this checkpoint, by its inclusion proof.
    ///
    /// # Errors
    /// [`OfflineProofError::Malformed`] of more than 64 hashes.
    pub fn new(index: u64, path: Vec<Digest>, checkpoint: Note) -> Result<Self, OfflineProofError> {
        if path.len() > MAX_PATH {
            return Err(OfflineProofError::Malformed);
        }
        Ok(Self {
            extra: Vec::new(),
            index,
            path,
            checkpoint,
        })
    }

    /// With data for the verifier, such as the entry itself. **Nothing proves it.**
    ///
    /// # Errors
    /// [`OfflineProofError::Malformed`] of more than [`MAX_EXTRA_BYTES`].
    pub fn with_extra(mut self, extra: Vec<u8>) -> Result<Self, OfflineProofError> {
        if extra.len() > MAX_EXTRA_BYTES {
            return Err(OfflineProofError::Malformed);
        }
        self.extra = extra;
        Ok(self)
    }

    /// The extra data, or nothing. **Nothing proves it**, also after the rest was verified.
    #[must_use]
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// Where in the log the entry is.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The hashes from the sibling of the leaf to a child of the root.
    #[must_use]
    pub fn path(&self) -> &[Digest] {
        &self.path
    }

    /// The checkpoint, of which nothing is verified.
    #[must_use]
    pub const fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }

    /// Reads a proof file; the file verifies nothing by being well-formed.
    ///
    /// # Errors
    /// [`OfflineProofError::Malformed`].
    pub fn parse(file: &str) -> Result<Self, OfflineProofError> {
        Self::read(file).ok_or(OfflineProofError::Malformed)
    }

    fn read(file: &str) -> Option<Self> {
        if file.len() > MAX_BYTES {
            return None;
        }
        let mut rest = file.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let mut extra = Vec::new();
        if let Some(line) = rest.strip_prefix("extra ") {
            let encoded;
            (encoded, rest) = line.split_once('\n')?;
            extra = STANDARD.decode(encoded).ok()?;
            // Without data the line is left out.
            if extra.is_empty() {
                return None;
            }
        }
        let (index, rest) = rest.strip_prefix("index ")?.split_once('\n')?;
        let (path, checkpoint) = hash_lines(rest, MAX_PATH)?;
        let checkpoint = Note::parse(checkpoint).ok()?;
        let proof = Self::new(decimal(index)?, path, checkpoint).ok()?;
        proof.with_extra(extra).ok()
    }

    /// Checks that the entry with the leaf hash `leaf` is at [`index`](Self::index) in a log whose
    /// checkpoint `policy` believes. For an entry's bytes see [`leaf_hash`](crate::merkle::leaf_hash).
    ///
    /// # Errors
    /// [`OfflineProofError`], and nothing is proven.
    pub fn verify<'p>(
        &self,
        leaf: &Digest,
        policy: &'p Policy,
    ) -> Result<Trusted<'p>, OfflineProofError> {
        let trusted = policy.verify(&self.checkpoint)?;
        let (size, root) = (trusted.head.size(), trusted.head.root());
        verify_inclusion(&self.path, self.index, leaf, size, root)?;
        Ok(trusted)
    }
}

impl fmt::Display for OfflineProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| write_hash(f, hash))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Lines of hashes, at most `most`, up to an empty line; and what follows it.
pub(super) fn hash_lines(text: &str, most: usize) -> Option<(Vec<Digest>, &str)> {
    let mut hashes = Vec::new();
    let mut rest = text;
    loop {
        let line;
        (line, rest) = rest.split_once('\n')?;
        if line.is_empty() {
            return Some((hashes, rest));
        }
        if hashes.len() >= most {
            return None;
        }
        hashes.push(hash(line)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{CompactRange, Plan, leaf_hash};
    use crate::tlog::TreeHead;
    use crate::tlog::testing::Key;

    const ORIGIN: &str = "log.example/a";
    const SIZE: u64 = 11;

    fn leaf(index: u64) -> Digest {
        leaf_hash(&index.to_le_bytes())
    }

    fn policy() -> Policy {
        let (log, witness) = (Key::note(ORIGIN, 1).vkey(), Key::cosigner("w", 2).vkey());
        let file = format!("log {log}\nwitness w {witness}\nquorum w\n");
        Policy::parse(file.as_bytes()).unwrap()
    }

    fn range(from: u64, to: u64) -> CompactRange {
        let mut range = CompactRange::new();
        (from..to).for_each(|index| range.append(leaf(index)));
        range
    }

    fn proof(index: u64) -> OfflineProof {
        let head = TreeHead::new(ORIGIN, SIZE, range(0, SIZE).root()).unwrap();
        let text = head.to_string();
        let lines = [
            Key::note(ORIGIN, 1).line(&text),
            Key::cosigner("w", 2).line(&text),
        ];
        let note = Note::new(text, lines.to_vec()).unwrap();
        let plan = Plan::inclusion(index, SIZE).unwrap();
        let read = |node: crate::merkle::Node| {
            let start = node.index() << node.level();
            Ok::<_, ()>(range(start, start + (1 << node.level())).root())
        };
        OfflineProof::new(index, plan.read(read).unwrap(), note).unwrap()
    }

    #[test]
    fn a_proof_file_proves_its_entry_and_no_other() {
        for index in 0..SIZE {
            let proof = proof(index).with_extra(vec![7; 5]).unwrap();
            let read = OfflineProof::parse(&proof.to_string()).unwrap();
            assert_eq!(read, proof);
            let policy = policy();
            let trusted = read.verify(&leaf(index), &policy).unwrap();
            assert_eq!(trusted.head.size(), SIZE);
            let other = read.verify(&leaf(index + 1), &policy);
            assert_eq!(other, Err(OfflineProofError::Inclusion(ProofError::Root)));
        }
    }

    #[test]
    fn a_file_is_laid_out_as_the_specification_says() {
        let file = proof(10).with_extra(b"more".to_vec()).unwrap().to_string();
        let lines: Vec<&str> = file.split('\n').collect();
        assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
        assert_eq!(lines[1], "extra bW9yZQ==");
        assert_eq!(lines[2], "index 10");
        // Leaf 10 has a sibling in neither of the pairs: the roots of 8..10 and 0..8.
        assert_eq!(lines[3], STANDARD.encode(range(8, 10).root().as_bytes()));
        assert_eq!(lines[4], STANDARD.encode(range(0, 8).root().as_bytes()));
        assert_eq!(lines[5..8], ["", ORIGIN, "11"]);
        let without = proof(10).to_string();
        assert_eq!(without, file.replace("extra bW9yZQ==\n", ""));
    }

    #[test]
    fn every_changed_byte_of_a_file_is_refused_but_for_the_extra_data() {
        let file = proof(6).to_string();
        let policy = policy();
        for at in 0..file.len() {
            for flip in [0x01, 0x20] {
                let mut changed = file.clone().into_bytes();
                changed[at] ^= flip;
                let Ok(changed) = String::from_utf8(changed) else {
                    continue;
                };
                let verified = OfflineProof::parse(&changed)
                    .and_then(|proof| proof.verify(&leaf(6), &policy).map(|_| ()));
                assert!(verified.is_err(), "byte {at}: {changed}");
            }
        }
        for at in 0..file.len() {
            if let Some(cut) = file.get(..at) {
                let verified = OfflineProof::parse(cut)
                    .and_then(|proof| proof.verify(&leaf(6), &policy).map(|_| ()));
                assert!(verified.is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = proof(1).with_extra(vec![1]).unwrap().to_string();
        assert!(OfflineProof::parse(&good).is_ok());
        for (from, to) in [
            ("@v1\n", "@v2\n"),
            ("@v1\n", "@v1 \n"),
            ("@v1\n", "@v1\r\n"),
            ("@v1\n", "@v1\n\n"),
            ("extra AQ==\n", "extra \n"),
            ("extra AQ==\n", "extra\n"),
            ("extra AQ==\n", "extra AQ\n"),
            ("extra AQ==\n", "extra AR==\n"),
            ("extra AQ==\n", "extra AQ==\nextra AQ==\n"),
            ("extra AQ==\nindex 1\n", "index 1\nextra AQ==\n"),
            ("index 1\n", ""),
            ("index 1\n", "index 01\n"),
            ("index 1\n", "index +1\n"),
            ("index 1\n", "index  1\n"),
            ("index 1\n", "index 18446744073709551616\n"),
            ("index 1\n", "index 1\nAAAA\n"),
            ("\n\nlog.example", "\nlog.example"),
            ("\n\nlog.example", "\n\n\nlog.example"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            let parsed = OfflineProof::parse(&bad);
            // A blank line more makes a checkpoint with an empty origin: a note, but none to believe.
            let refused = parsed.and_then(|proof| proof.verify(&leaf(1), &policy()).map(|_| ()));
            assert!(refused.is_err(), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_file_is_bounded() {
        let note = proof(0).checkpoint().clone();
        let path = |count| vec![Digest::of(b""); count];
        let longest = OfflineProof::new(u64::MAX, path(64), note.clone()).unwrap();
        let longest = longest.with_extra(vec![0; MAX_EXTRA_BYTES]).unwrap();
        assert!(OfflineProof::parse(&longest.to_string()).is_ok());
        assert!(OfflineProof::new(0, path(65), note.clone()).is_err());
        assert!(
            longest
                .clone()
                .with_extra(vec![0; MAX_EXTRA_BYTES + 1])
                .is_err()
        );
        let line = format!("{}\n", STANDARD.encode(Digest::of(b"").as_bytes()));
        let more = longest.to_string().replacen(&line, &line.repeat(2), 1);
        assert!(OfflineProof::parse(&more).is_err());
        let long = format!("{HEADER}\nextra {}\n", "A".repeat(MAX_BYTES));
        assert!(OfflineProof::parse(&long).is_err());
    }

    #[test]
    fn without_a_quorum_a_proof_proves_nothing() {
        let whole = proof(3);
        let lines = whole.checkpoint().signatures();
        for (kept, error) in [(0, TrustError::Quorum), (1, TrustError::Log)] {
            let note = Note::new(whole.checkpoint().text(), vec![lines[kept].clone()]).unwrap();
            let part = OfflineProof::new(3, whole.path().to_vec(), note).unwrap();
            let verified = part.verify(&leaf(3), &policy()).map(|_| ());
            assert_eq!(verified, Err(OfflineProofError::Checkpoint(error)));
        }
    }
}
