//! Where events go, and the small tool with which a service announces them.

use std::sync::Arc;

use async_trait::async_trait;

use super::spec::EventData;
use super::value::{Event, Outcome};
use crate::context::RequestContext;
use crate::entropy::SharedEntropy;
use crate::error::{Classify, ErrorKind, Source, Status};
use crate::task;
use crate::time::SharedClock;

/// Takes events. The facade's hub implements it for services; audit implements it for the hub.
#[async_trait]
pub trait EventSink: std::fmt::Debug + Send + Sync + 'static {
    /// Takes `event`, returning once its required lane has it: for a type that fails closed, once
    /// its audit entry is durable; for the others, once it is durable in the log or in the spool.
    ///
    /// Idempotent on [`Event::id`]. Cancel-safe: a dropped future may leave the entry written.
    ///
    /// # Errors
    /// [`EmitError`]; the caller's operation must then not complete.
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError>;
}

/// An event was not acknowledged.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// No listener of the required lane is attached, so required events fail closed.
    #[error("no audit log is attached")]
    NotAttached,
    /// Nothing was written.
    #[error("event was not recorded")]
    NotWritten(#[source] Source),
    /// The entry may have been written; repeat it with the same event.
    #[error("event may not have been recorded")]
    Unknown(#[source] Source),
}

impl Classify for EmitError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn status(&self) -> Status {
        match self {
            Self::NotAttached => Status::Permanent,
            Self::NotWritten(_) | Self::Unknown(_) => Status::Temporary,
        }
    }
}

/// Announces events for one service.
#[derive(Debug, Clone)]
pub struct Emitter {
    sink: Arc<dyn EventSink>,
    clock: SharedClock,
    entropy: SharedEntropy,
}

impl Emitter {
    /// An emitter into `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn EventSink>, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            sink,
            clock,
            entropy,
        }
    }

    /// The clock that dates the events.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The entropy behind the event ids.
    #[must_use]
    pub fn entropy(&self) -> &SharedEntropy {
        &self.entropy
    }

    /// Announces that `data` happened and succeeded. For reads: before the bytes leave. For
    /// destructions: before the deed.
    ///
    /// # Errors
    /// As [`EventSink::emit`].
    pub async fn emit<E: EventData>(&self, cx: &RequestContext, data: E) -> Result<(), EmitError> {
        self.emit_as(cx, data, Outcome::Success).await
    }

    /// Announces `data` with another outcome.
    ///
    /// # Errors
    /// As [`EventSink::emit`].
    pub async fn emit_as<E: EventData>(
        &self,
        cx: &RequestContext,
        data: E,
        outcome: Outcome,
    ) -> Result<(), EmitError> {
        let event = Event::new(data, outcome, &*self.clock, &*self.entropy);
        self.sink.emit(cx, &event).await
    }

    /// Announces an effect that has already happened: in a task that outlives the caller, and a
    /// second time with the same id if the first answer leaves the entry in doubt.
    ///
    /// # Errors
    /// As [`EventSink::emit`]; the effect stands but is unaudited.
    pub async fn emit_after<E: EventData>(
        &self,
        cx: &RequestContext,
        data: E,
    ) -> Result<(), EmitError> {
        let event = Event::new(data, Outcome::Success, &*self.clock, &*self.entropy);
        let (sink, cx) = (Arc::clone(&self.sink), cx.clone());
        let written = task::outlive(async move {
            match sink.emit(&cx, &event).await {
                Err(EmitError::Unknown(_) | EmitError::NotWritten(_)) => {
                    sink.emit(&cx, &event).await
                }
                other => other,
            }
        });
        written
            .await
            .map_err(|lost| EmitError::Unknown(lost.into()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::event::catalogue::system;
    use crate::id::EventId;
    use crate::time::{ManualClock, Timestamp};
    use std::sync::Mutex;

    /// Refuses the first `failures` calls.
    #[derive(Debug)]
    struct Flaky {
        failures: Mutex<u32>,
        seen: Mutex<Vec<EventId>>,
    }

    #[async_trait]
    impl EventSink for Flaky {
        async fn emit(&self, _: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
            self.seen.lock().unwrap().push(event.id());
            let mut failures = self.failures.lock().unwrap();
            if *failures == 0 {
                return Ok(());
            }
            *failures -= 1;
            Err(EmitError::Unknown("down".into()))
        }
    }

    fn emitter(failures: u32) -> (Emitter, Arc<Flaky>, RequestContext) {
        let sink = Arc::new(Flaky {
            failures: Mutex::new(failures),
            seen: Mutex::default(),
        });
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let entropy = Arc::new(SeededEntropy::new(1));
        let cx = RequestContext::system("test", &*clock, &*entropy);
        (
            Emitter::new(Arc::clone(&sink) as _, clock, entropy),
            sink,
            cx,
        )
    }

    fn stopped() -> system::Stopped {
        system::Stopped {
            node: crate::event::Code::constant("n1"),
            clean: true,
            last_index: 1,
        }
    }

    #[tokio::test]
    async fn an_effect_in_doubt_is_announced_again_under_the_same_id() {
        let (emitter, sink, cx) = emitter(1);
        emitter.emit_after(&cx, stopped()).await.unwrap();
        let seen = sink.seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
    }

    #[tokio::test]
    async fn an_effect_that_cannot_be_recorded_is_reported_as_unaudited() {
        let (emitter, _, cx) = emitter(2);
        assert!(emitter.emit_after(&cx, stopped()).await.is_err());
    }
}
