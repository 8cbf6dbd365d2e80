//! Step 7, second half: one clinic is exported and leaves, and its keys are shredded.

use std::sync::Arc;

use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::cache::Key;
use eonpro::core::event::catalogue::phi;
use eonpro::core::id::DocumentId;
use eonpro::core::phi::Phi;
use eonpro::core::port::SealError;
use eonpro::core::task;
use eonpro::core::{RequestContext, TenantScope};
use eonpro::encryption::{CryptoError, EncryptionExt as _};
use eonpro::storage::DocumentRef;

use crate::charts::{self, Chart};
use crate::clinics::Clinic;
use crate::documents::{self, LARGEST, Stored};
use crate::export::{Contents, Export, Writer};
use crate::reading::keep_cover;
use crate::record::{ALL_PATIENTS, Patient, SealedPatient, id_at};
use crate::site::{Failure, GOVERN, Site, in_parallel};
use crate::trail;

/// What came of it.
#[derive(Debug)]
pub struct Leaving {
    /// How many keys were destroyed.
    pub keys: u64,
    /// What was tried and opened before. Without it the rest says nothing.
    pub opened_before: usize,
    /// What still opened although it must not.
    pub open: Vec<&'static str>,
    /// What was kept.
    pub kept: Kept,
}

/// What somebody kept from before, and tries again afterwards.
#[derive(Debug)]
pub struct Kept {
    scope: TenantScope,
    chart: Chart,
    twin: SealedPatient,
    cover: Key,
    document: Option<Stored>,
}

/// Exports `clinic`, whose charts and documents these are, and shreds it. `placed` are documents
/// that it has beside its notes.
pub async fn offboard(
    site: &Arc<Site>,
    clinic: &Clinic,
    charts: &[Chart],
    stored: &[Stored],
    placed: &[DocumentId],
) -> Result<Leaving, Failure> {
    let foundation = &site.foundation;
    let tenants = foundation.tenants();
    let privacy = clinic
        .officer(site, "privacy-officer")
        .await?
        .arrive(site)
        .await?;
    let security = clinic
        .officer(site, "security-officer")
        .await?
        .arrive(site)
        .await?;
    for officer in [&privacy, &security] {
        let scope = officer.tenant_scope()?;
        foundation
            .auth()
            .require(&scope, &GOVERN, &Target::none())
            .await?;
    }
    let chart = charts.first().ok_or("a clinic without a patient")?;
    let scope = clinic.enter(site).await?;
    let twin = charts::sealed_twin(site, &scope, chart.row).await?;
    let twin = twin.ok_or("the patient's row is gone")?;
    let cover = keep_cover(site, &scope, chart).await?;
    let kept = Kept {
        scope,
        chart: chart.clone(),
        twin,
        cover,
        document: stored.first().copied(),
    };
    let opened_before = kept.opening(site).await?.len();

    tenants.begin_offboarding(&privacy, clinic.tenant).await?;
    let documents = stored.iter().map(|one| one.document);
    let documents: Vec<_> = documents.chain(placed.iter().copied()).collect();
    let export = export(site, clinic, charts, &documents, &privacy).await?;
    let digest = export.digest;
    tenants
        .record_export(&privacy, clinic.tenant, digest)
        .await?;
    tenants.approve(&privacy, clinic.tenant, digest).await?;
    tenants.approve(&security, clinic.tenant, digest).await?;
    // Both have had their look at it.
    export.remove()?;
    let size = trail::size(site, clinic.tenant).await?;
    let erased = tenants.shred(&privacy, clinic.tenant, size).await?;
    foundation.hub().settle().await;
    let mut open = kept.opening(site).await?;
    if open.is_empty() && !kept.is_shredded(site).await {
        open.push("a key");
    }
    Ok(Leaving {
        keys: erased.keys,
        opened_before,
        open,
        kept,
    })
}

/// Writes everything that the clinic has to a file, and reads it again.
async fn export(
    site: &Site,
    clinic: &Clinic,
    charts: &[Chart],
    documents: &[DocumentId],
    officer: &RequestContext,
) -> Result<Export, Failure> {
    let foundation = &site.foundation;
    let scope = foundation
        .tenants()
        .export_scope(officer.clone(), clinic.tenant)
        .await?;
    let exported = phi::BulkExported {
        cohort: Phi::from("all patients"),
        patients: charts.len() as u64,
        destination: Phi::from("the clinic itself"),
        approver: officer.actor().id.clone(),
    };
    foundation.emitter().emit(scope.cx(), exported).await?;
    let mut writer = Writer::begin()?;
    write_charts(site, &scope, &mut writer).await?;
    for document in documents {
        let at = DocumentRef::current(*document);
        let open = foundation.documents().open(&scope, &at, None).await?;
        let info = open.info.clone();
        writer.document(&info, &open.bytes(LARGEST).await?)?;
    }
    let export = task::blocking(move || -> Result<Export, Failure> {
        let export = writer.finish()?;
        export.verify()?;
        Ok(export)
    });
    let export = export.await??;
    let everything = Contents {
        patients: charts.len(),
        resources: charts.iter().map(|chart| chart.resources).sum(),
        documents: documents.len(),
    };
    if export.contents != everything {
        return Err("the export does not have everything that was stored".into());
    }
    Ok(export)
}

/// Writes every patient that the database has, with all resources: a page at a time, so that the
/// export is never in memory as a whole.
async fn write_charts(
    site: &Site,
    scope: &TenantScope,
    writer: &mut Writer,
) -> Result<(), Failure> {
    let rows = site
        .foundation
        .databases()
        .run(scope, |db| db.query(ALL_PATIENTS, &[], |row| id_at(row, 0)));
    for row in rows.await? {
        for page in 0.. {
            let (patient, resources) = charts::open_page(site, scope, row, page).await?;
            if page == 0 {
                writer.patient(&patient)?;
            }
            for resource in &resources {
                writer.resource(resource)?;
            }
            if resources.len() < charts::PAGE {
                break;
            }
        }
    }
    Ok(())
}

impl Kept {
    /// What of it opens.
    async fn opening(&self, site: &Site) -> Result<Vec<&'static str>, Failure> {
        let (foundation, scope) = (&site.foundation, &self.scope);
        let twin = self.twin(site).await;
        let page = charts::open_page(site, scope, self.chart.row, 0).await;
        let cached = foundation.cache().get(scope, &self.cover).await;
        let mut tried = vec![
            (twin.is_ok(), "a sealed record that was kept"),
            (page.is_ok(), "the database"),
            (
                foundation.cache().peek(scope, &self.cover).is_some(),
                "the cache in memory",
            ),
            (matches!(cached, Ok(Some(_))), "the cache on disk"),
            (self.chart.clinic.enter(site).await.is_ok(), "the Door"),
        ];
        if let Some(one) = &self.document {
            let document = documents::opens(site, scope, one).await;
            tried.push((document.is_ok(), "a document"));
        }
        let open = tried.into_iter().filter(|(opens, _)| *opens);
        Ok(open.map(|(_, what)| what).collect())
    }

    async fn twin(&self, site: &Site) -> Result<Patient, CryptoError> {
        let encryption = site.foundation.encryption();
        encryption.open_record(&self.scope, self.twin.clone()).await
    }

    /// Whether the sealed record does not open because its keys are gone, and for no other reason.
    async fn is_shredded(&self, site: &Site) -> bool {
        let twin = self.twin(site).await;
        matches!(twin, Err(CryptoError::Seal(SealError::Shredded)))
    }

    /// Whether, after a restart, the clinic is closed and its record as lost as before.
    pub async fn stays_closed(&self, site: &Site) -> Result<bool, Failure> {
        let clinic = self.chart.clinic.returning(site)?;
        Ok(clinic.enter(site).await.is_err() && self.is_shredded(site).await)
    }
}

/// Whether a chart of every other clinic still opens, and a document of each that has one.
pub async fn others_open(
    site: &Arc<Site>,
    left: usize,
    charts: &[Chart],
    stored: &[Stored],
) -> Result<bool, Failure> {
    let mut items: Vec<(Chart, Option<Stored>)> = Vec::new();
    for chart in charts
        .iter()
        .filter(|chart| chart.clinic.organization != left)
    {
        let known = items
            .last()
            .is_some_and(|(last, _)| last.clinic.organization == chart.clinic.organization);
        if !known {
            let organization = chart.clinic.organization;
            let document = stored.iter().find(|one| one.organization == organization);
            items.push((chart.clone(), document.copied()));
        }
    }
    let all = in_parallel("other clinics", items, |(chart, document)| {
        let site = Arc::clone(site);
        async move {
            let scope = chart.clinic.enter(&site).await?;
            let mut good = charts::opens(&site, &scope, &chart).await?;
            if let Some(document) = &document {
                good &= documents::opens(&site, &scope, document).await?;
            }
            Ok(good)
        }
    })
    .await?;
    Ok(!all.is_empty() && all.into_iter().all(|good| good))
}
