//! Legal holds: what must not be shredded while a case is open.
//!
//! All holds of a tenant are one record, so that one precondition of the commit that writes a
//! tombstone covers the tenant's holds and each patient's.

use eonpro_core::event::Code;
use eonpro_core::id::ActorId;
use eonpro_core::time::Timestamp;

use super::facts::ShredTarget;
use crate::error::CryptoError;

/// The most holds of one tenant. Beyond it hold the tenant as a whole.
pub(crate) const MAX_HOLDS: usize = 4096;

/// One hold of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegalHold {
    /// What is held.
    pub target: ShredTarget,
    /// The case that demands it. One target may be held for several.
    pub case: Code,
    /// Who set it.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
}

/// The holds of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Holds(pub(crate) Vec<LegalHold>);

impl Holds {
    /// Whether `target` may not be shredded: a patient is held by its own holds and the tenant's,
    /// the tenant by its own and every patient's.
    pub(crate) fn hold(&self, target: ShredTarget) -> bool {
        match target {
            ShredTarget::Tenant => !self.0.is_empty(),
            ShredTarget::Subject(_) => self
                .0
                .iter()
                .any(|hold| hold.target == ShredTarget::Tenant || hold.target == target),
        }
    }

    /// `false` if the case holds the target already.
    pub(crate) fn set(&mut self, hold: LegalHold) -> Result<bool, CryptoError> {
        if self.stands(hold.target, &hold.case) {
            return Ok(false);
        }
        if self.0.len() >= MAX_HOLDS {
            return Err(CryptoError::Record("more than 4096 legal holds"));
        }
        self.0.push(hold);
        Ok(true)
    }

    pub(crate) fn stands(&self, target: ShredTarget, case: &Code) -> bool {
        self.0
            .iter()
            .any(|hold| hold.target == target && hold.case == *case)
    }

    pub(crate) fn lift(&mut self, target: ShredTarget, case: &Code) {
        self.0
            .retain(|hold| hold.target != target || hold.case != *case);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::id::{PublicId as _, SubjectId};
    use uuid::Uuid;

    fn subject(number: u128) -> ShredTarget {
        ShredTarget::Subject(SubjectId::from_uuid(Uuid::from_u128(number)))
    }

    fn hold(target: ShredTarget, case: &'static str) -> LegalHold {
        LegalHold {
            target,
            case: Code::constant(case),
            by: ActorId::anonymous(),
            at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_hold_covers_what_it_names_and_the_whole_that_holds_it() {
        let tenant = ShredTarget::Tenant;
        let cases = [
            (vec![], [false, false, false]),
            (vec![tenant], [true, true, true]),
            (vec![subject(1)], [true, true, false]),
        ];
        for (held, expected) in cases {
            let holds = Holds(held.iter().map(|target| hold(*target, "case")).collect());
            let found = [tenant, subject(1), subject(2)].map(|target| holds.hold(target));
            assert_eq!(found, expected, "{held:?}");
        }
    }

    #[test]
    fn each_case_is_lifted_by_itself() {
        let mut holds = Holds::default();
        assert!(holds.set(hold(subject(1), "a")).unwrap());
        assert!(holds.set(hold(subject(1), "b")).unwrap());
        assert!(!holds.set(hold(subject(1), "b")).unwrap());
        holds.lift(subject(1), &Code::constant("a"));
        holds.lift(ShredTarget::Tenant, &Code::constant("b"));
        assert!(holds.hold(subject(1)));
        holds.lift(subject(1), &Code::constant("b"));
        assert!(!holds.hold(subject(1)));
    }

    #[test]
    fn the_number_of_holds_is_bounded() {
        let mut holds = Holds::default();
        for number in 0..MAX_HOLDS as u128 {
            holds.set(hold(subject(number), "a")).unwrap();
        }
        assert!(holds.set(hold(subject(u128::MAX), "a")).is_err());
    }
}
