//! A segment's bytes as batches, and where they stop being batches.
//!
//! Batches are intact or absent: a batch counts once its end frame is there, its frame count fits,
//! and the chain over all bytes so far is the one it names.

use eonpro_core::event::Digest;

use crate::fault::Fault;
use crate::segment::{self, End, Frame, FrameHeader, Kind};

/// One intact batch.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// Where each frame begins, and the frame; without the end frame.
    pub(crate) frames: Vec<(usize, Frame<'a>)>,
}

/// Where and why the batches stop.
#[derive(Debug)]
pub(crate) struct Break<'a> {
    /// Where reading stopped.
    pub(crate) offset: usize,
    pub(crate) fault: Fault,
    /// The intact frames of the broken batch before the offset.
    pub(crate) before: Vec<Frame<'a>>,
    /// What the broken frame says it is, if it says anything.
    pub(crate) says: Option<FrameHeader>,
    /// Whether an intact end of a later batch follows: then no crash left this.
    pub(crate) later_batch: bool,
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) offset: usize,
    /// The number of the next batch.
    pub(crate) batch: u64,
    /// The chain over all batches so far.
    pub(crate) chain: Digest,
}

impl Cursor {
    /// The next batch in `bytes`, and the cursor moved past it; `None` where only zeros follow.
    pub(crate) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Batch<'a>>, Break<'a>> {
        let rest = bytes.get(self.offset..).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut frames = Vec::new();
        let mut at = self.offset;
        loop {
            let Some(frame) = Frame::parse(bytes.get(at..).unwrap_or_default()) else {
                return Err(self.broken(bytes, at, Fault::Frame, frames));
            };
            if frame.kind == Kind::End {
                return match self.end(at, &frame, &frames) {
                    Some(next) => {
                        *self = next;
                        Ok(Some(Batch { frames }))
                    }
                    None => Err(self.broken(bytes, at, Fault::Batch, frames)),
                };
            }
            frames.push((at, frame));
            at += frame.length;
        }
    }

    fn end(&self, at: usize, frame: &Frame<'_>, frames: &[(usize, Frame<'_>)]) -> Option<Self> {
        let end = End::parse(frame)?;
        let covered = frames.iter().map(|(_, frame)| *frame);
        let chain = segment::chain_of(&self.chain, self.batch, covered);
        let fits = end.batch == self.batch
            && end.frames == frames.len() as u64
            && !frames.is_empty()
            && end.chain == chain;
        fits.then_some(Self {
            offset: at + frame.length,
            batch: self.batch + 1,
            chain,
        })
    }

    fn broken<'a>(
        &self,
        bytes: &'a [u8],
        at: usize,
        fault: Fault,
        before: Vec<(usize, Frame<'a>)>,
    ) -> Break<'a> {
        let rest = bytes.get(at..).unwrap_or_default();
        Break {
            offset: at,
            fault,
            before: before.into_iter().map(|(_, frame)| frame).collect(),
            says: FrameHeader::peek(rest),
            later_batch: later_end(rest, self.batch),
        }
    }
}

/// Whether an intact end of a batch after `batch` stands anywhere in `bytes`.
fn later_end(bytes: &[u8], batch: u64) -> bool {
    (0..bytes.len()).step_by(8).any(|at| {
        let here = bytes.get(at..).unwrap_or_default();
        FrameHeader::peek(here).is_some_and(|header| header.may_end())
            && Frame::parse(here)
                .and_then(|frame| End::parse(&frame))
                .is_some_and(|end| end.batch > batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{chain, genesis, push_frame};

    const START: usize = 128;

    /// A segment of `batches` batches of two frames each; where each ends.
    fn written(batches: u64) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; START];
        let mut ends = Vec::new();
        let mut running = genesis();
        for batch in 0..batches {
            let start = bytes.len();
            for index in 0..2 {
                push_frame(&mut bytes, Kind::Leaf, 0, 2 * batch + index, b"a leaf");
            }
            running = chain(&running, batch, &bytes[start..]);
            let end = End {
                batch,
                frames: 2,
                chain: running,
            };
            end.push(&mut bytes);
            ends.push(bytes.len());
        }
        bytes.resize(bytes.len() + 512, 0);
        (bytes, ends)
    }

    fn start() -> Cursor {
        Cursor {
            offset: START,
            batch: 0,
            chain: genesis(),
        }
    }

    /// How many batches are read before the end or the break, and the break.
    fn read(bytes: &[u8]) -> (u64, Option<Break<'_>>) {
        let mut cursor = start();
        loop {
            match cursor.next(bytes) {
                Ok(Some(batch)) => assert_eq!(batch.frames.len(), 2),
                Ok(None) => return (cursor.batch, None),
                Err(broken) => return (cursor.batch, Some(broken)),
            }
        }
    }

    #[test]
    fn an_intact_segment_reads_to_its_zeros() {
        let (bytes, _) = written(3);
        assert!(matches!(read(&bytes), (3, None)));
    }

    #[test]
    fn a_segment_cut_anywhere_yields_whole_batches_and_no_later_batch() {
        let (bytes, ends) = written(3);
        for cut in START..ends[2] {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
            let (read, broken) = read(&torn);
            assert_eq!(read, whole, "cut at {cut}");
            assert!(broken.is_none_or(|broken| !broken.later_batch));
        }
    }

    #[test]
    fn a_flip_in_a_batch_that_others_follow_is_no_torn_tail() {
        let (bytes, ends) = written(3);
        for at in START..ends[1] {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let broken = read(&bad).1.unwrap();
            assert!(broken.later_batch, "flip at {at}");
            assert!(broken.offset <= at);
        }
    }

    #[test]
    fn a_batch_taken_from_another_place_does_not_fit() {
        let (bytes, ends) = written(3);
        let mut bad = bytes[..ends[0]].to_vec();
        bad.extend_from_slice(&bytes[ends[1]..]);
        let (read, broken) = read(&bad);
        assert_eq!(read, 1);
        assert_eq!(broken.unwrap().fault, Fault::Batch);
    }
}
