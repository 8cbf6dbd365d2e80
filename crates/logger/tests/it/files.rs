//! The daily file: its name, its mode, its turn at midnight, its end after a crash.

use std::fs;
use std::path::Path;
use std::time::Duration;

use eonpro_core::time::Timestamp;
use eonpro_logger::{DailyFile, LogError, Logger as _, LoggerConfig};
use tracing::info;

use crate::bed::{Bed, bed_with};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn bed_in(dir: &Path) -> Bed {
    bed_with(
        LoggerConfig::default(),
        vec![Box::new(DailyFile::open(dir, "clinic").unwrap().keep(2))],
    )
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_line_goes_to_the_file_of_its_utc_day() {
    let dir = tempfile::tempdir().unwrap();
    let bed = bed_in(dir.path());
    bed.clock
        .step_wall(Timestamp::parse_rfc3339("2024-02-28T23:59:59.999999999Z").unwrap());
    bed.log(|| info!("leap eve"));
    bed.clock.advance(Duration::from_nanos(1));
    bed.log(|| info!("leap day"));
    bed.logger.flush().await.unwrap();

    assert_eq!(
        names(dir.path()),
        ["clinic-2024-02-28.jsonl", "clinic-2024-02-29.jsonl"]
    );
    let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(read("clinic-2024-02-28.jsonl").contains("leap eve"));
    let second = read("clinic-2024-02-29.jsonl");
    assert!(second.contains("leap day") && !second.contains("leap eve"));
}

#[tokio::test]
async fn old_files_go_when_a_new_day_begins_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    for other in [
        "clinic-notes.txt",
        "clinic-2020-01-01.jsonl.zst",
        "other-2020-01-01.jsonl",
    ] {
        fs::write(dir.path().join(other), "kept").unwrap();
    }
    let bed = bed_in(dir.path());
    for _ in 0..4 {
        bed.log(|| info!("today"));
        bed.logger.flush().await.unwrap();
        bed.clock.advance(DAY);
    }
    let expected = [
        "clinic-2020-01-01.jsonl.zst",
        "clinic-2023-01-07.jsonl",
        "clinic-2023-01-08.jsonl",
        "clinic-notes.txt",
        "other-2020-01-01.jsonl",
    ];
    assert_eq!(names(dir.path()), expected);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files_and_their_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let bed = bed_in(&logs);
    bed.log(|| info!("x"));
    bed.logger.flush().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&logs.join("clinic-2023-01-05.jsonl")), 0o600);
    assert_eq!(mode(&logs), 0o700);
}

#[tokio::test]
async fn a_torn_last_line_is_closed_and_the_file_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clinic-2023-01-05.jsonl");
    fs::write(&path, "{\"whole\":1}\n{\"to").unwrap();
    let bed = bed_in(dir.path());
    bed.log(|| info!("next"));
    bed.logger.flush().await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["{\"whole\":1}", "{\"to"]);
    assert!(lines[2].contains("\"next\""));
}

#[tokio::test]
async fn a_directory_that_vanished_is_a_counted_failure_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let bed = bed_in(&logs);
    fs::remove_dir(&logs).unwrap();
    bed.log(|| info!("lost"));
    let _ = bed.logger.flush().await;
    assert_eq!(bed.stats().failed, 1);
    fs::create_dir(&logs).unwrap();
    bed.log(|| info!("kept"));
    bed.logger.flush().await.unwrap();
    assert!(
        fs::read_to_string(logs.join("clinic-2023-01-05.jsonl"))
            .unwrap()
            .contains("kept")
    );
}

#[tokio::test]
async fn an_old_file_that_cannot_be_removed_costs_no_line_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    // Not even the administrator can remove a directory as if it were a file.
    fs::create_dir(dir.path().join("clinic-2020-01-01.jsonl")).unwrap();
    for old in ["clinic-2020-01-02.jsonl", "clinic-2020-01-03.jsonl"] {
        fs::write(dir.path().join(old), "").unwrap();
    }
    let bed = bed_in(dir.path());
    bed.log(|| info!("first of the day"));
    let told = bed.logger.flush().await.unwrap_err();
    assert!(matches!(
        told,
        LogError::Sink {
            sink: "daily-file",
            ..
        }
    ));
    bed.logger.flush().await.unwrap();

    let today = fs::read_to_string(dir.path().join("clinic-2023-01-05.jsonl")).unwrap();
    assert!(today.contains("first of the day"));
    assert_eq!((bed.stats().failed, bed.stats().write_errors), (0, 1));
    assert!(!dir.path().join("clinic-2020-01-02.jsonl").exists());
}

#[test]
fn a_prefix_cannot_lead_out_of_the_directory_or_carry_data() {
    let dir = tempfile::tempdir().unwrap();
    for prefix in ["", "../x", "a/b", "Ada Lovelace", "A", &"x".repeat(65)] {
        assert!(
            matches!(DailyFile::open(dir.path(), prefix), Err(LogError::Prefix)),
            "{prefix}"
        );
    }
}

#[test]
fn an_error_and_a_debug_output_name_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("secret-folder");
    fs::write(&blocked, "").unwrap();
    let error = DailyFile::open(&blocked, "log").unwrap_err();
    assert_eq!(error.to_string(), "log directory cannot be used");
    assert!(!format!("{error:?}").contains("secret-folder"));
    let file = DailyFile::open(dir.path(), "log").unwrap();
    assert!(!format!("{file:?}").contains(dir.path().to_str().unwrap()));
}
