//! Step 6: from every clinic, reach for the next one's patient, document, session and cache entry.

use std::sync::Arc;

use bytes::Bytes;
use eonpro::auth::{AuthError, Session};
use eonpro::cache::CacheError;
use eonpro::core::event::Code;
use eonpro::core::id::{DocumentId, RowId};
use eonpro::core::{Classify, ErrorKind, TenantScope};
use eonpro::storage::StorageError;
use eonpro::tenant::{TenantError, TenantsExt as _};

use crate::charts::Chart;
use crate::clinics::Clinic;
use crate::documents::Stored;
use crate::reading::keep_cover;
use crate::site::{Failure, Site, in_parallel};
use crate::trail;

/// The event that each refusal must leave behind.
const VIOLATION: &str = "TEN-004";
const LAYER: Code = Code::constant("chart");

/// What came of the attempts.
#[derive(Debug, Default)]
pub struct Crossing {
    /// How many were made, on something that is there and opens for its owner.
    pub attempts: u64,
    /// How many were refused and are in the audit trail.
    pub blocked: u64,
    /// How many entries they left in the audit trail.
    pub audited: u64,
}

/// What there is to reach for in one clinic.
struct Loot {
    patient: String,
    document: String,
    session: Arc<Clinic>,
    entry: eonpro::cache::Key,
    /// Whether each of them, in this order, opens for its owner.
    real: [bool; 4],
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
        let document = documents
            .iter()
            .find(|stored| there(stored.organization))
            .copied();
        items.push((Arc::clone(clinic), chart, document));
    }
    let all = in_parallel(
        "attempts on other clinics",
        items,
        |(clinic, chart, document)| {
            let site = Arc::clone(site);
            async move { reach(&site, &clinic, &chart, document).await }
        },
    )
    .await?;
    Ok(all.into_iter().fold(Crossing::default(), |mut whole, one| {
        whole.attempts += one.attempts;
        whole.blocked += one.blocked;
        whole.audited += one.audited;
        whole
    }))
}

async fn loot(site: &Site, chart: &Chart, document: Option<Stored>) -> Result<Loot, Failure> {
    let theirs = chart.clinic.enter(site).await?;
    let foundation = &site.foundation;
    // A clinic without a document still has ids that are minted for it.
    let fresh = || DocumentId::random(&**foundation.entropy());
    let known = document.map_or_else(fresh, |stored| stored.document);
    let mut loot = Loot {
        patient: foundation.tenants().claim(&theirs, chart.row),
        document: foundation.documents().tag(&theirs, known),
        session: Arc::clone(&chart.clinic),
        entry: keep_cover(site, &theirs, chart).await?,
        real: [false; 4],
    };
    let (patient, document, session, entry) = loot.reached_for(site, &theirs).await;
    loot.real = [
        patient.is_ok_and(|row| row == chart.row),
        document.is_ok_and(|id| id == known),
        session.is_ok(),
        matches!(entry, Ok(Some(_))),
    ];
    Ok(loot)
}

async fn reach(
    site: &Site,
    clinic: &Clinic,
    chart: &Chart,
    document: Option<Stored>,
) -> Result<Crossing, Failure> {
    let loot = loot(site, chart, document).await?;
    let ours = clinic.enter(site).await?;
    let before = trail::count(site, clinic.tenant, VIOLATION).await?;
    let (patient, document, session, entry) = loot.reached_for(site, &ours).await;
    let refused = [
        refused(&patient),
        refused(&document),
        refused(&session),
        refused(&entry),
    ];
    let audited = trail::count(site, clinic.tenant, VIOLATION).await? - before;
    let count = |which: [bool; 4]| which.into_iter().filter(|holds| *holds).count() as u64;
    Ok(Crossing {
        attempts: count(loot.real),
        blocked: count(refused).min(audited),
        audited,
    })
}

impl Loot {
    /// What somebody with the proof of `scope` gets.
    async fn reached_for(
        &self,
        site: &Site,
        scope: &TenantScope,
    ) -> (
        Result<RowId, TenantError>,
        Result<DocumentId, StorageError>,
        Result<Session, AuthError>,
        Result<Option<Bytes>, CacheError>,
    ) {
        let foundation = &site.foundation;
        let session = self.session.clinician.session.expose();
        (
            foundation
                .tenants()
                .admit(scope, &self.patient, LAYER)
                .await,
            foundation.documents().admit(scope, &self.document).await,
            foundation.auth().session(scope, session).await,
            foundation.cache().get(scope, &self.entry).await,
        )
    }
}

fn refused<T, E: Classify>(result: &Result<T, E>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::TenantMismatch)
}
