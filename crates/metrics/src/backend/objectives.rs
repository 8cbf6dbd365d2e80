//! The objectives of the process: each counts under a lock of its own.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use eonpro_core::port::{Operation, Verdict};
use eonpro_core::time::{Monotonic, SharedClock};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::error::MetricsError;
use crate::slo::{Budget, Slo, SloTracker};

#[derive(Debug)]
pub(super) struct Objectives {
    clock: SharedClock,
    most: usize,
    all: RwLock<Vec<Objective>>,
}

#[derive(Debug)]
struct Objective {
    name: &'static str,
    operation: Operation,
    tracker: Mutex<SloTracker>,
}

impl Objective {
    fn budget(&self, now: Monotonic) -> Budget {
        self.tracker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .budget(now)
    }
}

impl Objectives {
    /// Registers the instrument that shows their budgets.
    pub(super) fn register(meter: &Meter, clock: SharedClock, most: usize) -> Arc<Self> {
        let objectives = Arc::new(Self {
            clock,
            most,
            all: RwLock::default(),
        });
        let shown = Arc::clone(&objectives);
        meter
            .f64_observable_gauge("eonpro_slo_budget_remaining_ratio")
            .with_description("What is left of the error budget; below 0 it is overspent.")
            .with_callback(move |to| {
                let now = shown.clock.monotonic();
                for objective in shown.all().iter() {
                    let label = [KeyValue::new("slo", objective.name)];
                    to.observe(objective.budget(now).remaining, &label);
                }
            })
            .build();
        objectives
    }

    pub(super) fn track(&self, slo: Slo) -> Result<(), MetricsError> {
        let (name, operation) = (slo.name, slo.operation);
        let tracker = Mutex::new(SloTracker::new(slo)?);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|known| known.name == name) {
            return Err(MetricsError::Conflict);
        }
        if all.len() >= self.most {
            return Err(MetricsError::Cardinality);
        }
        all.push(Objective {
            name,
            operation,
            tracker,
        });
        Ok(())
    }

    pub(super) fn observe(&self, op: Operation, verdict: Verdict, elapsed: Duration) {
        let all = self.all();
        for objective in all.iter().filter(|objective| objective.operation == op) {
            // Read under the lock: an older time must not come after a newer one.
            let mut tracker = objective
                .tracker
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            tracker.observe(op, verdict, elapsed, self.clock.monotonic());
        }
    }

    pub(super) fn budget(&self, name: &str) -> Option<Budget> {
        let now = self.clock.monotonic();
        let all = self.all();
        all.iter()
            .find(|known| known.name == name)
            .map(|known| known.budget(now))
    }

    fn all(&self) -> RwLockReadGuard<'_, Vec<Objective>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }
}
