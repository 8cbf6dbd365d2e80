//! Witnesses: others who remember how far the log had grown, and say so with their signature.
//!
//! A witness cosigns a head only if it is a later state of the last one that it cosigned. So a log that
//! was rewritten or put back, by whoever holds its key and its store, is found out by its witnesses.
//! Protocol: C2SP tlog-witness; who counts says a tlog-policy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::error::{Classify, ErrorKind, Source};

use crate::error::AuditError;
use crate::tlog::{AddCheckpoint, Answer, AnswerError, Policy, VerifierKey};

/// Somebody who cosigns heads of the directory log.
#[async_trait]
pub trait Witness: fmt::Debug + Send + Sync + 'static {
    /// What it cosigns with. Its name is the witness's name.
    fn key(&self) -> &VerifierKey;

    /// Asks it to cosign. Nothing in the answer is believed yet: see [`AddCheckpoint::accept`].
    /// Cancel-safe; the caller bounds the time.
    ///
    /// # Errors
    /// [`WitnessError`].
    async fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<Answer, WitnessError>;
}

/// A witness gave no answer.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It is out of reach.
    #[error("witness is out of reach")]
    Unreachable(#[source] Source),
    /// What it answered is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Classify for WitnessError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable(_) => ErrorKind::Unavailable,
            Self::Answer(error) => error.kind(),
        }
    }
}

/// The witnesses of a log, and how many of them must cosign.
#[derive(Debug, Clone)]
pub struct Witnesses {
    pub(crate) policy: Policy,
    pub(crate) asked: Vec<Arc<dyn Witness>>,
    pub(crate) timeout: Duration,
    pub(crate) overdue: Duration,
    pub(crate) retry: Duration,
}

impl Witnesses {
    /// Asks `witnesses`, of which `policy` says how many count. What the policy says of logs does not
    /// matter here. An answer may take 10 seconds; while a quorum is missing all are asked again after 30
    /// seconds, and after 10 minutes it is overdue.
    ///
    /// # Errors
    /// [`AuditError::Config`] if the policy does not know one of them, or if one is there twice.
    pub fn new(policy: Policy, witnesses: Vec<Arc<dyn Witness>>) -> Result<Self, AuditError> {
        for (at, witness) in witnesses.iter().enumerate() {
            let before = witnesses.iter().take(at);
            if before.into_iter().any(|other| other.key() == witness.key()) {
                return Err(AuditError::Config("a witness is there twice"));
            }
            if !policy.witnesses().any(|party| party.key() == witness.key()) {
                return Err(AuditError::Config("a witness is not in the policy"));
            }
        }
        Ok(Self {
            policy,
            asked: witnesses,
            timeout: Duration::from_secs(10),
            overdue: Duration::from_secs(600),
            retry: Duration::from_secs(30),
        })
    }

    /// How long one witness may take, all its answers to one head together.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a quorum may be missing before people hear of it.
    #[must_use]
    pub fn overdue_after(mut self, overdue: Duration) -> Self {
        self.overdue = overdue;
        self
    }

    /// How soon the witnesses are asked again while a quorum is missing.
    #[must_use]
    pub fn retry_after(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }
}
