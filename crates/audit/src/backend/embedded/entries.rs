//! Entries read back from the segments, one file open at a time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::RwLockReadGuard;

use eonpro_core::time::Timestamp;

use super::index::Index;
use crate::error::AuditError;
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::segment::{Frame, Kind, Pruned, padded};
use crate::wire::EntryView;

/// The entries of one log. Reading neighbours is cheap.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    layout: &'a Layout,
    index: &'a Index,
    log: LogId,
    file: Option<(u32, File)>,
    /// Nothing is pruned meanwhile.
    _steady: RwLockReadGuard<'a, ()>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(layout: &'a Layout, index: &'a Index, log: LogId) -> Self {
        Self {
            layout,
            index,
            log,
            file: None,
            _steady: index.steady(),
        }
    }

    /// The entry at `index`, whose frame is intact.
    pub(super) fn view(&mut self, index: u64) -> Result<EntryView, AuditError> {
        let log = self.log;
        let fault = |fault| VerifyError::tampered(Place::entry(log, index), fault);
        let spot = self.index.spot(&log, index);
        let spot = spot.ok_or_else(|| fault(Fault::Missing))?;
        let mut bytes = vec![0; padded(spot.length as usize)];
        let file = match self.file.take() {
            Some((segment, file)) if segment == spot.segment => file,
            _ => File::open(self.layout.segment(u64::from(spot.segment)))?,
        };
        let read = file.read_exact_at(&mut bytes, u64::from(spot.offset));
        self.file = Some((spot.segment, file));
        match read {
            // The file ends before the entry does.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(fault(Fault::Frame).into());
            }
            other => other?,
        }
        let frame = Frame::parse(&bytes).filter(|frame| frame.index == index);
        let view = frame.and_then(|frame| view(log, &frame));
        Ok(view.ok_or_else(|| fault(Fault::Frame))?)
    }

    /// The first of the first `size` entries that was recorded at `at` or later; `size` if none was. Times
    /// grow with the indexes. Of what was pruned nobody knows the time any more: it is passed over.
    pub(super) fn recorded_from(&mut self, at: Timestamp, size: u64) -> Result<u64, AuditError> {
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(middle) = self.index.living(&self.log, middle..high) else {
                high = middle;
                continue;
            };
            let recorded = self
                .view(middle)?
                .recorded()
                .map_err(|_| VerifyError::tampered(Place::entry(self.log, middle), Fault::Leaf))?;
            if recorded < at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// What a reader sees of a frame: a leaf, or what is left of one.
fn view(log: LogId, frame: &Frame<'_>) -> Option<EntryView> {
    let (bytes, pruned) = match frame.kind {
        Kind::Leaf => (frame.payload.to_vec(), None),
        _ => (Vec::new(), Some(Pruned::parse(frame)?.leaf)),
    };
    Some(EntryView {
        log,
        index: frame.index,
        bytes,
        pruned,
    })
}
