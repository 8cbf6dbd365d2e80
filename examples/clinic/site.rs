//! The place where everything happens: the foundation, the alerts that it raises, the data.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use eonpro::Foundation;
use eonpro::auth::{Permission, RoleBook};
use eonpro::core::id::TenantId;
use eonpro::core::port::{Alert, AlertError, AlertSink};
use eonpro::core::task;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::dataset::Dataset;
use crate::progress;
use crate::record::{ClinicalResource, Patient};

/// Why a step could not go on.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The role of a clinician.
pub const CLINICIAN: &str = "clinician";
/// The role of those who decide about a clinic as a whole.
pub const OFFICER: &str = "officer";
/// May look at charts and documents.
pub const READ_CHART: Permission = Permission::constant("chart:read");
/// May store records and documents.
pub const WRITE_CHART: Permission = Permission::constant("chart:write");
/// May turn keys, export, and approve the end of a clinic.
pub const GOVERN: Permission = Permission::constant("clinic:govern");

/// How many pieces of work are under way at a time. More than there are cores: most of them wait
/// for a sync to disk, and those that wait together share it.
pub const WIDTH: usize = 48;

/// Keeps alerts for whoever looks at them.
#[derive(Debug, Default)]
pub struct Pager(Mutex<Vec<Alert>>);

impl Pager {
    /// The tenants for which alerts of an event type were raised: one for each event, whose alert
    /// may come more than once.
    pub fn tenants(&self, event_code: &str) -> Vec<Option<TenantId>> {
        let alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_type = alerts.iter().filter(|alert| alert.event_code == event_code);
        let events: BTreeMap<_, _> = of_type.map(|alert| (alert.event, alert.tenant)).collect();
        events.into_values().collect()
    }
}

#[async_trait]
impl AlertSink for Pager {
    async fn deliver(&self, alert: &Alert) -> Result<(), AlertError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(alert.clone());
        Ok(())
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Site {
    /// All services.
    pub foundation: Foundation,
    /// The alerts.
    pub pager: Arc<Pager>,
    /// What came in.
    pub dataset: Arc<Dataset>,
}

impl Site {
    /// Opens the foundation in `dir`, as new or as it was left.
    pub async fn open(dir: &Path, dataset: Arc<Dataset>) -> Result<Arc<Self>, Failure> {
        let roles = RoleBook::new()
            .grant(CLINICIAN, [READ_CHART, WRITE_CHART])?
            .grant(OFFICER, [READ_CHART, GOVERN])?;
        let pager = Arc::new(Pager::default());
        let foundation = Foundation::embedded(dir)
            .records::<(Patient, ClinicalResource)>()
            .roles(roles)
            .alerts(Arc::<Pager>::clone(&pager))
            .build()
            .await?;
        Ok(Arc::new(Self {
            foundation,
            pager,
            dataset,
        }))
    }
}

/// Runs `work` on each item, [`WIDTH`] at a time, on all cores, behind a progress bar named `what`.
/// Ends with the first failure. The results come in any order.
pub async fn in_parallel<I, T, F, W>(
    what: &'static str,
    items: Vec<I>,
    work: W,
) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
    W: Fn(I) -> F,
{
    let bar = progress::bar(what, items.len());
    let mut done = Vec::with_capacity(items.len());
    let started = stream::iter(items).map(|item| task::start(work(item)));
    let mut running = std::pin::pin!(started.buffer_unordered(WIDTH));
    while let Some(result) = running.next().await {
        done.push(result??);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(done)
}
