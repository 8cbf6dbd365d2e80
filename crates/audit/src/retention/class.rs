//! How long which entries are kept at least.
//!
//! Every catalogue type belongs to a class. The floors are law, the durations are a choice above them.
//! A year counts as the longest that it can be, leap days included: nothing goes a day too early.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::{Code, catalogue};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So many days that no `years` calendar years have more.
const fn years(years: u32) -> Duration {
    DAY.saturating_mul(365 * years + years.div_ceil(4))
}

/// Six years: 45 CFR 164.316(b)(2)(i).
const SIX_YEARS: Duration = years(6);

/// What kinds of entries are kept equally long.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetentionClass {
    /// Access, identities, patient records, security, breaches, compliance: whatever has no class of its
    /// own. Six years from its creation: 45 CFR 164.316(b)(2)(i); for breaches also 164.414(b) with
    /// 164.530(j)(2).
    Documentation,
    /// Disclosures and consent (DISC). Six years: 45 CFR 164.528(a)(1) and 164.530(j)(2). The default adds
    /// the 90 days that an answer may take, 164.528(c)(1), so that a request on the last day can be met.
    Disclosure,
    /// Controlled records and signatures (ESIG). 21 CFR 11.10(e) wants them for as long as the record that
    /// they belong to, which no number here can know: six years is the floor, ten the default. Raise it
    /// to what the rule for your records says.
    ControlledRecord,
    /// Financially relevant records (FIN). Seven years: 17 CFR 210.2-06(a), for section 802 of the
    /// Sarbanes-Oxley Act.
    Finance,
    /// A node started or stopped, the clock was off (SYS-001, SYS-002, SYS-007): nothing about a person and
    /// no decision. No floor; six years by default.
    Operation,
    /// What the log needs to account for itself: that entries were pruned (AUD-009), and what is held
    /// (AUD-010). Never pruned.
    Custody,
}

impl RetentionClass {
    /// All classes.
    pub const ALL: [Self; 6] = [
        Self::Documentation,
        Self::Disclosure,
        Self::ControlledRecord,
        Self::Finance,
        Self::Operation,
        Self::Custody,
    ];

    /// The class of a catalogue type; `None` for a code that this version does not know. Entries of
    /// unknown types are never pruned.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        let kind = catalogue::by_code(code)?;
        let (group, _) = kind.code.split_once('-')?;
        Some(match (kind.code, group) {
            ("AUD-009" | "AUD-010", _) => Self::Custody,
            ("SYS-001" | "SYS-002" | "SYS-007", _) => Self::Operation,
            (_, "DISC") => Self::Disclosure,
            (_, "ESIG") => Self::ControlledRecord,
            (_, "FIN") => Self::Finance,
            _ => Self::Documentation,
        })
    }

    /// The least that a policy may say; `None` where nothing is the least.
    #[must_use]
    pub const fn floor(self) -> Option<Duration> {
        match self {
            Self::Documentation | Self::Disclosure | Self::ControlledRecord => Some(SIX_YEARS),
            Self::Finance => Some(years(7)),
            Self::Operation => None,
            Self::Custody => Some(Duration::MAX),
        }
    }

    /// How long a policy keeps it if it says nothing else.
    #[must_use]
    pub const fn default_duration(self) -> Duration {
        match self {
            Self::Documentation | Self::Operation => SIX_YEARS,
            Self::Disclosure => SIX_YEARS.saturating_add(DAY.saturating_mul(90)),
            Self::ControlledRecord => years(10),
            Self::Finance => years(7),
            Self::Custody => Duration::MAX,
        }
    }

    /// Its name, as reports print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documentation => "documentation",
            Self::Disclosure => "disclosure",
            Self::ControlledRecord => "controlled-record",
            Self::Finance => "finance",
            Self::Operation => "operation",
            Self::Custody => "custody",
        }
    }
}

impl fmt::Display for RetentionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// The law, or the log itself, wants the class kept longer.
    #[error("retention of class {0} is below its floor")]
    BelowFloor(RetentionClass),
}

impl Classify for RetentionError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

/// How many people must approve of a pruning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approvals {
    /// One.
    One,
    /// Two different ones.
    #[default]
    Two,
}

/// How long entries are kept, and who must approve when they go.
///
/// ```
/// use std::time::Duration;
/// use eonpro_audit::{RetentionClass, RetentionPolicy};
///
/// let policy = RetentionPolicy::default();
/// let day = Duration::from_secs(86_400);
/// assert!(policy.clone().keep(RetentionClass::ControlledRecord, day * 365 * 25).is_ok());
/// assert!(policy.keep(RetentionClass::Documentation, day * 365).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    name: Code,
    approvals: Approvals,
    durations: BTreeMap<RetentionClass, Duration>,
}

impl Default for RetentionPolicy {
    /// The defaults of all classes, under the name `default`, with two approvals.
    fn default() -> Self {
        Self {
            name: Code::constant("default"),
            approvals: Approvals::Two,
            durations: BTreeMap::new(),
        }
    }
}

impl RetentionPolicy {
    /// Under another name: AUD-009 records it.
    #[must_use]
    pub fn named(mut self, name: Code) -> Self {
        self.name = name;
        self
    }

    /// With another number of approvals.
    #[must_use]
    pub fn approved_by(mut self, approvals: Approvals) -> Self {
        self.approvals = approvals;
        self
    }

    /// Keeps a class for `duration` after an entry of it was recorded.
    ///
    /// # Errors
    /// [`RetentionError::BelowFloor`].
    pub fn keep(
        mut self,
        class: RetentionClass,
        duration: Duration,
    ) -> Result<Self, RetentionError> {
        if class.floor().is_some_and(|floor| duration < floor) {
            return Err(RetentionError::BelowFloor(class));
        }
        self.durations.insert(class, duration);
        Ok(self)
    }

    /// How long a class is kept.
    #[must_use]
    pub fn duration(&self, class: RetentionClass) -> Duration {
        let chosen = self.durations.get(&class).copied();
        chosen.unwrap_or(class.default_duration())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Code {
        &self.name
    }

    /// How many people must approve.
    #[must_use]
    pub fn approvals(&self) -> Approvals {
        self.approvals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_type_has_a_class_and_an_unknown_one_has_none() {
        for kind in catalogue::ALL {
            assert!(RetentionClass::of(kind.code).is_some(), "{}", kind.code);
        }
        assert_eq!(RetentionClass::of("PHI-999"), None);
        for (code, class) in [
            ("PHI-001", RetentionClass::Documentation),
            ("DISC-001", RetentionClass::Disclosure),
            ("ESIG-001", RetentionClass::ControlledRecord),
            ("FIN-001", RetentionClass::Finance),
            ("SYS-007", RetentionClass::Operation),
            ("SYS-003", RetentionClass::Documentation),
            ("AUD-009", RetentionClass::Custody),
            ("AUD-010", RetentionClass::Custody),
            ("AUD-005", RetentionClass::Documentation),
        ] {
            assert_eq!(RetentionClass::of(code), Some(class), "{code}");
        }
    }

    #[test]
    fn no_default_lies_below_its_floor_and_six_years_with_two_leap_days_fit() {
        for class in RetentionClass::ALL {
            let floor = class.floor().unwrap_or_default();
            assert!(class.default_duration() >= floor, "{class}");
        }
        // From 2023-12-31 to 2029-12-31 there are two leap days.
        assert_eq!(SIX_YEARS.as_secs() / 86_400, 6 * 365 + 2);
    }

    #[test]
    fn a_policy_goes_up_and_not_below_the_floor() {
        let policy = RetentionPolicy::default();
        let nothing = Duration::ZERO;
        let below = policy.clone().keep(RetentionClass::Finance, years(7) - DAY);
        assert_eq!(
            below,
            Err(RetentionError::BelowFloor(RetentionClass::Finance))
        );
        let custody = policy.clone().keep(RetentionClass::Custody, years(1_000));
        assert_eq!(
            custody,
            Err(RetentionError::BelowFloor(RetentionClass::Custody))
        );
        let longer = policy
            .clone()
            .keep(RetentionClass::Finance, years(9))
            .unwrap();
        assert_eq!(longer.duration(RetentionClass::Finance), years(9));
        let free = policy.keep(RetentionClass::Operation, nothing).unwrap();
        assert_eq!(free.duration(RetentionClass::Operation), nothing);
    }
}
