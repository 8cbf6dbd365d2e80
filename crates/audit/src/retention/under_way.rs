//! The file `pruning`: what is about to be pruned, while it is.
//!
//! It is written before AUD-009 is and removed once the last byte is gone, so that a verifier who comes
//! in between, or after a crash, can tell what is still to go from what should be there. It is no
//! authority: only together with the signed AUD-009 does it account for anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Indexes;
use crate::fault::{Fault, Place, VerifyError};
use crate::hex;
use crate::layout::{self, Layout, PRUNING};
use crate::log_id::LogId;
use crate::merkle::sha256;

/// The file is never longer.
pub(crate) const MAX_PLANS_BYTES: u64 = 64 * 1024 * 1024;
const VERSION: u32 = 1;
const DIGEST_LINE: usize = 65;

/// The plans of which a part may be carried out: mostly none, after crashes more than one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnderWay(pub(crate) Vec<BTreeMap<LogId, Indexes>>);

impl UnderWay {
    pub(crate) fn plans(&self) -> usize {
        self.0.len()
    }

    /// What a plan prunes of a log.
    pub(crate) fn of(&self, plan: usize, log: LogId) -> Option<&Indexes> {
        self.0.get(plan)?.get(&log)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    plans: Vec<Vec<WireLog>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLog {
    log: String,
    indexes: Vec<(u64, u64)>,
}

/// The plans in the directory; none if there is no file.
pub(crate) fn read(layout: &Layout) -> Result<UnderWay, VerifyError> {
    let most = MAX_PLANS_BYTES + 1;
    let Some(bytes) = layout::read_up_to(most, &layout.pruning())? else {
        return Ok(UnderWay::default());
    };
    parse(&bytes).ok_or_else(|| VerifyError::tampered(Place::file(PRUNING, 0), Fault::Pruned))
}

fn parse(bytes: &[u8]) -> Option<UnderWay> {
    let (digest, json) = bytes.split_at_checked(DIGEST_LINE)?;
    let wire: Wire = serde_json::from_slice(json).ok()?;
    if digest != line_of(json) || wire.v != VERSION {
        return None;
    }
    let plans = wire.plans.into_iter().map(|logs| {
        let logs = logs.into_iter().map(|one| {
            let log = LogId::parse(&one.log).filter(|log| *log != LogId::Directory)?;
            let ranges = one.indexes.into_iter().map(|(from, until)| from..until);
            Some((log, Indexes::from_ranges(ranges.collect())?))
        });
        logs.collect::<Option<BTreeMap<_, _>>>()
    });
    plans.collect::<Option<Vec<_>>>().map(UnderWay)
}

/// The content of the file.
pub(crate) fn write_bytes(plans: &UnderWay) -> Result<Vec<u8>, serde_json::Error> {
    let log = |(log, indexes): (&LogId, &Indexes)| WireLog {
        log: log.to_string(),
        indexes: indexes
            .ranges()
            .iter()
            .map(|range| (range.start, range.end))
            .collect(),
    };
    let plans = plans.0.iter().map(|logs| logs.iter().map(log).collect());
    let json = serde_json::to_vec(&Wire {
        v: VERSION,
        plans: plans.collect(),
    })?;
    let mut bytes = line_of(&json);
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

fn line_of(json: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(DIGEST_LINE);
    hex::push(&mut line, sha256(&[json]).as_bytes());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_and_no_byte_of_it_can_be_flipped() {
        let mut indexes = Indexes::default();
        for index in [0, 1, 2, 7, 300] {
            indexes.push(index);
        }
        let plans = UnderWay(vec![
            BTreeMap::from([(LogId::System, indexes)]),
            BTreeMap::new(),
        ]);
        let bytes = write_bytes(&plans).unwrap();
        assert_eq!(parse(&bytes), Some(plans));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
        assert_eq!(parse(b""), None);
    }
}
