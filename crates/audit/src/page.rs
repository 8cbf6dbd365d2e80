//! What a log answers to a query: hits, each as it stands in the log, with its proof where one is asked for.

use eonpro_core::event::Digest;

use crate::merkle::verify_inclusion;
use crate::tlog::{Note, OfflineProof, OfflineProofError, TreeHead};
use crate::wire::EntryView;

/// One entry that a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry.
    pub view: EntryView,
    /// Its inclusion proof in the tree of [`Page::head`]; `None` if none was asked for, or the head does
    /// not cover the entry yet: [`AuditLog::checkpoint`](crate::AuditLog::checkpoint) makes one that does.
    pub proof: Option<Vec<Digest>>,
}

/// One page of an answer.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What was found, in the order that was asked for. May be fewer than the limit, or none, although
    /// more follow: a page does a bounded amount of work.
    pub hits: Vec<Hit>,
    /// Where the next page goes on (`Query::after`); `None` if this was the last.
    pub next: Option<u64>,
    /// How many entries of the log the answer is about (`Query::size`).
    pub size: u64,
    /// The last signed head of the log, a C2SP signed note, which the proofs hold under. `None` if no proofs
    /// were asked for, or none was signed.
    pub head: Option<String>,
}

impl Page {
    /// For backends: what was found, where the next page goes on, how many entries the answer is about, and
    /// the signed head that the proofs hold under.
    #[must_use]
    pub fn new(hits: Vec<Hit>, next: Option<u64>, size: u64, head: Option<String>) -> Self {
        Self {
            hits,
            next,
            size,
            head,
        }
    }
}

impl Hit {
    /// The proof of this hit under `head`, the page's, as a file that anybody can check later without the
    /// log, with the entry's bytes as extra data.
    ///
    /// # Errors
    /// [`OfflineProofError::Malformed`] if the hit carries no proof or `head` is no head of its log;
    /// [`OfflineProofError::Inclusion`] if the proof does not hold under it. The signatures of the head are
    /// for whoever verifies the file.
    pub fn offline_proof(&self, head: &str) -> Result<OfflineProof, OfflineProofError> {
        let proof = self.proof.as_ref().ok_or(OfflineProofError::Malformed)?;
        offline_proof(&self.view, proof, head)
    }
}

/// That `view` is in its log, by its inclusion proof in the tree of the signed note `head`, as a file that
/// anybody can check later without the log. The entry's bytes are its extra data.
///
/// # Errors
/// [`OfflineProofError::Malformed`] if `head` is no head of the entry's log; [`OfflineProofError::Inclusion`]
/// if the proof does not hold under it.
pub fn offline_proof(
    view: &EntryView,
    proof: &[Digest],
    head: &str,
) -> Result<OfflineProof, OfflineProofError> {
    let note = Note::parse(head).map_err(|_| OfflineProofError::Malformed)?;
    let tree = TreeHead::parse(note.text())
        .filter(|tree| tree.origin() == view.log.to_string())
        .ok_or(OfflineProofError::Malformed)?;
    verify_inclusion(proof, view.index, &view.leaf(), tree.size(), tree.root())?;
    OfflineProof::new(view.index, proof.to_vec(), note)?.with_extra(view.bytes.clone())
}
