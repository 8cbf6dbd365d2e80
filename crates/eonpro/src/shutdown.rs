//! The end, in order: who announces closes before who records, who records before who seals, and
//! the state that all of them stand on comes after.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::Component;
use eonpro_core::task;
use eonpro_core::time::Clock;
use futures_util::future::{Either, select};

use crate::health::Weight;

/// When a part is closed. In the order of the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What serves requests.
    Services,
    /// What listens to events.
    Listeners,
    /// The audit log: it signs its last checkpoint.
    Audit,
    /// Encryption: it wipes its keys.
    Encryption,
    /// The key-value store and the root key.
    State,
    /// Metrics.
    Metrics,
    /// The logger, so that all others can still tell how they ended.
    Logger,
}

/// How one step of the shutdown went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPart {
    /// The part.
    pub name: &'static str,
    /// Its stage.
    pub stage: Stage,
    /// How long it took.
    pub took: Duration,
    /// Whether it ended within its budget.
    pub ended: bool,
}

/// How a shutdown went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The parts in the order in which they were closed.
    pub parts: Vec<ClosedPart>,
    /// Whether the end was recorded in the audit log (SYS-002).
    pub recorded: bool,
}

impl ShutdownReport {
    /// Whether every part ended in time and the end was recorded.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.recorded && self.parts.iter().all(|part| part.ended)
    }
}

/// One opened part.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) stage: Stage,
    pub(crate) weight: Weight,
    pub(crate) part: Arc<dyn Component>,
}

/// Everything that was opened, in the order of its closing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts(Vec<Opened>);

impl Parts {
    /// Adds a part behind the others of its stage.
    pub(crate) fn add(&mut self, stage: Stage, weight: Weight, part: Arc<dyn Component>) {
        let at = self.0.partition_point(|opened| opened.stage <= stage);
        self.0.insert(
            at,
            Opened {
                stage,
                weight,
                part,
            },
        );
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Opened> {
        self.0.iter()
    }

    /// Closes the parts of stages `from` to `to`, one after another.
    pub(crate) async fn close(
        &self,
        from: Stage,
        to: Stage,
        clock: &dyn Clock,
        budget: Duration,
    ) -> Vec<ClosedPart> {
        let mut closed = Vec::new();
        for Opened { stage, part, .. } in &self.0 {
            if (from..=to).contains(stage) {
                closed.push(close_one(*stage, part, clock, budget).await);
            }
        }
        closed
    }
}

/// Closes one part in a task of its own: beyond its budget it goes on by itself.
async fn close_one(
    stage: Stage,
    part: &Arc<dyn Component>,
    clock: &dyn Clock,
    budget: Duration,
) -> ClosedPart {
    let began = clock.monotonic();
    let own = Arc::clone(part);
    let closing = pin!(task::outlive(async move { own.close().await }));
    let ended = match select(closing, pin!(clock.sleep_until(began.plus(budget)))).await {
        Either::Left((closed, _)) => closed.is_ok(),
        Either::Right(_) => false,
    };
    if !ended {
        tracing::error!(part = part.name(), "a part did not close in time");
    }
    ClosedPart {
        name: part.name(),
        stage,
        took: clock.monotonic().since(began),
        ended,
    }
}
