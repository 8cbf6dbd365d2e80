//! The life of a tenant, as a total function from state and transition to state or refusal.
//!
//! `Requested -> Provisioning -> Active <-> Suspended -> Offboarding(Exporting -> Grace ->
//! Shredding) -> Erased`, with `ProvisionFailed` beside provisioning. Invariant: nothing reaches
//! shredding while a hold stands, without an export, or with fewer than two approvers. Pure.

use std::collections::BTreeSet;

use eonpro_core::event::{Code, Digest};
use eonpro_core::id::ActorId;
use eonpro_core::scope::Standing;
use eonpro_core::time::Timestamp;
use eonpro_core::{Classify, ErrorKind};

use crate::config::{APPROVALS_NEEDED, MAX_APPROVERS, MAX_HOLDS};

/// Why a tenant is out of service for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspendReason {
    /// Bills are open.
    Billing,
    /// Its accounts or data are in danger.
    Security,
    /// A court or an authority asked for it.
    Legal,
}

impl SuspendReason {
    /// A stable name for events and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Security => "security",
            Self::Legal => "legal",
        }
    }
}

/// Where a tenant stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Asked for; nothing exists yet.
    Requested,
    /// Its keys and its database are being made.
    Provisioning,
    /// That failed; it can be repeated or abandoned.
    ProvisionFailed,
    /// In service.
    Active,
    /// Out of service until every reason is lifted.
    Suspended,
    /// Leaving.
    Offboarding(Stage),
    /// Gone; only this tombstone is left.
    Erased,
}

/// The stages of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Frozen; its data is read for the export.
    Exporting,
    /// Exported; waits for approvals and for the time that was agreed.
    Grace,
    /// Being destroyed; there is no way back.
    Shredding,
}

impl State {
    /// A stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Provisioning => "provisioning",
            Self::ProvisionFailed => "provision_failed",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Offboarding(Stage::Exporting) => "exporting",
            Self::Offboarding(Stage::Grace) => "grace",
            Self::Offboarding(Stage::Shredding) => "shredding",
            Self::Erased => "erased",
        }
    }

    /// What it allows.
    #[must_use]
    pub const fn standing(self) -> Standing {
        match self {
            Self::Requested | Self::Provisioning | Self::ProvisionFailed => Standing::Provisioning,
            Self::Active => Standing::Active,
            Self::Suspended => Standing::Suspended,
            Self::Offboarding(_) => Standing::Offboarding,
            Self::Erased => Standing::Erased,
        }
    }
}

/// The name of a legal hold, such as `litigation:2026-17`. Never PHI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold(pub Code);

/// One step in a tenant's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Begin to make its keys and its database; also after a failure.
    Provision,
    /// Making them failed.
    FailProvisioning,
    /// They are made.
    Activate,
    /// Give a tenant up that was never in service.
    Abandon,
    /// Take it out of service for one more reason.
    Suspend(SuspendReason),
    /// Lift one reason; the last one puts it back into service.
    Resume(SuspendReason),
    /// Forbid destruction. Independent of everything else.
    PlaceHold(Hold),
    /// Lift a hold.
    LiftHold(Hold),
    /// Freeze it and begin to leave.
    BeginOffboarding,
    /// Stay after all, with the suspensions it had.
    Reinstate,
    /// The data was exported. Another digest than before voids the approvals.
    RecordExport {
        /// Digest of the export's manifest.
        export: Digest,
        /// Until when it may not be shredded.
        grace_until: Timestamp,
    },
    /// A person approves the destruction after the export with that digest.
    Approve {
        /// Who approves.
        approver: ActorId,
        /// What the approver saw.
        export: Digest,
    },
    /// Begin to destroy, at that time.
    Shred(Timestamp),
    /// Everything is destroyed.
    Erase,
}

/// Why a transition is refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not know this transition.
    #[error("not allowed while the tenant is {}", .0.as_str())]
    NotAllowed(State),
    /// A hold stands.
    #[error("a legal hold stands")]
    HoldStands,
    /// No export was recorded.
    #[error("no export is recorded")]
    NoExport,
    /// The approver saw another export than the recorded one.
    #[error("approval is for another export")]
    OtherExport,
    /// Fewer distinct approvers than needed.
    #[error("needs two distinct approvers")]
    ApprovalsMissing,
    /// The agreed time has not passed.
    #[error("grace period has not ended")]
    GracePending,
    /// That reason or hold does not stand.
    #[error("nothing to lift")]
    NothingToLift,
    /// A limit is reached.
    #[error("too many holds or approvers")]
    TooMany,
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Conflict
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Requested,
    Provisioning,
    ProvisionFailed,
    InService,
    Leaving(Stage),
    Erased,
}

/// What the offboarding has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) export: Option<Digest>,
    pub(crate) grace_until: Option<Timestamp>,
    pub(crate) approvers: BTreeSet<ActorId>,
}

/// A tenant's state with what it was reached by: suspensions, holds, the evidence of leaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub(crate) phase: Phase,
    // Kept while leaving, so that a tenant that stays is as suspended as before.
    pub(crate) reasons: BTreeSet<SuspendReason>,
    pub(crate) holds: BTreeSet<Hold>,
    pub(crate) evidence: Evidence,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::requested()
    }
}

impl Lifecycle {
    /// The beginning of every life.
    #[must_use]
    pub fn requested() -> Self {
        Self {
            phase: Phase::Requested,
            reasons: BTreeSet::new(),
            holds: BTreeSet::new(),
            evidence: Evidence::default(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Requested => State::Requested,
            Phase::Provisioning => State::Provisioning,
            Phase::ProvisionFailed => State::ProvisionFailed,
            Phase::InService if self.reasons.is_empty() => State::Active,
            Phase::InService => State::Suspended,
            Phase::Leaving(stage) => State::Offboarding(stage),
            Phase::Erased => State::Erased,
        }
    }

    /// Why it is suspended, or was before it began to leave.
    pub fn reasons(&self) -> impl Iterator<Item = SuspendReason> + '_ {
        self.reasons.iter().copied()
    }

    /// The holds that stand.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }

    /// The digest of the export, once recorded.
    #[must_use]
    pub fn export(&self) -> Option<Digest> {
        self.evidence.export
    }

    /// Who has approved the destruction.
    pub fn approvers(&self) -> impl Iterator<Item = &ActorId> {
        self.evidence.approvers.iter()
    }

    /// The life after `transition`; equal to this one if it changes nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn next(&self, transition: &Transition) -> Result<Self, Refusal> {
        use {Phase as P, Stage as S, Transition as T};
        let mut next = self.clone();
        match (self.phase, transition) {
            (P::Requested | P::ProvisionFailed, T::Provision) => next.phase = P::Provisioning,
            (P::Provisioning, T::FailProvisioning) => next.phase = P::ProvisionFailed,
            (P::Provisioning, T::Activate) => next.phase = P::InService,
            (P::ProvisionFailed, T::Abandon) => {
                self.no_hold()?;
                next.phase = P::Erased;
            }
            (P::InService, T::Suspend(reason)) => {
                next.reasons.insert(*reason);
            }
            (P::InService, T::Resume(reason)) => {
                if !next.reasons.remove(reason) {
                    return Err(Refusal::NothingToLift);
                }
            }
            (P::InService, T::BeginOffboarding) => next.phase = P::Leaving(S::Exporting),
            (P::Leaving(S::Exporting), T::BeginOffboarding) => {}
            (P::Leaving(S::Exporting | S::Grace), T::Reinstate) => {
                next.phase = P::InService;
                next.evidence = Evidence::default();
            }
            (
                P::Leaving(S::Exporting | S::Grace),
                T::RecordExport {
                    export,
                    grace_until,
                },
            ) => {
                next.record_export(*export, *grace_until);
            }
            (P::Leaving(S::Grace), T::Approve { approver, export }) => {
                next.approve(approver, export)?;
            }
            (P::Leaving(S::Exporting | S::Grace), T::Shred(now)) => {
                self.may_shred(*now)?;
                next.phase = P::Leaving(S::Shredding);
            }
            (P::Leaving(S::Shredding), T::Shred(_)) => {}
            (P::Leaving(S::Shredding), T::Erase) => next.phase = P::Erased,
            (P::Leaving(S::Shredding) | P::Erased, _) => return Err(self.not_allowed()),
            (_, T::PlaceHold(hold)) => next.place(hold)?,
            (_, T::LiftHold(hold)) => {
                if !next.holds.remove(hold) {
                    return Err(Refusal::NothingToLift);
                }
            }
            _ => return Err(self.not_allowed()),
        }
        Ok(next)
    }

    fn not_allowed(&self) -> Refusal {
        Refusal::NotAllowed(self.state())
    }

    fn no_hold(&self) -> Result<(), Refusal> {
        if self.holds.is_empty() {
            Ok(())
        } else {
            Err(Refusal::HoldStands)
        }
    }

    fn may_shred(&self, now: Timestamp) -> Result<(), Refusal> {
        self.no_hold()?;
        let (Some(_), Some(grace_until)) = (self.evidence.export, self.evidence.grace_until) else {
            return Err(Refusal::NoExport);
        };
        if self.evidence.approvers.len() < APPROVALS_NEEDED {
            return Err(Refusal::ApprovalsMissing);
        }
        if now < grace_until {
            return Err(Refusal::GracePending);
        }
        Ok(())
    }

    fn record_export(&mut self, export: Digest, grace_until: Timestamp) {
        self.phase = Phase::Leaving(Stage::Grace);
        if self.evidence.export != Some(export) {
            self.evidence = Evidence {
                export: Some(export),
                grace_until: Some(grace_until),
                approvers: BTreeSet::new(),
            };
        }
    }

    fn approve(&mut self, approver: &ActorId, export: &Digest) -> Result<(), Refusal> {
        if self.evidence.export.as_ref() != Some(export) {
            return Err(Refusal::OtherExport);
        }
        let known = self.evidence.approvers.contains(approver);
        if !known && self.evidence.approvers.len() >= MAX_APPROVERS {
            return Err(Refusal::TooMany);
        }
        self.evidence.approvers.insert(approver.clone());
        Ok(())
    }

    fn place(&mut self, hold: &Hold) -> Result<(), Refusal> {
        if !self.holds.contains(hold) && self.holds.len() >= MAX_HOLDS {
            return Err(Refusal::TooMany);
        }
        self.holds.insert(hold.clone());
        Ok(())
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
