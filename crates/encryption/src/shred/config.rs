//! Settings of shredding, with their bounds.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many persons a direct [`Encryption::shred`](crate::Encryption::shred) or
/// [`Encryption::destroy_key`](crate::Encryption::destroy_key) must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approvers {
    /// One is enough: the caller did its governance elsewhere.
    #[default]
    One,
    /// Two different ones.
    Two,
}

/// Settings of shredding.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ShredConfig {
    /// How long one shred epoch lasts: the longest for which a restored backup of the key table
    /// opens a shredded patient, if the scheduler keeps time. 1 hour to 90 days.
    pub epoch_length: Duration,
    /// How long the key of an ended epoch stays, so that a backup can be taken of the key table that
    /// came after it. Adds to the exposure. At most 30 days.
    pub epoch_settle: Duration,
    /// How long an approved request waits before a tenant is shredded. At most 90 days.
    pub tenant_delay: Duration,
    /// The same for a patient.
    pub subject_delay: Duration,
    /// How many patients have their keys at hand at one time. At least 1.
    pub cache_subjects: u64,
    /// How many approvers a direct [`Encryption::shred`](crate::Encryption::shred) must name, and
    /// [`Encryption::destroy_key`](crate::Encryption::destroy_key) likewise.
    pub direct_approvers: Approvers,
}

impl Default for ShredConfig {
    fn default() -> Self {
        Self {
            epoch_length: 7 * DAY,
            epoch_settle: Duration::ZERO,
            tenant_delay: DAY,
            subject_delay: Duration::ZERO,
            cache_subjects: 50_000,
            direct_approvers: Approvers::One,
        }
    }
}

impl ShredConfig {
    /// The rules with their names, and whether each holds.
    pub(crate) fn rules(&self) -> [(bool, &'static str); 5] {
        [
            (
                (HOUR..=90 * DAY).contains(&self.epoch_length),
                "epoch_length of 1 h to 90 d",
            ),
            (
                self.epoch_settle <= 30 * DAY,
                "epoch_settle of at most 30 d",
            ),
            (
                self.tenant_delay <= 90 * DAY,
                "tenant_delay of at most 90 d",
            ),
            (
                self.subject_delay <= 90 * DAY,
                "subject_delay of at most 90 d",
            ),
            (self.cache_subjects > 0, "cache_subjects of at least 1"),
        ]
    }
}
