//! Whose signatures count at which size of the directory log.
//!
//! A key's last act is a leaf of the directory log: a head of that log with a line that names the old and
//! the new key, signed by both. From there on the old key signs nothing more, so that nobody who gets hold
//! of it later can name a successor. A verifier that trusts one key of such a row follows it to all others.

use eonpro_core::port::{SignError, Signer};

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::Fault;
use crate::log_id::LogId;
use crate::tlog::{KeyKind, Note, TreeHead, VerifierKey};

/// What the line with the two keys begins with.
const KEYS: &str = "keys ";

/// One key hands over to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyChange {
    /// The head of the directory log before this leaf.
    pub(crate) at: Checkpoint,
    pub(crate) old: VerifyingKey,
    pub(crate) new: VerifyingKey,
}

impl KeyChange {
    /// Whether a leaf of the directory log is of this kind. It may be malformed.
    pub(crate) fn is_one(leaf: &[u8]) -> bool {
        let origin = LogId::Directory.to_string();
        let rest = leaf.strip_prefix(origin.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"\n"))
    }

    fn text(&self) -> Option<String> {
        let (old, new) = (&self.old, &self.new);
        let (old, new) = (old.vkey(&self.at.log), new.vkey(&self.at.log));
        let head = TreeHead::from(self.at).with_extension(&format!("{KEYS}{old} {new}"))?;
        Some(head.to_string())
    }

    /// The leaf, signed by both.
    ///
    /// # Errors
    /// [`SignError`] if one of them is out of reach, or its signature is wrong.
    pub(crate) async fn sign(
        &self,
        old: &dyn Signer,
        new: &dyn Signer,
    ) -> Result<String, SignError> {
        let wrong = || SignError("signer made a wrong signature".into());
        let text = self.text().ok_or_else(wrong)?;
        let mut lines = String::new();
        for signer in [old, new] {
            let signature = signer.sign(text.as_bytes()).await?;
            let key = VerifyingKey::from_bytes(signer.public_key());
            lines += &key.verifier_key(self.at.log).line(&signature).to_string();
        }
        let note = format!("{text}\n{lines}");
        // A leaf is for ever: what a broken signer made must not become one.
        match Self::open(&note) {
            Some(change) if change == *self => Ok(note),
            _ => Err(wrong()),
        }
    }

    /// Reads a leaf that both of its keys signed. Whether they are to be trusted says the [`Trail`].
    pub(crate) fn open(leaf: &str) -> Option<Self> {
        let note = Note::parse(leaf).ok()?;
        let head = TreeHead::parse(note.text())?;
        let [line] = head.extensions() else {
            return None;
        };
        let (old, new) = line.strip_prefix(KEYS)?.split_once(' ')?;
        let (old, new) = (VerifierKey::parse(old).ok()?, VerifierKey::parse(new).ok()?);
        for key in [&old, &new] {
            if key.kind() != KeyKind::Note || key.name().as_str() != head.origin() {
                return None;
            }
            note.verify(std::slice::from_ref(key)).ok()?;
        }
        let log = LogId::parse(head.origin()).filter(|log| *log == LogId::Directory)?;
        Some(Self {
            at: Checkpoint {
                log,
                size: head.size(),
                root: *head.root(),
            },
            old: *old.key(),
            new: *new.key(),
        })
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    /// All keys that are trusted, oldest first, by themselves or because a trusted key named them.
    keys: Vec<VerifyingKey>,
    changes: Vec<KeyChange>,
    /// Those that may sign after the last change.
    present: Vec<VerifyingKey>,
}

impl Trail {
    /// A trail that begins with `keys`, which are trusted by themselves.
    pub(crate) fn new(keys: &[VerifyingKey]) -> Self {
        Self {
            keys: keys.to_vec(),
            changes: Vec::new(),
            present: keys.to_vec(),
        }
    }

    /// Trusts the predecessors, too, of keys that are trusted: a key that takes over signs for the log as
    /// it stands, and so for what its predecessor signed. `changes` are in their order.
    pub(crate) fn with_predecessors(keys: &[VerifyingKey], changes: &[KeyChange]) -> Self {
        let mut keys = keys.to_vec();
        for change in changes.iter().rev() {
            let heir = keys.iter().position(|key| *key == change.new);
            if let Some(at) = heir
                && !keys.contains(&change.old)
            {
                keys.insert(at, change.old);
            }
        }
        Self::new(&keys)
    }

    /// All trusted keys, oldest first.
    pub(crate) fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// The keys that may sign what comes after the last change.
    pub(crate) fn present(&self) -> &[VerifyingKey] {
        &self.present
    }

    /// The keys that may sign while the directory log has `size` leaves.
    pub(crate) fn at(&self, size: u64) -> Vec<VerifyingKey> {
        let may_sign = |key: &&VerifyingKey| {
            self.changes.iter().all(|change| {
                let begins = change.new != **key || size > change.at.size;
                let goes_on = change.old != **key || size <= change.at.size;
                begins && goes_on
            })
        };
        self.keys.iter().filter(may_sign).copied().collect()
    }

    /// Takes the change in leaf `index` of the directory log.
    ///
    /// # Errors
    /// [`Fault::Signature`] if the old key may not sign there; [`Fault::Checkpoint`] if the leaf is out of
    /// place; [`Fault::Keys`] if the new key had its time before.
    pub(crate) fn take(&mut self, change: KeyChange, index: u64) -> Result<(), Fault> {
        if change.at.size != index || change.old == change.new {
            return Err(Fault::Checkpoint);
        }
        if !self.present.contains(&change.old) {
            return Err(Fault::Signature);
        }
        let known = |other: &KeyChange| other.old == change.new || other.new == change.new;
        if self.changes.iter().any(known) {
            return Err(Fault::Keys);
        }
        if !self.keys.contains(&change.new) {
            self.keys.push(change.new);
        }
        self.changes.push(change);
        self.present = self.at(index.saturating_add(1));
        Ok(())
    }
}
