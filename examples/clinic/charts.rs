//! Step 3: each patient in every clinic that treated them, with what happened there, sealed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::core::TenantScope;
use eonpro::core::context::with_log_context;
use eonpro::core::event::catalogue::phi;
use eonpro::core::event::{Code, ObjectRef};
use eonpro::core::id::{PublicId as _, RowId, SubjectId, VersionId};
use eonpro::core::phi::{Phi, PhiRecord as _};
use eonpro::tenant::SqlValue;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::clinics::Clinic;
use crate::dataset::Person;
use crate::record::{
    ClinicalResource, INSERT_PATIENT, INSERT_RESOURCE, PATIENT_BY_ROW, Patient, RESOURCES_OF,
    SealedClinicalResource, SealedPatient, row_value,
};
use crate::site::{Failure, Site, WIDTH, WRITE_CHART, in_parallel};

/// What kind of thing a patient record is, in the audit trail.
pub const PATIENT: Code = Code::constant("patient");
/// How many resources one page of a chart shows.
pub const PAGE: usize = 128;

/// A patient's record in one clinic.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The clinic.
    pub clinic: Arc<Clinic>,
    /// The position of the patient.
    pub patient: usize,
    /// The patient's row.
    pub row: RowId,
    /// The patient's pseudonym.
    pub subject: SubjectId,
    /// How many resources it holds.
    pub resources: usize,
}

impl Chart {
    /// The patient in the audit trail.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::new(PATIENT, self.row)
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.resources.div_ceil(PAGE).max(1)
    }
}

/// Stores all charts.
pub async fn store(site: &Arc<Site>, clinics: &[Arc<Clinic>]) -> Result<Vec<Chart>, Failure> {
    let mut work: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (patient, person) in site.dataset.patients.iter().enumerate() {
        for organization in &person.treated_by {
            work.entry((patient, *organization)).or_default();
        }
    }
    for (position, resource) in site.dataset.resources.iter().enumerate() {
        // Who has a resource was treated: an encounter or a note says so, or the line was skipped.
        if let Some(positions) = work.get_mut(&(resource.patient, resource.organization)) {
            positions.push(position);
        }
    }
    let mut called = HashSet::new();
    let mut items = Vec::with_capacity(work.len());
    for ((patient, organization), resources) in work {
        let clinic = clinics
            .get(organization)
            .ok_or("a chart without its clinic")?;
        items.push((
            Arc::clone(clinic),
            patient,
            resources,
            called.insert(patient),
        ));
    }
    let mut charts = in_parallel("charts", items, |(clinic, patient, resources, first)| {
        let site = Arc::clone(site);
        async move { store_one(&site, clinic, patient, &resources, first).await }
    })
    .await?;
    charts.sort_by_key(|chart| (chart.clinic.organization, chart.patient));
    Ok(charts)
}

async fn store_one(
    site: &Site,
    clinic: Arc<Clinic>,
    patient: usize,
    resources: &[usize],
    first: bool,
) -> Result<Chart, Failure> {
    let foundation = &site.foundation;
    let person = site
        .dataset
        .patients
        .get(patient)
        .ok_or("a chart without its patient")?;
    let scope = clinic.enter(site).await?;
    let auth = foundation.auth();
    auth.require(&scope, &WRITE_CHART, &Target::none()).await?;
    let entropy = &**foundation.entropy();
    let (row, subject) = (RowId::random(entropy), SubjectId::random(entropy));
    let mut cipher = foundation.encryption().warm(&scope).await?;
    let sealed = Patient::of(person, row, subject)
        .seal_fields(&mut cipher)?
        .into_values();
    let (mut ids, mut rows) = (Vec::new(), Vec::new());
    for position in resources {
        let resource = site
            .dataset
            .resources
            .get(*position)
            .ok_or("no such resource")?;
        let id = RowId::random(entropy);
        let record = ClinicalResource {
            id,
            patient: row,
            kind: resource.kind.as_str().to_owned(),
            body: resource.body.clone(),
        };
        ids.push(ObjectRef::new(Code::new(resource.kind.as_str())?, id));
        rows.push(record.seal_fields(&mut cipher)?.into_values());
    }
    let stored = foundation.databases().run(&scope, move |db| {
        db.execute(INSERT_PATIENT, &sealed)?;
        for row in &rows {
            db.execute(INSERT_RESOURCE, row)?;
        }
        Ok(())
    });
    stored.await?;
    let chart = Chart {
        clinic,
        patient,
        row,
        subject,
        resources: ids.len(),
    };
    ids.push(chart.object());
    announce(site, &scope, subject, ids).await?;
    if first {
        with_log_context(scope.cx(), async { careless(person) }).await;
    }
    Ok(chart)
}

/// Records that each thing was created; the entries share their syncs.
async fn announce(
    site: &Site,
    scope: &TenantScope,
    patient: SubjectId,
    objects: Vec<ObjectRef>,
) -> Result<(), Failure> {
    let (emitter, entropy) = (site.foundation.emitter(), site.foundation.entropy());
    let entries = stream::iter(objects).map(|resource| {
        let version = VersionId::random(&**entropy).uuid();
        emitter.emit_after(
            scope.cx(),
            phi::RecordCreated {
                patient,
                resource,
                version,
            },
        )
    });
    entries.buffer_unordered(WIDTH).try_collect::<()>().await?;
    Ok(())
}

/// What somebody in a hurry writes to the log, and what must not come out of it.
fn careless(person: &Person) {
    let text = |value: &Option<Phi<String>>| {
        value
            .as_ref()
            .map_or("unknown", |value| value.expose())
            .to_owned()
    };
    let (ssn, mrn) = (text(&person.ssn), text(&person.mrn));
    let (phone, born) = (text(&person.phone), text(&person.birth_date));
    tracing::info!("called the patient back: SSN {ssn}, MRN {mrn}, phone {phone}, born {born}");
}

/// Opens one page of a chart: the patient, and up to [`PAGE`] resources.
pub async fn open_page(
    site: &Site,
    scope: &TenantScope,
    row: RowId,
    page: usize,
) -> Result<(Patient, Vec<ClinicalResource>), Failure> {
    let offset = i64::try_from(page * PAGE)?;
    let found = site.foundation.databases().run(scope, move |db| {
        let patient = db.query_first(PATIENT_BY_ROW, &[row_value(row)], SealedPatient::read)?;
        let window = [
            row_value(row),
            SqlValue::from(PAGE as i64),
            SqlValue::from(offset),
        ];
        let resources = db.query(RESOURCES_OF, &window, SealedClinicalResource::read)?;
        Ok((patient, resources))
    });
    let (patient, resources) = found.await?;
    let patient = patient.ok_or("the patient's row is gone")?;
    let mut cipher = site.foundation.encryption().warm(scope).await?;
    let patient = Patient::open_fields(patient, &mut cipher)?;
    let opened = resources
        .into_iter()
        .map(|one| ClinicalResource::open_fields(one, &mut cipher));
    Ok((patient, opened.collect::<Result<_, _>>()?))
}

/// The sealed twin of a patient, as the database has it, if it does.
pub async fn sealed_twin(
    site: &Site,
    scope: &TenantScope,
    row: RowId,
) -> Result<Option<SealedPatient>, Failure> {
    let found = site.foundation.databases().run(scope, move |db| {
        db.query_first(PATIENT_BY_ROW, &[row_value(row)], SealedPatient::read)
    });
    Ok(found.await?)
}

/// Whether `patient` is the record of `person`.
pub fn is_record_of(patient: &Patient, person: &Person) -> bool {
    let same = |opened: &Option<Phi<String>>, known: &Option<Phi<String>>| {
        opened.as_ref().map(|value| value.expose()) == known.as_ref().map(|value| value.expose())
    };
    same(&patient.name, &person.full_name)
        && same(&patient.ssn, &person.ssn)
        && same(&patient.mrn, &person.mrn)
        && same(&patient.birth_date, &person.birth_date)
}

/// Whether the chart opens from the database and is the right patient's.
pub async fn opens(site: &Site, scope: &TenantScope, chart: &Chart) -> Result<bool, Failure> {
    let (patient, _) = open_page(site, scope, chart.row, 0).await?;
    let person = site.dataset.patients.get(chart.patient);
    Ok(person.is_some_and(|person| is_record_of(&patient, person)))
}
