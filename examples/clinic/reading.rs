//! Step 5: searches over sealed values, and charts and documents through the cache, twice each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::cache::{CacheExt as _, EntryOptions, Key, Namespace, WorkError};
use eonpro::core::TenantScope;
use eonpro::core::error::ErrorKind;
use eonpro::core::event::catalogue::phi;
use eonpro::core::event::{Code, ObjectRef};
use eonpro::core::id::PublicId as _;
use eonpro::core::phi::{IndexDef, IndexToken, Phi, PhiRecord as _};
use eonpro::encryption::EncryptionExt as _;
use eonpro::storage::{DocumentRef, DocumentStoreExt as _};
use eonpro::tenant::SqlValue;
use serde_json::{Value, json};

use crate::charts::{self, Chart};
use crate::documents::{LARGEST, Stored};
use crate::record::{PATIENTS_BY_FAMILY, PATIENTS_BY_SSN, Patient, SealedPatient};
use crate::site::{Failure, READ_CHART, Site, in_parallel};

/// Pages of charts.
pub const CHARTS: Namespace = Namespace::new("charts");
const DOCUMENTS: Namespace = Namespace::new("documents");
const DOCUMENT: Code = Code::constant("document");
const FROM_STORE: Code = Code::constant("store");
const FROM_CACHE: Code = Code::constant("cache");

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// How many searches were made.
    pub searches: u64,
    /// How many records they found.
    pub hits: u64,
    /// How many openings the cache answered.
    pub cache_hits: u64,
    /// What was not as it must be.
    pub faults: Vec<String>,
}

impl Reading {
    fn count(&mut self, opened: Opened, again: bool) {
        self.cache_hits += u64::from(opened.hit);
        let expected = again && opened.fits;
        self.check(opened.hit == expected, "the cache answered out of turn");
    }

    fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.faults.push(what.to_owned());
        }
    }
}

/// How something was opened.
#[derive(Debug, Clone, Copy)]
struct Opened {
    /// The cache answered, and no work was done.
    hit: bool,
    /// It is small enough to be cached.
    fits: bool,
}

/// Searches for, and opens, everything.
pub async fn run(
    site: &Arc<Site>,
    charts: &[Chart],
    documents: &[Stored],
) -> Result<Reading, Failure> {
    let mut of_chart: HashMap<(usize, usize), Stored> = HashMap::new();
    for stored in documents {
        of_chart
            .entry((stored.organization, stored.patient))
            .or_insert(*stored);
    }
    let items: Vec<_> = charts
        .iter()
        .map(|chart| {
            let document = of_chart
                .get(&(chart.clinic.organization, chart.patient))
                .copied();
            (chart.clone(), document)
        })
        .collect();
    let all = in_parallel("searches and reads", items, |(chart, document)| {
        let site = Arc::clone(site);
        async move { read_one(&site, chart, document).await }
    })
    .await?;
    Ok(all.into_iter().fold(Reading::default(), |mut whole, one| {
        whole.searches += one.searches;
        whole.hits += one.hits;
        whole.cache_hits += one.cache_hits;
        whole.faults.extend(one.faults);
        whole
    }))
}

async fn read_one(
    site: &Arc<Site>,
    chart: Chart,
    document: Option<Stored>,
) -> Result<Reading, Failure> {
    let scope = chart.clinic.enter(site).await?;
    let target = Target::of(chart.object()).about(chart.subject);
    site.foundation
        .auth()
        .require(&scope, &READ_CHART, &target)
        .await?;
    let mut reading = Reading::default();
    let person = site
        .dataset
        .patients
        .get(chart.patient)
        .ok_or("a chart without its patient")?;
    for query in [
        person.ssn.as_ref().map(|ssn| Query {
            by: By::Ssn,
            value: ssn,
        }),
        person.family.as_ref().map(|family| Query {
            by: By::Family,
            value: family,
        }),
    ]
    .into_iter()
    .flatten()
    {
        let found = query.run(site, &scope).await?;
        reading.searches += 1;
        reading.hits += found.len() as u64;
        let own = found.iter().any(|patient| patient.id == chart.row);
        reading.check(own, "a search did not find its own record");
    }
    for pass in [1, 2] {
        let opened = open_chart(site, &scope, &chart, &mut reading).await?;
        reading.count(opened, pass == 2);
        if let Some(document) = &document {
            let opened = open_document(site, &scope, &chart, document, &mut reading).await?;
            reading.count(opened, pass == 2);
        }
    }
    Ok(reading)
}

#[derive(Clone, Copy)]
enum By {
    Ssn,
    Family,
}

struct Query<'a> {
    by: By,
    value: &'a Phi<String>,
}

impl Query<'_> {
    fn index(&self) -> (&'static IndexDef, &'static str) {
        match self.by {
            By::Ssn => (&Patient::SSN_INDEX, PATIENTS_BY_SSN),
            By::Family => (&Patient::FAMILY_INDEX, PATIENTS_BY_FAMILY),
        }
    }

    /// The records whose opened value equals the query. The search is on record before they are
    /// seen; the query itself stands there sealed.
    async fn run(&self, site: &Site, scope: &TenantScope) -> Result<Vec<Patient>, Failure> {
        let foundation = &site.foundation;
        let (index, sql) = self.index();
        let slots = foundation
            .encryption()
            .query_slots(scope, index, self.value)
            .await?;
        let either =
            [slots.odd, slots.even].map(|token| SqlValue::from(token.map(IndexToken::into_bytes)));
        let candidates = foundation
            .databases()
            .run(scope, move |db| db.query(sql, &either, SealedPatient::read))
            .await?;
        let searched = phi::RecordSearched {
            query: self.value.clone(),
            patient: None,
            count: candidates.len() as u64,
        };
        foundation.emitter().emit(scope.cx(), searched).await?;
        let mut cipher = foundation.encryption().warm(scope).await?;
        let mut found = Vec::new();
        for candidate in candidates {
            let patient = Patient::open_fields(candidate, &mut cipher)?;
            let value = match self.by {
                By::Ssn => &patient.ssn,
                By::Family => &patient.family,
            };
            if value
                .as_ref()
                .is_some_and(|value| value.expose() == self.value.expose())
            {
                found.push(patient);
            }
        }
        Ok(found)
    }
}

/// The key of one page of a chart.
pub fn page_key(scope: &TenantScope, chart: &Chart, page: usize) -> Result<Key, Failure> {
    let name = [chart.row.uuid().as_bytes().as_slice(), &page.to_be_bytes()].concat();
    Ok(Key::new(scope, CHARTS, &name)?)
}

/// Keeps a small entry about a chart in the cache, whatever the size of its pages, and returns its key.
pub async fn keep_cover(site: &Site, scope: &TenantScope, chart: &Chart) -> Result<Key, Failure> {
    let name = [chart.row.uuid().as_bytes().as_slice(), b"cover"].concat();
    let key = Key::new(scope, CHARTS, &name)?;
    let cover = Bytes::copy_from_slice(chart.subject.uuid().as_bytes());
    through_cache(site, scope, &key, move || async move { Ok(cover) }).await?;
    Ok(key)
}

/// Opens all pages of a chart. It is a hit if the cache answered each of them.
async fn open_chart(
    site: &Arc<Site>,
    scope: &TenantScope,
    chart: &Chart,
    reading: &mut Reading,
) -> Result<Opened, Failure> {
    let (mut whole, mut resources) = (
        Opened {
            hit: true,
            fits: true,
        },
        0,
    );
    for page in 0..chart.pages() {
        let key = page_key(scope, chart, page)?;
        let (own, proof, row) = (Arc::clone(site), scope.clone(), chart.row);
        let (opened, bytes) = through_cache(site, scope, &key, move || async move {
            let (patient, resources) = charts::open_page(&own, &proof, row, page).await?;
            Ok(Bytes::from(page_bytes(&patient, &resources)))
        })
        .await?;
        whole.hit &= opened.hit;
        whole.fits &= opened.fits;
        view(site, scope, chart, chart.object(), opened).await?;
        let shown: Value = serde_json::from_slice(&bytes)?;
        let known = site
            .dataset
            .patients
            .get(chart.patient)
            .and_then(|one| one.mrn.as_ref());
        let mrn = shown.pointer("/mrn").and_then(Value::as_str);
        reading.check(
            mrn == known.map(|mrn| mrn.expose().as_str()),
            "a chart is another patient's",
        );
        resources += shown
            .pointer("/resources")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
    }
    reading.check(resources == chart.resources, "a chart lacks resources");
    Ok(whole)
}

fn page_bytes(patient: &Patient, resources: &[crate::record::ClinicalResource]) -> Vec<u8> {
    let text = |value: &Option<Phi<String>>| value.as_ref().map(|value| value.expose().clone());
    let page = json!({
        "name": text(&patient.name), "mrn": text(&patient.mrn),
        "born": text(&patient.birth_date), "phone": text(&patient.phone),
        "resources": resources.iter().map(|one| one.body.expose()).collect::<Vec<_>>(),
    });
    page.to_string().into_bytes()
}

async fn open_document(
    site: &Arc<Site>,
    scope: &TenantScope,
    chart: &Chart,
    stored: &Stored,
    reading: &mut Reading,
) -> Result<Opened, Failure> {
    let key = Key::new(scope, DOCUMENTS, stored.document.uuid().as_bytes())?;
    let (own, proof, document) = (Arc::clone(site), scope.clone(), stored.document);
    let (opened, bytes) = through_cache(site, scope, &key, move || async move {
        let at = DocumentRef::current(document);
        let read = own
            .foundation
            .documents()
            .read(&proof, &at, LARGEST)
            .await?;
        Ok(Bytes::copy_from_slice(&read))
    })
    .await?;
    view(
        site,
        scope,
        chart,
        ObjectRef::new(DOCUMENT, stored.document),
        opened,
    )
    .await?;
    let note = site
        .dataset
        .notes
        .get(stored.note)
        .map(|note| note.body.expose().as_slice());
    reading.check(note == Some(&*bytes), "a document came back changed");
    Ok(opened)
}

/// The value at `key`, and whether the cache gave it without `work`.
async fn through_cache<F, Fut>(
    site: &Site,
    scope: &TenantScope,
    key: &Key,
    work: F,
) -> Result<(Opened, Bytes), Failure>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<Bytes, Failure>> + Send + 'static,
{
    let worked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&worked);
    let options = EntryOptions::default();
    let fetched = site
        .foundation
        .cache()
        .get_or_compute(scope, key, &options, move || {
            flag.store(true, Ordering::SeqCst);
            let work = work();
            async move {
                work.await
                    .map(Some)
                    .map_err(|why| WorkError::new(ErrorKind::Internal, why))
            }
        });
    let value = fetched
        .await?
        .value
        .ok_or("the cache says that it does not exist")?;
    let opened = Opened {
        hit: !worked.load(Ordering::SeqCst),
        fits: value.len() <= site.foundation.config().cache.value_bytes,
    };
    Ok((opened, value))
}

/// PHI-001, before the bytes are used, also when the cache gave them.
async fn view(
    site: &Site,
    scope: &TenantScope,
    chart: &Chart,
    resource: ObjectRef,
    opened: Opened,
) -> Result<(), Failure> {
    let record_source = if opened.hit { FROM_CACHE } else { FROM_STORE };
    let viewed = phi::RecordViewed {
        patient: chart.subject,
        resource,
        record_source,
    };
    Ok(site.foundation.emitter().emit(scope.cx(), viewed).await?)
}
