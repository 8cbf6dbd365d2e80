//! Redaction, before anything is queued: fields by their names, text and numbers by their content.

mod kind;
mod name;
mod pattern;
mod prefilter;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use eonpro_core::phi::PhiSchema;
use regex_automata::Span;

use crate::config::LoggerConfig;
use crate::error::LogError;
use crate::stats::Tally;

pub use kind::Redaction;
use name::{FieldPolicy, is_measure, schema_names};
use pattern::{Patterns, Verdict};
use prefilter::Prefilter;

/// How far beyond the end of a cut value the search looks, so that nothing is cut in half.
pub(crate) const OVERHANG: usize = 512;

/// Takes identifiers out of what is logged. Pure but for its counters; linear in the text.
///
/// It knows the names that PHI schemas declare, a built-in list of sensitive names, and the shapes
/// of numbers, dates and addresses. A person's name in free text has no shape and is not found.
pub struct Redactor {
    policy: FieldPolicy,
    patterns: Patterns,
    prefilter: Prefilter,
    // Field names stand in the source, so there are only so many.
    judged: RwLock<HashMap<&'static str, Option<Redaction>>>,
    counts: [Tally; Redaction::ALL.len()],
}

impl Redactor {
    /// A redactor that knows the fields of `schemas` and the names in `config`.
    ///
    /// # Errors
    /// [`LogError::Patterns`] if the names are too many to build patterns of.
    pub fn new(schemas: &[&'static PhiSchema], config: &LoggerConfig) -> Result<Self, LogError> {
        let mut keys: Vec<&str> = schema_names(schemas).collect();
        keys.extend(config.redact_fields.iter().map(String::as_str));
        Ok(Self {
            policy: FieldPolicy::new(schemas, &config.redact_fields, &config.allow_fields),
            patterns: Patterns::new(keys.iter().copied())
                .map_err(|error| LogError::Patterns(error))?,
            prefilter: Prefilter::new(&keys)
                .map_err(|error| LogError::Patterns(Box::new(error)))?,
            judged: RwLock::default(),
            counts: Default::default(),
        })
    }

    /// Why a field of that name is redacted whatever its value; `None` if its content decides.
    #[must_use]
    pub fn field(&self, name: &'static str) -> Option<Redaction> {
        let known = self
            .judged
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied();
        let judged = known.unwrap_or_else(|| {
            let judged = self.policy.judge(name);
            self.judged
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name, judged);
            judged
        });
        judged.inspect(|kind| self.count(*kind))
    }

    /// `text` with every identifier replaced by its label. Borrows if there was none.
    #[must_use]
    pub fn scan<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.scan_within(text, text.len())
    }

    /// Redacts the first `keep` bytes of `text`. What begins there and ends behind is replaced
    /// whole, so that the cut never leaves a part of it.
    pub(crate) fn scan_within<'t>(&self, text: &'t str, keep: usize) -> Cow<'t, str> {
        let keep = text.floor_char_boundary(keep);
        let mut clean = String::new();
        let mut copied = 0;
        if self.prefilter.admit(text) {
            let mut matches = self.patterns.matches(text);
            let mut at = 0;
            while let Some((Span { start, end }, verdict)) = matches.next(at) {
                if start >= keep {
                    break;
                }
                at = match verdict {
                    Verdict::Redact(kind) => {
                        self.count(kind);
                        clean.push_str(text.get(copied..start).unwrap_or_default());
                        clean.push_str(kind.label());
                        copied = end;
                        end
                    }
                    Verdict::Keep => end,
                    Verdict::Retry => text.ceil_char_boundary(start + 1),
                };
            }
        }
        let rest = text.get(copied..keep).unwrap_or_default();
        if copied == 0 {
            return Cow::Borrowed(rest);
        }
        clean.push_str(rest);
        Cow::Owned(clean)
    }

    /// What a whole number in the field `name` is; `None` if it may be logged.
    pub(crate) fn number(&self, name: &str, digits: &str) -> Option<Redaction> {
        match pattern::run(digits) {
            Verdict::Redact(kind) if !is_measure(name) => {
                self.count(kind);
                Some(kind)
            }
            _ => None,
        }
    }

    pub(crate) fn counts(&self) -> [u64; Redaction::ALL.len()] {
        self.counts.each_ref().map(Tally::read)
    }

    fn count(&self, kind: Redaction) {
        if let Some(tally) = self.counts.get(kind as usize) {
            tally.add(1);
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}
