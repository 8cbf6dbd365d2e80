//! A segment without the bytes of some of its leaves.

use std::collections::BTreeMap;

use super::{Hold, Indexes};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::scan::Cursor;
use crate::segment::{Frame, HEADER_BYTES, Kind, Pruned};
use crate::wire::Leaf;

/// Where a leaf stands in the rewritten segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) log: LogId,
    pub(crate) index: u64,
    pub(crate) offset: usize,
    /// How long the frame's payload is.
    pub(crate) length: usize,
}

/// A segment, rewritten.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) bytes: Vec<u8>,
    pub(crate) moved: Vec<Moved>,
    /// How many leaves lost their bytes, and how many stayed because they are held.
    pub(crate) pruned: u64,
    pub(crate) held: u64,
    /// By how many bytes the segment became shorter.
    pub(crate) saved: u64,
}

/// The segment `number`, which another one follows, without the bytes of the leaves in `plan` that nothing
/// holds. What it makes was checked against the batch chain that the next segment names. Blocks.
pub(crate) fn rewrite(
    layout: &Layout,
    number: u64,
    numbers: &[LogId],
    plan: &BTreeMap<LogId, Indexes>,
    holds: &[Hold],
) -> Result<Rewritten, VerifyError> {
    let name = Layout::segment_name(number);
    let damaged = |at| VerifyError::tampered(Place::file(&name, at), Fault::Frame);
    let (header, next) = (layout.header(number)?, layout.header(number + 1)?);
    let counted = usize::try_from(next.previous_end).map_err(|_| damaged(0))?;
    let old = layout.read(number, 0, Some(counted))?;
    let mut new = Rewritten {
        bytes: old.get(..HEADER_BYTES).ok_or_else(|| damaged(0))?.to_vec(),
        moved: Vec::new(),
        pruned: 0,
        held: 0,
        saved: 0,
    };
    // Earlier prunings made the file shorter than the next segment knows it.
    let (mut at, mut before) = (HEADER_BYTES, HEADER_BYTES);
    while before < counted {
        let bytes = old.get(at..).unwrap_or_default();
        let frame = Frame::parse(bytes).ok_or_else(|| damaged(at))?;
        let whole = bytes.get(..frame.length).ok_or_else(|| damaged(at))?;
        new.take(&frame, whole, numbers, plan, holds)
            .ok_or_else(|| damaged(at))?;
        at += frame.length;
        before += frame.length + Pruned::parse(&frame).map_or(0, |pruned| pruned.saved());
    }
    new.saved = old.len().saturating_sub(new.bytes.len()) as u64;

    let mut cursor = Cursor {
        offset: HEADER_BYTES,
        batch: header.first_batch,
        chain: header.chain,
    };
    loop {
        match cursor.next(&new.bytes) {
            Ok(Some(_)) => {}
            Ok(None) if (cursor.batch, cursor.chain) == (next.first_batch, next.chain) => {
                return Ok(new);
            }
            Ok(None) => return Err(VerifyError::tampered(Place::file(&name, at), Fault::Batch)),
            Err(broken) => {
                return Err(VerifyError::tampered(
                    Place::file(&name, broken.offset),
                    broken.fault,
                ));
            }
        }
    }
}

impl Rewritten {
    /// Takes the next frame; `None` if it names no log.
    fn take(
        &mut self,
        frame: &Frame<'_>,
        whole: &[u8],
        numbers: &[LogId],
        plan: &BTreeMap<LogId, Indexes>,
        holds: &[Hold],
    ) -> Option<()> {
        if !matches!(frame.kind, Kind::Leaf | Kind::Pruned) {
            self.bytes.extend_from_slice(whole);
            return Some(());
        }
        let log = *numbers.get(usize::try_from(frame.log).ok()?)?;
        let offset = self.bytes.len();
        let planned = plan
            .get(&log)
            .is_some_and(|indexes| indexes.contains(frame.index));
        let goes = planned && frame.kind == Kind::Leaf && log != LogId::Directory;
        let held = || {
            let entry = Leaf::parse(frame.payload)
                .ok()
                .and_then(|leaf| leaf.entry().ok());
            let takes = |hold: &Hold| hold.takes(log, frame.index, entry.as_ref());
            !holds.is_empty() && holds.iter().any(takes)
        };
        let length = if !goes {
            self.bytes.extend_from_slice(whole);
            frame.payload.len()
        } else if held() {
            self.held += 1;
            self.bytes.extend_from_slice(whole);
            frame.payload.len()
        } else {
            self.pruned += 1;
            Pruned::of(frame.payload).push(&mut self.bytes, frame.log, frame.index);
            Pruned::BYTES
        };
        self.moved.push(Moved {
            log,
            index: frame.index,
            offset,
            length,
        });
        Some(())
    }
}
