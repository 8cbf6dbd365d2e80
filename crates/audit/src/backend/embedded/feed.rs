//! What an archive asks of an open log: how far it is signed and durable, and to record what was done.

use eonpro_core::event::{EventData, Outcome};

use super::EmbeddedAudit;
use super::queue::Queue;
use super::signing::Signing;
use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::error::AuditError;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::walk::Until;

/// A log directory at a moment when everything in it was signed.
#[derive(Debug)]
pub(crate) struct SignedNow {
    pub(crate) layout: Layout,
    pub(crate) keys: Vec<VerifyingKey>,
    /// Everything that `head` covers stands before this place, durably.
    pub(crate) until: Until,
    /// The head of the directory log, and the note that signs it.
    pub(crate) head: Checkpoint,
    pub(crate) note: String,
}

impl EmbeddedAudit {
    /// Signs what grew, and says how far that goes.
    pub(crate) async fn signed_now(&self) -> Result<SignedNow, AuditError> {
        let core = &self.0;
        core.open()?;
        let signed = core.signing.lock().await.signed_now(&core.queue).await;
        core.note_corruption(signed).await
    }

    /// Appends an event of audit's own to the system log.
    pub(crate) async fn note<E: EventData>(
        &self,
        event: E,
        outcome: Outcome,
    ) -> Result<(), AuditError> {
        self.0.open()?;
        self.0.record(LogId::System, event, outcome).await
    }
}

impl Signing {
    async fn signed_now(&mut self, queue: &Queue) -> Result<SignedNow, AuditError> {
        self.checkpoint(queue).await?;
        let until = queue.mark().await?.until;
        // Nobody else replaces the file while the lock on this is held.
        let note = self.layout.read_checkpoint()?.unwrap_or_default();
        Ok(SignedNow {
            layout: self.layout.clone(),
            keys: self.keys.clone(),
            until,
            head: self.head,
            note,
        })
    }
}
