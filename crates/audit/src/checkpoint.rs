//! Signed tree heads: what an outsider may trust about a log at a given size.
//!
//! A checkpoint is signed only after the root was recomputed from the bytes on disk, so a flipped bit
//! is never signed. Format: C2SP tlog-checkpoint v1, with the log's origin as the key's name.

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;
use eonpro_core::port::{SignError, Signer};

use crate::log_id::LogId;
use crate::tlog::{KeyKind, KeyName, Note, TreeHead, VerifierKey};

/// An Ed25519 public key (RFC 8032) that checkpoints are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The verifier key of `log` as other tools of the C2SP family read it: `origin+hash+base64`.
    #[must_use]
    pub fn vkey(&self, log: &LogId) -> String {
        self.verifier_key(*log).to_string()
    }

    /// The key under the name of `log`.
    #[must_use]
    pub fn verifier_key(self, log: LogId) -> VerifierKey {
        VerifierKey::new(KeyName::from(log), KeyKind::Note, self)
    }
}

/// A log's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub log: LogId,
    /// How many leaves it has.
    pub size: u64,
    /// Their RFC 6962 root.
    pub root: Digest,
}

/// A text is no checkpoint that a given key signed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no well-formed checkpoint of a log of ours.
    #[error("checkpoint is malformed")]
    Malformed,
    /// None of the keys signed it, or one that claims to did not.
    #[error("checkpoint is not signed by a given key")]
    Signature,
}

impl Classify for CheckpointError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

impl Checkpoint {
    /// The signed text: origin, size and root, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        TreeHead::from(*self).to_string()
    }

    /// The checkpoint as a signed note.
    ///
    /// # Errors
    /// [`SignError`] if the key is out of reach.
    pub async fn sign(&self, signer: &dyn Signer) -> Result<String, SignError> {
        let text = self.text();
        let signature = signer.sign(text.as_bytes()).await?;
        let key = VerifyingKey(signer.public_key());
        let line = key.verifier_key(self.log).line(&signature);
        Ok(format!("{text}\n{line}"))
    }

    /// Reads a signed note. Lines of unknown keys are passed over; a line that names one of `keys`
    /// must verify, and at least one must be there.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(signed: &str, keys: &[VerifyingKey]) -> Result<Self, CheckpointError> {
        let note = Note::parse(signed).map_err(|_| CheckpointError::Malformed)?;
        let found = Self::parse(note.text()).ok_or(CheckpointError::Malformed)?;
        let keys = keys.iter().map(|key| key.verifier_key(found.log));
        note.verify(&keys.collect::<Vec<_>>())
            .map_err(|_| CheckpointError::Signature)?;
        Ok(found)
    }

    /// Reads a note without a look at its signatures.
    pub(crate) fn unverified(note: &str) -> Option<Self> {
        Self::parse(Note::parse(note).ok()?.text())
    }

    /// Reads the text of a checkpoint of ours, which has no extension lines.
    fn parse(text: &str) -> Option<Self> {
        let head = TreeHead::parse(text).filter(|head| head.extensions().is_empty())?;
        Some(Self {
            log: LogId::parse(head.origin())?,
            size: head.size(),
            root: *head.root(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    const POINT: Checkpoint = Checkpoint {
        log: LogId::System,
        size: 42,
        root: Digest::from_bytes([5; 32]),
    };

    fn signed(seed: u8, text: &str) -> (String, VerifyingKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = VerifyingKey(pair.public_key().as_ref().try_into().unwrap());
        let origin = text.lines().next().unwrap_or_default();
        let vkey = VerifierKey::new(KeyName::parse(origin).unwrap(), KeyKind::Note, key);
        let line = vkey.line(pair.sign(text.as_bytes()).as_ref());
        (format!("{text}\n{line}"), key)
    }

    #[test]
    fn a_checkpoint_opens_with_its_key_only() {
        let (note, key) = signed(1, &POINT.text());
        let (_, other) = signed(2, &POINT.text());
        assert_eq!(Checkpoint::open(&note, &[other, key]), Ok(POINT));
        for keys in [&[][..], &[other]] {
            assert_eq!(
                Checkpoint::open(&note, keys),
                Err(CheckpointError::Signature)
            );
        }
    }

    #[test]
    fn a_changed_checkpoint_does_not_open() {
        let (note, key) = signed(1, &POINT.text());
        let changed = note.replacen("42", "43", 1);
        assert_eq!(
            Checkpoint::open(&changed, &[key]),
            Err(CheckpointError::Signature)
        );
    }

    #[test]
    fn a_checkpoint_has_one_spelling() {
        for text in [
            POINT.text().replacen("42", "+42", 1),
            POINT.text().replacen("42", "042", 1),
            format!("{}extension\n", POINT.text()),
            POINT.text().replacen("system", "other", 1),
        ] {
            let (note, key) = signed(1, &text);
            assert_eq!(
                Checkpoint::open(&note, &[key]),
                Err(CheckpointError::Malformed),
                "{text}"
            );
        }
    }
}
