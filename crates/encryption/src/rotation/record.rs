//! A rotation as it is stored: its record in the `KeyValue`, and its progress in each source. Both are
//! JSON with a format version, apart from the types of the domain.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::digest::Digest;
use eonpro_core::pae;
use eonpro_core::port::Cursor;
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine::Phase;
use crate::error::CryptoError;

const VERSION: u32 = 1;
/// The most rows that are named because they do not open.
pub const MAX_FAILED_ROWS: usize = 32;

/// What the passes of a rotation do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Seal anew what is sealed in earlier epochs.
    Reseal,
    /// Give every row a token of the new version.
    Fill,
    /// Take the tokens of the old version away.
    Empty,
}

/// A row that does not open. It is named by a digest, never by what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRow {
    /// The source's name.
    pub source: String,
    /// The column.
    pub column: String,
    /// The row's place in its source's order, from 1, in the pass that met it.
    pub position: u64,
    /// The first 16 hexadecimal digits of `SHA-256(PAE(source, row))`, where `row` is what names the
    /// row in its cell: for a row with an id, the 16 bytes.
    pub row: String,
}

impl FailedRow {
    pub(crate) fn new(source: &str, column: &str, position: u64, row: &[u8]) -> Self {
        let digest = Digest::of(&pae::encode(&[source.as_bytes(), row])).to_string();
        Self {
            source: source.to_owned(),
            column: column.to_owned(),
            position,
            row: digest.get(..16).unwrap_or_default().to_owned(),
        }
    }
}

/// A rotation. Counts are of the present pass, but `updated` and `lost` of the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobState {
    pub(crate) phase: Phase,
    pub(crate) stage: Stage,
    /// Counts the rotations of this name.
    pub(crate) run: u64,
    /// Counts the passes of the run, over all stages.
    pub(crate) pass: u64,
    /// The passes of the stage.
    pub(crate) tries: u32,
    /// Keys of epochs before this one are to be drained.
    pub(crate) below: u64,
    /// From when on no process can undo what a scan shows.
    pub(crate) settled: Timestamp,
    /// The worker, or 0.
    pub(crate) holder: u64,
    /// Until when its lease lasts.
    pub(crate) until: Timestamp,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) updated: u64,
    pub(crate) lost: u64,
    pub(crate) before: (u64, u64),
    pub(crate) unopened: u64,
    pub(crate) remaining: u64,
    pub(crate) failed: Vec<FailedRow>,
    /// Since when the present worker goes through rows, and with how many done.
    pub(crate) begun: (Timestamp, u64),
    /// When the record was written.
    pub(crate) seen: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireJob {
    v: u32,
    phase: String,
    stage: Stage,
    run: u64,
    pass: u64,
    tries: u32,
    below: u64,
    settled: i64,
    holder: u64,
    until: i64,
    done: u64,
    total: u64,
    updated: u64,
    lost: u64,
    updated_before: u64,
    lost_before: u64,
    unopened: u64,
    remaining: u64,
    failed: Vec<FailedRow>,
    begun: i64,
    begun_done: u64,
    seen: i64,
}

impl JobState {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CryptoError> {
        let wire = WireJob {
            v: VERSION,
            phase: self.phase.name().to_owned(),
            stage: self.stage,
            run: self.run,
            pass: self.pass,
            tries: self.tries,
            below: self.below,
            settled: self.settled.nanos(),
            holder: self.holder,
            until: self.until.nanos(),
            done: self.done,
            total: self.total,
            updated: self.updated,
            lost: self.lost,
            updated_before: self.before.0,
            lost_before: self.before.1,
            unopened: self.unopened,
            remaining: self.remaining,
            failed: self.failed.clone(),
            begun: self.begun.0.nanos(),
            begun_done: self.begun.1,
            seen: self.seen.nanos(),
        };
        serde_json::to_vec(&wire).map_err(|_| CryptoError::Record("not JSON"))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        check_version(bytes)?;
        let wire: WireJob = serde_json::from_slice(bytes)
            .map_err(|_| CryptoError::Record("unknown shape of a rotation"))?;
        let phase = Phase::ALL
            .into_iter()
            .find(|phase| phase.name() == wire.phase);
        Ok(Self {
            phase: phase.ok_or(CryptoError::Record("unknown phase of a rotation"))?,
            stage: wire.stage,
            run: wire.run,
            pass: wire.pass,
            tries: wire.tries,
            below: wire.below,
            settled: Timestamp::from_nanos(wire.settled),
            holder: wire.holder,
            until: Timestamp::from_nanos(wire.until),
            done: wire.done,
            total: wire.total,
            updated: wire.updated,
            lost: wire.lost,
            before: (wire.updated_before, wire.lost_before),
            unopened: wire.unopened,
            remaining: wire.remaining,
            failed: wire.failed,
            begun: (Timestamp::from_nanos(wire.begun), wire.begun_done),
            seen: Timestamp::from_nanos(wire.seen),
        })
    }
}

fn check_version(bytes: &[u8]) -> Result<(), CryptoError> {
    let VersionOnly { v } = serde_json::from_slice(bytes)
        .map_err(|_| CryptoError::Record("rotation without a version"))?;
    match v {
        VERSION => Ok(()),
        other => Err(CryptoError::Version(other)),
    }
}

/// How far one pass is in one source. Stored there, in the transactions of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SourceProgress {
    pub(crate) run: u64,
    pub(crate) pass: u64,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) end: bool,
    pub(crate) done: u64,
    pub(crate) updated: u64,
    pub(crate) lost: u64,
    pub(crate) unopened: u64,
    pub(crate) failed: Vec<FailedRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireProgress {
    v: u32,
    run: u64,
    pass: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    end: bool,
    done: u64,
    updated: u64,
    lost: u64,
    unopened: u64,
    failed: Vec<FailedRow>,
}

impl SourceProgress {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CryptoError> {
        let cursor = self.cursor.as_ref();
        let wire = WireProgress {
            v: VERSION,
            run: self.run,
            pass: self.pass,
            cursor: cursor.map(|cursor| URL_SAFE_NO_PAD.encode(cursor.as_bytes())),
            end: self.end,
            done: self.done,
            updated: self.updated,
            lost: self.lost,
            unopened: self.unopened,
            failed: self.failed.clone(),
        };
        serde_json::to_vec(&wire).map_err(|_| CryptoError::Record("not JSON"))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        check_version(bytes)?;
        let wire: WireProgress = serde_json::from_slice(bytes)
            .map_err(|_| CryptoError::Record("unknown shape of a rotation's progress"))?;
        let cursor = match wire.cursor {
            None => None,
            Some(text) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok();
                let cursor = bytes.and_then(Cursor::new);
                Some(cursor.ok_or(CryptoError::Record("not a cursor"))?)
            }
        };
        Ok(Self {
            run: wire.run,
            pass: wire.pass,
            cursor,
            end: wire.end,
            done: wire.done,
            updated: wire.updated,
            lost: wire.lost,
            unopened: wire.unopened,
            failed: wire.failed,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use eonpro_core::port::MAX_ROTATION_PROGRESS;

    pub(crate) fn state() -> JobState {
        JobState {
            phase: Phase::Running,
            stage: Stage::Reseal,
            run: 2,
            pass: 3,
            tries: 1,
            below: 4,
            settled: Timestamp::from_nanos(5),
            holder: u64::MAX,
            until: Timestamp::from_nanos(6),
            done: 7,
            total: 8,
            updated: 9,
            lost: 10,
            before: (1, 2),
            unopened: 11,
            remaining: 12,
            failed: vec![FailedRow::new("patients", "ssn", 3, b"row")],
            begun: (Timestamp::from_nanos(13), 14),
            seen: Timestamp::from_nanos(-15),
        }
    }

    #[test]
    fn a_rotation_survives_its_stored_form_in_every_phase() {
        for phase in Phase::ALL {
            for stage in [Stage::Reseal, Stage::Fill, Stage::Empty] {
                let state = JobState {
                    phase,
                    stage,
                    ..state()
                };
                assert_eq!(JobState::decode(&state.encode().unwrap()).unwrap(), state);
            }
        }
    }

    #[test]
    fn the_longest_progress_fits_what_a_source_must_store() {
        let row = FailedRow::new(&"s".repeat(64), &"c".repeat(64), u64::MAX, b"row");
        let progress = SourceProgress {
            run: u64::MAX,
            pass: u64::MAX,
            cursor: Cursor::new(vec![0xff; 1024]),
            end: false,
            done: u64::MAX,
            updated: u64::MAX,
            lost: u64::MAX,
            unopened: u64::MAX,
            failed: vec![row; MAX_FAILED_ROWS],
        };
        let bytes = progress.encode().unwrap();
        assert!(bytes.len() <= MAX_ROTATION_PROGRESS, "{}", bytes.len());
        assert_eq!(SourceProgress::decode(&bytes).unwrap(), progress);
    }

    #[test]
    fn what_is_no_rotation_is_refused() {
        let text = String::from_utf8(state().encode().unwrap()).unwrap();
        let bad = [
            text.replace("running", "walking"),
            text.replace("\"run\":2", "\"run\":-2"),
            text.replace("\"v\":1,", ""),
            String::new(),
        ];
        for bad in bad {
            let refused = JobState::decode(bad.as_bytes());
            assert!(matches!(refused, Err(CryptoError::Record(_))), "{bad}");
        }
        let newer = text.replace("\"v\":1,", "\"v\":2,");
        let refused = JobState::decode(newer.as_bytes());
        assert!(matches!(refused, Err(CryptoError::Version(2))));
    }

    #[test]
    fn a_failed_row_is_named_by_a_digest() {
        let row = FailedRow::new("patients", "ssn", 3, b"999-12-3456");
        assert_eq!(row.row.len(), 16);
        assert_ne!(
            row.row,
            FailedRow::new("visits", "ssn", 3, b"999-12-3456").row
        );
    }
}
