//! Whom to believe: the logs that are known, the witnesses, and how many of which must have cosigned.
//!
//! Groups name only what stands above them, so that a quorum is decided in one pass. Format: C2SP
//! tlog-policy.

use eonpro_core::error::{Classify, ErrorKind};

use super::note::{Note, NoteError, Verified, verify_lines};
use super::tile::decimal;
use super::tree_head::TreeHead;
use super::verifier_key::{KeyKind, VerifierKey, VerifierKeyError};

/// No policy file is longer: 256 KiB.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;
/// No policy has more logs, nor more witnesses and groups.
const MAX_NAMES: usize = 256;
/// The name of the quorum that asks for nobody.
const NONE: &[u8] = b"none";

/// A text is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("policy is refused at line {line}: {fault}")]
pub struct PolicyError {
    /// The line, from 1; the one after the last if something is missing.
    pub line: usize,
    /// What is wrong there.
    pub fault: PolicyFault,
}

/// What is wrong with a line of a policy.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PolicyFault {
    /// It is none of the lines that a policy has, has an octet that none may have, or no line feed.
    #[error("it is malformed")]
    Malformed,
    /// The file is longer than [`MAX_POLICY_BYTES`], or names more than 256 logs, or witnesses and groups.
    #[error("it is beyond the limits")]
    TooMuch,
    /// Its key is none.
    #[error("its {0}")]
    Key(#[from] VerifierKeyError),
    /// A witness's key is not one for cosignatures.
    #[error("its key makes no cosignatures")]
    NoCosigner,
    /// The same key was there before, or another one that cannot be told from it.
    #[error("its key is a duplicate")]
    DuplicateKey,
    /// The name is taken.
    #[error("its name is taken")]
    DuplicateName,
    /// A name stands on no line before.
    #[error("it has a name of nobody")]
    UnknownName,
    /// A member is in a group already.
    #[error("it has a member that is in a group already")]
    MemberTwice,
    /// A threshold is zero, or above the number of members.
    #[error("its threshold is out of range")]
    Threshold,
    /// There is a second quorum.
    #[error("it is a second quorum")]
    SecondQuorum,
    /// There is no quorum.
    #[error("there is no quorum")]
    NoQuorum,
}

impl Classify for PolicyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

/// A checkpoint is not to be believed under a policy.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TrustError {
    /// Its text is no checkpoint.
    #[error("checkpoint is malformed")]
    Malformed,
    /// It has a wrong signature of a log or witness of the policy.
    #[error("checkpoint has a wrong signature of a known key")]
    Signature,
    /// No log of the policy that its origin names signed it.
    #[error("checkpoint is signed by no known log")]
    Log,
    /// Too few witnesses cosigned it.
    #[error("checkpoint is cosigned by too few witnesses")]
    Quorum,
}

impl Classify for TrustError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// A checkpoint that a policy believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted<'p> {
    /// What it says.
    pub head: TreeHead,
    /// The key of the log that signed it.
    pub log: &'p VerifierKey,
    /// The cosignatures of witnesses of the policy, each line once.
    pub cosignatures: Vec<Verified<'p>>,
}

/// A log or a witness of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    key: VerifierKey,
    url: Option<Vec<u8>>,
}

impl Party {
    /// What it signs with.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where it is reached, opaque bytes; a witness by the prefix of its submissions.
    #[must_use]
    pub fn url(&self) -> Option<&[u8]> {
        self.url.as_deref()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Witness(Party),
    Group {
        threshold: usize,
        /// By their places among the voters before.
        members: Vec<usize>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Voter {
    name: Vec<u8>,
    rule: Rule,
    in_group: bool,
}

/// Which checkpoints to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Party>,
    voters: Vec<Voter>,
    /// The voter that decides; nobody has to.
    quorum: Option<usize>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`], with the first line that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyError> {
        let at = |line| move |fault| PolicyError { line, fault };
        if file.len() > MAX_POLICY_BYTES {
            return Err(at(1)(PolicyFault::TooMuch));
        }
        let mut draft = Draft::default();
        let mut count = 0;
        for line in file.split_inclusive(|byte| *byte == b'\n') {
            count += 1;
            draft.line(line).map_err(at(count))?;
        }
        let quorum = draft.quorum.ok_or(PolicyFault::NoQuorum);
        Ok(Self {
            logs: draft.logs,
            voters: draft.voters,
            quorum: quorum.map_err(at(count + 1))?,
        })
    }

    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &[Party] {
        &self.logs
    }

    /// The witnesses, whether they are in the quorum or not.
    pub fn witnesses(&self) -> impl Iterator<Item = &Party> {
        self.voters.iter().filter_map(|voter| match &voter.rule {
            Rule::Witness(witness) => Some(witness),
            Rule::Group { .. } => None,
        })
    }

    /// Believes `note` if it is a checkpoint signed by a log of the policy that its origin names, and
    /// cosigned by a quorum. Lines of unknown keys are passed over. Times are not judged: the caller may.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(&self, note: &Note) -> Result<Trusted<'_>, TrustError> {
        let head = TreeHead::parse(note.text()).ok_or(TrustError::Malformed)?;
        let wrong = |_: NoteError| TrustError::Signature;
        let logs = self.logs.iter().map(Party::key);
        let logs = verify_lines(note.text(), note.signatures(), logs).map_err(wrong)?;
        let witnesses = self.witnesses().map(Party::key);
        let cosignatures = verify_lines(note.text(), note.signatures(), witnesses);
        let cosignatures = cosignatures.map_err(wrong)?;
        let of_origin = |log: &&Verified<'_>| log.key.name().as_str() == head.origin();
        let log = logs.iter().find(of_origin).ok_or(TrustError::Log)?.key;
        if !self.is_quorum(&cosignatures) {
            return Err(TrustError::Quorum);
        }
        Ok(Trusted {
            head,
            log,
            cosignatures,
        })
    }

    /// Whether a quorum cosigned `note`, whoever signed it.
    ///
    /// # Errors
    /// [`TrustError::Malformed`]; [`TrustError::Signature`] if a line of a witness of the policy is wrong.
    pub fn is_cosigned(&self, note: &Note) -> Result<bool, TrustError> {
        TreeHead::parse(note.text()).ok_or(TrustError::Malformed)?;
        let witnesses = self.witnesses().map(Party::key);
        let made = verify_lines(note.text(), note.signatures(), witnesses);
        Ok(self.is_quorum(&made.map_err(|_| TrustError::Signature)?))
    }

    fn is_quorum(&self, cosignatures: &[Verified<'_>]) -> bool {
        let Some(quorum) = self.quorum else {
            return true;
        };
        let mut votes = Vec::with_capacity(self.voters.len());
        for voter in &self.voters {
            let vote = match &voter.rule {
                Rule::Witness(witness) => {
                    let mut made = cosignatures.iter();
                    made.any(|cosignature| *cosignature.key == witness.key)
                }
                Rule::Group { threshold, members } => {
                    let voted = |member: &&usize| votes.get(**member) == Some(&true);
                    members.iter().filter(voted).count() >= *threshold
                }
            };
            votes.push(vote);
        }
        votes.get(quorum) == Some(&true)
    }
}

/// A policy of which not all lines are read.
#[derive(Default)]
struct Draft {
    logs: Vec<Party>,
    voters: Vec<Voter>,
    quorum: Option<Option<usize>>,
}

impl Draft {
    /// One line with its line feed.
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyFault> {
        let line = line.strip_suffix(b"\n").ok_or(PolicyFault::Malformed)?;
        let allowed = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if !line.iter().all(allowed) {
            return Err(PolicyFault::Malformed);
        }
        let items = line.split(|byte| matches!(byte, b' ' | b'\t'));
        let items: Vec<&[u8]> = items.filter(|item| !item.is_empty()).collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None),
            [b"log", key, url] => self.log(key, Some(url)),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"group", name, threshold, members @ ..] => self.group(name, threshold, members),
            [b"quorum", name] => self.quorum(name),
            _ => Err(PolicyFault::Malformed),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>) -> Result<(), PolicyFault> {
        let log = party(key, url)?;
        if self.logs.len() >= MAX_NAMES {
            return Err(PolicyFault::TooMuch);
        }
        if self.logs.iter().any(|other| clash(&log, other)) {
            return Err(PolicyFault::DuplicateKey);
        }
        self.logs.push(log);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), PolicyFault> {
        let witness = party(key, url)?;
        if witness.key.kind() != KeyKind::Cosignature {
            return Err(PolicyFault::NoCosigner);
        }
        let same = |voter: &Voter| match &voter.rule {
            Rule::Witness(other) => clash(&witness, other),
            Rule::Group { .. } => false,
        };
        if self.voters.iter().any(same) {
            return Err(PolicyFault::DuplicateKey);
        }
        self.voter(name, Rule::Witness(witness))
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), PolicyFault> {
        if names.is_empty() {
            return Err(PolicyFault::Malformed);
        }
        let threshold = match threshold {
            b"all" => names.len(),
            b"any" => 1,
            digits => {
                let number = str::from_utf8(digits).ok().and_then(decimal);
                let number = number.ok_or(PolicyFault::Malformed)?;
                usize::try_from(number).map_err(|_| PolicyFault::Threshold)?
            }
        };
        if threshold < 1 || threshold > names.len() {
            return Err(PolicyFault::Threshold);
        }
        let mut members = Vec::new();
        for name in names {
            let place = self.place(name)?;
            let voter = self.voters.get_mut(place);
            let voter = voter.ok_or(PolicyFault::UnknownName)?;
            if std::mem::replace(&mut voter.in_group, true) {
                return Err(PolicyFault::MemberTwice);
            }
            members.push(place);
        }
        self.voter(name, Rule::Group { threshold, members })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), PolicyFault> {
        if self.quorum.is_some() {
            return Err(PolicyFault::SecondQuorum);
        }
        self.quorum = Some(if name == NONE {
            None
        } else {
            Some(self.place(name)?)
        });
        Ok(())
    }

    fn voter(&mut self, name: &[u8], rule: Rule) -> Result<(), PolicyFault> {
        if self.voters.len() >= MAX_NAMES {
            return Err(PolicyFault::TooMuch);
        }
        if name == NONE || self.place(name).is_ok() {
            return Err(PolicyFault::DuplicateName);
        }
        self.voters.push(Voter {
            name: name.to_vec(),
            rule,
            in_group: false,
        });
        Ok(())
    }

    fn place(&self, name: &[u8]) -> Result<usize, PolicyFault> {
        let found = self.voters.iter().position(|voter| voter.name == name);
        found.ok_or(PolicyFault::UnknownName)
    }
}

fn party(key: &[u8], url: Option<&[u8]>) -> Result<Party, PolicyFault> {
    let key = str::from_utf8(key).map_err(|_| VerifierKeyError::Malformed)?;
    Ok(Party {
        key: VerifierKey::parse(key)?,
        url: url.map(<[u8]>::to_vec),
    })
}

/// Whether two parties have one key, or signature lines that cannot be told apart.
fn clash(one: &Party, other: &Party) -> bool {
    let (one, other) = (&one.key, &other.key);
    one.key() == other.key() || (one.name() == other.name() && one.id() == other.id())
}
