//! What the clinic takes in: patients, the organizations that treated them, and their records.

use eonpro::core::phi::Phi;
use eonpro::storage::MediaType;

/// Everything that was read or made up, with references resolved to positions.
#[derive(Debug, Default)]
pub struct Dataset {
    /// The keys of the organizations that treat somebody: one tenant each.
    pub organizations: Vec<String>,
    /// The patients.
    pub patients: Vec<Person>,
    /// Encounters, conditions, immunizations and allergies, each with its organization.
    pub resources: Vec<Resource>,
    /// Notes, each with its organization.
    pub notes: Vec<Note>,
    /// Input lines that could not be used.
    pub skipped: Vec<Skipped>,
}

/// A patient as the input describes them.
#[derive(Debug, Default)]
pub struct Person {
    /// Every family and given name.
    pub names: Vec<Phi<String>>,
    /// The current family name.
    pub family: Option<Phi<String>>,
    /// The current name in full.
    pub full_name: Option<Phi<String>>,
    /// The birth date, `YYYY-MM-DD`.
    pub birth_date: Option<Phi<String>>,
    /// The social security number.
    pub ssn: Option<Phi<String>>,
    /// The medical record number.
    pub mrn: Option<Phi<String>>,
    /// The driver's licence number.
    pub licence: Option<Phi<String>>,
    /// The passport number.
    pub passport: Option<Phi<String>>,
    /// The first phone number.
    pub phone: Option<Phi<String>>,
    /// Every phone number.
    pub phones: Vec<Phi<String>>,
    /// The street line of the address.
    pub street: Option<Phi<String>>,
    /// The address in one line.
    pub address: Option<Phi<String>>,
    /// The positions of the organizations that treated them, ascending.
    pub treated_by: Vec<usize>,
}

/// What kind of clinical resource it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A visit.
    Encounter,
    /// A diagnosis.
    Condition,
    /// A vaccination.
    Immunization,
    /// An allergy.
    Allergy,
}

impl Kind {
    /// The FHIR resource type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encounter => "Encounter",
            Self::Condition => "Condition",
            Self::Immunization => "Immunization",
            Self::Allergy => "AllergyIntolerance",
        }
    }
}

/// One clinical resource at one organization.
#[derive(Debug)]
pub struct Resource {
    /// The organization's position.
    pub organization: usize,
    /// The patient's position.
    pub patient: usize,
    /// What it is.
    pub kind: Kind,
    /// The FHIR JSON.
    pub body: Phi<String>,
}

/// One note at one organization.
#[derive(Debug)]
pub struct Note {
    /// The organization's position.
    pub organization: usize,
    /// The patient's position.
    pub patient: usize,
    /// The declared media type.
    pub media_type: MediaType,
    /// The decoded bytes.
    pub body: Phi<Vec<u8>>,
}

/// An input line that could not be used, and why.
#[derive(Debug)]
pub struct Skipped {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, without the content.
    pub why: &'static str,
}
