//! A walk over the segments of a directory, in order, through the rules of [`Replay`].
//!
//! A walk stops where the log stops and can go on later: opening, signing and verifying are walks
//! over the bytes on disk that differ only in where they start and end.

use crate::checkpoint::{Checkpoint, CheckpointError, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{CHECKPOINT, Layout};
use crate::log_id::LogId;
use crate::replay::{Replay, Signed, Taken, directory_leaf};
use crate::retention;
use crate::scan::Cursor;
use crate::segment::{self, Frame, HEADER_BYTES, Kind, Pruned, Tail};
use crate::trail::{KeyChange, Trail};

/// A place up to which everything is known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Until {
    pub(crate) segment: u64,
    pub(crate) offset: usize,
}

/// Whether a segment may still be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Another one follows it.
    Closed,
    /// It is the last.
    Open,
}

/// A tail that a crash may have left.
#[derive(Debug)]
pub(crate) struct Torn {
    /// Where reading stopped, and why.
    pub(crate) place: Place,
    pub(crate) fault: Fault,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) replay: Replay,
    /// The segment that is being read; 0 before the first.
    pub(crate) segment: u64,
    /// The end of the last batch read, in that segment, with its number and chain. In a segment in which
    /// leaves were pruned, where that end was before.
    pub(crate) end: Cursor,
}

impl Walk {
    /// A walk from the beginning.
    pub(crate) fn new() -> Self {
        Self {
            replay: Replay::new(),
            segment: 0,
            end: Cursor {
                offset: 0,
                batch: 0,
                chain: segment::genesis(),
            },
        }
    }

    /// Reads on, up to `until` or to the end, telling `seen` the segment and each leaf. A tail that
    /// a crash may have left is returned; before `until` there is none.
    pub(crate) fn advance(
        &mut self,
        layout: &Layout,
        signed: &Signed,
        until: Option<Until>,
        mut seen: impl FnMut(u64, &Taken),
    ) -> Result<Option<Torn>, VerifyError> {
        let last = match until {
            Some(until) => until.segment,
            None => layout.segments()?,
        };
        loop {
            if self.segment > 0 {
                let (reach, limit) = if self.segment < last {
                    (Reach::Closed, Some(self.valid_end(layout)?))
                } else {
                    (Reach::Open, until.map(|until| until.offset))
                };
                let tail = self.read_segment(layout, signed, reach, limit, &mut seen)?;
                if tail.is_some() || self.segment >= last {
                    return Ok(tail);
                }
            }
            if self.segment >= last {
                return Ok(None);
            }
            self.enter_next(layout)?;
        }
    }

    /// Reads on to the end of `segment`, which another one follows.
    #[cfg(feature = "archive")]
    pub(crate) fn advance_through(
        &mut self,
        layout: &Layout,
        signed: &Signed,
        segment: u64,
        mut seen: impl FnMut(u64, &Taken),
    ) -> Result<(), VerifyError> {
        loop {
            if self.segment > 0 && self.segment <= segment {
                let limit = Some(self.valid_end(layout)?);
                self.read_segment(layout, signed, Reach::Closed, limit, &mut seen)?;
            }
            if self.segment >= segment {
                return Ok(());
            }
            self.enter_next(layout)?;
        }
    }

    /// How many bytes of the present segment count, as the next one says. Unless it says, too, that
    /// what follows them was given up, there are zeros.
    fn valid_end(&self, layout: &Layout) -> Result<usize, VerifyError> {
        let next = layout.header(self.segment + 1)?;
        let end = usize::try_from(next.previous_end);
        let end = end.map_err(|_| self.bad_header(self.segment + 1))?;
        if next.previous_tail == Tail::Zeros {
            let tail = layout.read(self.segment, end, None)?;
            if let Some(at) = tail.iter().position(|byte| *byte != 0) {
                let place = Place::file(&Layout::segment_name(self.segment), end + at);
                return Err(VerifyError::tampered(place, Fault::Tail));
            }
        }
        Ok(end)
    }

    fn bad_header(&self, segment: u64) -> VerifyError {
        let name = Layout::segment_name(segment);
        VerifyError::tampered(Place::file(&name, 0), Fault::Header)
    }

    fn enter_next(&mut self, layout: &Layout) -> Result<(), VerifyError> {
        let header = layout.header(self.segment + 1)?;
        let fits = header.first_batch == self.end.batch
            && header.chain == self.end.chain
            && header.previous_end == self.end.offset as u64
            && (self.segment == 0 || header.follows == layout.header(self.segment)?.follows);
        if !fits {
            return Err(self.bad_header(self.segment + 1));
        }
        self.segment += 1;
        self.end.offset = HEADER_BYTES;
        Ok(())
    }

    /// Reads the rest of the present segment. With a `limit`, its batches must reach just there.
    fn read_segment(
        &mut self,
        layout: &Layout,
        signed: &Signed,
        reach: Reach,
        limit: Option<usize>,
        seen: &mut impl FnMut(u64, &Taken),
    ) -> Result<Option<Torn>, VerifyError> {
        let name = Layout::segment_name(self.segment);
        let base = self.end.offset;
        let bytes = layout.read(self.segment, base, limit)?;
        let mut cursor = Cursor {
            offset: 0,
            ..self.end
        };
        // How much shorter the segment is by what was pruned in it.
        let mut saved = 0;
        loop {
            match cursor.next(&bytes) {
                Ok(Some(batch)) => {
                    let number = self.segment;
                    for (at, frame) in &batch.frames {
                        if frame.kind == Kind::Pruned && reach != Reach::Closed {
                            // Nothing is pruned where somebody still writes.
                            let place = Place::file(&name, base + at);
                            return Err(VerifyError::tampered(place, Fault::Pruned));
                        }
                        saved += Pruned::parse(frame).map_or(0, |pruned| pruned.saved());
                    }
                    self.replay.apply(&batch, &name, signed, |taken| {
                        let offset = taken.offset + base;
                        seen(number, &Taken { offset, ..*taken });
                    })?;
                    self.end = Cursor {
                        offset: base + cursor.offset + saved,
                        ..cursor
                    };
                }
                Ok(None) => break,
                Err(mut broken) => {
                    broken.offset += base;
                    let place = self.replay.blame(&broken, &name);
                    if limit.is_none() && !broken.later_batch {
                        return Ok(Some(Torn {
                            place,
                            fault: broken.fault,
                        }));
                    }
                    return Err(VerifyError::tampered(place, broken.fault));
                }
            }
        }
        match limit {
            Some(limit) if self.end.offset != limit => {
                let place = Place::file(&name, self.end.offset);
                Err(VerifyError::tampered(place, Fault::Batch))
            }
            _ => Ok(None),
        }
    }
}

/// The signed checkpoints in a directory: all leaves of the directory log, and its own head; and whose
/// signatures count, which begins with `keys` and follows the changes of keys.
///
/// Reads frames by their checksums alone and stops at the first that is damaged: the walk that
/// follows names the damage. A checkpoint counts once its batch is complete.
pub(crate) fn signed_points(
    layout: &Layout,
    keys: &[VerifyingKey],
    until: Option<Until>,
) -> Result<(Signed, Checkpoint, Trail), VerifyError> {
    match follow(layout, Trail::new(keys), until) {
        Err(VerifyError::Tampered {
            fault: Fault::Signature,
            ..
        }) => {}
        other => return other,
    }
    // Perhaps the keys at hand are heirs of those that signed the beginning.
    let mut changes = Vec::new();
    directory_leaves(layout, until, |_, payload| {
        let change = std::str::from_utf8(payload).ok();
        changes.extend(change.and_then(KeyChange::open));
        Ok(())
    })?;
    follow(layout, Trail::with_predecessors(keys, &changes), until)
}

fn follow(
    layout: &Layout,
    mut trail: Trail,
    until: Option<Until>,
) -> Result<(Signed, Checkpoint, Trail), VerifyError> {
    let mut signed = Signed::default();
    signed.under_way = retention::read_under_way(layout)?;
    directory_leaves(layout, until, |index, payload| {
        let fault = |fault| VerifyError::tampered(Place::entry(LogId::Directory, index), fault);
        let point = if KeyChange::is_one(payload) {
            let change = std::str::from_utf8(payload).ok().and_then(KeyChange::open);
            let change = change.ok_or_else(|| fault(Fault::Signature))?;
            trail.take(change, index).map_err(fault)?;
            change.at
        } else {
            directory_leaf(payload, index, trail.present())?
        };
        signed.add_leaf(&point).map_err(fault)
    })?;
    let head = directory_head(layout, &trail)?;
    let place = Place::file(CHECKPOINT, 0);
    signed
        .add(&head)
        .map_err(|fault| VerifyError::tampered(place, fault))?;
    Ok((signed, head, trail))
}

/// Tells `seen` the index and the bytes of each leaf of the directory log whose batch is complete.
fn directory_leaves(
    layout: &Layout,
    until: Option<Until>,
    mut seen: impl FnMut(u64, &[u8]) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let segments = match until {
        Some(until) => until.segment,
        None => layout.segments()?,
    };
    let mut directory = None;
    for number in 1..=segments {
        let limit = if number < segments {
            let next = layout.header(number + 1)?;
            Some(usize::try_from(next.previous_end).unwrap_or(usize::MAX))
        } else {
            until.map(|until| until.offset)
        };
        let bytes = layout.read(number, HEADER_BYTES, limit)?;
        let mut at = 0;
        let mut pending = Vec::new();
        while let Some(frame) = Frame::parse(bytes.get(at..).unwrap_or_default()) {
            at += frame.length;
            if frame.kind == Kind::Declare && frame.payload == directory_origin().as_bytes() {
                directory = Some(frame.log);
            } else if frame.kind == Kind::Leaf && Some(frame.log) == directory {
                pending.push((frame.index, frame.payload));
            } else if frame.kind == Kind::End {
                for (index, payload) in pending.drain(..) {
                    seen(index, payload)?;
                }
            }
        }
    }
    Ok(())
}

fn directory_origin() -> String {
    LogId::Directory.to_string()
}

/// The signed head of the directory log. It is there from the first moment, so that taking it away
/// is no way to make signed entries unsigned.
pub(crate) fn directory_head(layout: &Layout, trail: &Trail) -> Result<Checkpoint, VerifyError> {
    let fault = |fault| VerifyError::tampered(Place::file(CHECKPOINT, 0), fault);
    let text = layout.read_checkpoint()?;
    let text = text.ok_or_else(|| fault(Fault::Missing))?;
    // A key that has handed over signed heads up to then.
    let size = Checkpoint::unverified(&text).map_or(0, |head| head.size);
    match Checkpoint::open(&text, &trail.at(size)) {
        Ok(head) if head.log == LogId::Directory => Ok(head),
        Ok(_) | Err(CheckpointError::Malformed) => Err(fault(Fault::Checkpoint)),
        Err(CheckpointError::Signature) => Err(fault(Fault::Signature)),
    }
}
