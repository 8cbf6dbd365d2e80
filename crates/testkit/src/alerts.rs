//! An alert sink that remembers what it was told, and refuses on demand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eonpro_core::port::{Alert, AlertError, AlertSink};

/// An alert sink that remembers what it was told, and refuses on demand.
#[derive(Debug, Default)]
pub struct RecordingAlerts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    alerts: Vec<Alert>,
    down: bool,
}

impl RecordingAlerts {
    /// An empty sink that accepts everything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// What was delivered, oldest first, repeats included.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.state().alerts.clone()
    }

    /// The event codes of what was delivered, oldest first.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        let state = self.state();
        state.alerts.iter().map(|alert| alert.event_code).collect()
    }

    /// While down, everything is refused.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AlertSink for RecordingAlerts {
    async fn deliver(&self, alert: &Alert) -> Result<(), AlertError> {
        let mut state = self.state();
        if state.down {
            return Err(AlertError("the test refuses".into()));
        }
        state.alerts.push(alert.clone());
        Ok(())
    }
}
