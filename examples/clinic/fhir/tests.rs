//! What is read, what is skipped and why, and what is an error.

use serde_json::json;

use super::*;

const TEXT: &str = "text/plain";

fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family, "given": ["Ada", "B."]}]})
}

fn encounter(id: &str, patient: &str, organization: &str) -> Value {
    json!({
        "resourceType": "Encounter", "id": id, "subject": {"reference": patient},
        "serviceProvider": {"reference": organization},
    })
}

fn condition(patient: &str, encounter: &str) -> Value {
    json!({
        "resourceType": "Condition", "subject": {"reference": patient},
        "encounter": {"reference": encounter},
    })
}

fn allergy(patient: &str) -> Value {
    json!({"resourceType": "AllergyIntolerance", "patient": {"reference": patient}})
}

fn document(patient: &str, organization: &str, media_type: &str, data: &str) -> Value {
    json!({
        "resourceType": "DocumentReference", "subject": {"reference": patient},
        "custodian": {"reference": organization},
        "content": [{"attachment": {"contentType": media_type, "data": data}}],
    })
}

/// Ada, treated in clinic A.
fn chart_of_ada() -> Vec<String> {
    vec![
        patient("ada", "Lovelace").to_string(),
        encounter("e1", "Patient/ada", "Organization/A").to_string(),
    ]
}

fn read_lines(lines: &[String]) -> Result<Dataset, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("input.ndjson"), lines.join("\n")).unwrap();
    read(dir.path())
}

/// Reads `line` after Ada's chart, as line 3, and returns why it was skipped.
fn third_line(line: String) -> (Dataset, Option<&'static str>) {
    let mut lines = chart_of_ada();
    lines.push(line);
    lines.push(condition("Patient/ada", "Encounter/e1").to_string());
    let dataset = read_lines(&lines).unwrap();
    let is_read = |one: &Resource| one.kind == Kind::Condition;
    assert!(
        dataset.resources.iter().any(is_read),
        "the rest is not read"
    );
    let why = match dataset.skipped.as_slice() {
        [] => None,
        [one] => {
            assert_eq!((one.file.as_str(), one.line), ("input.ndjson", 3));
            Some(one.why)
        }
        several => panic!("{several:?}"),
    };
    (dataset, why)
}

#[test]
fn a_line_that_cannot_be_used_is_named_counted_and_left_out_and_the_rest_is_read() {
    let (ada, a) = ("Patient/ada", "Organization/A");
    let without = |mut resource: Value, field: &str| {
        resource.as_object_mut().unwrap().remove(field);
        resource.to_string()
    };
    let note = document(ada, a, TEXT, "aGVsbG8=");
    let no_data = json!([{"attachment": {"contentType": TEXT, "url": "Binary/1"}}]);
    let mut by_url = note.clone();
    by_url["content"] = no_data;
    let mut empty = note.clone();
    empty["content"] = json!([]);
    let mut untyped = note.clone();
    untyped["content"][0]["attachment"] = json!({"data": "aGVsbG8="});
    let lines = [
        ("not JSON", "{\"resourceType\": \"Pati".to_owned()),
        ("not JSON", "resourceType: Patient".to_owned()),
        ("no resourceType", json!({"id": "x"}).to_string()),
        ("no resourceType", json!(["Patient"]).to_string()),
        ("no resourceType", json!({"resourceType": 7}).to_string()),
        ("patient without an id", without(patient("x", "X"), "id")),
        (
            "patient with an id seen before",
            patient("ada", "Byron").to_string(),
        ),
        ("no patient reference", without(allergy(ada), "patient")),
        ("unknown patient", allergy("Patient/nobody").to_string()),
        (
            "unknown patient",
            encounter("e2", "Patient/nobody", a).to_string(),
        ),
        (
            "unknown patient",
            document("Patient/nobody", a, TEXT, "").to_string(),
        ),
        (
            "no organization reference",
            without(encounter("e2", ada, a), "serviceProvider"),
        ),
        (
            "no organization reference",
            without(note.clone(), "custodian"),
        ),
        ("no encounter", without(condition(ada, ""), "encounter")),
        (
            "unknown encounter",
            condition(ada, "Encounter/e9").to_string(),
        ),
        ("no attachment", without(note.clone(), "content")),
        ("no attachment", empty.to_string()),
        ("no content type", untyped.to_string()),
        (
            "content type is not usable",
            document(ada, a, "nonsense", "").to_string(),
        ),
        ("attachment without data", by_url.to_string()),
        (
            "attachment is not base64",
            document(ada, a, TEXT, "%%%%").to_string(),
        ),
        (
            "attachment is not base64",
            document(ada, a, TEXT, "aGVsbG8").to_string(),
        ),
    ];
    for (reason, line) in lines {
        let (dataset, why) = third_line(line.clone());
        assert_eq!(why, Some(reason), "{line}");
        assert_eq!(dataset.patients.len(), 1, "{line}");
        assert_eq!(dataset.organizations, ["A"], "{line}");
        assert!(dataset.notes.is_empty(), "{line}");
    }
}

#[test]
fn a_reason_never_repeats_the_line() {
    let secret = "999-12-3456";
    let (dataset, _) = third_line(format!("{{\"ssn\": \"{secret}\""));
    assert!(!format!("{:?}", dataset.skipped).contains(secret));
}

#[test]
fn bytes_that_are_not_utf_8_and_lines_that_are_blank_do_not_end_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let chart = chart_of_ada().join("\n");
    let bytes = [b"\n\r\n \xff\xfe\n".as_slice(), chart.as_bytes(), b"\r\n\n"].concat();
    std::fs::write(dir.path().join("input.ndjson"), bytes).unwrap();
    let dataset = read(dir.path()).unwrap();
    let skipped: Vec<_> = dataset
        .skipped
        .iter()
        .map(|one| (one.line, one.why))
        .collect();
    assert_eq!(skipped, [(3, "not JSON")]);
    assert_eq!(dataset.resources.len(), 1);
}

#[test]
fn types_that_are_not_needed_are_passed_over_in_silence() {
    for other in ["Organization", "Practitioner", "Observation"] {
        let (_, why) = third_line(json!({"resourceType": other, "id": "x"}).to_string());
        assert_eq!(why, None);
    }
}

#[test]
fn of_two_patients_with_one_id_the_first_is_kept() {
    let (dataset, _) = third_line(patient("ada", "Byron").to_string());
    let kept = dataset.patients.first().unwrap();
    assert_eq!(kept.family.as_ref().unwrap().expose(), "Lovelace");
    assert_eq!(kept.treated_by, [0]);
}

#[test]
fn a_condition_at_an_encounter_of_somebody_else_is_skipped() {
    let mut lines = chart_of_ada();
    lines.push(patient("eve", "Eve").to_string());
    lines.push(condition("Patient/eve", "Encounter/e1").to_string());
    let dataset = read_lines(&lines).unwrap();
    assert_eq!(dataset.skipped[0].why, "encounter of another patient");
    assert_eq!(dataset.resources.len(), 1);
}

#[test]
fn an_organization_that_only_skipped_lines_name_becomes_no_tenant() {
    let mut lines = chart_of_ada();
    lines.push(encounter("e2", "Patient/nobody", "Organization/0-before-A").to_string());
    lines.push(condition("Patient/ada", "Encounter/e2").to_string());
    lines.push(document("Patient/ada", "Organization/B", TEXT, "%").to_string());
    lines.push(document("Patient/ada", "Organization/C", TEXT, "aGVsbG8=").to_string());
    let dataset = read_lines(&lines).unwrap();
    assert_eq!(dataset.organizations, ["A", "C"]);
    assert_eq!(dataset.patients[0].treated_by, [0, 1]);
    assert_eq!(dataset.resources[0].organization, 0);
    assert_eq!(dataset.notes[0].organization, 1);
    assert_eq!(dataset.skipped.len(), 3);
}

#[test]
fn an_organization_is_one_however_it_is_referred_to() {
    let references = [
        "Organization?identifier=https://github.com/synthetichealth/synthea|A",
        "Organization/A",
        "urn:uuid:A",
        "https://fhir.example/r4/Organization/A",
    ];
    let mut lines = vec![patient("ada", "Lovelace").to_string()];
    for (number, reference) in references.iter().enumerate() {
        lines.push(encounter(&format!("e{number}"), "Patient/ada", reference).to_string());
        lines.push(document("Patient/ada", reference, TEXT, "aGVsbG8=").to_string());
    }
    let dataset = read_lines(&lines).unwrap();
    assert_eq!(dataset.organizations, ["A"]);
    assert_eq!((dataset.resources.len(), dataset.notes.len()), (4, 4));
    assert_eq!(dataset.skipped.len(), 0);
}

#[test]
fn an_allergy_goes_to_every_organization_that_treated_the_patient() {
    let mut lines = chart_of_ada();
    lines.push(encounter("e2", "urn:uuid:ada", "Organization/B").to_string());
    lines.push(encounter("e3", "Patient/ada", "Organization/B").to_string());
    lines.push(allergy("Patient/ada").to_string());
    let dataset = read_lines(&lines).unwrap();
    let allergies = dataset
        .resources
        .iter()
        .filter(|one| one.kind == Kind::Allergy);
    let places: Vec<_> = allergies.map(|one| one.organization).collect();
    assert_eq!(places, [0, 1]);
}

#[test]
fn references_are_resolved_over_files_in_any_order_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let chart = chart_of_ada();
    let condition = condition("Patient/ada", "Encounter/e1").to_string();
    std::fs::write(dir.path().join("0.ndjson"), condition).unwrap();
    std::fs::write(dir.path().join("1.ndjson"), &chart[1]).unwrap();
    std::fs::write(dir.path().join("2.ndjson"), &chart[0]).unwrap();
    std::fs::write(dir.path().join("log.txt"), "not NDJSON").unwrap();
    let dataset = read(dir.path()).unwrap();
    assert_eq!(dataset.resources.len(), 2);
    assert_eq!(dataset.skipped.len(), 0);
}

#[test]
fn the_parts_of_a_patient_are_read_by_their_type() {
    let identifier =
        |code: &str, value: &str| json!({"type": {"coding": [{"code": code}]}, "value": value});
    let mut ada = patient("ada", "Lovelace");
    ada["identifier"] = json!([
        {"value": "no type"}, identifier("PPN", "X1X"), identifier("DL", "S1"),
        identifier("SS", "999-12-3456"), identifier("MR", "ada"),
    ]);
    let names = ada["name"].as_array_mut().unwrap();
    names.push(json!({"use": "maiden", "family": "Byron"}));
    ada["address"] = json!([{"line": ["1 Elm St", "Unit 2"], "city": "Rye", "state": "NY"}]);
    let person = person(&ada);
    let text = |value: &Option<Phi<String>>| value.as_ref().unwrap().expose().clone();
    assert_eq!(text(&person.ssn), "999-12-3456");
    assert_eq!(text(&person.mrn), "ada");
    assert_eq!(text(&person.licence), "S1");
    assert_eq!(text(&person.passport), "X1X");
    assert_eq!(text(&person.full_name), "Ada B. Lovelace");
    assert_eq!(text(&person.street), "1 Elm St Unit 2");
    assert_eq!(text(&person.address), "1 Elm St Unit 2, Rye NY");
    assert!(person.phone.is_none());
    let names: Vec<_> = person
        .names
        .iter()
        .map(|name| name.expose().as_str())
        .collect();
    assert_eq!(names, ["Lovelace", "Ada", "B.", "Byron"]);
}

#[test]
fn a_note_is_the_decoded_attachment() {
    let note = document(
        "Patient/ada",
        "Organization/A",
        "text/plain; charset=utf-8",
        "aGVsbG8=",
    );
    let (dataset, why) = {
        let mut lines = chart_of_ada();
        lines.push(note.to_string());
        let dataset = read_lines(&lines).unwrap();
        let why = dataset.skipped.first().map(|one| one.why);
        (dataset, why)
    };
    assert_eq!(why, None);
    assert_eq!(dataset.notes[0].body.expose(), b"hello");
    assert_eq!(dataset.notes[0].media_type.as_str(), TEXT);
}

#[test]
fn every_attachment_of_a_document_is_a_note() {
    let mut both = document("Patient/ada", "Organization/A", TEXT, "aGVsbG8=");
    let second = json!({"attachment": {"contentType": "application/pdf", "data": "JVBERi0="}});
    both["content"].as_array_mut().unwrap().push(second);
    let (dataset, why) = third_line(both.to_string());
    assert_eq!(why, None);
    let notes: Vec<_> = dataset
        .notes
        .iter()
        .map(|note| (note.media_type.as_str(), note.body.expose().as_slice()))
        .collect();
    let expected: [(&str, &[u8]); 2] = [(TEXT, b"hello"), ("application/pdf", b"%PDF-")];
    assert_eq!(notes, expected);
}

#[test]
fn a_document_with_one_attachment_that_cannot_be_used_is_skipped_whole() {
    for (second, reason) in [
        (json!({}), "no attachment"),
        (
            json!({"attachment": {"contentType": TEXT}}),
            "attachment without data",
        ),
    ] {
        let mut both = document("Patient/ada", "Organization/A", TEXT, "aGVsbG8=");
        both["content"].as_array_mut().unwrap().push(second);
        let (dataset, why) = third_line(both.to_string());
        assert_eq!(why, Some(reason));
        assert!(dataset.notes.is_empty());
    }
}

#[test]
fn the_phone_is_the_first_contact_that_is_one_and_every_other_is_kept() {
    let contact = |system: &str, value: &str| json!({"system": system, "value": value});
    let mut ada = patient("ada", "Lovelace");
    ada["telecom"] = json!([
        {"value": "of no system"}, contact("email", "ada@example.org"),
        contact("phone", "555-123-4567"), contact("fax", "555-000-0000"),
        contact("phone", "555-765-4321"),
    ]);
    let read = person(&ada);
    assert_eq!(read.phone.unwrap().expose(), "555-123-4567");
    let phones: Vec<_> = read
        .phones
        .iter()
        .map(|one| one.expose().as_str())
        .collect();
    assert_eq!(phones, ["555-123-4567", "555-765-4321"]);
    ada["telecom"] = json!([contact("email", "ada@example.org")]);
    let read = person(&ada);
    assert!(read.phone.is_none() && read.phones.is_empty());
}

#[test]
fn a_missing_directory_an_empty_one_and_a_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("absent");
    let error = read(&missing).unwrap_err();
    let begins = format!("cannot read directory {}: ", missing.display());
    assert!(error.starts_with(&begins), "{error}");
    let error = read(dir.path()).unwrap_err();
    assert_eq!(
        error,
        format!("no *.ndjson file in {}", dir.path().display())
    );
    std::fs::write(&missing, "").unwrap();
    assert!(read(&missing).unwrap_err().starts_with(&begins));
}

#[test]
fn an_input_without_a_treated_patient_is_an_error() {
    for lines in [
        vec![String::new()],
        vec![patient("ada", "Lovelace").to_string()],
        vec![encounter("e1", "Patient/ada", "Organization/A").to_string()],
        vec!["nonsense".to_owned()],
    ] {
        let error = read_lines(&lines).unwrap_err();
        assert!(error.starts_with("the input has no patients"), "{error}");
    }
}
