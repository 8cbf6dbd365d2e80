//! Patients of the log for those who may know: named, revealed, disclosed, erased.

use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::{audit, disclosure};
use eonpro_core::event::{Digest, Event, EventData, Outcome};
use eonpro_core::id::SubjectId;
use eonpro_core::identity::ActorKind;
use eonpro_core::phi::Phi;
use eonpro_core::task;
use eonpro_core::time::Timestamp;

use super::EmbeddedAudit;
use super::open_log::OpenLog;
use super::reading::may_read;
use crate::disclosure::{Disclosure, DisclosureOrder};
use crate::erasure::{Erasure, ErasureCheck, ErasureFacts, SubjectErased, UNCHECKED};
use crate::error::AuditError;
use crate::log_id::LogId;
use crate::service::Receipt;
use crate::subjects::{Pseudonym, Revealed};
use crate::tlog::{OfflineProof, TreeHead};
use crate::wire::{EntryValue, EntryView, Leaf};

/// What is recorded of an erasure itself, which must not keep it from being repeated.
const OF_ERASURES: [&str; 3] = ["DISC-005", "DISC-008", "KEY-004"];
const DECIDED: &str = "DISC-008";

impl EmbeddedAudit {
    /// What `log` calls `subject`; `None` if no entry names them, or none since they were erased. A
    /// query by patient looks for this text in the fields of entries. Cancel-safe.
    ///
    /// # Errors
    /// [`AuditError::Denied`] as `read`; [`AuditError::Seal`], [`AuditError::Subject`],
    /// [`AuditError::Closed`].
    pub async fn pseudonym_of(
        &self,
        cx: &RequestContext,
        log: &LogId,
        subject: SubjectId,
    ) -> Result<Option<Pseudonym>, AuditError> {
        self.0.allow(cx, log)?;
        self.0.builder.subjects.pseudonym_of(log, subject).await
    }

    /// Opens the sealed fields of an entry and says whose its pseudonyms are, once it is on record that
    /// the reader saw them (AUD-003). What does not open to what the entry commits to is an error,
    /// never a value.
    ///
    /// # Errors
    /// [`AuditError::Denied`] as `read`; [`AuditError::Commitment`], [`AuditError::NotTheEntry`],
    /// [`AuditError::Seal`], [`AuditError::Subject`]; as `append` if it cannot be recorded.
    pub async fn reveal(
        &self,
        cx: &RequestContext,
        view: &EntryView,
    ) -> Result<Revealed, AuditError> {
        let core = &self.0;
        core.allow(cx, &view.log)?;
        let entry = view.entry().map_err(|_| AuditError::NotTheEntry)?;
        let revealed = core.builder.subjects.reveal(&view.log, &entry).await?;
        let event = audit::LogViewed {
            filter: Phi::new(format!("reveal {}#{}", view.log, view.index)),
            rows: 1,
            patients: revealed.subjects.len() as u64,
        };
        core.record_for(cx, &view.log, event, Outcome::Success)
            .await?;
        Ok(revealed)
    }

    /// Opens one sealed field of the entry that `proof` proves and carries (as
    /// [`prove`](crate::prove) makes it), for somebody outside. On record before it is returned:
    /// AUD-004, and DISC-001 for each patient of the entry who is still known.
    ///
    /// # Errors
    /// [`AuditError::NotTheEntry`] if the proof carries no entry of this log; [`AuditError::NoField`];
    /// as [`Self::reveal`].
    pub async fn disclose(
        &self,
        cx: &RequestContext,
        proof: OfflineProof,
        field: &str,
        order: DisclosureOrder,
    ) -> Result<Disclosure, AuditError> {
        let core = &self.0;
        let head = TreeHead::parse(proof.checkpoint().text());
        let log = head.and_then(|head| LogId::parse(head.origin()));
        let log = log.ok_or(AuditError::NotTheEntry)?;
        core.allow(cx, &log)?;
        let index = proof.index();
        let ours = core.entries(log, index, 1).await?;
        if !matches!(ours.as_slice(), [view] if view.bytes == proof.extra()) {
            return Err(AuditError::NotTheEntry);
        }
        let leaf = Leaf::parse(proof.extra());
        let entry = leaf.and_then(|leaf| leaf.entry());
        let entry = entry.map_err(|_| AuditError::NotTheEntry)?;
        let subjects = &core.builder.subjects;
        let salted = subjects.open_field(&log, &entry, field).await?;
        let patients = subjects.reveal(&log, &entry).await?.subjects;
        let proofs = Digest::of(proof.to_string().as_bytes());
        let made = Disclosure::new(field.to_owned(), salted, proof);

        let exported = audit::LogExported {
            first_index: index,
            last_index: index,
            digest: made.digest(),
            proof_bundle: proofs,
            recipient: order.recipient_name.clone(),
        };
        let mut events = vec![core.event(exported, Outcome::Success)];
        for patient in patients.into_values() {
            let disclosed = disclosure::Made {
                patient,
                recipient_name: order.recipient_name.clone(),
                recipient_address: order.recipient_address.clone(),
                description: Phi::new(format!("{field} of {log}#{index}")),
                purpose_statement: order.purpose_statement.clone(),
                legal_basis: order.legal_basis.clone(),
                third_country_basis: None,
            };
            events.push(core.event(disclosed, Outcome::Success));
        }
        let bound = core.bound_to(cx, &log);
        core.submit(log, &bound, &events).await?;
        Ok(made)
    }

    /// Erases a patient from a log, unless one of `checks` obliges to keep the data: from then on nobody
    /// can tell whose the pseudonym was or open what was sealed for this patient alone. No entry, hash
    /// or proof changes. A later event of the patient gets a fresh pseudonym.
    ///
    /// The decision is on record first (DISC-008), granted or refused; without any check it is refused.
    /// Goes on when the caller drops it after that. A failure may leave the record behind: repeat
    /// the call, which records the decision again, or let [`Self::finish_erasures`] do it. For a system
    /// context or the tenant's own.
    ///
    /// # Errors
    /// [`AuditError::Kept`] if it is refused; [`AuditError::ErasureCheck`] if nobody can tell;
    /// [`AuditError::Denied`] as `read`; as `append`; [`AuditError::Seal`], [`AuditError::Subject`].
    pub async fn shred(
        &self,
        cx: &RequestContext,
        erasure: &Erasure,
        checks: &[&dyn ErasureCheck],
    ) -> Result<SubjectErased, AuditError> {
        let core = &self.0;
        core.allow(cx, &erasure.log)?;
        let subjects = &core.builder.subjects;
        let pseudonym = subjects.pseudonym_of(&erasure.log, erasure.subject).await?;
        let facts = ErasureFacts {
            erasure,
            pseudonym,
            newest: core.newest(erasure.log, pseudonym).await?,
            now: core.clock.wall(),
        };
        let mut obstacle = checks.is_empty().then_some(UNCHECKED);
        for check in checks {
            if obstacle.is_none() {
                let found = check.obstacle(&facts).await;
                obstacle = found.map_err(AuditError::ErasureCheck)?;
            }
        }
        let (core, cx, erasure) = (Arc::clone(core), cx.clone(), erasure.clone());
        let done = task::outlive(async move { core.decide(&cx, &erasure, obstacle).await });
        done.await.map_err(|_| AuditError::WorkerLost)?
    }

    /// Deletes the records of patients whom `log` says to be erased (DISC-008) and who still have one:
    /// after a crash in the middle, and **after a backup of the key-value store was put back**. Reads all
    /// of the log. Returns how many there were. Idempotent; for a system context.
    ///
    /// # Errors
    /// [`AuditError::Denied`]; as `read`; [`AuditError::Seal`], [`AuditError::Subject`].
    pub async fn finish_erasures(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<u64, AuditError> {
        let core = &self.0;
        if cx.actor().kind != ActorKind::System {
            return Err(AuditError::Denied);
        }
        let (mut from, mut finished) = (0, 0);
        loop {
            let views = core.entries(*log, from, core.config.read_limit).await?;
            if views.is_empty() {
                return Ok(finished);
            }
            from += views.len() as u64;
            for pseudonym in views.iter().filter_map(erased) {
                let subjects = &core.builder.subjects;
                let was_there = subjects.forget_pseudonym(log, &pseudonym).await?;
                finished += u64::from(was_there);
            }
        }
    }
}

/// Whom an entry declares to be erased.
fn erased(view: &EntryView) -> Option<Pseudonym> {
    let entry = view.entry().ok()?;
    if entry.code != DECIDED || entry.fields.get("erased") != Some(&EntryValue::Flag(true)) {
        return None;
    }
    match entry.fields.get("patient") {
        Some(EntryValue::Text(patient)) => Pseudonym::parse(patient),
        _ => None,
    }
}

impl OpenLog {
    fn allow(&self, cx: &RequestContext, log: &LogId) -> Result<(), AuditError> {
        self.open()?;
        match may_read(cx, log) {
            true => Ok(()),
            false => Err(AuditError::Denied),
        }
    }

    fn event<E: EventData>(&self, data: E, outcome: Outcome) -> Arc<Event> {
        Event::new(data, outcome, &*self.clock, &*self.entropy)
    }

    /// The reader's context, to record in `log` what was read there.
    fn bound_to(&self, cx: &RequestContext, log: &LogId) -> RequestContext {
        match (log, cx.tenant()) {
            (LogId::Tenant(id), bound) if bound.is_none_or(|bound| bound.id != *id) => {
                self.builder.bound(cx.clone(), *id)
            }
            _ => cx.clone(),
        }
    }

    async fn record_for<E: EventData>(
        &self,
        cx: &RequestContext,
        log: &LogId,
        data: E,
        outcome: Outcome,
    ) -> Result<Receipt, AuditError> {
        // What was read in the directory log is recorded in the system's.
        let log = match log {
            LogId::Directory => LogId::System,
            other => *other,
        };
        let (cx, event) = (self.bound_to(cx, &log), self.event(data, outcome));
        let receipts = self.submit(log, &cx, std::slice::from_ref(&event)).await?;
        receipts.first().copied().ok_or(AuditError::WorkerLost)
    }

    /// Puts the decision on record, and does what it says.
    async fn decide(
        &self,
        cx: &RequestContext,
        erasure: &Erasure,
        obstacle: Option<eonpro_core::event::Code>,
    ) -> Result<SubjectErased, AuditError> {
        let outcome = match obstacle {
            Some(_) => Outcome::Minor,
            None => Outcome::Success,
        };
        let event = disclosure::RightsErasureDecided {
            patient: erasure.subject,
            request: erasure.request,
            erased: obstacle.is_none(),
            retention_basis: obstacle.clone(),
        };
        let decision = self.record_for(cx, &erasure.log, event, outcome).await?;
        if let Some(basis) = obstacle {
            return Err(AuditError::Kept(basis));
        }
        let subjects = &self.builder.subjects;
        let pseudonym = subjects.forget(&erasure.log, erasure.subject).await?;
        Ok(SubjectErased {
            pseudonym,
            decision,
            exposure: subjects.exposure(),
        })
    }

    /// When `log` recorded its newest entry that names `pseudonym`.
    async fn newest(
        self: &Arc<Self>,
        log: LogId,
        pseudonym: Option<Pseudonym>,
    ) -> Result<Option<Timestamp>, AuditError> {
        let Some(name) = pseudonym.map(|pseudonym| pseudonym.to_string()) else {
            return Ok(None);
        };
        let (mut from, mut newest) = (0, None);
        loop {
            let views = self.entries(log, from, self.config.read_limit).await?;
            if views.is_empty() {
                return Ok(newest);
            }
            from += views.len() as u64;
            for view in views {
                let names = std::str::from_utf8(&view.bytes).is_ok_and(|text| text.contains(&name));
                let counts = |code: &str| !OF_ERASURES.contains(&code);
                if names && view.entry().is_ok_and(|entry| counts(&entry.code)) {
                    newest = view.recorded().ok().or(newest);
                }
            }
        }
    }

    /// At most `many` entries of `log` from `from` on.
    async fn entries(
        self: &Arc<Self>,
        log: LogId,
        from: u64,
        many: usize,
    ) -> Result<Vec<EntryView>, AuditError> {
        let (core, until) = (Arc::clone(self), from.saturating_add(many as u64));
        let read = task::blocking(move || core.read_spots(&log, &(from..until))).await;
        read.unwrap_or(Err(AuditError::WorkerLost))
    }
}
