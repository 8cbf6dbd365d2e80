//! Step 6: from every clinic, reach for the next one's patient, document, session and cache entry.

use std::sync::Arc;

use eonpro::core::event::Code;
use eonpro::core::id::{DocumentId, RowId};
use eonpro::core::{Classify, ErrorKind};
use eonpro::tenant::TenantsExt as _;

use crate::charts::Chart;
use crate::clinics::Clinic;
use crate::documents::Stored;
use crate::reading::page_key;
use crate::site::{Failure, Site, in_parallel};
use crate::trail;

/// The event that each refusal must leave behind.
const VIOLATION: &str = "TEN-004";
const LAYER: Code = Code::constant("chart");

/// What came of the attempts.
#[derive(Debug, Default)]
pub struct Crossing {
    /// How many were made.
    pub attempts: u64,
    /// How many were refused and are in the audit trail.
    pub blocked: u64,
}

/// What there is to reach for in one clinic.
struct Loot {
    patient: String,
    document: String,
    session: Arc<Clinic>,
    entry: eonpro::cache::Key,
}

/// Reaches for everything. With a single clinic there is nothing to reach for.
pub async fn run(
    site: &Arc<Site>,
    clinics: &[Arc<Clinic>],
    charts: &[Chart],
    documents: &[Stored],
) -> Result<Crossing, Failure> {
    if clinics.len() < 2 {
        return Ok(Crossing::default());
    }
    let mut items = Vec::new();
    let next = clinics.iter().cycle().skip(1);
    for (clinic, next) in clinics.iter().zip(next) {
        let there = |organization: usize| organization == next.organization;
        let chart = charts.iter().find(|chart| there(chart.clinic.organization));
        let chart = chart.ok_or("a clinic without a patient")?.clone();
        let document = documents.iter().find(|stored| there(stored.organization)).copied();
        items.push((Arc::clone(clinic), chart, document));
    }
    let all = in_parallel("attempts on other clinics", items, |(clinic, chart, document)| {
        let site = Arc::clone(site);
        async move { reach(&site, &clinic, &chart, document).await }
    })
    .await?;
    Ok(all.into_iter().fold(Crossing::default(), |mut whole, one| {
        whole.attempts += one.attempts;
        whole.blocked += one.blocked;
        whole
    }))
}

async fn loot(site: &Site, chart: &Chart, document: Option<Stored>) -> Result<Loot, Failure> {
    let theirs = chart.clinic.enter(site).await?;
    let foundation = &site.foundation;
    // A clinic without a document still has ids that are minted for it.
    let fresh = || DocumentId::random(&**foundation.entropy());
    let document = document.map_or_else(fresh, |stored| stored.document);
    Ok(Loot {
        patient: foundation.tenants().claim(&theirs, chart.row),
        document: foundation.documents().tag(&theirs, document),
        session: Arc::clone(&chart.clinic),
        entry: page_key(&theirs, chart, 0)?,
    })
}

async fn reach(
    site: &Site,
    clinic: &Clinic,
    chart: &Chart,
    document: Option<Stored>,
) -> Result<Crossing, Failure> {
    let loot = loot(site, chart, document).await?;
    let ours = clinic.enter(site).await?;
    let foundation = &site.foundation;
    let before = trail::count(site, clinic.tenant, VIOLATION).await?;
    let patient = foundation.tenants().admit::<RowId>(&ours, &loot.patient, LAYER).await;
    let document = foundation.documents().admit(&ours, &loot.document).await;
    let session = loot.session.clinician.session.expose();
    let session = foundation.auth().session(&ours, session).await;
    let entry = foundation.cache().get(&ours, &loot.entry).await;
    let refused = [refused(&patient), refused(&document), refused(&session), refused(&entry)];
    let recorded = trail::count(site, clinic.tenant, VIOLATION).await? - before;
    let stopped = refused.iter().filter(|refused| **refused).count() as u64;
    Ok(Crossing { attempts: refused.len() as u64, blocked: stopped.min(recorded) })
}

fn refused<T, E: Classify>(result: &Result<T, E>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::TenantMismatch)
}
