//! What the directory knows about one tenant. No PHI, no keys.

use std::fmt;

use eonpro_core::entropy::Entropy;
use eonpro_core::event::{Code, Digest};
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::pae;
use eonpro_core::scope::Standing;
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use crate::lifecycle::{Hold, Lifecycle, Phase, Refusal, Stage, State, SuspendReason, Transition};
use crate::network::NetworkRule;
use crate::slug::{TenantName, TenantSlug};

/// Counts the changes of one record, from 1. What a command expects, so that two cannot overtake
/// each other unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordVersion(pub u64);

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The random name of a tenant's database file. Tells nothing about the tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(Uuid);

impl StorageId {
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut bits = [0; 16];
        entropy.fill(&mut bits);
        Self(uuid::Builder::from_random_bytes(bits).into_uuid())
    }

    pub(crate) const fn from_uuid(bits: Uuid) -> Self {
        Self(bits)
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Debug for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

/// What it takes to create a tenant.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTenant {
    /// Its slug.
    pub slug: TenantSlug,
    /// Its display name.
    pub name: Option<TenantName>,
    /// Where its data lives.
    pub region: Code,
    /// The business associate agreement (45 CFR 164.504(e)) or processor agreement.
    pub agreement: Code,
    /// From where it may be used.
    pub network: NetworkRule,
}

impl NewTenant {
    /// A tenant without a display name, usable from anywhere.
    #[must_use]
    pub fn new(slug: TenantSlug, region: Code, agreement: Code) -> Self {
        Self {
            slug,
            name: None,
            region,
            agreement,
            network: NetworkRule::Anywhere,
        }
    }

    pub(crate) fn fingerprint(&self) -> Digest {
        let name = self.name.as_ref().map_or("", TenantName::as_str);
        let network = network_bytes(&self.network);
        Digest::of(&pae::encode(&[
            b"eonpro/tenant/onboard/v1",
            self.slug.as_str().as_bytes(),
            name.as_bytes(),
            self.region.as_str().as_bytes(),
            self.agreement.as_str().as_bytes(),
            &network,
        ]))
    }
}

/// A change that is ordered for a tenant. What belongs to leaving has methods of its own.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take it out of service for one more reason.
    Suspend(SuspendReason),
    /// Lift one reason.
    Resume(SuspendReason),
    /// Forbid its destruction.
    PlaceHold(Hold),
    /// Lift a hold.
    LiftHold(Hold),
    /// Say from where it may be used.
    SetNetwork(NetworkRule),
    /// Change or remove its display name.
    Rename(Option<TenantName>),
    /// Stay after all: end an offboarding that has not begun to shred.
    Reinstate,
    /// Give up a tenant whose provisioning failed. Its slug stays taken.
    Abandon,
}

impl Command {
    pub(crate) fn fingerprint(&self) -> Digest {
        let (kind, detail): (&[u8], Vec<u8>) = match self {
            Self::Suspend(reason) => (b"suspend", reason.as_str().into()),
            Self::Resume(reason) => (b"resume", reason.as_str().into()),
            Self::PlaceHold(Hold(name)) => (b"place_hold", name.as_str().into()),
            Self::LiftHold(Hold(name)) => (b"lift_hold", name.as_str().into()),
            Self::SetNetwork(rule) => (b"set_network", network_bytes(rule)),
            Self::Rename(name) => (
                b"rename",
                name.as_ref().map_or("", TenantName::as_str).into(),
            ),
            Self::Reinstate => (b"reinstate", Vec::new()),
            Self::Abandon => (b"abandon", Vec::new()),
        };
        Digest::of(&pae::encode(&[b"eonpro/tenant/command/v1", kind, &detail]))
    }
}

fn network_bytes(rule: &NetworkRule) -> Vec<u8> {
    match rule {
        NetworkRule::Anywhere => b"*".to_vec(),
        NetworkRule::Only(list) => list
            .iter()
            .flat_map(|(address, length)| format!("{address}/{length} ").into_bytes())
            .collect(),
    }
}

/// How far the destruction has come, so that it goes on where it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shredded {
    Nothing,
    Announced,
    Keys,
    Files,
}

/// One tenant as the directory holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRecord {
    pub(crate) id: TenantId,
    pub(crate) slug: TenantSlug,
    pub(crate) name: Option<TenantName>,
    pub(crate) region: Code,
    pub(crate) agreement: Code,
    pub(crate) network: NetworkRule,
    pub(crate) storage: StorageId,
    pub(crate) epoch: u64,
    pub(crate) version: RecordVersion,
    pub(crate) life: Lifecycle,
    pub(crate) shredded: Shredded,
}

impl TenantRecord {
    pub(crate) fn requested(new: NewTenant, id: TenantId, storage: StorageId) -> Self {
        Self {
            id,
            slug: new.slug,
            name: new.name,
            region: new.region,
            agreement: new.agreement,
            network: new.network,
            storage,
            epoch: 1,
            version: RecordVersion(1),
            life: Lifecycle::requested(),
            shredded: Shredded::Nothing,
        }
    }

    /// The tenant.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// Its slug; it never changes.
    #[must_use]
    pub fn slug(&self) -> &TenantSlug {
        &self.slug
    }

    /// Its display name.
    #[must_use]
    pub fn name(&self) -> Option<&TenantName> {
        self.name.as_ref()
    }

    /// Where its data lives.
    #[must_use]
    pub fn region(&self) -> &Code {
        &self.region
    }

    /// The agreement under which it is served.
    #[must_use]
    pub fn agreement(&self) -> &Code {
        &self.agreement
    }

    /// From where it may be used.
    #[must_use]
    pub fn network(&self) -> &NetworkRule {
        &self.network
    }

    /// The name of its database file.
    #[must_use]
    pub fn storage(&self) -> StorageId {
        self.storage
    }

    /// Raised by every change that must bite at once: a scope of an older epoch is refused.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Raised by every change.
    #[must_use]
    pub fn version(&self) -> RecordVersion {
        self.version
    }

    /// Where it stands in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.life.state()
    }

    /// What that allows.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.state().standing()
    }

    /// Its life so far: suspensions, holds, the evidence of leaving.
    #[must_use]
    pub fn life(&self) -> &Lifecycle {
        &self.life
    }

    /// The record after one step of its life; equal to this one if the step changes nothing.
    pub(crate) fn step(&self, transition: &Transition) -> Result<Self, Refusal> {
        let life = self.life.next(transition)?;
        if life == self.life {
            return Ok(self.clone());
        }
        let bites =
            self.standing() != life.state().standing() && self.standing() != Standing::Provisioning;
        let mut next = self.changed();
        next.life = life;
        if bites {
            next.epoch += 1;
        }
        Ok(next)
    }

    /// The record after `command`.
    pub(crate) fn after(&self, command: &Command) -> Result<Self, Refusal> {
        let transition = match command {
            Command::Suspend(reason) => Transition::Suspend(*reason),
            Command::Resume(reason) => Transition::Resume(*reason),
            Command::PlaceHold(hold) => Transition::PlaceHold(hold.clone()),
            Command::LiftHold(hold) => Transition::LiftHold(hold.clone()),
            Command::Reinstate => Transition::Reinstate,
            Command::Abandon => Transition::Abandon,
            Command::SetNetwork(rule) => {
                let mut next = self.editable()?;
                next.network = rule.clone();
                next.epoch += 1;
                return Ok(next);
            }
            Command::Rename(name) => {
                let mut next = self.editable()?;
                next.name.clone_from(name);
                return Ok(next);
            }
        };
        self.step(&transition)
    }

    /// The record with the destruction one step further.
    pub(crate) fn shredded(&self, to: Shredded) -> Self {
        let mut next = self.changed();
        next.shredded = to;
        next
    }

    /// The two first approvers of the destruction.
    pub(crate) fn two_approvers(&self) -> Option<(&ActorId, &ActorId)> {
        let mut approvers = self.life.approvers();
        Some((approvers.next()?, approvers.next()?))
    }

    fn editable(&self) -> Result<Self, Refusal> {
        match self.state() {
            State::Offboarding(Stage::Shredding) | State::Erased => {
                Err(Refusal::NotAllowed(self.state()))
            }
            _ => Ok(self.changed()),
        }
    }

    fn changed(&self) -> Self {
        let mut next = self.clone();
        next.version.0 += 1;
        next
    }

    /// The part of the life that a wire form carries.
    pub(crate) fn grace_until(&self) -> Option<Timestamp> {
        self.life.evidence.grace_until
    }

    pub(crate) fn phase(&self) -> Phase {
        self.life.phase
    }
}
