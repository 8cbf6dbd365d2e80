//! The layer that turns events into lines. All redaction happens here, on the caller's thread.

use std::cell::Cell;
use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::correlation;
use crate::field::{Collector, Fields, Owner};
use crate::filter::LevelRules;
use crate::line::Line;
use crate::shared::Shared;

/// Writes each event as one JSON line. One per process: two layers would share the fields of spans.
///
/// It judges levels by itself. Install it as [`JsonLayer::filtered`], and what it does not log
/// costs nothing, while other layers still see everything.
#[derive(Debug, Clone)]
pub struct JsonLayer {
    shared: Arc<Shared>,
}

impl JsonLayer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The layer behind its own level filter, which concerns no other layer.
    #[must_use]
    pub fn filtered<S>(self) -> Filtered<Self, LevelRules, S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let rules = self.shared.rules.clone();
        self.with_filter(rules)
    }

    fn collect(&self, owner: Owner, record: impl FnOnce(&mut Collector<'_>)) -> Fields {
        let mut collector = Collector::new(&self.shared.redactor, self.shared.limits(), owner);
        record(&mut collector);
        let fields = collector.finish();
        self.shared.tallies.duplicates.add(fields.duplicates);
        fields
    }

    fn push_spans<'a, S>(&self, line: &mut Line, event: &Event<'_>, context: &Context<'a, S>)
    where
        S: Subscriber + for<'b> LookupSpan<'b>,
    {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        let limit = self.shared.config.max_spans;
        let mut spans: Vec<SpanRef<'_, S>> = scope.take(limit.saturating_add(1)).collect();
        if spans.len() > limit {
            spans.truncate(limit);
            line.mark_truncated();
        }
        if spans.is_empty() || !line.open_spans() {
            return;
        }
        for span in spans.iter().rev() {
            line.push_span(span.name(), span.extensions().get::<Fields>());
        }
        line.close_spans();
    }
}

impl<S> Layer<S> for JsonLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.shared.rules.admit(attributes.metadata()) {
            return;
        }
        // Formatted before the span is locked: a `Debug` may look at its own span.
        let fields = match Busy::begin() {
            Some(_busy) => self.collect(Owner::Span, |collector| attributes.record(collector)),
            None if attributes.is_empty() => Fields::default(),
            None => {
                self.shared.tallies.nested.add(1);
                Fields::left_out()
            }
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let admitted = |metadata| self.shared.rules.admit(metadata);
        if !context.metadata(id).is_some_and(admitted) {
            return;
        }
        let Some(_busy) = Busy::begin() else {
            self.shared.tallies.nested.add(1);
            return;
        };
        let later = self.collect(Owner::Span, |collector| values.record(collector));
        let Some(span) = context.span(id) else {
            return;
        };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.update(later, self.shared.config.max_fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.shared.rules.admit(metadata) {
            return;
        }
        let Some(_busy) = Busy::begin() else {
            self.shared.tallies.nested.add(1);
            return;
        };
        let at = self.shared.clock.wall();
        let level = *metadata.level();
        let fields = self.collect(Owner::Event, |collector| event.record(collector));
        let mut line = Line::open(
            self.shared.config.max_line_bytes,
            at,
            level,
            metadata.target(),
        );
        correlation::push_ids(&mut line);
        if let Some(message) = &fields.message {
            line.push_message(message);
        }
        line.push_fields(&fields);
        self.push_spans(&mut line, event, &context);
        self.shared.accept(at, level, line.close());
    }
}

thread_local! {
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread is formatting. A `Debug` that logs would otherwise never come to an end.
struct Busy;

impl Busy {
    fn begin() -> Option<Self> {
        let busy = BUSY.try_with(|busy| busy.replace(true));
        // Without thread-locals the thread is ending, and nothing is formatted any more.
        // Made only where it is due: dropping one that was refused would free the outer one.
        if matches!(busy, Ok(false)) {
            Some(Self)
        } else {
            None
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = BUSY.try_with(|busy| busy.set(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_within_formatting_is_refused_until_the_outer_one_is_done() {
        let outer = Busy::begin();
        assert!(outer.is_some());
        assert!(Busy::begin().is_none());
        assert!(Busy::begin().is_none());
        drop(outer);
        assert!(Busy::begin().is_some());
    }
}
