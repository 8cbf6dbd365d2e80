//! What may be asked of a log: conditions that all must hold, and which page of the answer.

use std::fmt::{self, Write as _};

use eonpro_core::RequestContext;
use eonpro_core::event::{Code, Outcome};
use eonpro_core::id::{ActorId, SubjectId};
use eonpro_core::time::Timestamp;

use crate::facts::Facts;
use crate::log_id::LogId;
use crate::page::Page;
use crate::subjects::Pseudonym;
use crate::wire::EntryView;

/// The 16 bytes of a W3C trace id. Prints as 32 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceId(String);

impl TraceId {
    /// Reads 32 lower-case hexadecimal digits that are not all zeros (W3C Trace Context); `None` otherwise.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let good = text.len() == 32 && digits && text.bytes().any(|byte| byte != b'0');
        good.then(|| Self(text.to_owned()))
    }

    /// The trace that the request belongs to.
    #[must_use]
    pub fn of(cx: &RequestContext) -> Self {
        Self(cx.trace().trace_id().to_string())
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether hits carry their inclusion proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Proofs {
    /// They do not.
    #[default]
    Without,
    /// Each hit that the log's last signed head covers carries its proof in that head's tree.
    With,
}

/// Which hits come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// By index, ascending.
    #[default]
    OldestFirst,
    /// By index, descending.
    NewestFirst,
}

/// What the answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// The index: fast. What is shown is always true, but somebody who can write the log's directory could
    /// have forged the index so that hits are missing.
    #[default]
    Index,
    /// Every entry of the log in turn: nothing is missing, whatever the index says. Slow, and its pages are
    /// short: each looks at `AuditConfig::query_steps` entries.
    Entries,
}

/// A question to one log. All conditions that are given must hold.
///
/// ```
/// use eonpro_audit::{LogId, Order, Query};
/// use eonpro_core::event::Code;
///
/// let mut query = Query::new(LogId::System);
/// query.code = Some(Code::constant("AUD-005"));
/// query.order = Order::NewestFirst;
/// query.limit = 20;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The log.
    pub log: LogId,
    /// Entries that concern this patient.
    pub patient: Option<SubjectId>,
    /// What this actor did.
    pub actor: Option<ActorId>,
    /// Entries of this catalogue code, such as `PHI-001`.
    pub code: Option<Code>,
    /// Entries with this outcome.
    pub outcome: Option<Outcome>,
    /// Recorded at this instant or later.
    pub from: Option<Timestamp>,
    /// Recorded before this instant.
    pub until: Option<Timestamp>,
    /// Entries of this trace.
    pub trace: Option<TraceId>,
    /// Only what follows this index, in the order of the answer.
    pub after: Option<u64>,
    /// Only the first so many entries of the log; without it, all that are durable at the call. Further
    /// pages name the size that the first page found, so that a reader does not meet the entries that his
    /// own reading makes: [`Self::next_page`] does it.
    pub size: Option<u64>,
    /// How many hits a page has at most; itself at most `AuditConfig::query_limit`, and at least 1.
    pub limit: usize,
    /// Which hits come first.
    pub order: Order,
    /// Whether hits carry proofs.
    pub proofs: Proofs,
    /// What the answer rests on.
    pub effort: Effort,
    /// What the log calls the patient. The log itself finds it out.
    pub(crate) called: Option<Pseudonym>,
}

impl Query {
    /// All entries of `log`, the oldest 100 first.
    #[must_use]
    pub fn new(log: LogId) -> Self {
        Self {
            log,
            patient: None,
            actor: None,
            code: None,
            outcome: None,
            from: None,
            until: None,
            trace: None,
            after: None,
            size: None,
            limit: 100,
            order: Order::default(),
            proofs: Proofs::default(),
            effort: Effort::default(),
            called: None,
        }
    }

    /// The same question for the page after `page`, which answered it; `None` if that was the last.
    #[must_use]
    pub fn next_page(&self, page: &Page) -> Option<Self> {
        let after = Some(page.next?);
        Some(Self {
            after,
            size: Some(page.size),
            ..self.clone()
        })
    }

    /// Whether the entry with these facts is a hit.
    pub(crate) fn admits(&self, facts: &Facts<'_>) -> bool {
        let since = |from: Timestamp| facts.recorded().is_some_and(|at| at >= from);
        let before = |until: Timestamp| facts.recorded().is_some_and(|at| at < until);
        let actor = |actor: &ActorId| actor.as_str() == facts.actor.id;
        let called = self.called.map(|called| called.to_string());
        let names = |_: SubjectId| {
            let mut subjects = facts.subjects();
            subjects.any(|subject| Some(subject.as_ref()) == called.as_deref())
        };
        self.code
            .as_ref()
            .is_none_or(|code| code.as_str() == facts.code)
            && self
                .outcome
                .is_none_or(|outcome| outcome.code() == facts.outcome)
            && self.actor.as_ref().is_none_or(actor)
            && self
                .trace
                .as_ref()
                .is_none_or(|trace| trace.0 == facts.trace)
            && self.patient.is_none_or(names)
            && self.from.is_none_or(since)
            && self.until.is_none_or(before)
    }

    /// Whether this entry is a hit.
    pub(crate) fn is_hit(&self, view: &EntryView) -> bool {
        self.admits_all() || Facts::read(&view.bytes).is_some_and(|facts| self.admits(&facts))
    }

    /// Whether every entry is a hit.
    pub(crate) fn admits_all(&self) -> bool {
        self.code.is_none()
            && self.outcome.is_none()
            && self.actor.is_none()
            && self.trace.is_none()
            && self.patient.is_none()
            && self.from.is_none()
            && self.until.is_none()
    }

    /// What is asked, for the record of it. Names a patient's pseudonym: to be sealed.
    pub(crate) fn asked(&self) -> String {
        let mut text = String::from("query");
        let mut say = |name: &str, value: Option<&dyn fmt::Display>| {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(text, " {name}={value}");
            }
        };
        fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
            value.as_ref().map(|value| value as &dyn fmt::Display)
        }
        let outcome = self.outcome.map(Outcome::code);
        say("patient", shown(&self.called));
        say("actor", shown(&self.actor));
        say("code", shown(&self.code));
        say("outcome", shown(&outcome));
        say("from", shown(&self.from));
        say("until", shown(&self.until));
        say("trace", shown(&self.trace));
        say("after", shown(&self.after));
        say("size", shown(&self.size));
        say("limit", Some(&self.limit));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_has_one_spelling() {
        let good = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(TraceId::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "0",
            &"0".repeat(32),
            &good.to_uppercase(),
            &format!("{good}0"),
        ] {
            assert_eq!(TraceId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_record_says_what_was_asked() {
        let mut query = Query::new(LogId::System);
        query.code = Some(Code::constant("PHI-001"));
        query.outcome = Some(Outcome::Minor);
        query.after = Some(7);
        assert_eq!(
            query.asked(),
            "query code=PHI-001 outcome=4 after=7 limit=100"
        );
    }
}
