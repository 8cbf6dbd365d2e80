//! Alerts: what a human should look at now.

use async_trait::async_trait;

use crate::error::{Classify, ErrorKind, Source};
use crate::event::{Code, Severity};
use crate::id::{EventId, TenantId};
use crate::time::Timestamp;

/// One alert. It may end in a chat room, so it holds ids and codes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The rule that fired.
    pub rule: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The tenant concerned.
    pub tenant: Option<TenantId>,
    /// The catalogue code of the event that caused it.
    pub event_code: &'static str,
    /// That event.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
}

/// Takes alerts to people.
#[async_trait]
pub trait AlertSink: std::fmt::Debug + Send + Sync + 'static {
    /// Delivers one alert. Repeats carry the same event id. Cancel-safe.
    ///
    /// # Errors
    /// [`AlertError`]; the caller counts it and goes on, since the audit entry stands.
    async fn deliver(&self, alert: &Alert) -> Result<(), AlertError>;
}

/// An alert was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("alert was not delivered")]
pub struct AlertError(#[source] pub Source);

impl Classify for AlertError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}
