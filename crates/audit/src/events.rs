//! What audit records of itself: AUD-001 recording started, AUD-005 integrity verified, AUD-006 it
//! failed, AUD-011 an unfinished tail was dropped, SEC-001 an alert was raised.
//!
//! They go straight into the log and never over the required lane. AUD-002 (stopped), AUD-003 (the
//! trail was viewed), AUD-007 and AUD-008 (anchors) are not emitted yet.

use eonpro_core::event::Code;
use eonpro_core::event::catalogue::{audit, security};
use eonpro_core::port::Alert;

use crate::checkpoint::Checkpoint;
use crate::fault::{Fault, Place, VerifyError};
use crate::verify::Report;

const VERIFIER: Code = Code::constant(concat!("eonpro-audit/", env!("CARGO_PKG_VERSION")));

fn code(text: String) -> Code {
    Code::new(text).unwrap_or(Code::constant("unnamed"))
}

/// AUD-001: the log begins to record on top of `head`.
#[must_use]
pub fn started(head: &Checkpoint) -> audit::RecordingStarted {
    audit::RecordingStarted {
        log_origin: code(head.log.to_string()),
        tree_size: head.size,
        root: head.root,
    }
}

/// AUD-005: everything up to the directory's head was verified.
#[must_use]
pub fn verified(report: &Report) -> audit::IntegrityVerified {
    audit::IntegrityVerified {
        first_index: 0,
        last_index: report.entries.saturating_sub(1),
        root: report.directory.root,
        checkpoints: report.checkpoints,
        cosigners: 0,
        verifier: VERIFIER,
    }
}

/// AUD-006: verification failed.
#[must_use]
pub fn failed(error: &VerifyError) -> audit::IntegrityFailed {
    let kind = match error {
        VerifyError::Tampered { fault, .. } => match fault {
            Fault::Root => "root",
            Fault::Signature | Fault::Checkpoint => "signature",
            Fault::Gap | Fault::Missing | Fault::Segment => "gap",
            _ => "leaf",
        },
        _ => "leaf",
    };
    audit::IntegrityFailed {
        kind: Code::constant(kind),
        index: match error.place() {
            Some(Place::Entry { index, .. }) => *index,
            Some(Place::File { offset, .. }) => *offset,
            None => 0,
        },
        expected: None,
        found: None,
    }
}

/// AUD-011: `dropped` unfinished bytes at the end of `segment` were set aside, after `batches` good
/// batches.
pub(crate) fn recovered(segment: u64, dropped: u64, batches: u64) -> audit::TailRecovered {
    audit::TailRecovered {
        segment,
        bytes_dropped: dropped,
        last_index: batches.saturating_sub(1),
        // With a signed entry lost the log would not have opened.
        acknowledged_loss: 0,
    }
}

/// SEC-001: `alert` was raised.
#[must_use]
pub fn alerted(alert: &Alert) -> security::AlertRaised {
    security::AlertRaised {
        rule: alert.rule.clone(),
        rule_version: 1,
        window_start: alert.at,
        window_end: alert.at,
        subjects: Vec::new(),
        evidence: vec![code(alert.event.to_string())],
    }
}
