//! Patients that do not exist, in the shapes of Synthea's FHIR export.
//!
//! Seeded: the same number gives the same people. As in Synthea, an SSN begins with 999, a phone
//! number with 555, and `Patient.id` equals the medical record number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro::core::entropy::{Entropy as _, SeededEntropy};
use serde_json::{Value, json};

use crate::dataset::Dataset;
use crate::fhir::Bundle;

const SEED: u64 = 2026;
/// As many organizations treat somebody, however few patients there are.
const FEWEST: usize = 3;
const FAMILIES: [&str; 12] = [
    "Abernathy",
    "Bergstrom",
    "Cummerata",
    "Dietrich",
    "Erdmann",
    "Fadel",
    "Gutmann",
    "Hettinger",
    "Kuhlman",
    "Ledner",
    "Moerk",
    "Oberbrunner",
];
const GIVEN: [&str; 12] = [
    "Adelina",
    "Bernhard",
    "Cordelia",
    "Desmond",
    "Esperanza",
    "Florian",
    "Gertrude",
    "Humberto",
    "Isadora",
    "Jeromé",
    "Katarina",
    "Leopoldo",
];
const STREETS: [&str; 6] = [
    "Walnut Bypass",
    "Harbor Trail",
    "Quarry Gate",
    "Meadow Union",
    "Copper Vista",
    "Orchard Annex",
];
const CONDITIONS: [&str; 6] = [
    "Essential hypertension (disorder)",
    "Acute bronchitis (disorder)",
    "Prediabetes (finding)",
    "Viral sinusitis (disorder)",
    "Chronic low back pain (finding)",
    "Otitis media (disorder)",
];
const ALLERGIES: [&str; 4] = [
    "Aspirin",
    "Latex (substance)",
    "Peanut (substance)",
    "Penicillin V",
];

/// Makes up `patients` people treated by at least three organizations.
pub fn dataset(patients: usize) -> Result<Dataset, String> {
    let mut dice = Dice(SeededEntropy::new(SEED));
    let count = (patients / 8).clamp(FEWEST, 24);
    let organizations: Vec<String> = (0..count).map(|_| dice.uuid()).collect();
    let mut bundle = Bundle::default();
    let mut line = 0;
    let mut add = |resource: Value| {
        line += 1;
        bundle.add("made-up", line, resource.to_string().as_bytes());
    };
    for number in 0..patients {
        let patient = Patient::make(&mut dice);
        add(patient.resource());
        if dice.below(3) == 0 {
            add(patient.allergy(&mut dice));
        }
        // The first organizations are visited round robin, so that none of them stays empty.
        let home = number % count;
        let visits = 4 + dice.below(5);
        for visit in 0..visits {
            let elsewhere = dice.below(count);
            let at = match (number, visit) {
                // Few patients, too, are treated by the least number of organizations.
                (0, 1 | 2) => visit,
                (_, visit) if visit % 3 == 2 => elsewhere,
                _ => home,
            };
            let organization = organizations.get(at).map_or("", String::as_str);
            for resource in patient.visit(&mut dice, organization, 1990 + visit * 4) {
                add(resource);
            }
        }
    }
    bundle.resolve()
}

struct Dice(SeededEntropy);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % (limit.max(1) as u64)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.get(self.below(from.len()))
            .copied()
            .unwrap_or_default()
    }

    fn digits(&mut self, count: u32) -> String {
        let limit = 10_usize.pow(count);
        format!("{:0width$}", self.below(limit), width = count as usize)
    }

    fn uuid(&mut self) -> String {
        let mut hex = String::new();
        for _ in 0..16 {
            hex.push_str(&format!("{:02x}", self.below(256)));
        }
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ]
        .join("-")
    }
}

struct Patient {
    id: String,
    family: String,
    given: String,
    ssn: String,
    licence: String,
    passport: String,
    phone: String,
    street: String,
    birth: String,
}

impl Patient {
    fn make(dice: &mut Dice) -> Self {
        Self {
            id: dice.uuid(),
            family: format!("{}{}", dice.pick(&FAMILIES), dice.digits(3)),
            given: format!("{}{}", dice.pick(&GIVEN), dice.digits(3)),
            ssn: format!("999-{}-{}", dice.digits(2), dice.digits(4)),
            licence: format!("S999{}", dice.digits(5)),
            passport: format!("X{}X", dice.digits(8)),
            phone: format!("555-{}-{}", dice.digits(3), dice.digits(4)),
            street: format!("{} {}", 100 + dice.below(900), dice.pick(&STREETS)),
            birth: format!(
                "19{}-0{}-1{}",
                20 + dice.below(80),
                1 + dice.below(9),
                dice.below(10)
            ),
        }
    }

    fn resource(&self) -> Value {
        let identifier =
            |code: &str, value: &str| json!({"type": {"coding": [{"code": code}]}, "value": value});
        json!({
            "resourceType": "Patient",
            "id": self.id,
            "identifier": [
                identifier("MR", &self.id), identifier("SS", &self.ssn),
                identifier("DL", &self.licence), identifier("PPN", &self.passport),
            ],
            "name": [{"use": "official", "family": self.family, "given": [self.given]}],
            "telecom": [{"system": "phone", "value": self.phone}],
            "birthDate": self.birth,
            "address": [{
                "line": [self.street], "city": "Emporia", "state": "KS", "postalCode": "66801",
            }],
        })
    }

    fn subject(&self) -> Value {
        let display = format!("{} {}", self.given, self.family);
        json!({"reference": format!("Patient/{}", self.id), "display": display})
    }

    fn allergy(&self, dice: &mut Dice) -> Value {
        json!({
            "resourceType": "AllergyIntolerance",
            "id": dice.uuid(),
            "code": {"text": dice.pick(&ALLERGIES)},
            "patient": self.subject(),
        })
    }

    fn visit(&self, dice: &mut Dice, organization: &str, year: usize) -> Vec<Value> {
        let provider =
            format!("Organization?identifier=https://example.org/organizations|{organization}");
        let date = format!("{year}-0{}-1{}", 1 + dice.below(9), dice.below(10));
        let encounter = dice.uuid();
        let reference = json!({"reference": format!("Encounter/{encounter}")});
        let finding = dice.pick(&CONDITIONS);
        let note = format!(
            "\n{date}\n\n# Chief Complaint\n- {finding}\n\n# History of Present Illness\n{} {} (MRN \
             {}, born {}) of {} comes for follow-up number {}.\n\n# Plan\nCall back at {}.\n",
            self.given,
            self.family,
            self.id,
            self.birth,
            self.street,
            dice.digits(6),
            self.phone,
        );
        let mut all = vec![
            json!({
                "resourceType": "Encounter", "id": encounter, "status": "finished",
                "subject": self.subject(), "serviceProvider": {"reference": provider},
                "period": {"start": date},
            }),
            json!({
                "resourceType": "Condition", "id": dice.uuid(), "code": {"text": finding},
                "subject": self.subject(), "encounter": reference, "recordedDate": date,
            }),
            json!({
                "resourceType": "DocumentReference", "id": dice.uuid(), "status": "current",
                "subject": self.subject(), "custodian": {"reference": provider},
                "content": [{"attachment": {
                    "contentType": "text/plain; charset=utf-8", "data": STANDARD.encode(note),
                }}],
            }),
        ];
        if dice.below(4) == 0 {
            all.push(json!({
                "resourceType": "Immunization", "id": dice.uuid(), "status": "completed",
                "vaccineCode": {"text": "Influenza, seasonal, injectable, preservative free"},
                "patient": self.subject(), "encounter": reference,
            }));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in a dataset, as text.
    fn shown(dataset: &Dataset) -> Vec<String> {
        let mut all = dataset.organizations.clone();
        for person in &dataset.patients {
            for value in [&person.full_name, &person.ssn, &person.mrn, &person.street] {
                all.extend(value.as_ref().map(|value| value.expose().clone()));
            }
        }
        all.extend(
            dataset
                .resources
                .iter()
                .map(|one| one.body.expose().clone()),
        );
        let notes = dataset.notes.iter().map(|note| note.body.expose());
        all.extend(notes.map(|body| String::from_utf8(body.clone()).unwrap()));
        all
    }

    #[test]
    fn the_same_number_gives_the_same_people() {
        let (one, other) = (dataset(20).unwrap(), dataset(20).unwrap());
        assert!(!shown(&one).is_empty());
        assert!(shown(&one) == shown(&other));
    }

    #[test]
    fn as_many_patients_are_made_as_were_asked_for() {
        for patients in [1, 2, 3, 50, 211] {
            assert_eq!(dataset(patients).unwrap().patients.len(), patients);
        }
    }

    #[test]
    fn at_least_three_organizations_treat_somebody_however_few_patients_there_are() {
        for patients in [1, 2, 3, 4, 8, 50] {
            let dataset = dataset(patients).unwrap();
            assert!(dataset.organizations.len() >= FEWEST, "{patients} patients");
            for position in 0..dataset.organizations.len() {
                let treats =
                    |person: &crate::dataset::Person| person.treated_by.contains(&position);
                assert!(dataset.patients.iter().any(treats), "{patients} patients");
            }
        }
    }

    #[test]
    fn every_line_is_read_back_without_a_skip() {
        for patients in [1, 50, 200] {
            let dataset = dataset(patients).unwrap();
            let skipped: Vec<_> = dataset.skipped.iter().map(|skip| skip.why).collect();
            assert_eq!(skipped, Vec::<&str>::new());
            assert!(dataset.notes.len() >= 4 * patients);
            assert!(dataset.resources.len() >= 8 * patients);
        }
    }

    #[test]
    fn every_patient_has_everything_that_a_record_holds() {
        for person in dataset(50).unwrap().patients {
            let values = [
                &person.family,
                &person.full_name,
                &person.birth_date,
                &person.ssn,
                &person.mrn,
                &person.licence,
                &person.passport,
                &person.phone,
                &person.street,
                &person.address,
            ];
            assert!(values.into_iter().all(Option::is_some));
            assert!(person.ssn.unwrap().expose().starts_with("999-"));
            assert!(person.phone.unwrap().expose().starts_with("555-"));
            assert!(!person.treated_by.is_empty());
        }
    }

    #[test]
    fn every_kind_of_resource_is_among_fifty_patients() {
        use crate::dataset::Kind;
        let dataset = dataset(50).unwrap();
        for kind in [
            Kind::Encounter,
            Kind::Condition,
            Kind::Immunization,
            Kind::Allergy,
        ] {
            assert!(dataset.resources.iter().any(|one| one.kind == kind));
        }
    }
}
