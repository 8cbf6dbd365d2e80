//! This process' own use of the machine, read from `/proc/self`. Absent where there is none.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::metrics::Meter;

use crate::process::{Process, Units, parse_boot_seconds, parse_max_fds};

/// The last reading, which all instruments of one rendering show.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<Reading>);

#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    process: Option<Process>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    booted: Option<u64>,
}

impl Usage {
    /// Registers the instruments.
    pub(super) fn register(meter: &Meter) -> Arc<Self> {
        let usage = Arc::new(Self::default());
        for (name, help, read) in GAUGES {
            let usage = Arc::clone(&usage);
            meter
                .f64_observable_gauge(*name)
                .with_description(*help)
                .with_callback(move |to| {
                    if let Some(value) = read(&usage.reading()) {
                        to.observe(value, &[]);
                    }
                })
                .build();
        }
        for (name, help, read) in COUNTERS {
            let usage = Arc::clone(&usage);
            meter
                .f64_observable_counter(*name)
                .with_description(*help)
                .with_callback(move |to| {
                    if let Some(value) = read(&usage.reading()) {
                        to.observe(value, &[]);
                    }
                })
                .build();
        }
        usage
    }

    /// Reads the present values.
    pub(super) fn refresh(&self) {
        let reading = Reading::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    fn reading(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn now() -> Self {
        let units = Units {
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            page_bytes: rustix::param::page_size() as u64,
        };
        let text = |path: &str| fs::read_to_string(path).ok();
        // The folder that is being read is open itself.
        let open_fds = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|fds| (fds.count() as u64).saturating_sub(1));
        Self {
            process: text("/proc/self/stat").and_then(|stat| Process::parse(&stat, units)),
            open_fds,
            max_fds: text("/proc/self/limits").and_then(|limits| parse_max_fds(&limits)),
            booted: text("/proc/stat").and_then(|stat| parse_boot_seconds(&stat)),
        }
    }

    fn started(&self) -> Option<f64> {
        Some(self.booted? as f64 + self.process?.started_after_boot)
    }
}

type Row = (&'static str, &'static str, fn(&Reading) -> Option<f64>);

// The names are those that every client library of Prometheus uses.
const GAUGES: &[Row] = &[
    ("process_resident_memory_bytes", "Memory in use.", |now| {
        Some(now.process?.resident_bytes as f64)
    }),
    ("process_virtual_memory_bytes", "Memory reserved.", |now| {
        Some(now.process?.virtual_bytes as f64)
    }),
    ("process_threads", "Threads.", |now| {
        Some(now.process?.threads as f64)
    }),
    ("process_open_fds", "Open file descriptors.", |now| {
        Some(now.open_fds? as f64)
    }),
    ("process_max_fds", "Allowed file descriptors.", |now| {
        Some(now.max_fds? as f64)
    }),
    (
        "process_start_time_seconds",
        "Start of the process, in Unix seconds.",
        |now| now.started(),
    ),
];

const COUNTERS: &[Row] = &[
    ("process_cpu_seconds", "Processor time used.", |now| {
        Some(now.process?.cpu_seconds)
    }),
    (
        "process_major_page_faults",
        "Pages that had to be read from disk.",
        |now| Some(now.process?.major_faults as f64),
    ),
];
