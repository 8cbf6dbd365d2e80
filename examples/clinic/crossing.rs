//! Step 6: from every clinic, reach for the next one's patient, document, session and cache entry.

use std::sync::Arc;

use bytes::Bytes;
use eonpro::auth::{AuthError, Session};
use eonpro::cache::CacheError;
use eonpro::core::event::Code;
use eonpro::core::id::{DocumentId, RowId};
use eonpro::core::{Classify, ErrorKind, TenantScope};
use eonpro::storage::{
    Category, DocumentRef, DocumentStoreExt as _, MediaType, NewDocument, StorageError,
};
use eonpro::tenant::{TenantError, TenantsExt as _};

use crate::charts::{self, Chart};
use crate::clinics::Clinic;
use crate::documents::{self, LARGEST, Stored};
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
    /// What did not stay closed to somebody who knows the bare id.
    pub open: Vec<&'static str>,
    /// The documents that were placed where there was none to reach for: the clinic and the document.
    pub placed: Vec<(usize, DocumentId)>,
}

/// What the document says that is placed in a clinic without one.
const PLACED: &[u8] = b"Placed here to be reached for.\n";

/// What there is to reach for in one clinic.
struct Loot {
    patient: String,
    document: String,
    /// The bare ids of the two above.
    raw: (RowId, DocumentId),
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
        whole.open.extend(one.open);
        whole.placed.extend(one.placed);
        whole
    }))
}

async fn loot(site: &Site, chart: &Chart, known: DocumentId, opens: bool) -> Result<Loot, Failure> {
    let theirs = chart.clinic.enter(site).await?;
    let foundation = &site.foundation;
    let mut loot = Loot {
        patient: foundation.tenants().claim(&theirs, chart.row),
        document: foundation.documents().tag(&theirs, known),
        raw: (chart.row, known),
        session: Arc::clone(&chart.clinic),
        entry: keep_cover(site, &theirs, chart).await?,
        real: [false; 4],
    };
    let (patient, document, session, entry) = loot.reached_for(site, &theirs).await;
    loot.real = [
        patient.is_ok_and(|row| row == chart.row) && charts::opens(site, &theirs, chart).await?,
        document.is_ok_and(|id| id == known) && opens,
        session.is_ok(),
        matches!(entry, Ok(Some(_))),
    ];
    Ok(loot)
}

/// Places a small document in a clinic that has none, and says whether it opens. It is none of the
/// notes that came in, and not counted as one.
async fn place(site: &Site, chart: &Chart) -> Result<(DocumentId, bool), Failure> {
    let (scope, documents) = (chart.clinic.enter(site).await?, site.foundation.documents());
    let (category, declared) = (Category::ClinicalDocument, MediaType::parse("text/plain")?);
    let new = NewDocument::new(category, declared, "placed.txt").about(chart.subject);
    let document = documents
        .put(&scope, new, Bytes::from_static(PLACED))
        .await?
        .document;
    let at = DocumentRef::current(document);
    let read = documents.read(&scope, &at, LARGEST).await?;
    Ok((document, *read == PLACED))
}

async fn reach(
    site: &Site,
    clinic: &Clinic,
    chart: &Chart,
    stored: Option<Stored>,
) -> Result<Crossing, Failure> {
    let (document, opens) = match &stored {
        Some(stored) => {
            let theirs = chart.clinic.enter(site).await?;
            (
                stored.document,
                documents::opens(site, &theirs, stored).await?,
            )
        }
        None => place(site, chart).await?,
    };
    let loot = loot(site, chart, document, opens).await?;
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
    let placed = stored
        .is_none()
        .then_some((chart.clinic.organization, loot.raw.1));
    Ok(Crossing {
        attempts: count(loot.real),
        blocked: count(refused).min(audited),
        audited,
        open: loot.open_by_raw_id(site, &ours).await?,
        placed: placed.into_iter().collect(),
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

    /// What somebody with the proof of `scope` gets who knows the bare ids, which carry no tenant:
    /// only where they look keeps them out. No attempts, since nothing tells a foreign id from a
    /// wrong one.
    async fn open_by_raw_id(
        &self,
        site: &Site,
        scope: &TenantScope,
    ) -> Result<Vec<&'static str>, Failure> {
        let (row, document) = self.raw;
        let documents = site.foundation.documents();
        let read = documents
            .read(scope, &DocumentRef::current(document), LARGEST)
            .await;
        let closed = [
            (
                charts::sealed_twin(site, scope, row).await?.is_none(),
                "another clinic's patient is found by its row",
            ),
            (
                charts::open_page(site, scope, row, 0).await.is_err(),
                "another clinic's patient opens by its row",
            ),
            (
                matches!(read, Err(StorageError::NotFound)),
                "another clinic's document is not unknown by its id",
            ),
        ];
        let open = closed.into_iter().filter(|(closed, _)| !closed);
        Ok(open.map(|(_, what)| what).collect())
    }
}

fn refused<T, E: Classify>(result: &Result<T, E>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::TenantMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clinics, generate};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_clinic_is_refused_at_the_next_one_also_where_a_document_had_to_be_placed() {
        let mut dataset = generate::dataset(2).unwrap();
        dataset.notes.retain(|note| note.organization != 1);
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(dir.path(), Arc::new(dataset)).await.unwrap();
        let tenants = clinics::onboard(&site).await.unwrap();
        let clinics = clinics::staff(&site, tenants).await.unwrap();
        let charts = charts::store(&site, &clinics).await.unwrap();
        let (stored, refused) = documents::store(&site, &charts).await.unwrap();
        assert_eq!(refused.len(), 0);
        let all = clinics.len() as u64 * 4;
        let crossing = run(&site, &clinics, &charts, &stored).await.unwrap();
        assert_eq!((crossing.attempts, crossing.blocked), (all, all));
        assert_eq!(crossing.audited, all);
        assert_eq!(crossing.open, Vec::<&str>::new());
        let placed: Vec<_> = crossing.placed.iter().map(|(clinic, _)| *clinic).collect();
        assert_eq!(placed, [1]);
        assert!(site.foundation.shutdown().await.is_clean());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_opens_by_its_bare_id_is_told_so_the_owner_finds_everything_open() {
        let site_dir = tempfile::tempdir().unwrap();
        let dataset = Arc::new(generate::dataset(2).unwrap());
        let site = Site::open(site_dir.path(), dataset).await.unwrap();
        let tenants = clinics::onboard(&site).await.unwrap();
        let clinics = clinics::staff(&site, tenants).await.unwrap();
        let charts = charts::store(&site, &clinics).await.unwrap();
        let (document, opens) = place(&site, &charts[0]).await.unwrap();
        let loot = loot(&site, &charts[0], document, opens).await.unwrap();
        assert_eq!(loot.real, [true; 4]);
        let theirs = charts[0].clinic.enter(&site).await.unwrap();
        assert_eq!(loot.open_by_raw_id(&site, &theirs).await.unwrap().len(), 3);
        let other = clinics
            .iter()
            .find(|one| one.tenant != charts[0].clinic.tenant);
        let ours = other.unwrap().enter(&site).await.unwrap();
        assert_eq!(loot.open_by_raw_id(&site, &ours).await.unwrap().len(), 0);
        assert!(site.foundation.shutdown().await.is_clean());
    }
}
