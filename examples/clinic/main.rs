//! The main job: real clinical data through every service, embedded, end to end.
//!
//! `cargo run --release --example clinic -- [--fhir DIR] [--patients N] [--data DIR] [--json]`.
//! It onboards a tenant for each organization, signs clinicians in, stores charts and documents,
//! searches and reads them, reaches across tenants, turns and shreds keys, restarts, verifies the
//! audit log, and then looks for every patient's data in every byte that it left on disk.
#![expect(
    unreachable_pub,
    reason = "an example is a crate of its own, with nobody above it"
)]

mod args;
mod charts;
mod clinics;
mod crossing;
mod dataset;
mod documents;
mod export;
mod fhir;
mod generate;
mod home;
mod job;
mod keys;
mod leaks;
mod leaving;
mod log;
mod progress;
mod reading;
mod record;
mod report;
mod site;
mod trail;

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::Args;
use crate::report::Report;
use crate::site::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            complain(&message);
            return ExitCode::from(2);
        }
    };
    match job::run(&args).await {
        Ok(report) => finish(&args, &report),
        Err(failure) => {
            complain(&format!("clinic: {}", chain(&failure)));
            ExitCode::FAILURE
        }
    }
}

fn finish(args: &Args, report: &Report) -> ExitCode {
    let mut text = if args.json {
        report.json()
    } else {
        report.page()
    };
    text.push('\n');
    if args.json {
        for fault in report.faults() {
            complain(&format!("clinic: check failed: {fault}"));
        }
    }
    let printed = std::io::stdout().write_all(text.as_bytes());
    if report.is_good() && printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// An error with all that caused it.
fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Tells the user on standard error; whether that works changes nothing.
pub(crate) fn complain(message: &str) {
    let _told = writeln!(std::io::stderr(), "{message}");
}
