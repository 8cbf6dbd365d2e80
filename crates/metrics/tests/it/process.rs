//! What the process says of itself: plausible numbers and nothing else.

use std::fs::File;
use std::sync::Barrier;
use std::thread;

use crate::bed::Bed;
use crate::format::{Exposition, Kind};

const FAMILIES: [(&str, Kind); 8] = [
    ("process_cpu_seconds_total", Kind::Counter),
    ("process_major_page_faults_total", Kind::Counter),
    ("process_max_fds", Kind::Gauge),
    ("process_open_fds", Kind::Gauge),
    ("process_resident_memory_bytes", Kind::Gauge),
    ("process_start_time_seconds", Kind::Gauge),
    ("process_threads", Kind::Gauge),
    ("process_virtual_memory_bytes", Kind::Gauge),
];

fn value(seen: &Exposition, name: &str) -> f64 {
    seen.value(name, &[]).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "there is no /proc")]
fn the_numbers_are_plausible() {
    let seen = Bed::new().scrape();
    let resident = value(&seen, "process_resident_memory_bytes");
    let reserved = value(&seen, "process_virtual_memory_bytes");
    assert!((1e6..1e12).contains(&resident), "{resident}");
    assert!(resident <= reserved, "{resident} {reserved}");
    assert!(value(&seen, "process_threads") >= 2.0);
    let (open, most) = (
        value(&seen, "process_open_fds"),
        value(&seen, "process_max_fds"),
    );
    assert!((1.0..=most).contains(&open), "{open} of {most}");
    // Later than 2020 and earlier than the year 2100.
    let started = value(&seen, "process_start_time_seconds");
    assert!((1.577e9..4.1e9).contains(&started), "{started}");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "there is no /proc")]
fn use_is_read_anew_for_every_rendering() {
    let bed = Bed::new();
    let before = bed.scrape();
    let files: Vec<File> = (0..100)
        .map(|_| File::open("/proc/self/stat").unwrap())
        .collect();
    let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
    let barrier = Barrier::new(51);
    let during = thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| barrier.wait());
        }
        let during = bed.scrape();
        barrier.wait();
        during
    });
    // Other tests open files and start threads too, fewer than that.
    let grown = |name| value(&during, name) - value(&before, name);
    assert!(grown("process_open_fds") >= 50.0, "{}", files.len());
    assert!(grown("process_threads") >= 20.0);
    assert!(grown("process_resident_memory_bytes") >= memory.len() as f64 / 2.0);
    assert!(grown("process_cpu_seconds_total") >= 0.0);
    assert_eq!(grown("process_start_time_seconds"), 0.0);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "there is no /proc")]
fn there_are_numbers_only_and_no_word_of_whose_process_it_is() {
    let seen = Bed::new().scrape();
    let own: Vec<_> = seen
        .families()
        .filter(|(name, _)| name.starts_with("process_"))
        .map(|(name, family)| (name, family.kind))
        .collect();
    assert_eq!(own, FAMILIES);
    for (name, _) in FAMILIES {
        let samples = &seen.family(name).samples;
        assert!(
            samples.len() == 1 && samples[0].labels.is_empty(),
            "{samples:?}"
        );
    }
    let text = Bed::new().metrics.render().unwrap();
    let program = std::env::args().next().unwrap();
    assert!(program.len() > 3 && !text.contains(&program), "{program}");
}
