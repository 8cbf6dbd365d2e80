//! Erasing a patient from the log: who may forbid it, and what it leaves.

use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::error::Source;
use eonpro_core::event::Code;
use eonpro_core::id::SubjectId;
use eonpro_core::time::Timestamp;
use uuid::Uuid;

use crate::log_id::LogId;
use crate::retention::Holds;
use crate::service::Receipt;
use crate::subjects::Pseudonym;

/// Six years, two leap days among them at most.
const SIX_YEARS: Duration = Duration::from_secs((6 * 365 + 2) * 24 * 60 * 60);
/// The answer where nobody was asked.
pub(crate) const UNCHECKED: Code = Code::constant("not-checked");

const HELD: Code = Code::constant("legal-hold");

/// Which patient to erase from which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The log: a tenant's, or the system's.
    pub log: LogId,
    /// The patient.
    pub subject: SubjectId,
    /// The individual's request, as DISC-005 named it.
    pub request: Uuid,
    /// What demands the erasure, such as `gdpr-17-1`. For those who are asked.
    pub basis: Code,
}

/// What there is to judge an erasure by.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct ErasureFacts<'a> {
    /// What is asked for.
    pub erasure: &'a Erasure,
    /// The patient in the log; `None` if the log does not know them.
    pub pseudonym: Option<Pseudonym>,
    /// When the log recorded its newest entry on the patient. Requests for erasure and their decisions
    /// (DISC-005, DISC-008, KEY-004) do not count.
    pub newest: Option<Timestamp>,
    /// The present time.
    pub now: Timestamp,
}

/// Somebody whose duty it may be to keep data: a retention schedule, a register of legal holds
/// (GDPR article 17(3)(b) and (e); 45 CFR 164.316(b)(2)).
#[async_trait]
pub trait ErasureCheck: std::fmt::Debug + Send + Sync + 'static {
    /// What obliges to keep the data; `None` if nothing does, as far as this one knows.
    ///
    /// # Errors
    /// Anything: nothing is erased then, and nothing recorded.
    async fn obstacle(&self, facts: &ErasureFacts<'_>) -> Result<Option<Code>, Source>;
}

/// A retention duty for everything: nothing is erased until the newest entry on the patient has that age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDuty {
    /// How long to keep.
    pub keep: Duration,
    /// What obliges.
    pub basis: Code,
}

impl Default for RetentionDuty {
    /// Six years (45 CFR 164.316(b)(2)(i)).
    fn default() -> Self {
        Self {
            keep: SIX_YEARS,
            basis: Code::constant("45-CFR-164.316-b-2-i"),
        }
    }
}

#[async_trait]
impl ErasureCheck for RetentionDuty {
    async fn obstacle(&self, facts: &ErasureFacts<'_>) -> Result<Option<Code>, Source> {
        let until = facts.newest.map(|newest| newest.plus(self.keep));
        let stands = until.is_some_and(|until| facts.now < until);
        Ok(stands.then(|| self.basis.clone()))
    }
}

/// A legal hold that may cover the patient's entries forbids their erasure (GDPR article 17(3)(e)).
#[async_trait]
impl ErasureCheck for Holds {
    async fn obstacle(&self, facts: &ErasureFacts<'_>) -> Result<Option<Code>, Source> {
        let held = match facts.erasure.log {
            LogId::Tenant(tenant) => self.covers(tenant, facts.erasure.subject).await,
            LogId::System | LogId::Directory => self.list().await.map(|holds| !holds.is_empty()),
        };
        let held = held.map_err(Source::from)?;
        Ok(held.then_some(HELD))
    }
}

/// A patient was erased.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectErased {
    /// What meant the patient before, and nobody now; `None` if the log did not know them.
    pub pseudonym: Option<Pseudonym>,
    /// The decision on record (DISC-008).
    pub decision: Receipt,
    /// How long another process that had the patient at hand may still seal and name by the old key and
    /// pseudonym. Nobody reads a field by what is at hand.
    pub exposure: Duration,
}
