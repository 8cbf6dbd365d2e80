//! One event, one line, one JSON object with unique keys, within its limit.

use std::fmt;

use proptest::prelude::*;
use serde_json::{Value, json};
use tracing::{Level, debug, error, info, info_span, trace, warn};

use crate::bed::{NOW, bed, bed_with, config};

#[tokio::test]
async fn a_line_says_when_how_grave_where_and_what() {
    let line = bed()
        .line(|| warn!(target: "clinic::intake", rows = 3, ok = true, "slow"))
        .await;
    let expected = json!({
        "time": NOW.to_string(),
        "level": "WARN",
        "target": "clinic::intake",
        "message": "slow",
        "fields": {"rows": 3, "ok": true},
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn reserved_keys_come_first() {
    let bed = bed();
    bed.line(|| info!(target: "t", a = 1, "m")).await;
    let start = format!(r#"{{"time":"{NOW}","level":"INFO","target":"t","message":"m","fields""#);
    assert!(bed.memory.text().starts_with(&start));
}

#[tokio::test]
async fn a_line_break_in_a_value_makes_no_second_line() {
    let bed = bed();
    let forged = "x\n{\"level\":\"ERROR\"}\r\u{2028}\u{85}\u{1b}[2K";
    let line = bed.line(|| info!(detail = forged, "{forged}")).await;
    assert_eq!(line["message"], forged);
    assert_eq!(line["fields"]["detail"], forged);
    let text = bed.memory.text();
    assert_eq!(text.matches('\n').count(), 1);
    assert!(
        !text
            .trim_end()
            .contains(|char: char| char.is_control() || char == '\u{2028}')
    );
}

#[tokio::test]
async fn a_key_given_twice_appears_once_with_its_first_value() {
    let bed = bed();
    bed.log(|| info!(a = 1, a = 2, message = "second", "first"));
    bed.lines().await;
    let text = bed.memory.text();
    assert_eq!(text.matches("\"a\":").count(), 1);
    assert!(text.contains("\"a\":1"));
    assert_eq!(text.matches("\"message\":").count(), 1);
    assert!(text.contains("\"message\":\"first\""));
    assert_eq!(bed.stats().duplicates, 2);
}

#[tokio::test]
async fn numbers_that_json_readers_would_change_are_text() {
    let line = bed()
        .line(|| {
            info!(
                exact_ns = 1_u64 << 53,
                rounded_ns = (1_u64 << 53) + 1,
                negative = -7,
                half = 0.5,
                nothing = f64::NAN,
                endless = f64::INFINITY,
            );
        })
        .await;
    let expected = json!({
        "exact_ns": 9_007_199_254_740_992_u64,
        "rounded_ns": "9007199254740993",
        "negative": -7,
        "half": 0.5,
        "nothing": "NaN",
        "endless": "inf",
    });
    assert_eq!(line["fields"], expected);
}

#[tokio::test]
async fn an_error_is_written_with_its_sources() {
    #[derive(Debug, thiserror::Error)]
    #[error("chart was not saved")]
    struct Outer(#[source] std::io::Error);
    let failure = Outer(std::io::Error::other("disk is full"));
    let error: &(dyn std::error::Error + 'static) = &failure;
    let line = bed().line(|| error!(error, "failed")).await;
    assert_eq!(line["fields"]["error"], "chart was not saved: disk is full");
}

#[tokio::test]
async fn spans_are_listed_from_the_outermost_with_their_fields() {
    let line = bed()
        .line(|| {
            let _visit = info_span!("visit", ward = "b2").entered();
            let _step = info_span!("triage", step = 2).entered();
            info!("done");
        })
        .await;
    let expected = json!([
        {"name": "visit", "fields": {"ward": "b2"}},
        {"name": "triage", "fields": {"step": 2}},
    ]);
    assert_eq!(line["spans"], expected);
}

#[tokio::test]
async fn a_field_recorded_later_replaces_the_one_of_the_span() {
    let line = bed()
        .line(|| {
            let span = info_span!("visit", outcome = "open", rows = tracing::field::Empty);
            span.record("outcome", "closed").record("rows", 4);
            span.in_scope(|| info!("done"));
        })
        .await;
    assert_eq!(
        line["spans"][0]["fields"],
        json!({"outcome": "closed", "rows": 4})
    );
}

#[tokio::test]
async fn a_span_has_no_message_but_may_have_a_field_of_that_name() {
    let line = bed()
        .line(|| {
            let _visit = info_span!("visit", message = "seen 999-12-3456", ward = "b2").entered();
            let step = info_span!("triage", message = tracing::field::Empty);
            step.record("message", "late");
            step.in_scope(|| info!("done"));
        })
        .await;
    assert_eq!(line["message"], "done");
    let expected = json!([
        {"name": "visit", "fields": {"message": "seen [SSN]", "ward": "b2"}},
        {"name": "triage", "fields": {"message": "late"}},
    ]);
    assert_eq!(line["spans"], expected);
}

#[tokio::test]
async fn a_deep_line_keeps_its_innermost_spans_and_says_so() {
    let bed = bed_with(config(|config| config.max_spans = 1), Vec::new());
    let line = bed
        .line(|| {
            let _outer = info_span!("outer").entered();
            let _inner = info_span!("inner").entered();
            info!("deep");
        })
        .await;
    assert_eq!(line["spans"], json!([{"name": "inner"}]));
    assert_eq!(line["truncated"], true);
}

#[tokio::test]
async fn too_many_fields_are_left_out_and_said_to_be() {
    let bed = bed_with(config(|config| config.max_fields = 2), Vec::new());
    let line = bed.line(|| info!(a = 1, b = 2, c = 3)).await;
    assert_eq!(line["fields"], json!({"a": 1, "b": 2}));
    assert_eq!(line["truncated"], true);
    assert_eq!(bed.stats().truncated, 1);
}

#[tokio::test]
async fn a_debug_without_end_is_stopped_at_the_limit() {
    struct Endless;
    impl fmt::Debug for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("and so on ")?;
            }
        }
    }
    let bed = bed_with(config(|config| config.max_value_bytes = 64), Vec::new());
    let line = bed.line(|| info!(endless = ?Endless)).await;
    assert_eq!(line["fields"]["endless"].as_str().unwrap().len(), 64);
    assert_eq!(line["truncated"], true);
}

#[tokio::test]
async fn a_debug_that_logs_does_not_log_for_ever() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!(again = ?Chatty, "formatting");
            f.write_str("chatty")
        }
    }
    let bed = bed();
    let line = bed.line(|| info!(value = ?Chatty, "outer")).await;
    assert_eq!(line["fields"]["value"], "chatty");
}

#[tokio::test]
async fn fields_of_a_span_that_come_while_formatting_are_counted_and_their_lines_cut() {
    use std::cell::RefCell;
    struct Tracing(RefCell<tracing::Span>);
    impl fmt::Debug for Tracing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _bare = info_span!("bare");
            let later = tracing::field::Empty;
            let span = info_span!("inner", step = 2, rows = later, outcome = later);
            span.record("rows", 3);
            self.0.replace(span);
            f.write_str("tracing")
        }
    }
    let bed = bed();
    let value = Tracing(RefCell::new(tracing::Span::none()));
    bed.log(|| {
        // Within an event `tracing` itself would refuse the inner span; within a record it does not.
        let outer = info_span!("outer", value = tracing::field::Empty);
        outer.record("value", tracing::field::debug(&value));
        let span = value.0.replace(tracing::Span::none());
        span.record("outcome", "closed");
        span.in_scope(|| info!("within"));
    });
    let lines = bed.lines().await;
    assert_eq!(bed.stats().nested, 2);
    let spans = json!([{"name": "inner", "fields": {"outcome": "closed"}}]);
    assert_eq!(lines[0]["spans"], spans);
    assert_eq!(lines[0]["truncated"], true);
}

#[tokio::test]
async fn a_debug_that_panics_leaves_the_logger_working() {
    struct Broken;
    impl fmt::Debug for Broken {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("broken")
        }
    }
    let bed = bed();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bed.log(|| info!(value = ?Broken));
    }));
    assert!(caught.is_err());
    assert_eq!(bed.line(|| info!("after")).await["message"], "after");
}

#[tokio::test]
async fn levels_decide_for_all_and_for_single_targets() {
    let bed = bed_with(
        config(|config| {
            config.level = eonpro_logger::LevelFilter::WARN;
            config.targets = vec![("loud".to_owned(), eonpro_logger::LevelFilter::DEBUG)];
        }),
        Vec::new(),
    );
    bed.log(|| {
        info!("left out");
        warn!("first");
        debug!(target: "loud::inner", "second");
        trace!(target: "loud", "left out");
    });
    let messages: Vec<Value> = bed
        .lines()
        .await
        .iter()
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(messages, ["first", "second"]);
    assert_eq!(bed.stats().accepted, 2);
}

#[test]
fn the_filter_of_the_layer_does_not_starve_other_layers() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let bed = bed();
    let subscriber = tracing_subscriber::registry()
        .with(bed.layer.clone().filtered())
        .with(tracing_subscriber::filter::LevelFilter::TRACE);
    tracing::subscriber::with_default(subscriber, || {
        assert!(tracing::enabled!(Level::ERROR));
    });
    let unfiltered = tracing_subscriber::registry().with(bed.layer.clone());
    tracing::subscriber::with_default(unfiltered, || debug!("judged by the layer itself"));
    assert_eq!(bed.stats().accepted, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_logged_a_line_is_valid_and_within_its_limit(
        message in any::<String>(),
        values in prop::collection::vec("\\PC{0,400}", 3),
        limit in 1_024_usize..2_048,
    ) {
        let bed = bed_with(config(|config| config.max_line_bytes = limit), Vec::new());
        bed.log(|| {
            let _outer = info_span!("outer", value = values[0]).entered();
            let _inner = info_span!("inner", value = values[1], other = 1).entered();
            info!(value = values[2], list = ?values, "{message}");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lines = runtime.block_on(bed.lines());
        let text = bed.memory.text();
        prop_assert_eq!(lines.len(), 1);
        prop_assert!(text.len() <= limit, "{} bytes", text.len());
        prop_assert_eq!(text.matches('\n').count(), 1);
        let cut = lines[0].get("truncated").is_some();
        prop_assert_eq!(bed.stats().truncated, u64::from(cut));
    }
}
