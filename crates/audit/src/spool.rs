//! Entries that the log could not take: one file of frames, synced one by one, folded in at the next
//! opening, in order.
//!
//! Only types of the catalogue that let the operation go on come here. An entry may be in the log as
//! well, if the log failed while it was in flight: its event id folds the repeat.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};

use crate::fault::VerifyError;
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use crate::segment::{Frame, Kind, push_frame};

/// What a spool file holds.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    /// The log of each entry, and its leaf without the head.
    pub(crate) entries: Vec<(LogId, Vec<u8>)>,
    /// How many bytes are intact.
    pub(crate) intact: usize,
    /// Whether something unfinished follows them.
    pub(crate) torn: bool,
}

/// Reads the spool; an absent one is empty.
pub(crate) fn read(layout: &Layout) -> Result<Spooled, VerifyError> {
    let mut bytes = Vec::new();
    match File::open(layout.spool()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Spooled::default()),
        other => other?.read_to_end(&mut bytes)?,
    };
    let mut spooled = Spooled::default();
    while let Some(frame) = Frame::parse(bytes.get(spooled.intact..).unwrap_or_default()) {
        let Some(entry) = entry(&frame, spooled.entries.len()) else {
            break;
        };
        spooled.entries.push(entry);
        spooled.intact += frame.length;
    }
    spooled.torn = spooled.intact < bytes.len();
    Ok(spooled)
}

fn entry(frame: &Frame<'_>, index: usize) -> Option<(LogId, Vec<u8>)> {
    if frame.kind != Kind::Leaf || frame.index != index as u64 {
        return None;
    }
    let line = frame.payload.iter().position(|byte| *byte == b'\n')?;
    let (origin, tail) = frame.payload.split_at_checked(line)?;
    let log = LogId::parse(std::str::from_utf8(origin).ok()?)?;
    Some((log, tail.strip_prefix(b"\n")?.to_vec()))
}

/// The spool file, open for writing.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    entries: u64,
    limit: usize,
}

impl Spool {
    /// Opens the spool behind what is intact in it.
    pub(crate) fn open(layout: &Layout, limit: usize) -> Result<Self, VerifyError> {
        let spooled = read(layout)?;
        let mut file = layout::private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(layout.spool())?;
        file.set_len(spooled.intact as u64)?;
        file.seek(SeekFrom::End(0))?;
        layout::sync_parent(&layout.spool())?;
        Ok(Self {
            file,
            entries: spooled.entries.len() as u64,
            limit,
        })
    }

    /// Adds one entry, durable when it returns.
    pub(crate) fn add(&mut self, log: LogId, tail: &[u8]) -> io::Result<()> {
        if self.entries >= self.limit as u64 {
            return Err(io::Error::other("the spool is full"));
        }
        let mut payload = log.to_string().into_bytes();
        payload.push(b'\n');
        payload.extend_from_slice(tail);
        let mut frame = Vec::new();
        push_frame(&mut frame, Kind::Leaf, 0, self.entries, &payload);
        self.file.write_all(&frame)?;
        self.file.sync_data()?;
        self.entries += 1;
        Ok(())
    }
}

/// Removes the spool after its entries are in the log.
pub(crate) fn remove(layout: &Layout) -> io::Result<()> {
    match fs::remove_file(layout.spool()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => layout::sync_parent(&layout.spool()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_a_torn_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut spool = Spool::open(&layout, 3).unwrap();
        spool.add(LogId::System, b"one}").unwrap();
        spool.add(LogId::System, b"two}").unwrap();
        drop(spool);
        let whole = fs::read(layout.spool()).unwrap();
        fs::write(layout.spool(), &whole[..whole.len() - 1]).unwrap();
        let spooled = read(&layout).unwrap();
        assert!(spooled.torn);
        assert_eq!(spooled.entries, [(LogId::System, b"one}".to_vec())]);

        let mut spool = Spool::open(&layout, 3).unwrap();
        spool.add(LogId::System, b"three}").unwrap();
        let spooled = read(&layout).unwrap();
        assert!(!spooled.torn);
        assert_eq!(spooled.entries.len(), 2);
    }

    #[test]
    fn a_full_spool_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&Layout::new(dir.path()), 1).unwrap();
        spool.add(LogId::System, b"one}").unwrap();
        assert!(spool.add(LogId::System, b"two}").is_err());
    }
}
