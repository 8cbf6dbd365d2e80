//! Why a replica stopped, and what shows it to others.

use std::fmt;

use eonpro_core::event::Digest;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use crate::log_id::LogId;

const VERSION: u32 = 1;

/// What the source showed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// A signed head that is smaller than the one before: it was put back to an older state.
    Shrunk,
    /// Another signed head of the same size.
    Forked,
    /// A larger signed head whose tree does not begin with the one before.
    Rewritten,
}

impl StopReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shrunk => "shrunk",
            Self::Forked => "forked",
            Self::Rewritten => "rewritten",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Shrunk, Self::Forked, Self::Rewritten];
        all.into_iter().find(|why| why.as_str() == text)
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source was {}", self.as_str())
    }
}

/// Two signed statements of the log's owner that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the source showed.
    pub why: StopReason,
    /// The log that both are about.
    pub log: LogId,
    /// The signed note that the replica believes, or an earlier one of the source's own.
    pub ours: String,
    /// The signed note that the source showed.
    pub theirs: String,
    /// For a rewrite: the consistency proof from the source's own tiles. It leads to the root that `theirs`
    /// signs, but not from the one that `ours` signs.
    pub proof: Vec<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    v: u32,
    why: String,
    log: String,
    ours: String,
    theirs: String,
    proof: Vec<String>,
}

impl Evidence {
    pub(super) fn new(
        why: StopReason,
        log: LogId,
        ours: &str,
        theirs: &str,
        proof: Vec<Digest>,
    ) -> Self {
        Self {
            why,
            log,
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
            proof,
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        let wire = Wire {
            v: VERSION,
            why: self.why.as_str().to_owned(),
            log: self.log.to_string(),
            ours: self.ours.clone(),
            theirs: self.theirs.clone(),
            proof: self.proof.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_vec_pretty(&wire).map_err(|_| ArchiveError::Cursor)
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        let proof = wire.proof.iter().map(|hash| Digest::parse_hex(hash));
        (wire.v == VERSION).then_some(())?;
        Some(Self {
            why: StopReason::parse(&wire.why)?,
            log: LogId::parse(&wire.log)?,
            ours: wire.ours,
            theirs: wire.theirs,
            proof: proof.collect::<Option<_>>()?,
        })
    }
}
