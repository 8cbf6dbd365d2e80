//! The clinic's PHI records and the tables that hold their sealed twins.

use eonpro::core::id::{PublicId, RowId, SubjectId};
use eonpro::core::phi::{IndexSlots, IndexToken, Phi, Sealed};
use eonpro::encryption::PhiRecord;
use eonpro::tenant::{DbError, Migration, Row, SqlValue};

use crate::dataset::Person;

/// What a clinic knows about a patient. Searchable by SSN, MRN and family name.
#[derive(Debug, PhiRecord)]
#[phi(table = "patients", crate = "eonpro::core")]
pub struct Patient {
    /// The row.
    #[phi(row)]
    pub id: RowId,
    /// The patient's pseudonym in this clinic's audit trail.
    pub subject: SubjectId,
    /// The name in full.
    #[phi(seal)]
    pub name: Option<Phi<String>>,
    /// The family name.
    #[phi(seal, index(normalizer = "folded"))]
    pub family: Option<Phi<String>>,
    /// The birth date.
    #[phi(seal)]
    pub birth_date: Option<Phi<String>>,
    /// The social security number.
    #[phi(seal, index(normalizer = "digits"))]
    pub ssn: Option<Phi<String>>,
    /// The medical record number.
    #[phi(seal, index(normalizer = "alphanumeric"))]
    pub mrn: Option<Phi<String>>,
    /// The driver's licence number.
    #[phi(seal)]
    pub licence: Option<Phi<String>>,
    /// The passport number.
    #[phi(seal)]
    pub passport: Option<Phi<String>>,
    /// The address.
    #[phi(seal)]
    pub address: Option<Phi<String>>,
    /// The phone number.
    #[phi(seal)]
    pub phone: Option<Phi<String>>,
}

/// One encounter, condition, immunization or allergy of a patient.
#[derive(Debug, PhiRecord)]
#[phi(table = "resources", crate = "eonpro::core")]
pub struct ClinicalResource {
    /// The row.
    #[phi(row)]
    pub id: RowId,
    /// The patient's row.
    pub patient: RowId,
    /// The FHIR resource type.
    pub kind: String,
    /// The FHIR JSON.
    #[phi(seal)]
    pub body: Phi<String>,
}

/// The schema of a clinic's database.
pub const SCHEMA: [Migration; 1] = [Migration::new(
    1,
    &[
        "CREATE TABLE patients (id BLOB PRIMARY KEY, subject BLOB NOT NULL, name BLOB, family BLOB, \
         family_odd BLOB, family_even BLOB, birth_date BLOB, ssn BLOB, ssn_odd BLOB, ssn_even BLOB, \
         mrn BLOB, mrn_odd BLOB, mrn_even BLOB, licence BLOB, passport BLOB, address BLOB, \
         phone BLOB) STRICT, WITHOUT ROWID",
        "CREATE INDEX patients_by_family_odd ON patients (family_odd)",
        "CREATE INDEX patients_by_family_even ON patients (family_even)",
        "CREATE INDEX patients_by_ssn_odd ON patients (ssn_odd)",
        "CREATE INDEX patients_by_ssn_even ON patients (ssn_even)",
        "CREATE INDEX patients_by_mrn_odd ON patients (mrn_odd)",
        "CREATE INDEX patients_by_mrn_even ON patients (mrn_even)",
        "CREATE TABLE resources (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, \
         patient BLOB NOT NULL REFERENCES patients (id), kind TEXT NOT NULL, body BLOB NOT NULL) \
         STRICT",
        "CREATE INDEX resources_by_patient ON resources (patient, number)",
    ],
)];

/// Stores a [`SealedPatient`].
pub const INSERT_PATIENT: &str = "INSERT INTO patients (id, subject, name, family, family_odd, \
     family_even, birth_date, ssn, ssn_odd, ssn_even, mrn, mrn_odd, mrn_even, licence, passport, \
     address, phone) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
/// Stores a [`SealedClinicalResource`].
pub const INSERT_RESOURCE: &str =
    "INSERT INTO resources (id, patient, kind, body) VALUES (?1, ?2, ?3, ?4)";
/// Reads the patient of a row.
pub const PATIENT_BY_ROW: &str = "SELECT id, subject, name, family, family_odd, \
     family_even, birth_date, ssn, ssn_odd, ssn_even, mrn, mrn_odd, mrn_even, licence, passport, \
     address, phone FROM patients WHERE id = ?1";
/// Reads the patients with one of the tokens of an SSN.
pub const PATIENTS_BY_SSN: &str = "SELECT id, subject, name, family, family_odd, \
     family_even, birth_date, ssn, ssn_odd, ssn_even, mrn, mrn_odd, mrn_even, licence, passport, \
     address, phone FROM patients WHERE ssn_odd = ?1 OR ssn_even = ?2";
/// Reads the patients with one of the tokens of a family name.
pub const PATIENTS_BY_FAMILY: &str = "SELECT id, subject, name, family, family_odd, \
     family_even, birth_date, ssn, ssn_odd, ssn_even, mrn, mrn_odd, mrn_even, licence, passport, \
     address, phone FROM patients WHERE family_odd = ?1 \
     OR family_even = ?2";
/// Reads a page of a patient's resources.
pub const RESOURCES_OF: &str = "SELECT id, patient, kind, body FROM resources WHERE patient = ?1 \
     ORDER BY number LIMIT ?2 OFFSET ?3";
/// Reads the rows of all patients.
pub const ALL_PATIENTS: &str = "SELECT id FROM patients ORDER BY id";

impl Patient {
    /// The record of `person` under fresh ids.
    pub fn of(person: &Person, id: RowId, subject: SubjectId) -> Self {
        Self {
            id,
            subject,
            name: person.full_name.clone(),
            family: person.family.clone(),
            birth_date: person.birth_date.clone(),
            ssn: person.ssn.clone(),
            mrn: person.mrn.clone(),
            licence: person.licence.clone(),
            passport: person.passport.clone(),
            address: person.address.clone(),
            phone: person.phone.clone(),
        }
    }
}

/// A row as it stands in a column.
pub fn row_value(row: RowId) -> SqlValue {
    SqlValue::from(row.uuid().as_bytes().as_slice())
}

fn sealed(value: Option<Sealed<String>>) -> SqlValue {
    SqlValue::from(value.map(Sealed::into_bytes))
}

fn token(value: Option<IndexToken>) -> SqlValue {
    SqlValue::from(value.map(IndexToken::into_bytes))
}

impl SealedPatient {
    /// The parameters of [`INSERT_PATIENT`].
    pub fn into_values(self) -> [SqlValue; 17] {
        [
            row_value(self.id),
            SqlValue::from(self.subject.uuid().as_bytes().as_slice()),
            sealed(self.name),
            sealed(self.family),
            token(self.family_index.odd),
            token(self.family_index.even),
            sealed(self.birth_date),
            sealed(self.ssn),
            token(self.ssn_index.odd),
            token(self.ssn_index.even),
            sealed(self.mrn),
            token(self.mrn_index.odd),
            token(self.mrn_index.even),
            sealed(self.licence),
            sealed(self.passport),
            sealed(self.address),
            sealed(self.phone),
        ]
    }

    /// The twin in a row of one of the queries above.
    pub fn read(row: &Row<'_>) -> Result<Self, DbError> {
        let bytes = |column: usize| -> Result<Option<Vec<u8>>, DbError> {
            if row.is_null(column)? {
                Ok(None)
            } else {
                row.blob(column).map(|b| Some(b.to_vec()))
            }
        };
        let value = |column| Ok::<_, DbError>(bytes(column)?.map(Sealed::from_bytes));
        let token = |column| Ok::<_, DbError>(bytes(column)?.map(IndexToken::from_bytes));
        let slots = |odd, even| {
            Ok::<_, DbError>(IndexSlots {
                odd: token(odd)?,
                even: token(even)?,
            })
        };
        Ok(Self {
            id: id_at(row, 0)?,
            subject: id_at(row, 1)?,
            name: value(2)?,
            family: value(3)?,
            family_index: slots(4, 5)?,
            birth_date: value(6)?,
            ssn: value(7)?,
            ssn_index: slots(8, 9)?,
            mrn: value(10)?,
            mrn_index: slots(11, 12)?,
            licence: value(13)?,
            passport: value(14)?,
            address: value(15)?,
            phone: value(16)?,
        })
    }
}

impl SealedClinicalResource {
    /// The parameters of [`INSERT_RESOURCE`].
    pub fn into_values(self) -> [SqlValue; 4] {
        [
            row_value(self.id),
            row_value(self.patient),
            SqlValue::from(self.kind),
            SqlValue::from(self.body.into_bytes()),
        ]
    }

    /// The twin in a row of [`RESOURCES_OF`].
    pub fn read(row: &Row<'_>) -> Result<Self, DbError> {
        Ok(Self {
            id: id_at(row, 0)?,
            patient: id_at(row, 1)?,
            kind: row.text(2)?.to_owned(),
            body: Sealed::from_bytes(row.blob(3)?.to_vec()),
        })
    }
}

/// The id in a column.
pub fn id_at<I: PublicId>(row: &Row<'_>, column: usize) -> Result<I, DbError> {
    let bytes: [u8; 16] = row.blob(column)?.try_into().map_err(|_| DbError::Type)?;
    Ok(I::from_uuid(uuid::Uuid::from_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use eonpro::core::phi::{PhiRecord as _, PhiRecords};

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/phi-data-map.md");

    fn generated() -> String {
        let schemas = <(Patient, ClinicalResource)>::schemas();
        eonpro::encryption::data_map_page("the clinic example", &schemas)
    }

    #[test]
    fn the_data_map_in_the_handbook_is_the_one_generated_from_the_records() {
        let written = std::fs::read_to_string(PAGE).unwrap();
        assert!(
            written == generated(),
            "docs/phi-data-map.md is out of date: cargo xtask codegen"
        );
    }

    #[test]
    #[ignore = "rewrites docs/phi-data-map.md"]
    fn write_data_map_page() {
        std::fs::write(PAGE, generated()).unwrap();
    }

    #[test]
    fn every_table_has_a_column_for_every_field_and_token_of_its_record() {
        for schema in <(Patient, ClinicalResource)>::schemas() {
            let begins = format!("CREATE TABLE {} (", schema.table.as_str());
            let made = SCHEMA
                .iter()
                .flat_map(|migration| migration.statements)
                .find(|statement| statement.starts_with(&begins))
                .unwrap();
            for field in schema.fields {
                let column = field.column.as_str();
                assert!(made.contains(&format!("{column} ")), "{column}");
            }
        }
        assert_eq!(Patient::SCHEMA.sealed_fields().count(), 9);
    }
}
