//! The phases of a rotation, and what leads from one to the next.
//!
//! ```text
//! Planned -- start --> Running <-- pause, resume --> Paused
//!                      |    ^
//!             pass ended    again, next stage
//!                      v    |
//!                     Verifying -- proven --> Completed
//!                          |
//!                          +-- not proven --> Failed -- resume --> Running
//! ```
//! Whatever is not over can be cancelled, and a verification paused.

/// Where a rotation stands.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits for a worker.
    Planned,
    /// A worker goes, or went, through the rows.
    Running,
    /// Waits for [`Rotator::resume`](super::Rotator::resume).
    Paused,
    /// All rows were seen; a worker counts what is left.
    Verifying,
    /// Nothing is left: proven by a scan.
    Completed,
    /// Something is left that no further pass would change. Can be resumed once it is mended.
    Failed,
    /// Given up. What was sealed anew stays so.
    Cancelled,
}

/// What happens to a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Start,
    Pause,
    Resume,
    PassEnded,
    Again,
    Proven,
    NotProven,
    Cancel,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Running,
        Self::Paused,
        Self::Verifying,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Its name in the stored record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Verifying => "verifying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a worker may take it up.
    #[must_use]
    pub const fn is_workable(self) -> bool {
        matches!(self, Self::Planned | Self::Running | Self::Verifying)
    }

    /// Whether it is over, so that another one may be planned.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The phase after `step`; `None` if it cannot happen in this one.
    pub(crate) const fn after(self, step: Step) -> Option<Self> {
        use Phase as P;
        match (self, step) {
            (P::Planned, Step::Start)
            | (P::Verifying, Step::Again)
            | (P::Paused | P::Failed, Step::Resume) => Some(P::Running),
            (P::Planned | P::Running | P::Verifying, Step::Pause) => Some(P::Paused),
            (P::Running, Step::PassEnded) => Some(P::Verifying),
            (P::Verifying, Step::Proven) => Some(P::Completed),
            (P::Verifying, Step::NotProven) => Some(P::Failed),
            (P::Planned | P::Running | P::Paused | P::Verifying | P::Failed, Step::Cancel) => {
                Some(P::Cancelled)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 8] = [
        Step::Start,
        Step::Pause,
        Step::Resume,
        Step::PassEnded,
        Step::Again,
        Step::Proven,
        Step::NotProven,
        Step::Cancel,
    ];

    #[test]
    fn a_rotation_completes_only_from_its_verification() {
        for phase in Phase::ALL {
            for step in STEPS {
                if phase.after(step) == Some(Phase::Completed) {
                    assert_eq!((phase, step), (Phase::Verifying, Step::Proven));
                }
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_what_is_completed_or_cancelled() {
        for step in STEPS {
            assert_eq!(Phase::Completed.after(step), None);
            assert_eq!(Phase::Cancelled.after(step), None);
        }
    }

    #[test]
    fn a_paused_rotation_runs_again_only_when_it_is_resumed() {
        for step in STEPS {
            let expected = match step {
                Step::Resume => Some(Phase::Running),
                Step::Cancel => Some(Phase::Cancelled),
                _ => None,
            };
            assert_eq!(Phase::Paused.after(step), expected);
        }
        assert!(!Phase::Paused.is_workable());
    }

    #[test]
    fn every_phase_is_waiting_for_a_worker_or_over_or_paused() {
        for phase in Phase::ALL {
            let kinds = [phase.is_workable(), phase.is_over(), phase == Phase::Paused];
            assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1);
        }
    }
}
