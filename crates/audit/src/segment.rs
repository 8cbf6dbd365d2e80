//! The bytes of a write-ahead segment: one header, then frames in batches, then zeros.
//!
//! All integers are little endian; every frame begins at a multiple of 8. `docs/formats/audit.md`
//! says it for strangers. A batch counts only if its end frame is there and fits, so atomicity does
//! not depend on the size of a sector.

use eonpro_core::event::Digest;

use crate::merkle::{leaf_hash, sha256};

/// The length of a segment's header.
pub(crate) const HEADER_BYTES: usize = 128;
/// The length of a frame's header.
pub(crate) const FRAME_BYTES: usize = 24;
/// The longest payload of a frame: what C2SP tlog-tiles allows an entry.
pub(crate) const MAX_PAYLOAD: usize = 65_535;

const MAGIC: &[u8; 8] = b"eonpaud\0";
const VERSION: u32 = 1;
const FOLLOWS_AT: usize = 80;
const NONE: Digest = Digest::from_bytes([0; 32]);
const END_PAYLOAD: usize = 48;
const PRUNED_PAYLOAD: usize = 36;
const CHAIN_LABEL: &[u8] = b"eonpro/audit/batch/v1";

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The number of its first batch, from 0.
    pub(crate) first_batch: u64,
    /// The chain over all batches before it.
    pub(crate) chain: Digest,
    /// How many bytes of the segment before it count.
    pub(crate) previous_end: u64,
    /// What follows them there.
    pub(crate) previous_tail: Tail,
    /// The digest of the statement of the sealed log that this log follows, if it follows one.
    pub(crate) follows: Option<Digest>,
}

/// What stands behind the bytes of a segment that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Zeros up to the end of the file.
    Zeros,
    /// What a failed write or sync left. It was never acknowledged.
    GivenUp,
}

impl Tail {
    const fn flags(self) -> u8 {
        match self {
            Self::Zeros => 0,
            Self::GivenUp => 1,
        }
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_batch.to_le_bytes());
        out.extend_from_slice(self.chain.as_bytes());
        out.extend_from_slice(&self.previous_end.to_le_bytes());
        out.push(self.previous_tail.flags());
        out.resize(FOLLOWS_AT, 0);
        out.extend_from_slice(self.follows.unwrap_or(NONE).as_bytes());
        out.resize(HEADER_BYTES, 0);
        let crc = crc32c::crc32c(&out).to_le_bytes();
        let mut fixed = [0; HEADER_BYTES];
        for (to, from) in fixed.iter_mut().zip(out) {
            *to = from;
        }
        for (to, from) in fixed.iter_mut().skip(12).zip(crc) {
            *to = from;
        }
        fixed
    }

    /// `None` if the bytes are no header, or one of another version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Self {
            number: u64_at(bytes, 16)?,
            first_batch: u64_at(bytes, 24)?,
            chain: Digest::from_bytes(array_at(bytes, 32)?),
            previous_end: u64_at(bytes, 64)?,
            previous_tail: match bytes.get(72)? {
                0 => Tail::Zeros,
                _ => Tail::GivenUp,
            },
            follows: Some(Digest::from_bytes(array_at(bytes, FOLLOWS_AT)?))
                .filter(|follows| *follows != NONE),
        };
        (bytes.get(..HEADER_BYTES)? == header.encode()).then_some(header)
    }
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The origin of a log, which gets the number `log`.
    Declare,
    /// A leaf of a log.
    Leaf,
    /// The end of a batch.
    End,
    /// What stays of a leaf that was pruned.
    Pruned,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Declare => 1,
            Self::Leaf => 2,
            Self::End => 3,
            Self::Pruned => 4,
        }
    }

    const fn parse(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Declare),
            2 => Some(Self::Leaf),
            3 => Some(Self::End),
            4 => Some(Self::Pruned),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) log: u32,
    pub(crate) index: u64,
    pub(crate) payload: &'a [u8],
    /// Its whole length with header and padding.
    pub(crate) length: usize,
}

/// The header of a frame, whose checksum nobody has checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) log: u32,
    pub(crate) index: u64,
    payload: usize,
    crc: u32,
}

impl FrameHeader {
    /// `None` if the bytes cannot be a frame's header.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let payload = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let [kind, 0, 0, 0] = array_at(bytes, 8)? else {
            return None;
        };
        Some(Self {
            kind: Kind::parse(kind)?,
            log: u32_at(bytes, 12)?,
            index: u64_at(bytes, 16)?,
            payload: (payload <= MAX_PAYLOAD).then_some(payload)?,
            crc: u32_at(bytes, 4)?,
        })
    }
}

impl FrameHeader {
    /// Whether it says that it ends a batch, and is as long as such a frame is.
    pub(crate) fn may_end(&self) -> bool {
        self.kind == Kind::End && self.payload == END_PAYLOAD
    }
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`; `None` if there is no intact one.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = FrameHeader::peek(bytes)?;
        let length = padded(header.payload);
        let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + header.payload)?;
        let padding = bytes.get(FRAME_BYTES + header.payload..length)?;
        let intact = checksum(bytes.get(..FRAME_BYTES)?, payload) == header.crc
            && padding.iter().all(|byte| *byte == 0);
        intact.then_some(Self {
            kind: header.kind,
            log: header.log,
            index: header.index,
            payload,
            length,
        })
    }
}

/// Appends one frame. `payload` has at most [`MAX_PAYLOAD`] bytes.
pub(crate) fn push_frame(out: &mut Vec<u8>, kind: Kind, log: u32, index: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind.code(), 0, 0, 0]);
    out.extend_from_slice(&log.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    let crc = checksum(out.get(start..).unwrap_or_default(), payload);
    for (to, from) in out.iter_mut().skip(start + 4).zip(crc.to_le_bytes()) {
        *to = from;
    }
    out.extend_from_slice(payload);
    out.resize(start + padded(payload.len()), 0);
}

/// How long a frame with such a payload is.
pub(crate) const fn padded(payload: usize) -> usize {
    (FRAME_BYTES + payload).next_multiple_of(8)
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    // The checksum covers the header with its own four bytes left out.
    let (before, after) = (header.get(..4), header.get(8..FRAME_BYTES));
    let crc = crc32c::crc32c(before.unwrap_or_default());
    let crc = crc32c::crc32c_append(crc, after.unwrap_or_default());
    crc32c::crc32c_append(crc, payload)
}

/// The end of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The batch's number, from 0.
    pub(crate) batch: u64,
    /// How many frames it has beside this one.
    pub(crate) frames: u64,
    /// The chain over all batches up to and with this one.
    pub(crate) chain: Digest,
}

impl End {
    pub(crate) fn parse(frame: &Frame<'_>) -> Option<Self> {
        if frame.kind != Kind::End || frame.log != 0 || frame.payload.len() != END_PAYLOAD {
            return None;
        }
        let end = Self {
            batch: u64_at(frame.payload, 0)?,
            frames: u64_at(frame.payload, 8)?,
            chain: Digest::from_bytes(array_at(frame.payload, 16)?),
        };
        (end.batch == frame.index).then_some(end)
    }

    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(END_PAYLOAD);
        payload.extend_from_slice(&self.batch.to_le_bytes());
        payload.extend_from_slice(&self.frames.to_le_bytes());
        payload.extend_from_slice(self.chain.as_bytes());
        push_frame(out, Kind::End, 0, self.batch, &payload);
    }
}

/// What stays of a leaf that was pruned: enough for the tree, the chain and the next leaf's `prev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// The leaf's hash.
    pub(crate) leaf: Digest,
    /// How long its payload was.
    length: u32,
}

impl Pruned {
    /// The length of its payload.
    pub(crate) const BYTES: usize = PRUNED_PAYLOAD;

    /// Of the leaf with these bytes.
    pub(crate) fn of(payload: &[u8]) -> Self {
        Self {
            leaf: leaf_hash(payload),
            length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        }
    }

    /// `None` if the frame is no well-formed one of this kind.
    pub(crate) fn parse(frame: &Frame<'_>) -> Option<Self> {
        if frame.kind != Kind::Pruned || frame.payload.len() != PRUNED_PAYLOAD {
            return None;
        }
        let length = u32_at(frame.payload, 32)?;
        (length as usize <= MAX_PAYLOAD).then_some(Self {
            leaf: Digest::from_bytes(array_at(frame.payload, 0)?),
            length,
        })
    }

    pub(crate) fn push(&self, out: &mut Vec<u8>, log: u32, index: u64) {
        let mut payload = Vec::with_capacity(PRUNED_PAYLOAD);
        payload.extend_from_slice(self.leaf.as_bytes());
        payload.extend_from_slice(&self.length.to_le_bytes());
        push_frame(out, Kind::Pruned, log, index, &payload);
    }

    /// By how much the segment became shorter. An entry is longer than what stays of it.
    pub(crate) fn saved(&self) -> usize {
        padded(self.length as usize).saturating_sub(padded(PRUNED_PAYLOAD))
    }
}

/// The chain after a batch whose frames, without the end frame, are `frames`.
pub(crate) fn chain(previous: &Digest, batch: u64, frames: &[u8]) -> Digest {
    let mut rest = frames;
    let parsed = std::iter::from_fn(move || {
        let frame = Frame::parse(rest)?;
        rest = rest.get(frame.length..)?;
        Some(frame)
    });
    chain_of(previous, batch, parsed)
}

/// The chain after a batch of these frames.
///
/// It covers what pruning leaves of a frame, and nothing else: so it still holds, and is still checked,
/// when leaves of the batch are pruned.
pub(crate) fn chain_of<'a>(
    previous: &Digest,
    batch: u64,
    frames: impl IntoIterator<Item = Frame<'a>>,
) -> Digest {
    let mut covered = Vec::new();
    for frame in frames {
        let of_payload = (frame.kind, frame.payload.len(), leaf_hash(frame.payload));
        let (kind, length, hash) = match Pruned::parse(&frame) {
            Some(pruned) => (Kind::Leaf, pruned.length as usize, pruned.leaf),
            None => of_payload,
        };
        covered.push(kind.code());
        covered.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        covered.extend_from_slice(&frame.log.to_le_bytes());
        covered.extend_from_slice(&frame.index.to_le_bytes());
        covered.extend_from_slice(hash.as_bytes());
    }
    sha256(&[
        CHAIN_LABEL,
        previous.as_bytes(),
        &batch.to_le_bytes(),
        &covered,
    ])
}

/// The chain before the first batch.
pub(crate) fn genesis() -> Digest {
    sha256(&[CHAIN_LABEL])
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header = Header {
        number: 3,
        first_batch: 9,
        chain: Digest::from_bytes([4; 32]),
        previous_end: 4_096,
        previous_tail: Tail::GivenUp,
        follows: Some(Digest::from_bytes([5; 32])),
    };

    #[test]
    fn a_header_with_any_bit_flipped_is_no_header() {
        let good = HEADER.encode();
        assert_eq!(Header::parse(&good), Some(HEADER));
        for bit in 0..8 * HEADER_BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&bad), None, "bit {bit}");
        }
        assert_eq!(Header::parse(&good[..HEADER_BYTES - 1]), None);
    }

    #[test]
    fn a_frame_with_any_bit_flipped_is_no_frame() {
        let mut good = Vec::new();
        push_frame(&mut good, Kind::Leaf, 5, 6, b"thirteen byte");
        assert_eq!(good.len() % 8, 0);
        let frame = Frame::parse(&good).unwrap();
        assert_eq!((frame.log, frame.index), (5, 6));
        assert_eq!(frame.payload, b"thirteen byte");
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::parse(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn the_chain_is_the_same_whether_a_leaf_is_there_or_pruned_and_another_for_any_other_leaf() {
        let frames = |leaf: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push_frame(&mut out, Kind::Declare, 0, 0, b"origin");
            leaf(&mut out);
            push_frame(&mut out, Kind::Leaf, 0, 1, b"stays");
            chain(&genesis(), 7, &out)
        };
        let whole = frames(&|out| push_frame(out, Kind::Leaf, 0, 0, b"a leaf that goes"));
        let pruned = |bytes: &[u8]| frames(&|out| Pruned::of(bytes).push(out, 0, 0));
        assert_eq!(pruned(b"a leaf that goes"), whole);
        assert_ne!(pruned(b"a leaf that went"), whole);
        let longer = Pruned {
            length: 17,
            ..Pruned::of(b"a leaf that goes")
        };
        assert_ne!(frames(&|out| longer.push(out, 0, 0)), whole);
        assert_ne!(
            frames(&|out| Pruned::of(b"a leaf that goes").push(out, 0, 2)),
            whole
        );
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Frame::parse(&[0; 64]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::parse(&bytes);
            if let Some(frame) = Frame::parse(&bytes) {
                let _ = End::parse(&frame);
            }
        }

        #[test]
        fn every_frame_survives_a_round_trip(
            log: u32, index: u64, payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut out = Vec::new();
            push_frame(&mut out, Kind::Leaf, log, index, &payload);
            let frame = Frame::parse(&out).unwrap();
            prop_assert_eq!(frame.payload, &payload[..]);
            prop_assert_eq!((frame.log, frame.index, frame.length), (log, index, out.len()));
        }
    }
}
