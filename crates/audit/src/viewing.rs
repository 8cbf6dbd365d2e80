//! What every backend does alike when entries are asked for: whose patient is meant, and the record of the
//! reading (AUD-003).

use std::collections::BTreeSet;
use std::sync::Arc;

use eonpro_core::RequestContext;
use eonpro_core::event::Event;
use eonpro_core::event::catalogue::audit;
use eonpro_core::identity::ActorKind;

use crate::entry::LeafBuilder;
use crate::error::AuditError;
use crate::events;
use crate::facts::Facts;
use crate::log_id::LogId;
use crate::query::Query;
use crate::subjects::Pseudonym;
use crate::wire::EntryView;

/// A query, and what the log calls the patient that it names.
#[derive(Debug, Clone)]
pub struct Asked(Query);

impl Asked {
    /// Looks up what the log calls the patient.
    ///
    /// # Errors
    /// [`AuditError::Seal`], [`AuditError::Subject`]. Cancel-safe.
    pub async fn of(builder: &LeafBuilder, query: &Query) -> Result<Self, AuditError> {
        let mut own = query.clone();
        if let Some(patient) = query.patient {
            own.called = builder.subjects.pseudonym_of(&query.log, patient).await?;
        }
        Ok(Self(own))
    }

    /// The question.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.0
    }

    /// What the log calls the patient that is asked for.
    #[must_use]
    pub fn called(&self) -> Option<Pseudonym> {
        self.0.called
    }

    /// Whether it is about a patient of whom the log does not know, or who was erased: there are no hits.
    #[must_use]
    pub fn finds_nobody(&self) -> bool {
        self.0.patient.is_some() && self.0.called.is_none()
    }

    /// Whether this entry is a hit, by its bytes.
    #[must_use]
    pub fn admits(&self, view: &EntryView) -> bool {
        self.0.is_hit(view)
    }

    /// Whether every entry is a hit.
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.0.admits_all()
    }

    /// What is asked, for the record of it. Names a patient's pseudonym: to be sealed.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.asked()
    }
}

/// AUD-003: `views` are about to be shown to whoever asked for `asked`.
pub fn viewed<'a>(asked: String, views: impl Iterator<Item = &'a EntryView>) -> audit::LogViewed {
    let mut rows = 0;
    let mut patients = BTreeSet::new();
    for view in views {
        rows += 1;
        if let Some(facts) = Facts::read(&view.bytes) {
            patients.extend(facts.subjects().map(ToString::to_string));
        }
    }
    events::viewed(asked, rows, patients.len() as u64)
}

/// Records with `submit` that `cx` is about to see entries of `log`, in that log. Not for the directory log:
/// its heads are made to be published.
///
/// A system context's look at a log that is not there, or whose keys are gone, is recorded in the system log.
///
/// # Errors
/// Those of `submit`: then nothing may be shown.
pub async fn record_view<F>(
    builder: &LeafBuilder,
    cx: &RequestContext,
    log: LogId,
    is_there: bool,
    event: Arc<Event>,
    submit: impl Fn(LogId, RequestContext, Arc<Event>) -> F,
) -> Result<(), AuditError>
where
    F: Future<Output = Result<(), AuditError>>,
{
    let bound = match log {
        LogId::Tenant(id) => builder.bound(cx.clone(), id),
        LogId::System | LogId::Directory => cx.clone(),
    };
    let by_system = cx.actor().kind == ActorKind::System;
    if by_system && !is_there {
        return submit(LogId::System, bound, event).await;
    }
    match submit(log, bound.clone(), Arc::clone(&event)).await {
        Err(AuditError::Seal(_)) if by_system && log != LogId::System => {
            submit(LogId::System, bound, event).await
        }
        other => other,
    }
}
