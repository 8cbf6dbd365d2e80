//! Reading a FHIR R4 Bulk Data directory: NDJSON files, one resource a line.
//!
//! The resource type decides, not the file's name, since exporters name and split files as they
//! like. A line that cannot be used is reported with file and line, counted and left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro::core::phi::Phi;
use eonpro::storage::MediaType;
use serde_json::Value;

use crate::dataset::{Dataset, Kind, Note, Person, Resource, Skipped};

const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Resources in the order of their reading, before their references are resolved.
#[derive(Debug, Default)]
pub struct Bundle {
    patients: Vec<(Source, String, Value)>,
    records: Vec<(Source, Kind, Value)>,
    documents: Vec<(Source, Value)>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Clone)]
struct Source {
    file: String,
    line: usize,
}

impl Source {
    fn skip(&self, why: &'static str) -> Skipped {
        Skipped {
            file: self.file.clone(),
            line: self.line,
            why,
        }
    }
}

/// Reads all `*.ndjson` files of `dir`.
pub fn read(dir: &Path) -> Result<Dataset, String> {
    let shown = dir.display();
    let listing = std::fs::read_dir(dir)
        .map_err(|error| format!("cannot read directory {shown}: {error}"))?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry
            .map_err(|error| format!("cannot read directory {shown}: {error}"))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
        {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("no *.ndjson file in {shown}"));
    }
    let mut bundle = Bundle::default();
    for path in files {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = File::open(&path).map_err(|error| format!("cannot open {name}: {error}"))?;
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let failed = |error| format!("cannot read {name}: {error}");
            // One byte more than is accepted, so that an endless line does not fill the memory.
            let mut bounded = reader.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut bytes).map_err(failed)?;
            if read == 0 {
                break;
            }
            if read > MAX_LINE_BYTES && bytes.last() != Some(&b'\n') {
                reader.skip_until(b'\n').map_err(failed)?;
            }
            bundle.add(&name, line, bytes.trim_ascii());
        }
    }
    bundle.resolve()
}

impl Bundle {
    /// Adds one line.
    pub fn add(&mut self, file: &str, line: usize, bytes: &[u8]) {
        let source = Source {
            file: file.to_owned(),
            line,
        };
        if bytes.is_empty() {
            return;
        }
        if bytes.len() > MAX_LINE_BYTES {
            self.skipped.push(source.skip("line is longer than 64 MiB"));
            return;
        }
        let Ok(resource) = serde_json::from_slice::<Value>(bytes) else {
            self.skipped.push(source.skip("not JSON"));
            return;
        };
        match text(&resource, "/resourceType") {
            Some("Patient") => match text(&resource, "/id") {
                Some(id) => self.patients.push((source, id.to_owned(), resource)),
                None => self.skipped.push(source.skip("patient without an id")),
            },
            Some("Encounter") => self.records.push((source, Kind::Encounter, resource)),
            Some("Condition") => self.records.push((source, Kind::Condition, resource)),
            Some("Immunization") => self.records.push((source, Kind::Immunization, resource)),
            Some("AllergyIntolerance") => self.records.push((source, Kind::Allergy, resource)),
            Some("DocumentReference") => self.documents.push((source, resource)),
            Some(_) => {}
            None => self.skipped.push(source.skip("no resourceType")),
        }
    }

    /// Resolves references. Organizations that are custodian of a document or provider of an
    /// encounter become tenants, if that line is not skipped; who treated whom follows from the
    /// same two.
    pub fn resolve(mut self) -> Result<Dataset, String> {
        let mut dataset = Dataset::default();
        let mut patient_at = HashMap::new();
        for (source, id, resource) in &self.patients {
            if patient_at.contains_key(&format!("Patient/{id}")) {
                self.skipped
                    .push(source.skip("patient with an id seen before"));
                continue;
            }
            patient_at.insert(format!("Patient/{id}"), dataset.patients.len());
            patient_at.insert(format!("urn:uuid:{id}"), dataset.patients.len());
            dataset.patients.push(person(resource));
        }
        let keys: BTreeSet<String> = self
            .records
            .iter()
            .filter_map(|(_, _, resource)| text(resource, "/serviceProvider/reference"))
            .chain(
                self.documents
                    .iter()
                    .filter_map(|(_, one)| text(one, "/custodian/reference")),
            )
            .map(organization_key)
            .collect();
        let at: BTreeMap<String, usize> = keys
            .iter()
            .cloned()
            .enumerate()
            .map(|(position, key)| (key, position))
            .collect();
        dataset.organizations = keys.into_iter().collect();
        let resolver = Resolver {
            patient_at,
            organization_at: at,
        };
        let encounters = resolver.encounters(&self.records);
        for (source, resource) in std::mem::take(&mut self.documents) {
            match resolver.notes(&resource) {
                Ok(notes) => dataset.notes.extend(notes),
                Err(why) => self.skipped.push(source.skip(why)),
            }
        }
        let mut allergies = Vec::new();
        for (source, kind, resource) in std::mem::take(&mut self.records) {
            match resolver.record(kind, &resource, &encounters) {
                Ok((patient, None)) => allergies.push((patient, resource.to_string())),
                Ok((patient, Some(organization))) => dataset.resources.push(Resource {
                    organization,
                    patient,
                    kind,
                    body: Phi::new(resource.to_string()),
                }),
                Err(why) => self.skipped.push(source.skip(why)),
            }
        }
        treatment(&mut dataset);
        drop_organizations_without_patients(&mut dataset);
        for (patient, body) in allergies {
            let Some(person) = dataset.patients.get(patient) else {
                continue;
            };
            for organization in person.treated_by.clone() {
                let body = Phi::new(body.clone());
                dataset.resources.push(Resource {
                    organization,
                    patient,
                    kind: Kind::Allergy,
                    body,
                });
            }
        }
        dataset.skipped = self.skipped;
        if dataset.patients.is_empty() || dataset.organizations.is_empty() {
            return Err("the input has no patients, or nobody who treated them".to_owned());
        }
        Ok(dataset)
    }
}

fn treatment(dataset: &mut Dataset) {
    let visits = dataset
        .resources
        .iter()
        .filter(|one| one.kind == Kind::Encounter);
    let pairs: BTreeSet<(usize, usize)> = visits
        .map(|one| (one.patient, one.organization))
        .chain(
            dataset
                .notes
                .iter()
                .map(|note| (note.patient, note.organization)),
        )
        .collect();
    for (patient, organization) in pairs {
        if let Some(person) = dataset.patients.get_mut(patient) {
            person.treated_by.push(organization);
        }
    }
}

/// An organization that only skipped lines name is nobody's clinic.
fn drop_organizations_without_patients(dataset: &mut Dataset) {
    let treating: BTreeSet<usize> = dataset
        .patients
        .iter()
        .flat_map(|person| person.treated_by.iter().copied())
        .collect();
    let position = |old: usize| treating.range(..old).count();
    for person in &mut dataset.patients {
        for organization in &mut person.treated_by {
            *organization = position(*organization);
        }
    }
    for resource in &mut dataset.resources {
        resource.organization = position(resource.organization);
    }
    for note in &mut dataset.notes {
        note.organization = position(note.organization);
    }
    let mut old = 0..;
    dataset.organizations.retain(|_| {
        old.next()
            .is_some_and(|position| treating.contains(&position))
    });
}

struct Resolver {
    patient_at: HashMap<String, usize>,
    organization_at: BTreeMap<String, usize>,
}

impl Resolver {
    fn patient(&self, resource: &Value) -> Result<usize, &'static str> {
        let reference = text(resource, "/subject/reference")
            .or_else(|| text(resource, "/patient/reference"))
            .ok_or("no patient reference")?;
        self.patient_at
            .get(reference)
            .copied()
            .ok_or("unknown patient")
    }

    fn organization(&self, resource: &Value, pointer: &str) -> Result<usize, &'static str> {
        let reference = text(resource, pointer).ok_or("no organization reference")?;
        self.organization_at
            .get(&organization_key(reference))
            .copied()
            .ok_or("unknown organization")
    }

    /// The patient and the organization of each encounter.
    fn encounters(&self, records: &[(Source, Kind, Value)]) -> HashMap<String, (usize, usize)> {
        let visits = records
            .iter()
            .filter(|(_, kind, _)| *kind == Kind::Encounter);
        let placed = visits.filter_map(|(_, _, resource)| {
            let organization = self
                .organization(resource, "/serviceProvider/reference")
                .ok()?;
            let patient = self.patient(resource).ok()?;
            Some((text(resource, "/id")?.to_owned(), (patient, organization)))
        });
        placed.collect()
    }

    /// The patient, and the organization unless the resource belongs to all who treated them.
    fn record(
        &self,
        kind: Kind,
        resource: &Value,
        encounters: &HashMap<String, (usize, usize)>,
    ) -> Result<(usize, Option<usize>), &'static str> {
        let patient = self.patient(resource)?;
        match kind {
            Kind::Allergy => Ok((patient, None)),
            Kind::Encounter => self
                .organization(resource, "/serviceProvider/reference")
                .map(|at| (patient, Some(at))),
            Kind::Condition | Kind::Immunization => {
                let reference = text(resource, "/encounter/reference").ok_or("no encounter")?;
                let id = reference.rsplit(['/', ':']).next().unwrap_or_default();
                let (whose, organization) = *encounters.get(id).ok_or("unknown encounter")?;
                if whose != patient {
                    return Err("encounter of another patient");
                }
                Ok((patient, Some(organization)))
            }
        }
    }

    /// Every attachment of a document, or the first reason why one of them cannot be used: a
    /// document is stored whole or not at all.
    fn notes(&self, resource: &Value) -> Result<Vec<Note>, &'static str> {
        let contents = list(resource, "/content");
        if contents.is_empty() {
            return Err("no attachment");
        }
        contents
            .iter()
            .map(|content| {
                let attachment = content.get("attachment").ok_or("no attachment")?;
                self.note(resource, attachment)
            })
            .collect()
    }

    fn note(&self, resource: &Value, attachment: &Value) -> Result<Note, &'static str> {
        let media_type = text(attachment, "/contentType").ok_or("no content type")?;
        let media_type = MediaType::parse(media_type).map_err(|_| "content type is not usable")?;
        let data = text(attachment, "/data").ok_or("attachment without data")?;
        let body = STANDARD
            .decode(data)
            .map_err(|_| "attachment is not base64")?;
        Ok(Note {
            organization: self.organization(resource, "/custodian/reference")?,
            patient: self.patient(resource)?,
            media_type,
            body: Phi::new(body),
        })
    }
}

/// The key in `Organization?identifier=SYSTEM|KEY`, `Organization/KEY` or `urn:uuid:KEY`.
fn organization_key(reference: &str) -> String {
    reference
        .rsplit(['|', '/', ':'])
        .next()
        .unwrap_or(reference)
        .to_owned()
}

fn person(resource: &Value) -> Person {
    let identifier = |wanted: &str| {
        let all = resource.pointer("/identifier")?.as_array()?;
        let one = all
            .iter()
            .find(|one| text(one, "/type/coding/0/code") == Some(wanted))?;
        phi(one, "/value")
    };
    let mut names = Vec::new();
    for name in list(resource, "/name") {
        names.extend(phi(name, "/family"));
        let given = list(name, "/given").iter().filter_map(Value::as_str);
        names.extend(given.map(Phi::from));
    }
    let phones: Vec<_> = list(resource, "/telecom")
        .iter()
        .filter(|contact| text(contact, "/system") == Some("phone"))
        .filter_map(|contact| phi(contact, "/value"))
        .collect();
    let joined = |pointer: &str| {
        let parts = resource
            .pointer(pointer)?
            .as_array()?
            .iter()
            .filter_map(Value::as_str);
        Some(parts.collect::<Vec<_>>().join(" "))
    };
    let family = text(resource, "/name/0/family");
    let given = joined("/name/0/given").unwrap_or_default();
    let street = joined("/address/0/line");
    let place = [
        "/address/0/city",
        "/address/0/state",
        "/address/0/postalCode",
    ];
    let place = place
        .iter()
        .filter_map(|pointer| text(resource, pointer))
        .collect::<Vec<_>>();
    Person {
        names,
        family: family.map(Phi::from),
        full_name: family.map(|family| Phi::new(format!("{given} {family}"))),
        birth_date: phi(resource, "/birthDate"),
        ssn: identifier("SS"),
        mrn: identifier("MR"),
        licence: identifier("DL"),
        passport: identifier("PPN"),
        phone: phones.first().cloned(),
        phones,
        address: street
            .as_ref()
            .map(|street| Phi::new(format!("{street}, {}", place.join(" ")))),
        street: street.map(Phi::new),
        treated_by: Vec::new(),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn phi(value: &Value, pointer: &str) -> Option<Phi<String>> {
    text(value, pointer).map(Phi::from)
}

#[cfg(test)]
mod tests;
