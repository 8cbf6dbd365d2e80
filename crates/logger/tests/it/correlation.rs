//! Lines carry the ids of the request that they belong to.

use eonpro_core::context::with_log_context;
use eonpro_core::entropy::SeededEntropy;
use eonpro_testkit::{Actors, context, tenant_id};
use tracing::info;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use crate::bed::{bed, bed_with, config};

#[tokio::test]
async fn a_line_within_a_request_carries_its_ids_and_only_the_kind_of_its_actor() {
    let bed = bed();
    let _guard = tracing::subscriber::set_default(registry().with(bed.layer.clone().filtered()));
    let cx = context(7, Actors::Clinician, &bed.clock, &SeededEntropy::new(3));

    with_log_context(&cx, async { info!("admitted") }).await;

    let line = bed.lines().await.remove(0);
    assert_eq!(line["request"], cx.request_id().to_string());
    assert_eq!(line["trace"], cx.trace().trace_id().to_string());
    assert_eq!(line["span"], cx.trace().span_id().to_string());
    assert_eq!(line["tenant"], tenant_id(7).to_string());
    assert_eq!(line["actor"], "user");
    assert!(!bed.memory.text().contains("clinician-1"));
}

#[tokio::test]
async fn a_line_without_a_request_carries_no_ids() {
    let line = bed().line(|| info!("starting")).await;
    for key in ["request", "trace", "span", "tenant", "actor"] {
        assert!(line.get(key).is_none(), "{key}");
    }
}

#[tokio::test]
async fn fields_cannot_stand_in_for_the_ids_of_a_request() {
    let line = bed()
        .line(|| info!(tenant = "forged", time = "forged", level = "forged", "x"))
        .await;
    assert!(line.get("tenant").is_none());
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["fields"]["tenant"], "forged");
}

#[tokio::test]
async fn a_long_message_leaves_the_ids_whole() {
    let bed = bed_with(config(|config| config.max_line_bytes = 1_024), Vec::new());
    let _guard = tracing::subscriber::set_default(registry().with(bed.layer.clone().filtered()));
    let cx = context(7, Actors::Clinician, &bed.clock, &SeededEntropy::new(3));
    with_log_context(&cx, async { info!("{}", "long ".repeat(1_000)) }).await;
    let line = bed.lines().await.remove(0);
    assert_eq!(line["request"], cx.request_id().to_string());
    assert_eq!(line["tenant"], tenant_id(7).to_string());
    assert_eq!(line["truncated"], true);
}
