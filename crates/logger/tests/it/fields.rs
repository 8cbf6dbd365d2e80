//! Fields are redacted by their names, whatever they hold.

use eonpro_core::phi::Phi;
use eonpro_logger::Redaction;
use serde_json::json;
use tracing::{info, info_span};

use crate::bed::{bed, bed_with, config};

#[tokio::test]
async fn phi_printed_with_debug_shows_nothing() {
    let name = Phi::from("Ada Lovelace");
    let bed = bed();
    let line = bed.line(|| info!(who = ?name, "admitted {name:?}")).await;
    assert_eq!(line["fields"]["who"], "[PHI]");
    assert_eq!(line["message"], "admitted [PHI]");
    assert!(!bed.memory.text().contains("Ada"));
}

#[tokio::test]
async fn the_sealed_fields_of_a_schema_are_redacted_in_any_spelling() {
    let bed = bed();
    let line = bed
        .line(|| {
            info!(
                chief_complaint = "headache",
                chiefComplaint = "headache",
                patient.complaint = "headache",
                first_complaint = 4,
                ward = "b2",
            );
        })
        .await;
    let expected = json!({
        "chief_complaint": "[PHI]",
        "chiefComplaint": "[PHI]",
        "patient.complaint": "[PHI]",
        "first_complaint": "[PHI]",
        "ward": "b2",
    });
    assert_eq!(line["fields"], expected);
    assert_eq!(bed.stats().redacted(Redaction::Phi), 4);
}

#[tokio::test]
async fn the_built_in_names_are_redacted_in_events_and_spans() {
    let bed = bed();
    let line = bed
        .line(|| {
            let _span = info_span!("visit", mrn = 12, "patient.name" = "Ada").entered();
            info!(birthDate = "x", user_password = "hunter2", dob = ?Some(1), tenant_slug = "north");
        })
        .await;
    let hidden = "[REDACTED]";
    let expected = json!({
        "birthDate": hidden, "user_password": hidden, "dob": hidden, "tenant_slug": "north",
    });
    assert_eq!(line["fields"], expected);
    assert_eq!(
        line["spans"][0]["fields"],
        json!({"mrn": hidden, "patient.name": hidden})
    );
}

#[tokio::test]
async fn a_redacted_value_is_not_even_formatted() {
    struct Untouchable;
    impl std::fmt::Debug for Untouchable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("looked at")
        }
    }
    let line = bed().line(|| info!(ssn = ?Untouchable)).await;
    assert_eq!(line["fields"]["ssn"], "[REDACTED]");
}

#[tokio::test]
async fn names_can_be_added_and_built_in_ones_allowed_but_not_those_of_schemas() {
    let bed = bed_with(
        config(|config| {
            config.redact_fields = vec!["room".to_owned()];
            config.allow_fields = vec!["token_count".to_owned(), "chief_complaint".to_owned()];
        }),
        Vec::new(),
    );
    let line = bed
        .line(|| info!(room = 7, token_count = 3, chief_complaint = "x"))
        .await;
    let expected = json!({"room": "[REDACTED]", "token_count": 3, "chief_complaint": "[PHI]"});
    assert_eq!(line["fields"], expected);
}

#[tokio::test]
async fn numbers_in_the_shape_of_an_identifier_are_redacted_and_measures_are_not() {
    let line = bed()
        .line(|| {
            info!(
                a = 999_123_456_u64,
                b = 999_123_456_i32,
                c = 5_551_234_567_i64,
                d = 4_111_111_111_111_111_u64,
                e = 999_123_456.0,
                f = -999_123_456,
                elapsed_ns = 999_123_456_u64,
                rows = 12_345_678,
            );
        })
        .await;
    let expected = json!({
        "a": "[SSN]", "b": "[SSN]", "c": "[PHONE]", "d": "[CARD]", "e": "[SSN]", "f": "[SSN]",
        "elapsed_ns": 999_123_456, "rows": 12_345_678,
    });
    assert_eq!(line["fields"], expected);
}

#[tokio::test]
async fn the_name_of_a_span_s_field_message_counts_like_any_other() {
    let named = config(|config| config.redact_fields = vec!["message".to_owned()]);
    let bed = bed_with(named, Vec::new());
    let line = bed
        .line(|| {
            let span = info_span!("chat", message = "I am Ada");
            span.record("message", "Ada again");
            span.in_scope(|| info!("sent"));
        })
        .await;
    assert_eq!(line["message"], "sent");
    assert_eq!(line["spans"][0]["fields"], json!({"message": "[REDACTED]"}));
}

#[tokio::test]
async fn bytes_are_counted_and_not_shown() {
    let line = bed().line(|| info!(raw = b"999-12-3456".as_slice())).await;
    assert_eq!(line["fields"]["raw"], "[11 bytes]");
}

#[tokio::test]
async fn a_later_record_is_redacted_like_the_first() {
    let line = bed()
        .line(|| {
            let span = info_span!(
                "visit",
                found = tracing::field::Empty,
                ssn = tracing::field::Empty
            );
            span.record("found", "999-12-3456").record("ssn", "x");
            span.in_scope(|| info!("done"));
        })
        .await;
    assert_eq!(
        line["spans"][0]["fields"],
        json!({"found": "[SSN]", "ssn": "[REDACTED]"})
    );
}
