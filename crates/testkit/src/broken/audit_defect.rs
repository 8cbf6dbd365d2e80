//! What can be wrong with an audit log.

/// What is wrong with the log.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditDefect {
    /// Acknowledges every third entry and does not write it.
    LosesWrites,
    /// Shows the second entry before the first.
    Reorders,
    /// Shows the last entry twice.
    DoublesEntries,
    /// Acknowledges what is not there any more after reopening: a failed sync that nobody heard of.
    SwallowsSyncErrors,
    /// Shows what was there at the read before.
    ReadsStale,
    /// Tells a root that is not that of what is read.
    ForksHead,
    /// Tells its first head for ever.
    KeepsFirstHead,
    /// Has another head each time, without growth.
    GrowsIdleHead,
    /// Names another predecessor than the one that is there.
    BreaksChain,
    /// Tells another hash than that of the bytes.
    LiesInReceipts,
    /// Tells recording times by a clock that steps back.
    StepsBackInTime,
    /// Writes a repeat as a new entry.
    ForgetsRepeats,
    /// Writes a repeat as a new entry after reopening.
    ForgetsRepeatsOnReopen,
    /// Takes an event into a second log.
    TakesEventsTwice,
    /// Writes a batch entry by entry, up to the one that is refused.
    TearsBatches,
    /// Writes something else into the middle of a batch.
    SplitsBatches,
    /// Writes everything into the first tenant's log.
    MixesTenants,
    /// Says that what belongs to the system is a tenant's.
    MisplacesSystemEvents,
    /// Lets everybody read.
    AnybodyReads,
    /// Takes back an entry whose caller went away.
    UnwritesCancelled,
    /// Counts indexes by itself, with a gap between look and deed.
    RacesIndexes,
    /// Leaves it in doubt whether an entry that is too large was written.
    CallsTooLargeInDoubt,
    /// Goes on after it was closed.
    AcceptsAfterClose,
    /// Is healthy whatever happens.
    LooksHealthyWhenClosed,
    /// Verifies once and tells the same report ever after.
    VerifiesOnce,
    /// Leaves the last hit of each page of a query out.
    QueryMissesHits,
    /// Does not compare the outcome.
    QueryShowsOthers,
    /// Looks at what came since the first page, too.
    QueryChasesItself,
    /// Proves that the entry beside is there.
    ProvesAnotherEntry,
    /// Proves growth with another hash.
    ForgesGrowth,
    /// Shows its first signed head of a log for ever.
    ShowsFirstHead,
    /// Has no record of its readings.
    HidesViews,
    /// Records its readings as somebody else's.
    ViewsAsAnother,
    /// Lets everybody query and ask for proofs.
    AnybodyAsks,
}

impl AuditDefect {
    /// Every defect.
    pub const ALL: [Self; 34] = [
        Self::LosesWrites,
        Self::Reorders,
        Self::DoublesEntries,
        Self::SwallowsSyncErrors,
        Self::ReadsStale,
        Self::ForksHead,
        Self::KeepsFirstHead,
        Self::GrowsIdleHead,
        Self::BreaksChain,
        Self::LiesInReceipts,
        Self::StepsBackInTime,
        Self::ForgetsRepeats,
        Self::ForgetsRepeatsOnReopen,
        Self::TakesEventsTwice,
        Self::TearsBatches,
        Self::SplitsBatches,
        Self::MixesTenants,
        Self::MisplacesSystemEvents,
        Self::AnybodyReads,
        Self::UnwritesCancelled,
        Self::RacesIndexes,
        Self::CallsTooLargeInDoubt,
        Self::AcceptsAfterClose,
        Self::LooksHealthyWhenClosed,
        Self::VerifiesOnce,
        Self::QueryMissesHits,
        Self::QueryShowsOthers,
        Self::QueryChasesItself,
        Self::ProvesAnotherEntry,
        Self::ForgesGrowth,
        Self::ShowsFirstHead,
        Self::HidesViews,
        Self::ViewsAsAnother,
        Self::AnybodyAsks,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::LosesWrites | Self::Reorders | Self::DoublesEntries => {
                "appends::every_entry_is_read_once_at_its_receipts_index"
            }
            Self::SwallowsSyncErrors => {
                "durability::what_was_acknowledged_is_there_after_reopening"
            }
            Self::ReadsStale => "appends::a_read_shows_what_was_just_acknowledged",
            Self::ForksHead => "checkpoints::the_directory_signs_the_roots_of_what_is_read",
            Self::KeepsFirstHead => "checkpoints::heads_only_grow_and_agree_with_the_earlier_ones",
            Self::GrowsIdleHead => "checkpoints::without_growth_the_head_stays",
            Self::BreaksChain => "appends::every_leaf_names_the_one_before_it",
            Self::LiesInReceipts => {
                "appends::a_receipt_tells_the_next_index_and_the_hash_of_the_bytes"
            }
            Self::StepsBackInTime => {
                "appends::recorded_grows_over_all_logs_whatever_the_clock_does"
            }
            Self::ForgetsRepeats => "repeats::a_repeat_gives_the_first_receipt_and_writes_nothing",
            Self::ForgetsRepeatsOnReopen => "repeats::a_repeat_is_known_after_reopening",
            Self::TakesEventsTwice => "repeats::an_event_stands_in_one_log_only",
            Self::TearsBatches => "batches::a_refused_batch_writes_nothing",
            Self::SplitsBatches => "batches::a_batch_stands_together_in_its_order",
            Self::MixesTenants => "tenants::every_tenant_has_a_log_of_its_own",
            Self::MisplacesSystemEvents => "tenants::the_system_log_takes_what_is_not_a_tenants",
            Self::AnybodyReads => "tenants::a_log_is_read_by_its_tenant_and_by_the_system_only",
            Self::UnwritesCancelled => "durability::a_cancelled_append_is_never_unwritten",
            Self::RacesIndexes => {
                "concurrency::appends_of_many_tasks_are_all_there_once_without_gaps"
            }
            Self::CallsTooLargeInDoubt => "refusals::an_entry_that_is_too_large_leaves_nothing",
            Self::AcceptsAfterClose | Self::LooksHealthyWhenClosed => {
                "refusals::a_closed_log_refuses_and_says_so"
            }
            Self::VerifiesOnce => "checkpoints::verifying_tells_what_there_is_and_is_on_record",
            Self::QueryMissesHits | Self::QueryShowsOthers => {
                "looking::a_query_finds_what_a_look_at_every_entry_finds"
            }
            Self::QueryChasesItself => {
                "looking::pages_do_not_chase_the_record_of_their_own_reading"
            }
            Self::ProvesAnotherEntry => "proofs::proofs_lead_from_what_is_read_to_the_signed_head",
            Self::ForgesGrowth => "proofs::growth_is_proven_between_all_sizes",
            Self::ShowsFirstHead => "proofs::a_signed_head_is_the_last_one_in_the_directory",
            Self::HidesViews | Self::ViewsAsAnother => {
                "looking::what_was_shown_is_on_record_before_it_is_shown"
            }
            Self::AnybodyAsks => "looking::nobody_asks_for_what_he_may_not_read",
        }
    }
}
