//! An event sink that remembers what it was told, and refuses on demand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::RequestContext;
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{EmitError, Emitter, Event, EventSink};
use eonpro_core::id::TenantId;
use eonpro_core::time::SharedClock;

/// One event as the sink saw it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The tenant of the context it was emitted with.
    pub tenant: Option<TenantId>,
    /// Its catalogue code, such as `TEN-004`.
    pub code: &'static str,
    /// The event.
    pub event: Arc<Event>,
}

/// An event sink that remembers what it was told, and refuses on demand.
#[derive(Debug, Default)]
pub struct RecordingSink(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events: Vec<Recorded>,
    attempts: usize,
    down: bool,
    refusals: usize,
    doubts: usize,
}

impl RecordingSink {
    /// An empty sink that accepts everything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// An emitter into this sink, with seeded ids.
    #[must_use]
    pub fn emitter(self: &Arc<Self>, clock: SharedClock) -> Emitter {
        let sink: Arc<dyn EventSink> = Arc::<Self>::clone(self);
        Emitter::new(sink, clock, Arc::new(SeededEntropy::new(0x5eed)))
    }

    /// What was recorded, oldest first, each event id once.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.state().events.clone()
    }

    /// The codes of what was recorded, oldest first.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        self.state().events.iter().map(|seen| seen.code).collect()
    }

    /// How many events with `code` were recorded.
    #[must_use]
    pub fn count(&self, code: &str) -> usize {
        let state = self.state();
        state.events.iter().filter(|seen| seen.code == code).count()
    }

    /// How often the sink was called, refusals and repeats included.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.state().attempts
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        self.state().events.clear();
    }

    /// While down, everything is refused as not written.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Refuses the next `calls` as not written.
    pub fn refuse_next(&self, calls: usize) {
        self.state().refusals = calls;
    }

    /// Records the next `calls` but answers that the outcome is unknown.
    pub fn doubt_next(&self, calls: usize) {
        self.state().doubts = calls;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventSink for RecordingSink {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        let mut state = self.state();
        state.attempts += 1;
        if state.down || state.refusals > 0 {
            state.refusals = state.refusals.saturating_sub(1);
            return Err(EmitError::NotWritten("the test refuses".into()));
        }
        let known = state
            .events
            .iter()
            .any(|seen| seen.event.id() == event.id());
        if !known {
            state.events.push(Recorded {
                tenant: cx.tenant().map(|tenant| tenant.id),
                code: event.kind().code,
                event: Arc::clone(event),
            });
        }
        if state.doubts > 0 {
            state.doubts -= 1;
            return Err(EmitError::Unknown("the test leaves it in doubt".into()));
        }
        Ok(())
    }
}
