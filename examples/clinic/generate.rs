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
const FAMILIES: [&str; 12] = [
    "Abernathy", "Bergstrom", "Cummerata", "Dietrich", "Erdmann", "Fadel", "Gutmann", "Hettinger",
    "Kuhlman", "Ledner", "Moerk", "Oberbrunner",
];
const GIVEN: [&str; 12] = [
    "Adelina", "Bernhard", "Cordelia", "Desmond", "Esperanza", "Florian", "Gertrude", "Humberto",
    "Isadora", "Jeromé", "Katarina", "Leopoldo",
];
const STREETS: [&str; 6] =
    ["Walnut Bypass", "Harbor Trail", "Quarry Gate", "Meadow Union", "Copper Vista", "Orchard Annex"];
const CONDITIONS: [&str; 6] = [
    "Essential hypertension (disorder)", "Acute bronchitis (disorder)", "Prediabetes (finding)",
    "Viral sinusitis (disorder)", "Chronic low back pain (finding)", "Otitis media (disorder)",
];
const ALLERGIES: [&str; 4] = ["Aspirin", "Latex (substance)", "Peanut (substance)", "Penicillin V"];

/// Makes up `patients` people treated by at least three organizations.
pub fn dataset(patients: usize) -> Result<Dataset, String> {
    let mut dice = Dice(SeededEntropy::new(SEED));
    let count = (patients / 8).clamp(3, 24);
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
            let at = if visit % 3 == 2 { dice.below(count) } else { home };
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
        from.get(self.below(from.len())).copied().unwrap_or_default()
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
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
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
            birth: format!("19{}-0{}-1{}", 20 + dice.below(80), 1 + dice.below(9), dice.below(10)),
        }
    }

    fn resource(&self) -> Value {
        let identifier = |code: &str, value: &str| {
            json!({"type": {"coding": [{"code": code}]}, "value": value})
        };
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
        let provider = format!("Organization?identifier=https://example.org/organizations|{organization}");
        let date = format!("{year}-0{}-1{}", 1 + dice.below(9), dice.below(10));
        let encounter = dice.uuid();
        let reference = json!({"reference": format!("Encounter/{encounter}")});
        let finding = dice.pick(&CONDITIONS);
        let note = format!(
            "\n{date}\n\n# Chief Complaint\n- {finding}\n\n# History of Present Illness\n{} {} (MRN \
             {}, born {}) of {} comes for follow-up number {}.\n\n# Plan\nCall back at {}.\n",
            self.given, self.family, self.id, self.birth, self.street, dice.digits(6), self.phone,
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
