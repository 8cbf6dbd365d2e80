//! A redacted JSON log line, against `tracing_subscriber::fmt().json()`.
//!
//! Both get the same events in the same span, write time, level, target, message, fields and the
//! span once, and hand every line to a writer that drops it. Ours formats on the caller's thread
//! and writes on another; a batch ends when its last line has reached the writer. The peer does
//! both on the caller's thread. What the difference buys: every value is scanned for what looks
//! like PHI or a secret, field names are checked against the schemas, keys are unique, and a slow
//! writer does not block the caller.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eonpro_core::time::SystemClock;
use eonpro_logger::{Console, JsonLogger, Logger as _, LoggerConfig, LoggerParts};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;

/// Lines of one batch: far below what the queue takes, so that none is dropped.
const LINES: u64 = 1_000;

fn log_lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_lines");
    group.throughput(Throughput::Elements(LINES));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (subscriber, logger) = eonpro();
    let flush = || runtime.block_on(logger.flush()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        group.bench_function("eonpro", |b| {
            b.iter(|| {
                batch();
                flush();
            });
        });
    });
    let stats = logger.stats();
    assert_eq!(stats.dropped(), 0, "a dropped line is work not done");

    tracing::subscriber::with_default(fmt_json(), || {
        group.bench_function("fmt_json", |b| b.iter(batch));
    });
    group.finish();
}

fn batch() {
    let request = tracing::info_span!("request", route = "/charts/{chart}", method = "GET");
    let _inside = request.entered();
    for number in 0..LINES {
        tracing::info!(
            operation = "cache.compute",
            outcome = black_box("ok"),
            elapsed_us = black_box(number),
            origin = "durable",
            "chart was served from the durable tier after a miss in memory"
        );
    }
}

fn eonpro() -> (impl Subscriber + Send + Sync, JsonLogger) {
    let parts = LoggerParts {
        clock: Arc::new(SystemClock::new()),
        schemas: Vec::new(),
        sinks: vec![Box::new(Console::to(Box::new(io::sink())))],
    };
    let (layer, logger) = JsonLogger::start(LoggerConfig::default(), parts).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer.filtered());
    (subscriber, logger)
}

fn fmt_json() -> impl Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_current_span(false)
        .with_span_list(true)
        .with_writer(io::sink)
        .finish()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = log_lines
}
criterion_main!(benches);
