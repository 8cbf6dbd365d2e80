//! What a log asks a witness, what a witness has to check, and what it answers.
//!
//! Bodies and rules of `add-checkpoint` only: who carries them, and who keeps what was cosigned, is
//! elsewhere. `sign-subtree` needs ML-DSA and is not here. Format: C2SP tlog-witness.

use std::fmt;

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::Digest;

use super::note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, SignatureLine, verify_lines};
use super::offline_proof::hash_lines;
use super::tile::decimal;
use super::tree_head::{TreeHead, write_hash};
use super::verifier_key::{KeyKind, VerifierKey};
use crate::merkle::{empty_root, verify_consistency};

/// The most hashes of a consistency proof in a request.
pub const MAX_CONSISTENCY: usize = 63;
/// No request body is longer: checkpoint, proof, and the line of the old size.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + MAX_CONSISTENCY * 45 + 64;
/// No answer body is longer than a note.
pub const MAX_ANSWER_BYTES: usize = MAX_NOTE_BYTES;
/// The media type of a conflict.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// 400: the request is malformed, or its old size is above the new one.
    #[error("request is malformed")]
    Malformed,
    /// 403: no trusted key signed the checkpoint, or one that claims to did not.
    #[error("checkpoint is not signed by a trusted key")]
    Untrusted,
    /// 404: the witness does not know the log.
    #[error("log is unknown")]
    UnknownLog,
    /// 409: the old size is not that of the last cosigned checkpoint. A log that finds itself behind
    /// it was rolled back.
    #[error("another checkpoint was cosigned last")]
    Conflict {
        /// The size of the last cosigned checkpoint.
        size: u64,
    },
    /// 422: the proof does not hold.
    #[error("checkpoint is not consistent with the one cosigned last")]
    Inconsistent,
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed => ErrorKind::InvalidInput,
            Self::Untrusted => ErrorKind::PermissionDenied,
            Self::UnknownLog => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Inconsistent => ErrorKind::Integrity,
        }
    }
}

/// What a witness knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLog {
    /// The keys that it trusts for the log's origin.
    pub keys: Vec<VerifierKey>,
    /// Size and root of the checkpoint that it cosigned last, if it ever did.
    pub last: Option<(u64, Digest)>,
}

/// The body of `POST <prefix>/add-checkpoint`. Prints as the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Digest>,
    checkpoint: Note,
    head: TreeHead,
}

impl AddCheckpoint {
    /// Asks to cosign `checkpoint`, of which the witness should have cosigned that of size `old` last,
    /// with the proof from there. Of `old` zero the proof is empty.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] of more than [`MAX_CONSISTENCY`] hashes, or if the note is no checkpoint.
    pub fn new(old: u64, proof: Vec<Digest>, checkpoint: Note) -> Result<Self, Refusal> {
        let head = TreeHead::parse(checkpoint.text()).ok_or(Refusal::Malformed)?;
        if proof.len() > MAX_CONSISTENCY {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            old,
            proof,
            checkpoint,
            head,
        })
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(body: &str) -> Result<Self, Refusal> {
        Self::read(body).ok_or(Refusal::Malformed)
    }

    fn read(body: &str) -> Option<Self> {
        if body.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let (old, rest) = body.strip_prefix("old ")?.split_once('\n')?;
        let (proof, checkpoint) = hash_lines(rest, MAX_CONSISTENCY)?;
        Self::new(decimal(old)?, proof, Note::parse(checkpoint).ok()?).ok()
    }

    /// The size from which the proof leads.
    #[must_use]
    pub const fn old(&self) -> u64 {
        self.old
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> &[Digest] {
        &self.proof
    }

    /// The checkpoint, of which nothing is verified.
    #[must_use]
    pub const fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }

    /// What the checkpoint says.
    #[must_use]
    pub const fn head(&self) -> &TreeHead {
        &self.head
    }

    /// For a witness: whether it may cosign, by what it knows of the log that
    /// [`head`](Self::head) names. It then has to store size and root as its last, in one step with the
    /// comparison, before it answers; and to cosign only the text of this checkpoint.
    ///
    /// # Errors
    /// [`Refusal`], in the order of the specification.
    pub fn check(&self, known: Option<&KnownLog>) -> Result<(), Refusal> {
        let known = known.ok_or(Refusal::UnknownLog)?;
        let signed = self.checkpoint.verify(&known.keys);
        signed.map_err(|_| Refusal::Untrusted)?;
        let (old, size, root) = (self.old, self.head.size(), self.head.root());
        if old > size {
            return Err(Refusal::Malformed);
        }
        let (last, last_root) = known.last.unwrap_or_else(|| (0, empty_root()));
        if old != last {
            return Err(Refusal::Conflict { size: last });
        }
        if size == 0 && *root != empty_root() {
            return Err(Refusal::Inconsistent);
        }
        if old == 0 {
            // Every tree begins with nothing: a proof of it would be of something else.
            let empty = self.proof.is_empty();
            return empty.then_some(()).ok_or(Refusal::Inconsistent);
        }
        verify_consistency(&self.proof, old, &last_root, size, root)
            .map_err(|_| Refusal::Inconsistent)
    }

    /// For a log: those of `lines`, with which a witness answered, that are cosignatures of this
    /// checkpoint by one of `keys`; at least one. Lines of unknown keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if one of a known key is wrong, or states no time;
    /// [`NoteError::Unsigned`] if there is none.
    pub fn accept(
        &self,
        lines: &[SignatureLine],
        keys: &[VerifierKey],
    ) -> Result<Vec<SignatureLine>, NoteError> {
        let mut accepted = Vec::new();
        for line in lines {
            let keys = keys.iter().filter(|key| key.kind() == KeyKind::Cosignature);
            let verified = verify_lines(self.checkpoint.text(), std::slice::from_ref(line), keys)?;
            if verified.iter().any(|made| made.timestamp == Some(0)) {
                return Err(NoteError::Signature);
            }
            if !verified.is_empty() {
                accepted.push(line.clone());
            }
        }
        if accepted.is_empty() {
            return Err(NoteError::Unsigned);
        }
        Ok(accepted)
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| write_hash(f, hash))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: lines that say they are cosignatures; see [`AddCheckpoint::accept`].
    Cosigned(Vec<SignatureLine>),
    /// It does not cosign.
    Refused(Refusal),
    /// Another status, such as that of a proxy.
    Other(u16),
}

/// An answer of a witness is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("answer of the witness is malformed")]
pub struct AnswerError;

impl Classify for AnswerError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

impl Answer {
    /// Reads an answer from its HTTP status, the `Content-Type` and the body.
    ///
    /// # Errors
    /// [`AnswerError`] if the body is not what the status promises, or longer than [`MAX_ANSWER_BYTES`].
    pub fn parse(status: u16, content_type: Option<&str>, body: &str) -> Result<Self, AnswerError> {
        if body.len() > MAX_ANSWER_BYTES {
            return Err(AnswerError);
        }
        Ok(match status {
            200 => Self::Cosigned(SignatureLine::parse_all(body).ok_or(AnswerError)?),
            409 => {
                let media = content_type.and_then(|value| value.split(';').next());
                let fits = media.is_some_and(|media| media.trim().eq_ignore_ascii_case(SIZE_TYPE));
                let size = body.strip_suffix('\n').and_then(decimal);
                let size = size.filter(|_| fits).ok_or(AnswerError)?;
                Self::Refused(Refusal::Conflict { size })
            }
            400 => Self::Refused(Refusal::Malformed),
            403 => Self::Refused(Refusal::Untrusted),
            404 => Self::Refused(Refusal::UnknownLog),
            422 => Self::Refused(Refusal::Inconsistent),
            other => Self::Other(other),
        })
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::Refused(Refusal::Malformed) => 400,
            Self::Refused(Refusal::Untrusted) => 403,
            Self::Refused(Refusal::UnknownLog) => 404,
            Self::Refused(Refusal::Conflict { .. }) => 409,
            Self::Refused(Refusal::Inconsistent) => 422,
            Self::Other(status) => *status,
        }
    }

    /// The `Content-Type` of the body.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::Conflict { .. }) => SIZE_TYPE,
            _ => "text/plain; charset=utf-8",
        }
    }

    /// The body; that of a refusal without a body of its own is empty.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(lines) => {
                let lines = lines.iter().take(MAX_SIGNATURES);
                lines.map(SignatureLine::to_string).collect()
            }
            Self::Refused(Refusal::Conflict { size }) => format!("{size}\n"),
            _ => String::new(),
        }
    }
}
