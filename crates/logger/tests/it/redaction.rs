//! Content patterns: what is found in free text, and what must be left alone.

use std::borrow::Cow;

use eonpro_logger::{LoggerConfig, Redaction, Redactor};
use proptest::prelude::*;
use tracing::info;

use crate::bed::{CHART, bed, bed_with, config};

fn redactor() -> Redactor {
    Redactor::new(&[CHART], &LoggerConfig::default()).unwrap()
}

#[track_caller]
fn assert_redacted(cases: &[(&str, &str)]) {
    let redactor = redactor();
    for (text, expected) in cases {
        assert_eq!(redactor.scan(text), *expected, "{text}");
    }
}

#[track_caller]
fn assert_gone(label: &str, secrets: &[&str]) {
    let redactor = redactor();
    for secret in secrets {
        for text in [
            (*secret).to_owned(),
            format!("saw {secret}, then left"),
            format!("x={secret}&y=2"),
            format!("\"{secret}\""),
            format!("line\n{secret}\nline"),
            format!("{:?}", format!("line\n{secret}\tline")),
            format!("5 {secret} 7"),
            format!("<{secret}>"),
            format!("ok\u{a0}{secret}."),
        ] {
            let clean = redactor.scan(&text);
            assert!(clean.contains(label), "{text:?} became {clean:?}");
            let tail: String = secret
                .chars()
                .rev()
                .take(4)
                .collect::<Vec<_>>()
                .iter()
                .rev()
                .collect();
            assert!(!clean.contains(&tail), "{text:?} became {clean:?}");
        }
    }
}

#[test]
fn social_security_numbers_are_found_valid_or_not() {
    assert_gone(
        "[SSN]",
        &[
            "123-45-6789",
            "999-12-3456",
            "000-00-0000",
            "666-66-6666",
            "999 12 3456",
            "999.12.3456",
            "999/12/3456",
            "999123456",
            "999\u{2011}12\u{2011}3456",
            "999\u{2013}12\u{2013}3456",
            "999\u{a0}12\u{a0}3456",
            "999 - 12 - 3456",
            "999-123456",
            "99912-3456",
        ],
    );
}

#[test]
fn a_keyword_makes_even_a_part_of_a_social_security_number_count() {
    assert_redacted(&[
        ("SSN: 78051123", "[SSN]"),
        ("ssn ends in 3456 today", "[SSN] today"),
        (
            "Social Security No. 999-12-3456 555-123-4567",
            "[SSN] [PHONE]",
        ),
        ("SSN999123456", "[SSN]"),
        ("SSN 999 123456", "[SSN]"),
        ("SSN 99912 3456, ward 3", "[SSN], ward 3"),
        ("ssn=9 9912\u{a0}34-56", "[SSN]"),
        ("SSN of row 12 is", "SSN of row 12 is"),
    ]);
}

#[test]
fn a_keyword_with_too_few_digits_leaves_its_value_to_the_rule_for_names() {
    assert_redacted(&[
        (r#"{"ssn":"12"}"#, r#"{"[REDACTED]}"#),
        (r#"phone: "Ada's, bed 5""#, "[REDACTED]"),
        (r#"license: "A1 Ulm""#, "[REDACTED]"),
    ]);
}

#[test]
fn phone_numbers_are_found_existing_or_not() {
    assert_gone(
        "[PHONE]",
        &[
            "555-123-4567",
            "(555) 123-4567",
            "(555)123-4567",
            "+1 555 123 4567",
            "+15551234567",
            "1-555-123-4567",
            "555.123.4567",
            "555 123 4567",
            "5551234567",
            "555-1234567",
            "+44 20 7946 0958",
            "+41 (0)96 471 07 95",
            "555-123-4567x4589",
            "(555) 1234567",
            "555-123-4567 ext. 12345",
            "07700 063 966",
            "01.84.17.61.18",
        ],
    );
    assert_redacted(&[
        ("phone: 467 3395", "[PHONE]"),
        ("call 555-1234 now", "call [PHONE] now"),
        ("phone 5 of 6", "phone 5 of 6"),
    ]);
}

#[test]
fn full_dates_are_found_in_every_usual_form() {
    assert_gone(
        "[DATE]",
        &[
            "1980-01-05",
            "1980/01/05",
            "1980.01.05",
            "01/05/1980",
            "1/5/1980",
            "01-05-1980",
            "05.01.1980",
            "Jan 5 1980",
            "January 5, 1980",
            "Jan. 5th, 1980",
            "5 Jan 1980",
            "5th of January 1980",
            "05-JAN-1980",
            "19800105",
            "January 1980",
        ],
    );
    assert_redacted(&[
        ("1/5/80", "[DATE]"),
        ("born 05-Jan-80.", "born [DATE]."),
        ("at 1980-01-05T10:20:30Z", "at [DATE]T10:20:30Z"),
    ]);
}

#[test]
fn a_keyword_makes_three_small_numbers_a_date_of_birth() {
    assert_redacted(&[
        ("born 1980 01 05 in Ulm", "[DATE] in Ulm"),
        ("DOB 5.1.80", "[DATE]"),
        ("patient_dob=1980 01 05", "patient[DATE]"),
        ("date of birth (y m d): 1980 1 5", "date of [DATE]"),
        ("birthday 010580", "[DATE]"),
        ("born 1980", "born 1980"),
        ("stubborn 5.1.80", "stubborn 5.1.80"),
        (
            "version 5.1.80 of 1980 01 05",
            "version 5.1.80 of 1980 01 05",
        ),
    ]);
}

#[test]
fn card_numbers_are_found_whatever_their_checksum() {
    assert_gone(
        "[CARD]",
        &[
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "1234567890123456",
            "378282246310005",
            "3782 822463 10005",
            "4111111111111",
            "4119268469462942123",
        ],
    );
}

#[test]
fn mail_addresses_are_found() {
    assert_gone(
        "[EMAIL]",
        &[
            "ada.l+x@mail.example.org",
            "ÄDA@klinik.example",
            "o'neil@a-b.co.uk",
        ],
    );
    assert_redacted(&[("mail=ada%40example.org;", "mail=[EMAIL];")]);
}

#[test]
fn a_medical_record_number_is_found_behind_its_keyword() {
    assert_redacted(&[
        ("MRN 12345", "[MRN]"),
        (
            "patient MRN: 0190a5c2-1234-7123-8123-0123456789ab seen",
            "patient [MRN] seen",
        ),
        ("mrn=ABCDEF, ward 3", "[MRN], ward 3"),
        ("MRN#77-A", "[MRN]"),
        ("MRN of the patient is 8812", "[MRN]"),
        ("medical record number 8812 opened", "[MRN] opened"),
        (r#"{"mrn":"A-12"}"#, r#"{"[MRN]"}"#),
        (r#"Patient { mrn: Some("A12") }"#, r#"Patient { [MRN]") }"#),
        ("MRN lookup failed", "MRN lookup failed"),
        (r#"{"mrn":["A-12", "B-34"]}"#, r#"{"[MRN]}"#),
        ("MRN 999 12 3456 seen", "[MRN] seen"),
        ("MR# 12345", "[MRN]"),
        ("MR#7", "[MRN]"),
        ("MR no. 12345 opened", "[MRN] opened"),
        ("MR scan took 12345 ms", "MR scan took 12345 ms"),
    ]);
}

#[test]
fn an_id_of_a_patient_counts_as_a_record_number_unless_it_is_one_of_ours() {
    assert_redacted(&[
        ("patient id 12345678", "[MRN]"),
        ("patient_id=12345678, ward 3", "[MRN], ward 3"),
        (r#"{"patientId":"P7"}"#, r#"{"[MRN]"}"#),
        ("Patient ID is 12 34", "[MRN]"),
        ("patient #8", "[MRN]"),
        (
            "patient id MRN 0190a5c2-1234-7123-8123-0123456789ab",
            "patient id [MRN]",
        ),
        (
            "patient_id=0190a5c2-1234-7123-8123-0123456789ab",
            "patient_id=0190a5c2-1234-7123-8123-0123456789ab",
        ),
        ("patient 3 of 12", "patient 3 of 12"),
        ("patient identity 12", "patient identity 12"),
    ]);
}

#[test]
fn licences_and_passports_are_found_behind_their_keyword() {
    assert_redacted(&[
        ("driver's license S99987654 shown", "driver's [ID] shown"),
        ("passport no. X12345678X", "[ID]"),
        ("license expired", "license expired"),
        ("DL S99912345 shown", "[ID] shown"),
        ("DL no. S999 12345", "[ID]"),
        ("dl=S99912345", "[ID]"),
        ("DL 12 of 30", "DL 12 of 30"),
        ("medley 12345", "medley 12345"),
    ]);
}

#[test]
fn secrets_are_found_behind_their_keyword_and_prose_about_them_is_left() {
    assert_redacted(&[
        ("Authorization: Bearer abc.def.ghi", "[SECRET]"),
        ("sent bearer eyJhbGciOi", "sent [SECRET]"),
        ("password=hunter two", "[SECRET] two"),
        (r#"{"access_token":"abc"}"#, r#"{"access[REDACTED]}"#),
        (r#"password: ["abc", "def"]"#, "[SECRET]"),
        (
            "got eyJhbGciOiJub25lIn.eyJzdWIiOiJhIn.c2ln-_ from it",
            "got [SECRET] from it",
        ),
        ("cut eyJzdWIiOiJhZGEi", "cut [SECRET]"),
        ("heyJude.mp3", "heyJude.mp3"),
        ("unexpected token: [", "unexpected token: ["),
        (
            "invalid token: signature mismatch",
            "invalid token: signature mismatch",
        ),
    ]);
}

#[test]
fn names_of_fields_count_within_text_too() {
    assert_redacted(&[
        (
            r#"{"name":"Ada \"A\" Lovelace","rows":2}"#,
            r#"{"[REDACTED],"rows":2}"#,
        ),
        (
            r#"Chart { chief_complaint: "head ache", ward: "b2" }"#,
            r#"Chart { [REDACTED], ward: "b2" }"#,
        ),
        (
            r#""{\"chiefComplaint\":\"head ache\",\"ward\":1}""#,
            r#""{\"[REDACTED],\"ward\":1}""#,
        ),
        ("first_name=Ada rows=2", "[REDACTED] rows=2"),
        ("file_name=a.txt", "file_name=a.txt"),
    ]);
}

#[test]
fn every_value_of_a_list_counts_and_the_field_behind_it_does_not() {
    assert_redacted(&[
        (
            r#"{"family":"Lovelace","given":["Ada","King"],"rows":["x"]}"#,
            r#"{"[REDACTED],"[REDACTED],"rows":["x"]}"#,
        ),
        (
            r#"Name { given: ["Ada", "King"], ward: "b2" }"#,
            r#"Name { [REDACTED], ward: "b2" }"#,
        ),
        (
            "given: [\n    \"Ada\",\n    \"King\",\n],\nward: 2",
            "[REDACTED],\nward: 2",
        ),
        (
            r#""{\"given\":[\"Ada\",\"King\"],\"ward\":1}""#,
            r#""{\"[REDACTED],\"ward\":1}""#,
        ),
        (r#"given: Some(["Ada", "King"]) x"#, "[REDACTED]) x"),
        (
            r#"given: [Some("Ada"), None, Some("King")] x"#,
            "[REDACTED] x",
        ),
        (r#""given":["Ada", null, "King"] x"#, r#""[REDACTED] x"#),
        (r#"given: {"Ada", "King"} x"#, "[REDACTED] x"),
        (r#"name: Name("Ada", "King") x"#, "[REDACTED]) x"),
        (r#"given=["Ada", "King"] x"#, "[REDACTED] x"),
        (r#"{"given":["Ada","Ki"#, r#"{"[REDACTED]"#),
    ]);
    // What follows a list is judged by its own name.
    let clean = redactor()
        .scan(r#"{"given":["Ada"],"family":"Lovelace"}"#)
        .into_owned();
    assert_eq!(clean, r#"{"[REDACTED],"[REDACTED]}"#);
}

#[test]
fn what_fhir_names_in_ordinary_words_counts_before_a_quoted_value() {
    assert_redacted(&[
        (
            r#""address":[{"line":["12 Main St", "Apt 4"],"district":"Ulm-Ost"}]"#,
            r#""address":[{"[REDACTED],"[REDACTED]}]"#,
        ),
        (
            r#""name":[{"text":"Ada","use":"official"}]"#,
            r#""name":[{"[REDACTED],"use":"official"}]"#,
        ),
        (
            r#""subject":{"reference":"x","display":"Ada"}"#,
            r#""subject":{"reference":"x","[REDACTED]}"#,
        ),
        (r#"div: "<p>Ada</p>""#, "[REDACTED]"),
        ("stopped at line: 12, line=7", "stopped at line: 12, line=7"),
        (
            r#"context: "b2", deadline: "now""#,
            r#"context: "b2", deadline: "now""#,
        ),
    ]);
}

#[test]
fn decimals_in_the_number_of_an_identifier_are_no_fraction() {
    assert_redacted(&[
        ("item 3.999123456", "item [SSN]"),
        ("item 12.5551234567", "item [PHONE]"),
        ("item 1.4111111111111111", "item [CARD]"),
        ("10:20:30.4111111111111111", "[CARD]"),
    ]);
}

#[test]
fn what_means_nobody_is_left_alone() {
    let redactor = redactor();
    for text in [
        "row 0190a5c2-1234-7123-8123-0123456789ab stored",
        "tenant=00000000-0000-0000-0000-000000000001",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "took 12.345678912s, 987.654321ms",
        "10.20.30.40:8080 answered 200 in 15 ms",
        "eonpro 0.0.1, rustc 1.95.0",
        "wrote 1048576 bytes of 12345678",
        "12:34:56.789012345 and 50%",
        "a ratio of 0.123456789012",
        "sum 0.30000000000000004, load 12.34567891",
        "done at 2:34:56.789012345Z",
        "context deadline, birth of a process 12",
        "timeline and mrproper",
    ] {
        assert!(
            matches!(redactor.scan(text), Cow::Borrowed(same) if same == text),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_careless_line_keeps_nothing_that_tells_who_it_was_about() {
    let bed = bed();
    let (ssn, mrn) = ("999-47-8823", "4ff27a72-3c39-8a65-1a49-2a7f3e1a1f00");
    let (phone, born) = ("555-689-7452", "1961-03-12");
    bed.log(|| {
        info!("registered patient SSN {ssn}, MRN {mrn}, phone {phone}, born {born}");
        info!(detail = format!("{ssn} {phone} {born} mrn={mrn}"), "saved");
        info!(detail = ?format!("ssn\t{ssn}\nphone\t{phone}\n{born}\n"), "{ssn}{phone}");
    });
    bed.lines().await;
    let text = bed.memory.text();
    for part in [ssn, mrn, phone, born, "8823", "7452", "4ff27a72", "1961-03"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
    assert!(bed.stats().redacted(Redaction::Ssn) >= 3);
}

#[tokio::test]
async fn a_number_on_the_edge_of_a_cut_value_is_not_cut_in_half() {
    let bed = bed_with(config(|config| config.max_value_bytes = 64), Vec::new());
    for before in 50..64 {
        let text = format!(
            "{}999-12-3456 and more",
            "x ".repeat(32).get(..before).unwrap()
        );
        bed.log(|| info!(text, "{text}"));
    }
    bed.lines().await;
    let text = bed.memory.text();
    assert!(!text.contains("999"), "{text}");
    assert!(!text.contains("-12"), "{text}");
}

#[test]
fn a_long_text_without_identifiers_is_scanned_in_linear_time() {
    // Were it quadratic, these megabytes would take hours.
    let redactor = redactor();
    for part in [
        "phone ",
        "1 ",
        "a1",
        "mrn ",
        "x_y-",
        "+1 ",
        "\"",
        "name=\"",
        "a@",
        "%40",
        "ssn ",
        "ssn 1",
        "ssn 1 ",
        "given:[\"a\",",
        "given:{\"",
        "name=a(",
        "born ",
        "born 1 ",
        "eyJ",
        "patient id ",
        "dl ",
        "DL a",
        "policy 1 ",
    ] {
        let text = part.repeat(200_000 / part.len());
        let _ = redactor.scan(&text);
    }
}

proptest! {
    #[test]
    fn no_social_security_number_survives_in_any_text(
        before in "[ -~]{0,20}[^0-9]",
        number in "[0-9]{3}[-. ][0-9]{2}[-. ][0-9]{4}",
        after in "[^0-9][ -~]{0,20}",
    ) {
        let text = format!("{before}{number}{after}");
        let clean = redactor_once().scan(&text).into_owned();
        prop_assert!(!clean.contains(&number), "{text:?} became {clean:?}");
    }

    #[test]
    fn scanning_twice_changes_nothing_more(text in "[ -~]{0,80}") {
        let redactor = redactor_once();
        let mut once = redactor.scan(&text).into_owned();
        // `[MRN]` and others are keywords themselves, which digits behind them would belong to.
        for kind in Redaction::ALL {
            once = once.replace(kind.label(), "[*]");
        }
        prop_assert_eq!(redactor.scan(&once).into_owned(), once.clone());
    }
}

fn redactor_once() -> &'static Redactor {
    static REDACTOR: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(redactor);
    &REDACTOR
}
