//! The PHI data map: which fields of which records are PHI, and by what they can be found.
//!
//! Rendered from the schemas that `#[derive(PhiRecord)]` generates, so that it cannot say anything
//! else than the code does. An application keeps the page beside its source and compares it in a
//! test.

use std::fmt::Write as _;

use eonpro_core::phi::{Binding, IndexDef, IndexPart, PhiField, PhiSchema, RecordMode, Suite};

const INTRODUCTION: &str = "\
A field that is *sealed* is PHI. It is stored as the ciphertext of one cell: it opens for its tenant,
table, column and row only, and shows nothing but its length. A field *in clear* must not be PHI.
A *blind index* stores beside the sealed field one token, of which equal values of one tenant have
equal ones; its rule says what counts as equal. A *compound* has one token of several fields. Fewer
bits show less and find more that is not meant. What each rule shows: `docs/search.md`.
Formats: `docs/formats/encryption.md`.
";

/// The data map of `application`, in Markdown: one section for each record, in the given order.
#[must_use]
pub fn data_map_page(application: &str, schemas: &[&PhiSchema]) -> String {
    let mut page = format!(
        "# PHI data map\n\n\
         <!-- Generated from the PHI records of {application}; a test compares. Do not edit. -->\n\n\
         {INTRODUCTION}\n\
         | Record | Table | Sealed fields | Fields in clear | Blind indexes |\n\
         |---|---|---|---|---|\n"
    );
    for schema in schemas {
        summary(&mut page, schema);
    }
    for schema in schemas {
        section(&mut page, schema);
    }
    page
}

fn summary(page: &mut String, schema: &PhiSchema) {
    let sealed = schema.sealed_fields().count();
    let indexes = schema.indexes().count();
    let _infallible = writeln!(
        page,
        "| `{}` | `{}` | {sealed} | {} | {indexes} |",
        schema.name,
        schema.table.as_str(),
        schema.fields.len().saturating_sub(sealed),
    );
}

fn section(page: &mut String, schema: &PhiSchema) {
    let _infallible = write!(
        page,
        "\n## `{}` in table `{}`\n\n| Field | Column | Stored | Found by |\n|---|---|---|---|\n",
        schema.name,
        schema.table.as_str(),
    );
    for field in schema.fields {
        row(page, schema, field);
    }
    if schema.compounds.is_empty() {
        return;
    }
    page.push_str("\nCompound indexes:\n");
    for index in schema.compounds {
        let _infallible = writeln!(page, "- {}", describe(index));
    }
}

fn row(page: &mut String, schema: &PhiSchema, field: &PhiField) {
    let indexes: Vec<String> = field.indexes.iter().map(describe).collect();
    let _infallible = writeln!(
        page,
        "| `{}` | `{}` | {} | {} |",
        field.name,
        field.column.as_str(),
        stored(schema, field),
        indexes.join("; "),
    );
}

/// How a field lies in the store.
fn stored(schema: &PhiSchema, field: &PhiField) -> String {
    let Some(sealing) = field.sealing else {
        return "in clear".to_owned();
    };
    let mut how = match schema.mode {
        RecordMode::Whole => "sealed with its record".to_owned(),
        RecordMode::Fields => "sealed".to_owned(),
    };
    if sealing.suite != Suite::Standard {
        let _infallible = write!(how, ", {}", sealing.suite.as_str());
    }
    if sealing.suite == Suite::Deterministic {
        let _infallible = write!(how, " (about {} values)", sealing.cardinality);
    }
    if sealing.pad != 0 {
        let _infallible = write!(how, ", padded to {} bytes", sealing.pad);
    }
    if sealing.bind == Binding::Column {
        how.push_str(", bound to its column only");
    }
    how
}

fn describe(index: &IndexDef) -> String {
    let rule = |part: &IndexPart| {
        format!(
            "rule `{}` version {}",
            part.normalizer,
            part.normalizer.version()
        )
    };
    let rules: Vec<String> = match index.parts {
        [part] => vec![rule(part)],
        parts => parts
            .iter()
            .map(|part| format!("`{}` by {}", part.column.as_str(), rule(part)))
            .collect(),
    };
    format!(
        "index `{}` from version {}: {} bits, {}",
        index.name,
        index.version,
        index.bits,
        rules.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::phi::{Column, FieldSealing, Normalizer, Table};

    const PATIENTS: Table = Table::new("patients");
    const FAMILY: IndexPart = IndexPart {
        column: Column::new("family-name"),
        normalizer: Normalizer::Folded,
    };
    const BORN: IndexPart = IndexPart {
        column: Column::new("born"),
        normalizer: Normalizer::Year,
    };
    const SCHEMA: PhiSchema = PhiSchema {
        name: "Patient",
        table: PATIENTS,
        mode: RecordMode::Fields,
        fields: &[
            PhiField {
                name: "id",
                column: Column::new("id"),
                sealing: None,
                indexes: &[],
            },
            PhiField {
                name: "family",
                column: Column::new("family-name"),
                sealing: Some(FieldSealing::STANDARD),
                indexes: &[IndexDef {
                    table: PATIENTS,
                    name: "folded",
                    bits: 32,
                    version: 3,
                    parts: &[FAMILY],
                }],
            },
        ],
        compounds: &[IndexDef {
            table: PATIENTS,
            name: "family_born",
            bits: 24,
            version: 1,
            parts: &[FAMILY, BORN],
        }],
    };

    #[test]
    fn each_field_has_a_row_that_tells_whether_it_is_sealed_and_how_it_is_found() {
        let page = data_map_page("the test", &[&SCHEMA]);
        for line in [
            "<!-- Generated from the PHI records of the test; a test compares. Do not edit. -->",
            "| `Patient` | `patients` | 1 | 1 | 2 |",
            "## `Patient` in table `patients`",
            "| `id` | `id` | in clear |  |",
            "| `family` | `family-name` | sealed | index `folded` from version 3: 32 bits, \
             rule `folded` version 1 |",
            "- index `family_born` from version 1: 24 bits, `family-name` by rule `folded` version \
             1, `born` by rule `year` version 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    #[test]
    fn every_record_has_its_section_in_the_given_order() {
        let visit = PhiSchema {
            name: "Visit",
            table: Table::new("visits"),
            mode: RecordMode::Fields,
            fields: &[],
            compounds: &[],
        };
        let page = data_map_page("the test", &[&visit, &SCHEMA]);
        let at = |title: &str| page.find(title).unwrap();
        assert!(at("## `Visit` in table `visits`") < at("## `Patient` in table `patients`"));
    }
}
