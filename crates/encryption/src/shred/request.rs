//! A request to shred: Requested -> Approved -> Shredded, or Cancelled, or Refused by a hold.

use eonpro_core::event::Code;
use eonpro_core::id::ActorId;
use eonpro_core::time::Timestamp;
use std::time::Duration;
use uuid::Uuid;

use super::facts::{ShredFacts, ShredTarget};

/// Who decided, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
}

/// Where a request stands.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShredState {
    /// Waits for approvals.
    Requested,
    /// Two persons approved it; it may be carried out from `due` on, or cancelled before.
    Approved {
        /// The deadline until which it can only be cancelled.
        due: Timestamp,
    },
    /// Was taken back.
    Cancelled(Decision),
    /// A legal hold stood when it was to be carried out. Request it anew when the hold is lifted.
    Refused {
        /// When.
        at: Timestamp,
    },
    /// Was carried out.
    Shredded(ShredFacts),
}

/// A request to destroy keys. One target has at most one that is not over.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShredRequest {
    /// Names it, so that an approval is never taken for another request's.
    pub id: Uuid,
    /// What it is about.
    pub target: ShredTarget,
    /// Why: a code such as `erasure-request`.
    pub reason: Code,
    /// Who requested it, and when.
    pub requested: Decision,
    /// Who approved it: at most two, different from each other and from the requester.
    pub approvals: Vec<Decision>,
    /// Where it stands.
    pub state: ShredState,
}

/// Why a step towards a shred was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShredRefusal {
    /// A legal hold stands.
    #[error("a legal hold stands")]
    Held,
    /// There is no such request.
    #[error("no such request")]
    NotRequested,
    /// The target has a request that is not over, or is shredded.
    #[error("another request stands")]
    AlreadyRequested,
    /// The request is over, or has all its approvals.
    #[error("request is closed for this step")]
    Closed,
    /// Only a person may request, approve or cancel.
    #[error("only a person may decide")]
    NotAPerson,
    /// Whoever requested it may not approve it.
    #[error("the requester may not approve")]
    OwnRequest,
    /// The two approvers must be different persons.
    #[error("needs two distinct approvers")]
    SameApprover,
    /// Approvals are missing.
    #[error("needs two approvals")]
    TooFewApprovals,
    /// The deadline has not passed.
    #[error("deadline has not passed")]
    NotDue,
}

impl ShredRequest {
    /// Whether nothing more can become of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(
            self.state,
            ShredState::Requested | ShredState::Approved { .. }
        )
    }

    /// Adds an approval; the second one sets the deadline.
    pub(crate) fn approve(&mut self, by: Decision, delay: Duration) -> Result<(), ShredRefusal> {
        if self.state != ShredState::Requested {
            return Err(ShredRefusal::Closed);
        }
        let at = by.at;
        self.approvals.push(by);
        match self.approvers() {
            Ok(_) => {
                let due = at.plus(delay);
                self.state = ShredState::Approved { due };
                Ok(())
            }
            Err(ShredRefusal::TooFewApprovals) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    pub(crate) fn cancel(&mut self, by: Decision) -> Result<(), ShredRefusal> {
        if self.is_over() {
            return Err(ShredRefusal::Closed);
        }
        self.state = ShredState::Cancelled(by);
        Ok(())
    }

    /// The two who approved it: different from each other and from the requester.
    pub(crate) fn approvers(&self) -> Result<(&ActorId, &ActorId), ShredRefusal> {
        let own = |decision: &Decision| decision.by == self.requested.by;
        if self.approvals.iter().any(own) {
            return Err(ShredRefusal::OwnRequest);
        }
        match self.approvals.as_slice() {
            [] | [_] => Err(ShredRefusal::TooFewApprovals),
            [one, two] if one.by != two.by => Ok((&one.by, &two.by)),
            _ => Err(ShredRefusal::SameApprover),
        }
    }

    /// The two who approved it, if it may be carried out now. Judged anew from the approvals, not
    /// from the state alone.
    pub(crate) fn ready(&self, now: Timestamp) -> Result<(&ActorId, &ActorId), ShredRefusal> {
        match self.state {
            ShredState::Requested => Err(ShredRefusal::TooFewApprovals),
            ShredState::Approved { due } if now < due => Err(ShredRefusal::NotDue),
            ShredState::Approved { .. } => self.approvers(),
            _ => Err(ShredRefusal::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &str, at: i64) -> Decision {
        Decision {
            by: ActorId::new(name).unwrap(),
            at: Timestamp::from_seconds(at),
        }
    }

    fn request() -> ShredRequest {
        ShredRequest {
            id: Uuid::from_u128(1),
            target: ShredTarget::Tenant,
            reason: Code::constant("erasure-request"),
            requested: by("asks", 1),
            approvals: Vec::new(),
            state: ShredState::Requested,
        }
    }

    const DELAY: Duration = Duration::from_secs(60);

    #[test]
    fn two_persons_other_than_the_requester_approve_it() {
        let mut request = request();
        request.approve(by("one", 2), DELAY).unwrap();
        let now = Timestamp::from_seconds(100);
        assert_eq!(request.ready(now), Err(ShredRefusal::TooFewApprovals));
        request.approve(by("two", 3), DELAY).unwrap();
        assert!(request.ready(now).is_ok());
        let third = request.approve(by("three", 4), DELAY);
        assert_eq!(third, Err(ShredRefusal::Closed));
    }

    #[test]
    fn nobody_approves_twice_or_what_they_requested() {
        let cases = [
            (vec!["one", "one"], ShredRefusal::SameApprover),
            (vec!["asks"], ShredRefusal::OwnRequest),
            (vec!["one", "asks"], ShredRefusal::OwnRequest),
        ];
        for (approvers, expected) in cases {
            let mut request = request();
            let last = approvers
                .iter()
                .map(|name| request.approve(by(name, 2), DELAY))
                .last();
            assert_eq!(last, Some(Err(expected)), "{approvers:?}");
            assert_eq!(request.state, ShredState::Requested);
        }
    }

    #[test]
    fn the_deadline_is_kept_to_the_second() {
        let mut request = request();
        request.approve(by("one", 2), DELAY).unwrap();
        request.approve(by("two", 3), DELAY).unwrap();
        let before = request.ready(Timestamp::from_seconds(62));
        assert_eq!(before, Err(ShredRefusal::NotDue));
        assert!(request.ready(Timestamp::from_seconds(63)).is_ok());
    }

    #[test]
    fn a_record_that_was_doctored_is_judged_by_its_approvals() {
        let due = Timestamp::EPOCH;
        for approvals in [
            vec![],
            vec![by("one", 1)],
            vec![by("one", 1), by("one", 1)],
            vec![by("one", 1), by("asks", 1)],
        ] {
            let doctored = ShredRequest {
                approvals,
                state: ShredState::Approved { due },
                ..request()
            };
            assert!(doctored.ready(due).is_err());
        }
    }

    #[test]
    fn what_is_over_stays_over() {
        let mut request = request();
        request.cancel(by("asks", 2)).unwrap();
        assert!(request.is_over());
        assert_eq!(request.cancel(by("asks", 3)), Err(ShredRefusal::Closed));
        let late = request.approve(by("one", 3), DELAY);
        assert_eq!(late, Err(ShredRefusal::Closed));
        let now = Timestamp::from_seconds(9);
        assert_eq!(request.ready(now), Err(ShredRefusal::Closed));
    }
}
