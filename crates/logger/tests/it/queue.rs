//! The queue never waits, counts what it drops, and tells so in the log.

use eonpro_core::component::{Component as _, Durability, Fitness, Health};
use eonpro_logger::{
    Console, DailyFile, JsonLogger, LogError, LogLine, LogSink, Logger as _, LoggerConfig,
    LoggerParts,
};
use serde_json::json;
use std::sync::Arc;
use std::task::{Context, Waker};
use tracing::{error, info};

use crate::bed::{bed, bed_with, config, gate};

#[tokio::test]
async fn a_full_queue_drops_and_the_log_says_how_many() {
    let (gate, keeper) = gate();
    let bed = bed_with(
        config(|config| config.queue_lines = 2),
        vec![Box::new(gate)],
    );
    bed.log(|| {
        info!("held by the sink");
        keeper.entered.recv().unwrap();
        info!("queued");
        info!("queued");
        info!("dropped");
        error!("dropped, grave as it is");
    });
    assert_eq!(
        (bed.stats().dropped_info, bed.stats().dropped_error),
        (1, 1)
    );
    drop(keeper);

    let lines = bed.lines().await;
    let report = lines
        .iter()
        .find(|line| line["target"] == "eonpro_logger")
        .unwrap();
    assert_eq!(report["level"], "WARN");
    assert_eq!(report["fields"], json!({"error": 1, "info": 1}));
    let stats = bed.stats();
    assert_eq!(
        stats.accepted,
        stats.written + stats.failed + stats.dropped()
    );
    assert_eq!(stats.written, 3);
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes_too() {
    let (gate, keeper) = gate();
    let small = config(|config| (config.max_line_bytes, config.queue_bytes) = (1_024, 1_024));
    let bed = bed_with(small, vec![Box::new(gate)]);
    let long = "x".repeat(700);
    bed.log(|| {
        info!("{long}");
        keeper.entered.recv().unwrap();
        // The first line still counts: the sink has not taken it yet.
        info!("{long}");
    });
    assert_eq!(bed.stats().dropped(), 1);
    drop(keeper);
    bed.lines().await;
    bed.log(|| info!("{long}"));
    bed.lines().await;
    assert_eq!(bed.stats().dropped(), 1);
}

#[tokio::test]
async fn dropped_lines_degrade_the_health_until_a_batch_goes_well() {
    let (gate, keeper) = gate();
    let bed = bed_with(
        config(|config| config.queue_lines = 1),
        vec![Box::new(gate)],
    );
    assert_eq!(bed.logger.health().await, Health::Healthy);
    bed.log(|| {
        info!("held");
        keeper.entered.recv().unwrap();
        info!("queued");
        info!("dropped");
    });
    keeper.release.send(()).unwrap();
    // The report of the loss is being written.
    keeper.entered.recv().unwrap();
    keeper.release.send(()).unwrap();
    // The queued line is being written: the batch before has set the health.
    keeper.entered.recv().unwrap();
    assert_eq!(
        bed.logger.health().await,
        Health::Degraded("log lines are being dropped")
    );
    drop(keeper);
    bed.logger.flush().await.unwrap();
    assert_eq!(bed.logger.health().await, Health::Healthy);
}

#[tokio::test]
async fn a_failing_sink_is_counted_reported_and_recovers() {
    let bed = bed();
    bed.memory.set_down(true);
    bed.log(|| info!("lost"));
    let refused = bed.logger.flush().await.unwrap_err();
    assert!(matches!(refused, LogError::Sink { sink: "memory", .. }));
    assert_eq!(
        bed.logger.health().await,
        Health::Degraded("a log sink fails")
    );
    assert_eq!(bed.stats().failed, 1);
    assert!(bed.stats().write_errors >= 1);

    bed.memory.set_down(false);
    bed.log(|| info!("kept"));
    let lines = bed.lines().await;
    assert_eq!(lines[0]["message"], "kept");
    assert_eq!(lines[1]["fields"], json!({"failed": 1}));
}

#[tokio::test]
async fn a_sink_that_fails_does_not_keep_lines_from_the_others() {
    let down = crate::bed::Memory::default();
    down.set_down(true);
    let bed = bed_with(LoggerConfig::default(), vec![Box::new(down)]);
    bed.log(|| info!("kept by the other"));
    let _ = bed.logger.flush().await;
    assert!(bed.memory.text().contains("kept by the other"));
    assert_eq!(bed.stats().failed, 1);
}

#[tokio::test]
async fn a_sink_that_panics_has_failed_and_the_writer_goes_on() {
    #[derive(Debug)]
    struct Broken;
    impl LogSink for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn durability(&self) -> Durability {
            Durability::Volatile
        }
        fn write(&mut self, _: &[LogLine]) -> std::io::Result<()> {
            std::panic::resume_unwind(Box::new("broken"))
        }
        fn sync(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let bed = bed_with(LoggerConfig::default(), vec![Box::new(Broken)]);
    bed.log(|| info!("first"));
    bed.logger.flush().await.unwrap();
    bed.log(|| info!("second"));
    bed.logger.flush().await.unwrap();
    assert_eq!(bed.stats().failed, 2);
    assert!(bed.memory.text().contains("second"));
    assert_eq!(
        bed.logger.health().await,
        Health::Degraded("a log sink fails")
    );
}

#[tokio::test]
async fn closing_drains_syncs_and_may_be_repeated() {
    let bed = bed();
    bed.log(|| (0..1_000).for_each(|row| info!(row)));
    bed.logger.close().await;
    bed.logger.close().await;
    assert_eq!(bed.memory.text().lines().count(), 1_000);
    assert_eq!(bed.memory.syncs(), 1);
    assert_eq!(
        bed.logger.health().await,
        Health::Unhealthy("logger is closed")
    );
    assert!(matches!(bed.logger.flush().await, Err(LogError::Closed)));

    bed.log(|| info!("late"));
    assert_eq!(bed.stats().dropped_info, 1);
}

#[tokio::test]
async fn a_flush_that_waits_while_the_logger_closes_hears_how_the_last_sync_went() {
    let (gate, keeper) = gate();
    let bed = bed_with(LoggerConfig::default(), vec![Box::new(gate)]);
    bed.log(|| info!("held by the sink"));
    keeper.entered.recv().unwrap();
    bed.memory.set_down(true);
    // Each call runs up to where it waits. They are many: the writer answers some of them before it
    // sees that it is to end.
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting: Vec<_> = (0..32).map(|_| bed.logger.flush()).collect();
    for flush in &mut waiting {
        assert!(flush.as_mut().poll(&mut context).is_pending());
    }
    let mut closing = bed.logger.close();
    assert!(closing.as_mut().poll(&mut context).is_pending());
    drop(keeper);
    for flush in waiting {
        let refused = flush.await.unwrap_err();
        assert!(matches!(refused, LogError::Sink { sink: "memory", .. }));
    }
    closing.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_many_threads_is_written_dropped_or_failed() {
    let bed = Arc::new(bed_with(
        config(|config| config.queue_lines = 16),
        Vec::new(),
    ));
    let loggers: Vec<_> = (0..4)
        .map(|_| {
            let bed = bed.clone();
            std::thread::spawn(move || bed.log(|| (0..500).for_each(|row| info!(row))))
        })
        .collect();
    bed.logger.close().await;
    for logger in loggers {
        logger.join().unwrap();
    }
    let stats = bed.stats();
    assert_eq!(stats.accepted, 2_000);
    assert_eq!(
        stats.accepted,
        stats.written + stats.failed + stats.dropped()
    );
    let text = bed.memory.text();
    let own = text
        .lines()
        .filter(|line| !line.contains("eonpro_logger\",\"message"))
        .count();
    assert_eq!(own as u64, stats.written);
}

#[test]
fn a_logger_is_as_durable_as_its_weakest_sink() {
    let dir = tempfile::tempdir().unwrap();
    let start = |sinks| {
        let clock = Arc::new(eonpro_core::time::SystemClock::new());
        let parts = LoggerParts {
            clock,
            schemas: Vec::new(),
            sinks,
        };
        JsonLogger::start(LoggerConfig::default(), parts).unwrap().1
    };
    let file = || Box::new(DailyFile::open(dir.path(), "log").unwrap());
    let logger = start(vec![
        file(),
        Box::new(Console::to(Box::new(std::io::sink()))),
    ]);
    assert_eq!(logger.posture().durability, Durability::Durable);
    let logger = start(vec![file(), Box::new(crate::bed::Memory::default())]);
    assert_eq!(logger.posture().durability, Durability::Volatile);
    assert_eq!(logger.name(), "logger");
    let nowhere = start(Vec::new()).posture();
    assert_eq!(nowhere.durability, Durability::Volatile);
    assert_eq!(nowhere.fitness, Fitness::Production);
}
