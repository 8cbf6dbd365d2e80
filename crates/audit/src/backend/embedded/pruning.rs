//! Holding, planning and pruning on the open log.
//!
//! The order is what makes a crash harmless: the plan is on disk before AUD-009 is, AUD-009 is signed before
//! a byte goes, and each segment is replaced whole. What a crash leaves verifies, and the next pruning goes
//! on from it. Appends and checkpoints go on meanwhile; verification waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::event::catalogue::audit;
use eonpro_core::event::{Code, Event, Outcome};
use eonpro_core::id::{ActorId, SubjectId, TenantId};
use eonpro_core::identity::ActorKind;
use eonpro_core::phi::Phi;
use eonpro_core::port::{KeyValue, Operation, Timer};
use eonpro_core::task;
use eonpro_core::time::Timestamp;

use super::EmbeddedAudit;
use super::index::Spot;
use super::open_log::OpenLog;
use crate::checkpoint::Checkpoint;
use crate::error::AuditError;
use crate::fault::VerifyError;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::retention::{
    Approvals, Hold, HoldId, HoldScope, Holds, Indexes, LogPlan, MAX_PLANS_BYTES, Moved, PrunePlan,
    PruneRefusal, Pruned, RetentionClass, RetentionPolicy, SET, Survey, Surveyor, UnderWay,
    hold_code, read_under_way, rewrite, write_bytes,
};
use crate::subjects::Pseudonym;
use crate::vfs;

const PLAN: Operation = Operation::new("audit", "plan_pruning");
const PRUNE: Operation = Operation::new("audit", "prune");
const HOLD: Operation = Operation::new("audit", "hold");
const LIFT: Operation = Operation::new("audit", "lift");

/// What retention needs of an open log.
#[derive(Debug)]
pub(super) struct Retention {
    holds: Holds,
    /// Held while entries are pruned, and while the log is verified.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Held while a hold is placed, and while one segment is judged and replaced, also by work whose caller
    /// went away: once a hold stands, nothing under it goes.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Retention {
    pub(super) fn new(state: Arc<dyn KeyValue>) -> Self {
        Self {
            holds: Holds::new(state),
            turn: tokio::sync::Mutex::default(),
            gate: Arc::default(),
        }
    }
}

/// Why entries about a patient must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// Whether a hold may cover them.
    pub held: bool,
    /// When the retention of the last of them ends; `None` if there is none. [`Timestamp`] at its
    /// largest where it never ends.
    pub until: Option<Timestamp>,
}

impl EmbeddedAudit {
    /// The legal holds that stand.
    #[must_use]
    pub fn holds(&self) -> Holds {
        self.0.retention.holds.clone()
    }

    /// Places a legal hold, and records it (AUD-010) for the actor of `cx`, with `authority`, who demands
    /// it, sealed. Once this returns nothing that the hold covers is pruned. For a system context.
    ///
    /// Idempotent on `id`. If the future is dropped or fails, the hold may stand without being on record:
    /// repeat it, or lift it.
    ///
    /// # Errors
    /// [`AuditError::Denied`]; [`AuditError::Hold`]; as [`AuditLog::append`](crate::AuditLog::append): then
    /// the hold stands all the same.
    pub async fn hold(
        &self,
        cx: &RequestContext,
        id: HoldId,
        scope: HoldScope,
        authority: Phi<String>,
    ) -> Result<(), AuditError> {
        let core = &self.0;
        let timer = Timer::start(HOLD, &*core.clock, &*core.observer);
        let hold = Hold {
            id,
            scope,
            placed: core.clock.wall(),
            called: None,
        };
        let placed = async {
            operator(core, cx)?;
            {
                let _between_segments = core.retention.gate.lock().await;
                core.retention.holds.put(&hold).await?;
            }
            core.record_hold(cx, &hold, SET, authority).await
        };
        timer.end(placed.await)
    }

    /// Records (AUD-010) that a hold is lifted, then lifts it. For a system context. Idempotent in effect;
    /// if the future is dropped or fails, the hold may still stand: repeat it.
    ///
    /// # Errors
    /// As [`Self::hold`]: the hold stands. `HoldError::Unknown` if there is no such hold.
    pub async fn lift(
        &self,
        cx: &RequestContext,
        id: HoldId,
        authority: Phi<String>,
    ) -> Result<(), AuditError> {
        let core = &self.0;
        let timer = Timer::start(LIFT, &*core.clock, &*core.observer);
        let lifted = async {
            operator(core, cx)?;
            let hold = core.retention.holds.get(id).await?;
            core.record_hold(cx, &hold, "lifted", authority).await?;
            Ok(core.retention.holds.remove(id).await?)
        };
        timer.end(lifted.await)
    }

    /// Whether entries about a patient in a tenant's log must stay under `policy`, and until when. Reads the
    /// tenant's whole log. For a system context. Cancel-safe.
    ///
    /// # Errors
    /// [`AuditError::Denied`], [`AuditError::Hold`], and as [`AuditLog::read`](crate::AuditLog::read): then
    /// take it that they must stay.
    pub async fn keeps(
        &self,
        cx: &RequestContext,
        tenant: TenantId,
        patient: SubjectId,
        policy: &RetentionPolicy,
    ) -> Result<Keeps, AuditError> {
        operator(&self.0, cx)?;
        let held = self.0.retention.holds.covers(tenant, patient).await?;
        let subjects = &self.0.builder.subjects;
        let pseudonym = subjects
            .pseudonym_of(&LogId::Tenant(tenant), patient)
            .await?;
        let Some(pseudonym) = pseudonym else {
            return Ok(Keeps { held, until: None });
        };
        let (core, policy) = (Arc::clone(&self.0), policy.clone());
        let about = (patient, pseudonym);
        let until = task::blocking(move || last_end(&core, tenant, about, &policy)).await;
        Ok(Keeps {
            held,
            until: until.map_err(|_| AuditError::WorkerLost)??,
        })
    }

    /// What would go under `policy` now. Signs and verifies the log first, and changes nothing else. With
    /// `anchors`, heads that were kept elsewhere, only what they cover would go. For a system context.
    ///
    /// Only signed entries in segments that are no longer written to would go, never the directory log's,
    /// and only those below the last multiple of 256 that is signed: so up to 255 old entries of a log stay
    /// until it grows.
    ///
    /// # Errors
    /// [`AuditError::Denied`]; [`AuditError::Hold`] if a hold cannot be read;
    /// [`AuditError::Refused`] if one is missing; [`AuditError::Corrupt`]; as
    /// [`AuditLog::checkpoint`](crate::AuditLog::checkpoint).
    pub async fn plan_pruning(
        &self,
        cx: &RequestContext,
        policy: &RetentionPolicy,
        anchors: &[Checkpoint],
    ) -> Result<PrunePlan, AuditError> {
        let core = &self.0;
        let timer = Timer::start(PLAN, &*core.clock, &*core.observer);
        let planned = async {
            operator(core, cx)?;
            let _turn = core.retention.turn.lock().await;
            let survey = core.survey(policy, core.clock.wall(), anchors).await?;
            Ok(survey.plan)
        };
        timer.end(planned.await)
    }

    /// Carries out `plan`: records AUD-009 in each log of which something goes, signs it, and only then
    /// replaces the bytes of these entries by their hashes. For a system context.
    ///
    /// May be repeated with a new plan after any failure or crash, and goes on where it was. Not
    /// cancel-safe in effect: a dropped call may have pruned a part. Holds are read again before each
    /// segment.
    ///
    /// # Errors
    /// [`AuditError::Refused`] if the approvals are not what the policy wants, or the plan is no longer what
    /// would go: nothing was pruned. As [`Self::plan_pruning`]: a part may have been.
    pub async fn prune(
        &self,
        cx: &RequestContext,
        plan: &PrunePlan,
        approver: &ActorId,
        second: Option<&ActorId>,
    ) -> Result<Pruned, AuditError> {
        let core = &self.0;
        let timer = Timer::start(PRUNE, &*core.clock, &*core.observer);
        let pruned = async {
            operator(core, cx)?;
            let enough = match plan.policy.approvals() {
                Approvals::One => second != Some(approver),
                Approvals::Two => second.is_some_and(|second| second != approver),
            };
            if !enough {
                return Err(PruneRefusal::Approvals.into());
            }
            let _turn = core.retention.turn.lock().await;
            let survey = core.survey(&plan.policy, plan.as_of, &plan.anchors).await?;
            if survey.plan.logs != plan.logs {
                return Err(PruneRefusal::PlanChanged.into());
            }
            core.carry_out(&survey, approver, second).await
        };
        timer.end(pruned.await)
    }
}

/// Only the system itself, for an operator, may hold and prune.
fn operator(core: &OpenLog, cx: &RequestContext) -> Result<(), AuditError> {
    core.open()?;
    match cx.actor().kind {
        ActorKind::System => Ok(()),
        _ => Err(AuditError::Denied),
    }
}

impl OpenLog {
    /// Signs, and judges every entry as of `as_of`.
    async fn survey(
        &self,
        policy: &RetentionPolicy,
        as_of: Timestamp,
        anchors: &[Checkpoint],
    ) -> Result<Survey, AuditError> {
        self.sign().await?;
        let holds = self.holds_by_name().await?;
        // Nobody publishes another head while the log is read up to the present one.
        let mut signing = self.signing.lock().await;
        let signed = signing.checkpoint(&self.queue).await;
        self.note_corruption(signed).await?;
        let surveyor = Surveyor {
            layout: self.layout.clone(),
            keys: signing.keys.clone(),
            until: self.queue.mark().await?.until,
            policy: policy.clone(),
            as_of,
            anchors: anchors.to_vec(),
            holds,
        };
        let survey = task::blocking(move || surveyor.survey()).await;
        drop(signing);
        let survey = survey.map_err(|_| AuditError::WorkerLost)?;
        let survey = survey.map_err(AuditError::from);
        Ok(self.note_corruption(survey).await??)
    }

    /// The holds that stand, with what each log calls their patients.
    async fn holds_by_name(&self) -> Result<Vec<Hold>, AuditError> {
        let mut holds = self.retention.holds.list().await?;
        let logs = self.index.logs();
        for hold in &mut holds {
            let HoldScope::Patient(patient) = hold.scope else {
                continue;
            };
            let mut called = BTreeMap::new();
            for log in logs.iter().filter(|log| **log != LogId::Directory) {
                let pseudonym = self.builder.subjects.pseudonym_of(log, patient).await?;
                called.extend(pseudonym.map(|pseudonym| (*log, pseudonym)));
            }
            hold.called = Some(called);
        }
        Ok(holds)
    }

    async fn carry_out(
        &self,
        survey: &Survey,
        approver: &ActorId,
        second: Option<&ActorId>,
    ) -> Result<Pruned, AuditError> {
        let logs = &survey.plan.logs;
        if logs.is_empty() {
            // A pruning may have ended just before its file was removed.
            self.alone(forget).await?;
            return Ok(Pruned::default());
        }
        let plan: Arc<BTreeMap<LogId, Indexes>> =
            Arc::new(logs.iter().map(|of| (of.log, of.indexes.clone())).collect());
        let mut under_way = self.alone(|layout| Ok(read_under_way(layout)?)).await?;
        if !under_way.0.contains(&plan) {
            under_way.0.push((*plan).clone());
            self.write_under_way(under_way).await?;
        }
        let policy = survey.plan.policy.name();
        for of in logs.iter().filter(|of| !of.announced) {
            let event = announcement(of, policy.clone(), approver, second);
            self.record(of.log, event, Outcome::Success).await?;
        }
        // No byte goes before all of it is signed.
        self.sign().await?;
        self.write_under_way(UnderWay(vec![(*plan).clone()]))
            .await?;

        let mut done = Pruned::default();
        let numbers: Arc<[LogId]> = survey.numbers.clone().into();
        for segment in &survey.segments {
            self.prune_segment(*segment, &numbers, &plan, &mut done)
                .await?;
        }
        if done.held == 0 {
            self.alone(forget).await?;
        }
        Ok(done)
    }

    async fn prune_segment(
        &self,
        segment: u64,
        numbers: &Arc<[LogId]>,
        plan: &Arc<BTreeMap<LogId, Indexes>>,
        done: &mut Pruned,
    ) -> Result<(), AuditError> {
        let gate = Arc::clone(&self.retention.gate).lock_owned().await;
        let holds = self.holds_by_name().await?;
        let (layout, index) = (self.layout.clone(), Arc::clone(&self.index));
        let (numbers, plan) = (Arc::clone(numbers), Arc::clone(plan));
        let work = move || {
            let _gate = gate;
            let new = rewrite(&layout, segment, &numbers, &plan, &holds)?;
            if new.pruned > 0 {
                let path = layout.segment(segment);
                let (temporary, _) = vfs::prepare(layout.vfs(), &path, &new.bytes)?;
                let spots = new.moved.iter().map(|moved| spot(segment, moved));
                index.replace(spots, || layout.vfs().rename(&temporary, &path))?;
                vfs::sync_parent(layout.vfs(), &path)?;
            }
            Ok::<_, VerifyError>((new.pruned, new.held, new.saved))
        };
        let worked = task::blocking(work).await;
        let worked = worked.map_err(|_| AuditError::WorkerLost)?;
        let (pruned, held, saved) = self
            .note_corruption(worked.map_err(AuditError::from))
            .await?;
        done.entries += pruned;
        done.held += held;
        if pruned > 0 {
            done.segments += 1;
            done.bytes += saved;
        }
        Ok(())
    }

    async fn write_under_way(&self, plans: UnderWay) -> Result<(), AuditError> {
        let bytes = write_bytes(&plans).map_err(|error| AuditError::Io(error.into()))?;
        if bytes.len() as u64 > MAX_PLANS_BYTES {
            return Err(PruneRefusal::TooLarge.into());
        }
        let write = move |layout: &Layout| Ok(layout.replace(&layout.pruning(), &bytes)?);
        self.alone(write).await
    }

    /// Works on the directory while nobody else prunes in it.
    async fn alone<T, F>(&self, work: F) -> Result<T, AuditError>
    where
        T: Send + 'static,
        F: FnOnce(&Layout) -> Result<T, AuditError> + Send + 'static,
    {
        let gate = Arc::clone(&self.retention.gate).lock_owned().await;
        let layout = self.layout.clone();
        let done = task::blocking(move || {
            let _gate = gate;
            work(&layout)
        });
        done.await.map_err(|_| AuditError::WorkerLost)?
    }

    /// Records that a hold was changed, in the log that it is about, or else in the system log.
    async fn record_hold(
        &self,
        cx: &RequestContext,
        hold: &Hold,
        change: &'static str,
        authority: Phi<String>,
    ) -> Result<(), AuditError> {
        let patient = match &hold.scope {
            HoldScope::Patient(patient) => Some(*patient),
            _ => None,
        };
        let event = audit::LegalHoldChanged {
            scope: hold_code(hold.id, &hold.scope),
            patient,
            change: Code::constant(change),
            authority,
        };
        let event = Event::new(event, Outcome::Success, &*self.clock, &*self.entropy);
        self.submit(LogId::System, cx, std::slice::from_ref(&event))
            .await?;
        Ok(())
    }
}

fn announcement(
    of: &LogPlan,
    policy: Code,
    approver: &ActorId,
    second: Option<&ActorId>,
) -> audit::RetentionPruned {
    audit::RetentionPruned {
        minimum_index: of.minimum_index,
        policy,
        approver: approver.clone(),
        second_approver: second.cloned(),
        retained_root: of.root,
    }
}

fn spot(segment: u64, moved: &Moved) -> (LogId, u64, Spot) {
    let spot = Spot {
        segment: u32::try_from(segment).unwrap_or(u32::MAX),
        offset: u32::try_from(moved.offset).unwrap_or(u32::MAX),
        length: u32::try_from(moved.length).unwrap_or(u32::MAX),
    };
    (moved.log, moved.index, spot)
}

/// Removes the file of what is being pruned, if it is there.
fn forget(layout: &Layout) -> Result<(), AuditError> {
    match std::fs::remove_file(layout.pruning()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => {
            other?;
            Ok(vfs::sync_parent(layout.vfs(), &layout.pruning())?)
        }
    }
}

/// When the last entry of a tenant's log about a patient may go.
fn last_end(
    core: &OpenLog,
    tenant: TenantId,
    (patient, pseudonym): (SubjectId, Pseudonym),
    policy: &RetentionPolicy,
) -> Result<Option<Timestamp>, AuditError> {
    let about = Hold {
        id: HoldId::NIL,
        scope: HoldScope::Patient(patient),
        placed: Timestamp::EPOCH,
        called: Some(BTreeMap::from([(LogId::Tenant(tenant), pseudonym)])),
    };
    let log = LogId::Tenant(tenant);
    let (mut from, mut last) = (0, None);
    loop {
        let views = core.read_spots(&log, &(from..u64::MAX))?;
        if views.is_empty() {
            return Ok(last);
        }
        from += views.len() as u64;
        for view in views.iter().filter(|view| view.pruned.is_none()) {
            let entry = view.entry().ok();
            if about.takes(log, view.index, entry.as_ref()) {
                let class = entry.and_then(|entry| RetentionClass::of(&entry.code));
                let kept = class.map_or(std::time::Duration::MAX, |class| policy.duration(class));
                let end = view
                    .recorded()
                    .map_or(Timestamp::from_nanos(i64::MAX), |at| at.plus(kept));
                last = last.max(Some(end));
            }
        }
    }
}
