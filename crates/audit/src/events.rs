//! What audit records of itself: AUD-001 recording started, AUD-002 it stopped, AUD-003 the trail was viewed, AUD-005 integrity
//! verified, AUD-006 it failed, AUD-007 witnesses cosigned, AUD-008 somebody knows another log, AUD-009
//! entries are pruned, AUD-010 a legal hold was changed, AUD-011 an unfinished tail was dropped, SEC-001 an
//! alert was raised.
//!
//! They go straight into the log and never over the required lane.

use eonpro_core::event::catalogue::{audit, security};
use eonpro_core::event::{Code, Digest};
use eonpro_core::id::ActorId;
use eonpro_core::port::Alert;

use crate::checkpoint::Checkpoint;
use crate::fault::{Fault, Place, VerifyError};
use crate::head::HeadConflict;
use crate::sealed::Statement;
use crate::verify::Report;

const VERIFIER: Code = Code::constant(concat!("eonpro-audit/", env!("CARGO_PKG_VERSION")));

/// The rule of the alert that no quorum of witnesses cosigns.
pub(crate) const OVERDUE: Code = Code::constant("audit.witness.overdue");

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

/// AUD-003: `rows` entries, which concern `patients`, are about to be shown to whoever asked for `filter`.
pub(crate) fn viewed(filter: String, rows: u64, patients: u64) -> audit::LogViewed {
    audit::LogViewed {
        filter: filter.into(),
        rows,
        patients,
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

/// What is wrong, in one word of AUD-006.
pub(crate) fn kind_of(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::Tampered { fault, .. } => match fault {
            Fault::Root => "root",
            Fault::Signature | Fault::Checkpoint => "signature",
            Fault::Gap | Fault::Missing | Fault::Segment => "gap",
            _ => "leaf",
        },
        _ => "leaf",
    }
}

/// AUD-006: the log that this one follows was sealed because it does not verify. `index` and `expected` are
/// size and root of its last signed head, `found` is the digest of its statement.
pub(crate) fn sealed(statement: &Statement) -> audit::IntegrityFailed {
    audit::IntegrityFailed {
        kind: code(statement.kind.clone()),
        index: statement.head.map_or(0, |head| head.size),
        expected: statement.head.map(|head| head.root),
        found: Some(statement.digest()),
    }
}

/// AUD-002: the sealed log records no more.
pub(crate) fn stopped(statement: &Statement, by: ActorId, reason: Code) -> audit::RecordingStopped {
    audit::RecordingStopped {
        by,
        reason,
        last_index: statement.head.map_or(0, |head| head.size.saturating_sub(1)),
    }
}

/// AUD-002: the log is shut down in order. `last` is the index in the system log before this entry.
pub(crate) fn closed(by: ActorId, last: u64) -> audit::RecordingStopped {
    audit::RecordingStopped {
        by,
        reason: Code::constant("shutdown"),
        last_index: last,
    }
}

/// AUD-006: verification failed.
#[must_use]
pub fn failed(error: &VerifyError) -> audit::IntegrityFailed {
    audit::IntegrityFailed {
        kind: Code::constant(kind_of(error)),
        index: match error.place() {
            Some(Place::Entry { index, .. }) => *index,
            Some(Place::File { offset, .. }) => *offset,
            None => 0,
        },
        expected: None,
        found: None,
    }
}

/// AUD-007: a quorum of witnesses cosigned `head`; the receipt is the note with their lines.
pub(crate) fn anchored(head: &Checkpoint, receipt: Digest) -> audit::CheckpointAnchored {
    audit::CheckpointAnchored {
        tree_size: head.size,
        root: head.root,
        anchor: Code::constant("witness"),
        receipt,
    }
}

/// AUD-008: somebody outside of the directory knows another log than ours. A root that was not told is
/// all zeros.
pub(crate) fn conflict(conflict: &HeadConflict) -> audit::WitnessConflict {
    audit::WitnessConflict {
        witness: code(conflict.keeper.to_string()),
        witness_size: conflict.kept_size,
        witness_root: conflict.kept_root.unwrap_or(Digest::from_bytes([0; 32])),
        own_size: conflict.own.size,
        own_root: conflict.own.root,
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
