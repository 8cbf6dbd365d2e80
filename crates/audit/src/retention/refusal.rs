//! Why nothing is pruned.

/// A pruning was refused. Nothing was removed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PruneRefusal {
    /// The policy wants a second approver, who is another one than the first.
    #[error("the policy wants two different approvers")]
    Approvals,
    /// What would go is no longer what was planned, and approved: a hold was placed or lifted, a head was
    /// signed, or something was pruned since. Plan again.
    #[error("what would go is no longer what was planned")]
    PlanChanged,
    /// The log says that something is held, and the state knows nothing of it: the state is not the one
    /// that belongs to this log, or it was lost. Place the hold again, or lift it.
    #[error("a hold that is on record is missing in the state")]
    HoldMissing,
    /// The plan has too many gaps for one pruning.
    #[error("the plan is too large")]
    TooLarge,
}
