//! Who listens on the best-effort lane: metrics, the log and the cache; and where alerts go unless
//! the application says otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use eonpro_cache::Cache;
use eonpro_core::RequestContext;
use eonpro_core::context::{TenantBinding, with_log_context};
use eonpro_core::event::{Event, FieldValue, Severity};
use eonpro_core::id::TenantId;
use eonpro_core::port::{Alert, AlertError, AlertSink};
use eonpro_core::scope::{Authority, Standing};
use eonpro_metrics::{Counter, CounterDesc, Label, Metrics, MetricsError};

use crate::hub::EventListener;

const EVENTS: CounterDesc = CounterDesc::new("foundation_events", "Audited events.");
const MISSED: CounterDesc = CounterDesc::new(
    "foundation_events_missed",
    "Events dropped because a listener's queue was full.",
);

/// The counter of what `listener` misses.
pub(crate) fn missed(metrics: &dyn Metrics, listener: &str) -> Result<Counter, MetricsError> {
    metrics.counter(&MISSED, &[Label::new("listener", listener)?])
}

/// Counts events by code and severity.
#[derive(Debug)]
pub(crate) struct EventMetrics {
    metrics: Arc<dyn Metrics>,
    // The catalogue is closed, so this is bounded.
    counters: Mutex<HashMap<&'static str, Counter>>,
}

impl EventMetrics {
    pub(crate) fn new(metrics: Arc<dyn Metrics>) -> Self {
        Self {
            metrics,
            counters: Mutex::default(),
        }
    }

    fn make(&self, event: &Event) -> Result<Counter, MetricsError> {
        let kind = event.kind();
        let labels = [
            Label::new("code", kind.code)?,
            Label::new("severity", kind.severity.as_str())?,
        ];
        self.metrics.counter(&EVENTS, &labels)
    }
}

#[async_trait]
impl EventListener for EventMetrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    async fn hear(&self, _: &RequestContext, event: &Arc<Event>) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(event.kind().code) {
            counter.add(1);
        } else if let Ok(counter) = self.make(event) {
            counter.add(1);
            counters.insert(event.kind().code, counter);
        }
    }
}

/// Logs events that are worth a look, by their codes and ids.
#[derive(Debug)]
pub(crate) struct EventLog;

#[async_trait]
impl EventListener for EventLog {
    fn name(&self) -> &'static str {
        "logger"
    }

    async fn hear(&self, cx: &RequestContext, event: &Arc<Event>) {
        let kind = event.kind();
        let (code, name, id) = (kind.code, kind.name, event.id());
        with_log_context(cx, async {
            match kind.severity {
                Severity::Critical | Severity::Error => {
                    tracing::error!(code, event = name, event_id = %id, "audited");
                }
                Severity::Warning => {
                    tracing::warn!(code, event = name, event_id = %id, "audited");
                }
                Severity::Notice | Severity::Info => {
                    tracing::debug!(code, event = name, event_id = %id, "audited");
                }
            }
        })
        .await;
    }
}

/// Empties the cache of a tenant that was suspended or is being destroyed.
///
/// A convenience for memory and disk: what protects the data is that the scope is refused and the
/// keys are gone.
#[derive(Debug)]
pub(crate) struct CacheClearing(Weak<dyn Cache>);

impl CacheClearing {
    /// Holds the cache weakly: it emits into the hub that holds this listener.
    pub(crate) fn new(cache: &Arc<dyn Cache>) -> Self {
        Self(Arc::downgrade(cache))
    }
}

fn tenant_of(event: &Event) -> Option<TenantId> {
    if !matches!(event.kind().code, "TEN-002" | "TEN-003") {
        return None;
    }
    event.fields().iter().find_map(|(_, value)| match value {
        FieldValue::Tenant(tenant) => Some(*tenant),
        _ => None,
    })
}

#[async_trait]
impl EventListener for CacheClearing {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn hear(&self, cx: &RequestContext, event: &Arc<Event>) {
        let (Some(id), Some(cache)) = (tenant_of(event), self.0.upgrade()) else {
            return;
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the tenant is no longer active, and its entries must go all the same"
        )]
        let authority = Authority::assume("facade: empties the cache of a tenant that leaves");
        let binding = TenantBinding {
            id,
            standing: Standing::Active,
            epoch: 0,
        };
        let Ok(scope) = authority.bind(cx.clone(), binding).tenant_scope() else {
            return;
        };
        if let Err(error) = cache.clear_tenant(&scope).await {
            tracing::error!(%error, "the cache of a tenant that left was not emptied");
        }
    }
}

/// Alerts as error lines of the log, for want of a better place.
#[derive(Debug)]
pub(crate) struct LoggedAlerts;

#[async_trait]
impl AlertSink for LoggedAlerts {
    async fn deliver(&self, alert: &Alert) -> Result<(), AlertError> {
        let tenant = alert.tenant.map(|tenant| tenant.to_string());
        tracing::error!(
            rule = %alert.rule,
            severity = alert.severity.as_str(),
            code = alert.event_code,
            event_id = %alert.event,
            tenant = tenant.as_deref().unwrap_or("none"),
            "alert"
        );
        Ok(())
    }
}
